"""What `up`, `start`, `stop` and the like share: showing events as they come, failures as diagnostics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from cais.diag.api import ERROR, CaisError, Diagnostic, Faults, Note
from cais.source.api import Span

if TYPE_CHECKING:
    from cais.cli.progress import Progress
    from cais.supervise.api import Event
    from cais.supervise.messages import Done


class Shower:
    """Turns events into progress rows. `names`: instance id -> the word people know it by. `up`: they are to run, so
    one that has been stopped is to be made anew, or stays down because another failed."""

    def __init__(self, progress: Progress, names: Mapping[str, str], *, wait: bool = False, up: bool = False) -> None:
        self.progress, self.names, self.wait, self.up = progress, names, wait, up
        self.checked: set[str] = set()  # ids that have a healthcheck
        self.starts = True  # what is made is started too (not so under --no-start)
        self.only: set[str] | None = None  # ids that are shown; all
        self._notes: dict[str, dict[str, dict[str, None]]] = {}  # why -> services -> what, each said once

    def show(self, events: Iterable[Event]) -> None:
        for event in events:
            self.one(event)
        self.say_notes()

    def say_notes(self) -> None:
        """What could not be had, a line for each reason and not for each service."""
        for why, services in self._notes.items():
            whats = dict.fromkeys(what for found in services.values() for what in found)
            self.progress.note(f"{', '.join(services)}: {', '.join(whats)}: {why}")
        self._notes.clear()

    def one(self, event: Event) -> None:
        if self.only is not None and event.id not in self.only:
            return
        name = self.names.get(event.id, event.id)
        say = self.progress
        match event.kind:
            case "created":
                (say.update if self.starts else say.done)(name, "created")
            case "waiting":
                say.update(name, f"waiting for {event.detail}")
            case "starting" | "stopping" | "restarting":
                say.update(name, event.kind)
            case "started":
                if self.wait and event.id in self.checked:
                    say.update(name, "started, waiting to be healthy")
                else:
                    say.done(name, "started")
            case "running":
                say.done(name, "running")
            case "healthy":
                say.done(name, "healthy")
            case "unhealthy":
                say.fail(name, f"unhealthy: {event.detail}" if event.detail else "unhealthy")
            case "exited":
                (say.done if event.exit_code in (0, 137, 143) else say.fail)(name, f"exited ({event.exit_code})")
            case "stopped" if self.up:
                say.update(name, "stopped")
            case "stopped" | "removed":
                say.done(name, event.kind)
            case "failed":
                say.fail(name, event.detail)
            case "noted":
                what, _, why = event.detail.partition(": ")
                self._notes.setdefault(why, {}).setdefault(name, {})[what] = None
            case "warning":
                say.note(f"{name}: {event.detail}")


def raise_failures(done: Done) -> None:
    """`Done` as an error, if it is one."""
    if not done.exit_code:
        return
    if done.failures:
        raise Faults(
            [
                Diagnostic(
                    ERROR,
                    "not-up",
                    f"cannot {f.what}: {f.why}" if f.what.endswith(f" {f.service}") else _for_another(f.what, f),
                    _span(f.span, f.service),
                    f.hint,
                    tuple(Note(f"{f.service} | {line}") for line in f.log),
                )
                for f in done.failures
            ]
        )
    error = CaisError(done.error or "it failed", hint=done.hint)
    error.exit_code = done.exit_code if done.exit_code in (2, 3) else 1
    raise error


def _for_another(what: str, failure: object) -> str:
    return f"cannot {what}: {failure.service}, which it depends on: {failure.why}"  # type: ignore[attr-defined]


def _span(text: str, service: str) -> Span | None:
    """`file:line:column`, where the service's name stands."""
    file, _, rest = text.rpartition(":")
    file, _, line = file.rpartition(":")
    if not file or not line.isdigit() or not rest.isdigit():
        return None
    return Span(file, int(line), int(rest), int(line), int(rest) + len(service))


def names_of(project: str, specs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """id -> service for a service with one instance, `service-2` where there are more. Takes (id, service) pairs."""
    pairs = list(specs)
    services = [service for _, service in pairs]
    return {id: service if services.count(service) == 1 else id.removeprefix(f"{project}-") for id, service in pairs}
