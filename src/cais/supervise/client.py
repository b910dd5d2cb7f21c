"""How every command talks to a project's supervisor. Blocking sockets, no asyncio: a command must start fast.

with Client.reach(project) as client:       # None when no supervisor lives
    for event in client.apply(desired): ...
    client.done.failures
"""

import os
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from cais.diag.api import CaisError
from cais.paths import project_home, state_folder
from cais.sandbox.api import Process
from cais.supervise.api import Desired, Event, InstanceSpec
from cais.supervise.messages import (
    PROTOCOL,
    Apply,
    ApplyOptions,
    Began,
    Command,
    Done,
    Exec,
    Forward,
    Frames,
    Hello,
    Reply,
    Request,
    Run,
    Snapshot,
    Status,
    Told,
    Wait,
    Watch,
    decode_reply,
    send,
)
from cais.supervise.state import read_state

if TYPE_CHECKING:
    from cais.supervise.supervisor import SandboxFactory


TRIES = 50  # so often a supervisor may end just as it is met
GONE, GONE_HINT = "the supervisor is gone", "'cais ps' shows what is left"


class Client:
    """One connection, one request at a time."""

    def __init__(self, sock: socket.socket, home: Path, hello: Hello, frames: Frames) -> None:
        self.home, self.pid = home, hello.pid
        self.done = Done()
        self._sock, self._frames = sock, frames

    @classmethod
    def reach(cls, project: str) -> "Client | None":
        """The living supervisor's, or None: then `offline(project)` knows what there was."""
        from cais.supervise.connect import reach

        home = project_home(project)
        for _ in range(TRIES):
            sock = reach(home)
            if sock is None:
                return None
            if client := cls._greet(sock, home):
                return client
        return None

    @classmethod
    def ensure(cls, project: str, factory: "SandboxFactory") -> "Client":
        """As `reach`, but starts a supervisor when there is none."""
        from cais import __version__
        from cais.supervise.daemon import ensure, prepare_home

        home = prepare_home(project)
        for _ in range(TRIES):
            if client := cls._greet(ensure(home, project, factory, __version__), home):
                return client
        raise CaisError(
            f"cannot talk to a supervisor of {project}: each one that is started ends at once",
            hint=f"look at {home / 'supervisor.log'}, and whether its disk is full",
        )

    @classmethod
    def on(cls, sock: socket.socket, project: str) -> "Client | None":
        """On a connection that is there already; None when it met a supervisor in its last moment."""
        return cls._greet(sock, project_home(project))

    @classmethod
    def _greet(cls, sock: socket.socket, home: Path) -> "Client | None":
        from cais.supervise.connect import silent, still_comes

        frames = Frames()
        begun = time.monotonic()
        try:
            while (frame := frames.next()) is None:
                sock.settimeout(1.0)
                try:
                    if not frames.receive(sock):
                        raise EOFError
                except TimeoutError:
                    if not still_comes(home, begun):
                        sock.close()
                        raise silent(home) from None
            sock.settimeout(None)
            message = decode_reply(frame[0])
        except (EOFError, ConnectionError):
            sock.close()
            return None
        if not isinstance(message, Hello) or message.protocol != PROTOCOL:
            sock.close()
            raise CaisError(
                "cannot talk to this project's supervisor: another version of Cais started it",
                hint="run 'cais down' with that version, or end the supervisor, then 'cais up' again",
            )
        return cls(sock, home, message, frames)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._sock.close()

    def fileno(self) -> int:
        return self._sock.fileno()

    # -- requests ---------------------------------------------------------------------------------------------------

    def status(self, *, specs: bool = True) -> Snapshot:
        send(self._sock, Status(specs=specs))
        snapshot = None
        for message, _ in self._replies():
            if isinstance(message, Snapshot):
                snapshot = message
        if snapshot is None:
            raise CaisError(f"cannot ask the supervisor: {self.done.error or 'no answer'}")
        return snapshot

    def apply(self, desired: Desired, options: ApplyOptions | None = None) -> Iterator[Event]:
        return self.ask(Apply(desired=desired, options=options or ApplyOptions()))

    def command(self, verb: str, services: Sequence[str] = (), **more: Any) -> Iterator[Event]:
        """start, stop, restart, kill, remove, down; `more` are the other fields of `Command`."""
        return self.ask(Command(verb=verb, services=tuple(services), **more))

    def wait(self, ids: Sequence[str]) -> Iterator[Event]:
        return self.ask(Wait(ids=tuple(ids)))

    def watch(self) -> Iterator[Event]:
        """Events for as long as the supervisor lives."""
        return self.ask(Watch())

    def ask(self, request: Request) -> Iterator[Event]:
        """Send now; the events until `Done`, which is in `self.done` then."""
        send(self._sock, request)
        return self._events()

    def _events(self) -> Iterator[Event]:
        for message, _ in self._replies():
            if isinstance(message, Told):
                yield message.event

    def post(self, request: Request, fds: list[int] | None = None) -> None:
        """Send, and leave the answers to `receive`: for a caller with a select loop of its own."""
        send(self._sock, request, fds)

    def receive(self) -> tuple[Reply, list[int]]:
        """The next answer (blocks); EOFError when the supervisor is gone."""
        message, fds = _receive(self._sock, self._frames)
        if isinstance(message, Done):
            self.done = message
        return message, fds

    def again(self) -> "Client":
        """Itself, for one more request: forgets how the last one ended (`done`), no more. The connection is the same,
        and carries one request after the other."""
        self.done = Done()
        return self

    def events_now(self) -> list[Event]:
        """Events that have arrived; blocks only when there is none. EOFError when the supervisor is gone."""
        return [message.event for message, _ in self.pending() if isinstance(message, Told)]

    def buffered(self) -> bool:
        """Whether an answer has been read from the socket already: select(2) would not tell."""
        return self._frames.whole()

    def pending(self) -> Iterator[tuple[Reply, list[int]]]:
        """Answers that have arrived, without blocking when one has already been read from the socket."""
        yield self.receive()
        while frame := self._frames.next():
            body, fds = frame
            message = decode_reply(body)
            if isinstance(message, Done):
                self.done = message
            yield message, fds

    def _replies(self) -> Iterator[tuple[Reply, list[int]]]:
        while True:
            try:
                message, fds = self.receive()
            except (EOFError, ConnectionError):
                self.done = Done(exit_code=1, error=GONE, hint=GONE_HINT)
                return
            yield message, fds
            if isinstance(message, Done):
                return

    def exec(self, id: str, process: Process, stdio: tuple[int, int, int] = (0, 1, 2)) -> Began | None:
        """Begin a process in an instance. None: it could not, see `done`. With `process.tty`, `terminal` is the pty.

        Then `ended()` waits for it; `forward(signum)` signals it.
        """
        return self._begin(Exec(id=id, process=process), [] if process.tty else list(stdio))

    def run(self, spec: InstanceSpec, desired: Desired, stdio: tuple[int, int, int] | None = (0, 1, 2)) -> Began | None:
        """Start a one-off. `stdio` None detaches it; its output goes to its log then."""
        request = Run(spec=spec, desired=desired, attached=stdio is not None)
        return self._begin(request, [] if spec.process.tty or stdio is None else list(stdio))

    terminal: int = -1  # the pty's master, after `exec` or `run` with a terminal; the caller closes it

    def _begin(self, request: Request, fds: list[int]) -> Began | None:
        send(self._sock, request, fds)
        for message, received in self._replies():
            if isinstance(message, Began):
                self.terminal = received[0] if received else -1
                return message
            if not isinstance(message, Told) or not isinstance(request, Run) or request.spec.process.tty:
                continue
            if message.event.kind == "started" and message.event.id == request.spec.id:
                return Began(id=request.spec.id, pid=0)
        return None

    def ended(self) -> int:
        """Wait for what `exec` or `run` began; its exit code. `done` has the failures."""
        for _ in self._replies():
            pass
        return self.done.exit_code

    def forward(self, signum: int) -> None:
        send(self._sock, Forward(signum=signum))


def _receive(sock: socket.socket, frames: Frames) -> tuple[Reply, list[int]]:
    while (frame := frames.next()) is None:
        if not frames.receive(sock):
            raise EOFError
    return decode_reply(frame[0]), frame[1]


def snapshot(project: str) -> Snapshot | None:
    """What there is of a project, whether its supervisor lives (`pid` is its) or not (`pid` 0). None: nothing.

    Without a supervisor nothing runs: an instance that the state file saw running was killed with it.
    """
    if client := Client.reach(project):
        with client:
            return client.status()
    return offline(project)


def offline(project: str) -> Snapshot | None:
    from msgspec.structs import replace

    home = project_home(project)
    state = read_state(home)
    if state is None:
        return None
    since = os.stat(home / "state.json").st_mtime
    states = []
    for kept in state.instances:
        was = kept.state
        if was.phase in ("waiting", "starting", "running", "restarting", "stopping", "removing"):
            phase = "exited" if was.started else "created"
            why = "the supervisor is gone" if state.pid else ""
            was = replace(was, phase=phase, health="", pid=0, exit_code=137, finished=since, error=why)
        states.append(was)
    return Snapshot(
        pid=0,
        project=state.project,
        since=since,
        states=tuple(states),
        specs=tuple(kept.spec for kept in state.instances),
        networks=state.networks,
        config_files=state.config_files,
        working_dir=state.working_dir,
        gone=state.pid != 0,
    )


def lost(project: str, pid: int) -> bool:
    """Whether the supervisor `pid`, which is gone, went without a word: one that ends in good order takes its pid out
    of the state file, or the file away."""
    state = read_state(project_home(project))
    return state is not None and state.pid == pid


def await_end(home: Path, seconds: float) -> None:
    """Until the supervisor that has nothing left to do is gone, and its lock free."""
    from cais.supervise.connect import supervisor_alive

    end = time.monotonic() + seconds
    while supervisor_alive(home) and time.monotonic() < end:
        time.sleep(0.002)


def projects(trouble: list[CaisError]) -> list[Snapshot]:
    """Every project that has instances, for `ls`. Into `trouble` comes why one of them cannot be told of."""
    folder = state_folder("projects")
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    all_found = []
    for name in names:
        try:
            found = snapshot(name)
        except CaisError as error:
            trouble.append(error)
            continue
        if found is not None and found.states:
            all_found.append(found)
    return all_found
