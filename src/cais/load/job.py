"""What one loading carries along: the files read, the variables, and everything found wrong so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cais.diag.api import ERROR, WARNING, Diagnostic, Faults, Note
from cais.source.files import Sources
from cais.source.tree import NOWHERE, List, Map

MAX_FAULTS = 200


class Options(NamedTuple):
    """What the caller asked for; the names are those of `docker compose config`."""

    paths: Sequence[str] = ()
    project_directory: str | None = None
    project_name: str | None = None
    profiles: Sequence[str] = ()
    env_files: Sequence[str] = ()
    services: Sequence[str] | None = None
    interpolate: bool = True
    normalize: bool = True
    validate: bool = True  # against the schema: not for `--variables`
    consistency: bool = True
    unique_names: bool = True  # of containers: not for what `config` only lists
    resolve_paths: bool = True
    resolve_environment: bool = True


class Job:
    def __init__(self, options: Options, environment: dict[str, str]) -> None:
        self.options = options
        self.environment = environment
        self.variable_at: dict[str, int] = {}  # where an env file gave a variable
        self.sources = Sources()
        self.found: list[Diagnostic] = []
        self.used: dict[int, tuple[str, ...]] = {}  # position of a value -> variables in it
        self.variables: dict[str, tuple[str, str, str]] = {}  # name -> (required text, default, alternative)
        self._seen: set[tuple[str, str, int]] = set()
        self.extended: set[int] = set()  # id() of the canonical mappings that hold x-… keys
        self._unset: set[str] = set()
        self._counts: dict[str, int] = {}
        self.broken: set[int] = set()  # values without their variables: what follows from that is not said
        self.incomplete: set[str] = set()  # services whose `extends` led nowhere
        self.invalid: list[tuple[Any, Any, bool]] = []
        self.ports = 0  # short forms opened so far: ranges are bounded for all services together
        self.working_dir = ""

    def error(
        self,
        code: str,
        message: str,
        position: int = NOWHERE,
        *,
        key: bool = False,
        hint: str = "",
        notes: Sequence[tuple[str, int]] = (),
        drop: tuple[Any, Any, bool] | None = None,
    ) -> None:
        """`drop`: the container and key of a value that later stages could not bear, and whether nothing may stand
        in its place, so that its name is still known."""
        if drop is not None:
            self.invalid.append(drop)
        if position in self.broken and position != NOWHERE:
            return
        self._add(ERROR, code, message, position, key, hint, notes)

    def warn(self, code: str, message: str, position: int = NOWHERE, *, key: bool = False, hint: str = "") -> None:
        self._add(WARNING, code, message, position, key, hint, ())

    def drop_invalid(self) -> None:
        """Take out what is of the wrong kind, so that the rest can be looked at too."""
        for holder, key, nothing in sorted(
            self.invalid, key=lambda one: one[1] if isinstance(one[1], int) else -1, reverse=True
        ):
            if nothing and holder.__class__ is Map and key in holder:
                holder[key] = None
            elif holder.__class__ is Map:
                holder.lose(key)
            elif holder.__class__ is List and key < len(holder):
                del holder[key], holder.at[key]
        self.invalid.clear()

    def unset(self, name: str, position: int = NOWHERE, *, hint: str = "") -> None:
        """One warning for each variable, however often it is missing."""
        if name not in self._unset:
            self._unset.add(name)
            self.warn("unset-variable", f"variable {name} is not set: an empty text stands for it", position, hint=hint)

    def _add(
        self,
        severity: str,
        code: str,
        message: str,
        position: int,
        key: bool,
        hint: str,
        notes: Sequence[tuple[str, int]],
    ) -> None:
        mark = (code, message, position)
        if mark in self._seen:
            return
        if self._counts.get(severity, 0) >= MAX_FAULTS:
            if self._counts[severity] == MAX_FAULTS:
                self._counts[severity] += 1
                self.found.append(Diagnostic(severity, "more", f"only the first {MAX_FAULTS} {severity}s are shown"))
            return
        self._seen.add(mark)
        self._counts[severity] = self._counts.get(severity, 0) + 1
        lines = [Note(text, self.sources.span(at, key=True)) for text, at in notes]
        if position != NOWHERE:
            for name in self.used.get(position, ()):
                lines.append(self.variable_note(name))
            lines += [Note(text, self.sources.span(at)) for text, at in self.sources.chain(position)]
        self.found.append(Diagnostic(severity, code, message, self.sources.span(position, key=key), hint, tuple(lines)))

    def variable_note(self, name: str) -> Note:
        at = self.variable_at.get(name, NOWHERE)
        if at != NOWHERE:
            return Note(f"variable {name} given here", self.sources.span(at))
        if name in self.environment:
            return Note(f"variable {name} from the environment")
        return Note(f"variable {name} is not set")

    @property
    def failed(self) -> bool:
        return ERROR in self._counts

    def stop_if_failed(self) -> None:
        """Raise everything found, sorted by place, when one of it is an error."""
        if self.failed:
            raise Faults(sort(self.found))


def sort(found: Sequence[Diagnostic]) -> list[Diagnostic]:
    return sorted(
        found, key=lambda one: (0, one.span.file, one.span.line, one.span.column) if one.span else (1, "", 0, 0)
    )


def shown(value: object) -> str:
    """A value as it reads in a message."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = str(value)
    return f'"{text[:60]}…"' if len(text) > 60 else f'"{text}"' if isinstance(value, str) else text


def nearest(word: str, known: Sequence[str] | Mapping[str, object] | frozenset[str]) -> str:
    """`did you mean "…"?` when a known name looks like a slip of the pen; else nothing."""
    import difflib

    lowered = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), list(lowered), 1, 0.72)
    return f'did you mean "{lowered[close[0]]}"?' if close else ""
