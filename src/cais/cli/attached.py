"""A foreground `up`: what services write, until they have all ended or somebody presses ^C.

The services belong to the supervisor; this process only shows their logs and passes ^C on.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from cais.cli.bring import names_of
from cais.cli.options import Given
from cais.cli.project import GlobalOptions
from cais.diag.api import CaisError

if TYPE_CHECKING:
    from cais.supervise.api import Event, InstanceSpec
    from cais.supervise.client import Client
    from cais.supervise.logs import Follower, LogLine

INTERRUPTED = 130


class Attached:
    def __init__(
        self, options: GlobalOptions, given: Given, project: str, specs: Sequence[InstanceSpec], since: int
    ) -> None:
        from cais.cli.logprint import LogPrinter
        from cais.cli.progress import wants_colour

        self.project, self.given, self.since = project, given, since
        self.specs = {spec.id: spec for spec in specs}
        self.shown = [spec.id for spec in specs if self._attaches(spec)]
        self.names = {id: id.removeprefix(f"{project}-") for id in self.specs}
        self.printer = LogPrinter(
            sys.stdout.buffer,
            names=[self.names[id] for id in self.shown],
            colour=wants_colour(sys.stdout, options.ansi) and not given.flag("no-color"),
            prefix=not given.flag("no-log-prefix"),
            timestamps=given.flag("timestamps"),
        )
        self.exit_from = given.text("exit-code-from")
        self.abort = given.flag("abort-on-container-exit") or bool(self.exit_from)
        self.abort_on_failure = given.flag("abort-on-container-failure")
        self.running: set[str] = set(self.specs)

    def _attaches(self, spec: InstanceSpec) -> bool:
        only, without = self.given.texts("attach"), self.given.texts("no-attach")
        if spec.service in without:
            return False
        if only:
            return spec.service in only
        named = self.given.args
        if named and not self.given.flag("attach-dependencies"):
            return spec.service in named
        return spec.attach

    def follow(self, watcher: Client) -> int:
        """Show logs and ends until all have ended; the exit code of `up`."""
        import signal

        from cais.paths import project_home
        from cais.supervise.logs import Follower

        def as_interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        signal.signal(signal.SIGTERM, as_interrupt)
        follower = Follower(project_home(self.project), self.shown)
        try:
            self._print(follower.begin(None, self.since))
            return self._loop(watcher, follower)
        except KeyboardInterrupt:
            return self._interrupted(follower)
        finally:
            follower.close()
            self.printer.close()

    def _loop(self, watcher: Client, follower: Follower) -> int:
        from cais.supervise.client import GONE, GONE_HINT, lost

        ended: Event | None = None
        self._refresh()
        early = True  # what has been told while all was coming up
        while True:
            wait = None if self.running and not early else 0.0
            ready, _, _ = select.select([watcher.fileno(), follower.fileno()], [], [], wait)
            self._print(follower.poll())
            if watcher.fileno() in ready:
                try:
                    events = watcher.events_now()
                    while early and select.select([watcher.fileno()], [], [], 0)[0]:
                        events += watcher.events_now()
                except (EOFError, ConnectionError):
                    self._print(follower.poll())
                    if lost(self.project, watcher.pid):
                        raise CaisError(GONE, hint=GONE_HINT) from None
                    return 0
                for event in last_lives(events) if early else events:
                    self._print(follower.poll())
                    self._event(event)
                    if ended is None and self._ends_all(event):
                        ended = event
            early = False
            if ended is not None:
                return self._abort(ended, follower)
            if not self.running:
                self._refresh()
                if not self.running:
                    self._print(follower.poll())
                    return 0

    def _ends_all(self, event: Event) -> bool:
        if event.kind != "exited" or event.id not in self.specs:
            return False
        return self.abort or (self.abort_on_failure and event.exit_code != 0)

    def _event(self, event: Event) -> None:
        if event.id not in self.specs:
            return
        match event.kind:
            case "exited":
                self.running.discard(event.id)
                if event.id in self.shown:
                    self.printer.flush()
                    print(f"{self.names[event.id]} exited with code {event.exit_code}", flush=True)
            case "restarting" | "starting" | "started" | "waiting":
                self.running.add(event.id)
            case "failed" | "removed" | "stopped":
                self.running.discard(event.id)

    def _refresh(self) -> None:
        """What really runs: events say what happened, this what is."""
        from cais.supervise.client import snapshot

        now = snapshot(self.project)
        busy = ("waiting", "starting", "running", "restarting", "stopping")
        self.running = {s.id for s in now.states if s.phase in busy and s.id in self.specs} if now else set()

    def _print(self, lines: Iterable[LogLine]) -> None:
        wrote = False
        for line in lines:
            self._line(line)
            wrote = True
        if wrote:
            self.printer.flush()

    def _line(self, line: LogLine) -> None:
        self.printer.write(self.names[line.id], line.data, at=line.at, stream=line.stream, partial=line.partial)

    def _abort(self, ended: Event, follower: Follower) -> int:
        """One has ended, so all shall; the code is that one's, or that of `--exit-code-from`."""
        print("Aborting on container exit...", file=sys.stderr)
        timeout = self.given.number("timeout")
        stop_gracefully(self.project, list(self.specs), None if timeout is None else float(timeout))
        self._print(follower.poll())
        code = ended.exit_code
        if self.exit_from:
            from cais.supervise.client import snapshot

            now = snapshot(self.project)
            for state in now.states if now else ():
                if state.service == self.exit_from:
                    code = state.exit_code
        return code

    def _interrupted(self, follower: Follower) -> int:
        timeout = self.given.number("timeout")
        stop_gracefully(self.project, list(self.specs), None if timeout is None else float(timeout))
        self._print(follower.poll())
        return INTERRUPTED


def last_lives(events: Iterable[Event]) -> list[Event]:
    """Without those of instances before they were made anew or stopped to be started again: that one of them ended
    then is no end that `--abort-on-container-exit` waits for."""
    kept: list[Event] = []
    stopped: set[str] = set()
    for event in events:
        if event.kind == "stopping":
            stopped.add(event.id)
        elif event.kind in ("created", "starting") and event.id in stopped:
            stopped.discard(event.id)
            kept = [one for one in kept if one.id != event.id]
        kept.append(event)
    return kept


def stop_gracefully(project: str, ids: Sequence[str], timeout: float | None, verb: str = "stop") -> None:
    """What ^C does: stop (or `remove`); a second ^C while they stop kills at once."""
    from cais.supervise.client import Client

    if not ids:
        return
    print("Gracefully stopping... (press Ctrl+C again to force)", file=sys.stderr)
    try:
        _order(Client, project, ids, verb, timeout)
    except KeyboardInterrupt:
        _order(Client, project, ids, "kill", None)


def _order(client_class: type[Client], project: str, ids: Sequence[str], verb: str, timeout: float | None) -> None:
    client = client_class.reach(project)
    if client is None:
        return
    with client:
        for event in client.command(verb, ids=tuple(ids), timeout=timeout, force=True):
            if event.kind in ("stopped", "exited"):
                os.write(2, f" {event.id} {event.kind}\n".encode())


__all__ = ["INTERRUPTED", "Attached", "names_of", "stop_gracefully"]
