"""`$VAR`, `${VAR:-default}` and their kin (Compose specification, "Interpolation"), with nesting.

Only values are interpolated, never keys. Where the schema wants a number or a bool, the resulting text is cast,
so that `tty: "${TTY:-true}"` works; a cast applies to plain text as well, as in Docker Compose.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from cais.load.job import Job
from cais.load.measures import to_bool, to_float, to_int
from cais.source.tree import List, Map

MAX_NESTING = 50
MAX_RESULT = 1_000_000

_NAME = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
_BRACED = re.compile(r"([_a-zA-Z][_a-zA-Z0-9]*)(?:(:?[-+?])(.*))?}")


class TemplateError(Exception):
    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.hint = code, message, hint


class Substitution:
    """Replaces variables in texts; remembers which were used and which were missing."""

    def __init__(self, lookup: Callable[[str], str | None]) -> None:
        self.lookup = lookup
        self.used: list[str] = []
        self.unset: list[str] = []

    def replace(self, text: str, depth: int = 0) -> str:
        dollar = text.find("$")
        if dollar < 0:
            return text
        if depth > MAX_NESTING:
            raise TemplateError("template", f"variables are nested deeper than {MAX_NESTING} levels")
        parts: list[str] = []
        start = length = 0
        while dollar >= 0:
            parts.append(text[start:dollar])
            start, value = self._one(text, dollar, depth)
            parts.append(value)
            length += len(value)
            if length > MAX_RESULT:
                raise TemplateError("template", f"the value grows beyond {MAX_RESULT:,} characters")
            dollar = text.find("$", start)
        parts.append(text[start:])
        return "".join(parts)

    def _one(self, text: str, dollar: int, depth: int) -> tuple[int, str]:
        """The value of what stands at `dollar`, and the index behind it."""
        after = text[dollar + 1 : dollar + 2]
        if after == "$":
            return dollar + 2, "$"
        if after == "{":
            match = _BRACED.match(text, dollar + 2)
            if not match:
                raise _invalid(text)
            name, operator, word = match.groups()
            if operator is None:
                return match.end(), self._braced(name, None, None, depth)
            end = _closing(word)
            behind = match.start(3) + end + 1 if end >= 0 else match.end()
            return behind, self._braced(name, operator, word[:end] if end >= 0 else word, depth)
        named = _NAME.match(text, dollar + 1)
        if not named:
            return dollar + 1, "$"  # a dollar sign before anything else is one
        return named.end(), self._get(named[0]) or ""

    def _braced(self, name: str, operator: str | None, word: str | None, depth: int) -> str:
        if operator is None:
            return self._get(name) or ""
        value = self._get(name, quiet=True)
        given = value is not None and (value != "" or operator[0] != ":")
        match operator[-1]:
            case "-":
                return (value or "") if given else self.replace(word or "", depth + 1)
            case "+":
                return self.replace(word or "", depth + 1) if given else ""
            case _:
                if given:
                    return value or ""
                message = self.replace(word or "", depth + 1)
                state = "is empty" if value is not None else "is not set"
                raise TemplateError(
                    "required-variable",
                    f"required variable {name} {state}" + (f": {message}" if message else ""),
                    f"set {name} in the environment or in .env",
                )

    def _get(self, name: str, *, quiet: bool = False) -> str | None:
        value = self.lookup(name)
        self.used.append(name)
        if value is None and not quiet:
            self.unset.append(name)
        return value


def _closing(word: str) -> int:
    """The index of the brace that ends `word`, which goes on to the last brace of its line, or -1: then all is its.

    As Docker Compose counts: every brace opens, of a variable or not, and what stands right behind it is not looked at.
    """
    depth, index = 1, 0
    while index < len(word):
        if word[index] == "}":
            depth -= 1
            if depth == 0:
                return index
        elif word[index] == "{":
            depth += 1
            index += 1
        index += 1
    return -1


def _invalid(text: str) -> TemplateError:
    shown = text if len(text) <= 80 else text[:79] + "…"
    return TemplateError("template", f'invalid interpolation in "{shown}"', "write $$ for a dollar sign")


def interpolate(job: Job, tree: Map) -> None:
    """Replace variables in every value of `tree`, in place."""
    if not job.options.interpolate:
        return
    lookup = job.environment.get
    walker = _Walker(job, Substitution(lookup))
    walker.mapping(tree, CASTS)


class _Walker:
    def __init__(self, job: Job, substitution: Substitution) -> None:
        self.job = job
        self.substitution = substitution

    def mapping(self, tree: Map, casts: dict[str, Any] | None) -> None:
        for key, value in tree.items():
            kind = value.__class__
            inner = None
            if casts is not None:
                inner = casts.get(key) or casts.get("*")
            if kind is str:
                if inner is not None or "$" in value:
                    tree[key] = self.text(value, inner, tree.at.get(key, -1))
            elif kind is Map:
                self.mapping(value, inner if inner.__class__ is dict else None)
            elif kind is List:
                self.sequence(value, inner if inner.__class__ is dict else None)

    def sequence(self, items: List, casts: dict[str, Any] | None) -> None:
        inner = casts.get("*") if casts is not None else None
        for index, value in enumerate(items):
            kind = value.__class__
            if kind is str:
                if "$" in value:  # no list holds numbers or bools that are cast
                    items[index] = self.text(value, None, items.at[index])
            elif kind is Map:
                self.mapping(value, inner if inner.__class__ is dict else None)
            elif kind is List:
                self.sequence(value, inner if inner.__class__ is dict else None)

    def text(self, value: str, cast: Any, at: int) -> Any:
        job = self.job
        if "$" in value:
            substitution = self.substitution
            substitution.used.clear()
            substitution.unset.clear()
            try:
                value = substitution.replace(value)
            except TemplateError as error:
                job.error(error.code, error.message, at, hint=error.hint)
                job.broken.add(at)
                return value
            if substitution.used:
                job.used[at] = tuple(dict.fromkeys(substitution.used))
                for name in substitution.unset:
                    job.unset(name, at)
        if cast is None or cast.__class__ is dict:
            cast = cast.get("") if cast else None
            if cast is None:
                return value
        try:
            return cast(value)
        except ValueError as error:
            job.error("cast", str(error), at)
            job.broken.add(at)
            return value


_UPDATE = {"parallelism": to_int, "max_failure_ratio": to_float}
_SERVICE: dict[str, Any] = {
    "cpu_count": to_int,
    "cpu_percent": to_float,
    "cpu_period": to_int,
    "cpu_quota": to_int,
    "cpu_rt_period": to_int,
    "cpu_rt_runtime": to_int,
    "cpus": to_float,
    "cpu_shares": to_int,
    "init": to_bool,
    "deploy": {
        "replicas": to_int,
        "update_config": _UPDATE,
        "rollback_config": _UPDATE,
        "restart_policy": {"max_attempts": to_int},
        "placement": {"max_replicas_per_node": to_int},
    },
    "healthcheck": {"retries": to_int, "disable": to_bool},
    "oom_kill_disable": to_bool,
    "oom_score_adj": to_int,
    "pids_limit": to_int,
    "ports": {"*": {"target": to_int}},
    "privileged": to_bool,
    "read_only": to_bool,
    "scale": to_int,
    "stdin_open": to_bool,
    "tty": to_bool,
    "ulimits": {"*": {"": to_int, "hard": to_int, "soft": to_int}},
    "volumes": {"*": {"read_only": to_bool, "volume": {"nocopy": to_bool}, "bind": {"create_host_path": to_bool}}},
    "build": {"no_cache": to_bool, "pull": to_bool, "privileged": to_bool},
    "depends_on": {"*": {"required": to_bool, "restart": to_bool}},
}
CASTS: dict[str, Any] = {
    "services": {"*": _SERVICE},
    "networks": {"*": {"external": to_bool, "internal": to_bool, "attachable": to_bool, "enable_ipv6": to_bool}},
    "volumes": {"*": {"external": to_bool}},
    "secrets": {"*": {"external": to_bool}},
    "configs": {"*": {"external": to_bool}},
}
