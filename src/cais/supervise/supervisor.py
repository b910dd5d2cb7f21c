"""One project's supervisor: an event loop that owns a sandbox, the lives in it and the control socket.

It knows only `InstanceSpec`s, so everything goes on when the command that started it is gone: dependencies, health,
restarts, logs. It ends by itself when nothing runs and nobody asks.
"""

import asyncio
import errno
import os
import signal
import socket
import time
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from cais.sandbox.api import NetworkSpec, Refused, Sandbox
from cais.supervise import machine
from cais.supervise.api import Event, InstanceSpec
from cais.supervise.apply import apply
from cais.supervise.begin import execute, run
from cais.supervise.chores import Chores
from cais.supervise.command import command, stop
from cais.supervise.connection import Connection
from cais.supervise.disk import words
from cais.supervise.instance import Instance
from cais.supervise.messages import (
    Apply,
    Command,
    Done,
    Exec,
    Forward,
    Hello,
    Request,
    Run,
    Snapshot,
    Status,
    Told,
    Wait,
    Watch,
    plain,
)
from cais.supervise.state import Kept, State, Unreadable, read_state, write_state
from cais.supervise.waiting import judge
from cais.trees import remove_tree

SandboxFactory = Callable[[Path, Callable[[str, int], None], Callable[[], None]], Awaitable[Sandbox]]

SAVE_AGAIN = 1.0  # seconds until it is tried again, when the disk is full
SAVE_AFTER = 0.05  # seconds in which changes gather before the state file is written
LINGER = 0.3  # seconds without work before it ends
LOOK_AFTER_SOCKET = 3.0  # seconds
REST = 0.1  # seconds until it accepts again, out of descriptors


class Supervisor:
    def __init__(self, home: Path, project: str, make_sandbox: SandboxFactory, *, version: str = "") -> None:
        self.home, self.project, self.version = home, project, version
        self.since = time.time()
        self.instances: dict[str, Instance] = {}
        self.exits: dict[str, Callable[[int], None]] = {}  # who is told when a pid 1 or an entered process ends
        self.config_files: tuple[str, ...] = ()
        self.working_dir = ""
        self.networks: dict[str, NetworkSpec] = {}
        self._make_sandbox = make_sandbox
        self.living: Sandbox | None = None  # what `sandbox()` has made, as long as its stack init lives
        self._sandbox_lock = asyncio.Lock()
        self.change_lock = asyncio.Lock()  # one command at a time decides what there is to be
        self._wakes: set[asyncio.Future[None]] = set()
        self._watchers: set[Connection] = set()
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._save_due: asyncio.TimerHandle | None = None
        self._unsaved = ""  # why the state file is not as it should be
        self._idle_due: asyncio.TimerHandle | None = None
        self._reconsider_due = False
        self._ending = asyncio.Event()
        self.chores = Chores(self._settled)
        self.execs = 0  # for their tokens: a connection may be gone while what it began still runs

    # -- life of the supervisor -------------------------------------------------------------------------------------

    async def serve(self, listener: socket.socket, bind: Callable[[Path], socket.socket]) -> None:
        """Until there is nothing to do. `bind` makes another listener when this one's name is lost."""
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, lambda: self._spawn_task(self._shutdown()))
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._restore()
        self._take_up(listener)
        keeper = loop.create_task(self._keep_socket(bind))
        # The command that made us may be slow to connect; ended before that, it would have to make another.
        self._idle_due = loop.call_later(LINGER, self._end_if_idle)
        self._spawn_task(self._warm())
        try:
            await self._ending.wait()
        finally:
            keeper.cancel()
            loop.remove_reader(self._listener.fileno())
            await self.chores.end()
            if self.living is not None:
                await self.living.close()
            self._save(final=True)

    async def _warm(self) -> None:
        """Have stack init ready when the first request comes: the command that made us is still planning."""
        try:
            await self.sandbox()
        except Refused:
            pass  # told when somebody needs it

    def _take_up(self, listener: socket.socket) -> None:
        self._listener = listener
        listener.setblocking(False)
        asyncio.get_running_loop().add_reader(listener.fileno(), self._accept, listener)

    async def _keep_socket(self, bind: Callable[[Path], socket.socket]) -> None:
        """Somebody cleans up and the socket's name goes with it: without one no command would find what runs here."""
        path = self.home / "control.sock"
        while True:
            await asyncio.sleep(LOOK_AFTER_SOCKET)
            if os.path.lexists(path) or not os.path.isdir(self.home):
                continue
            try:
                new = bind(self.home)
            except OSError as error:
                self.complain(f"cannot bind {path} again: {error}")
                continue
            asyncio.get_running_loop().remove_reader(self._listener.fileno())
            self._listener.close()
            self._take_up(new)

    def _restore(self) -> None:
        try:
            state = read_state(self.home)
        except Unreadable as error:
            self.complain(error.message)
            state = None
        known: set[str] = set()
        if state is not None:
            self.config_files, self.working_dir = state.config_files, state.working_dir
            self.networks = {network.name: network for network in state.networks}
            for kept in state.instances:
                if kept.spec.oneoff and kept.spec.remove_on_exit:
                    for volume in kept.spec.volumes:
                        remove_tree(Path(volume).parent)
                    continue
                instance = Instance(self, kept.spec)
                instance.restore(kept.state)
                self.instances[kept.spec.id] = instance
                known.add(Path(kept.spec.root.upper).name)
        uppers = self.home / "uppers"
        for left in os.listdir(uppers) if uppers.is_dir() else ():
            if left not in known:
                remove_tree(uppers / left)

    async def _shutdown(self) -> None:
        """SIGTERM: stop everything as `stop` does, then end."""
        self.chores.drop()
        await stop(self, list(self.instances.values()), "rest", None)
        self._ending.set()

    def _settled(self, seconds: float) -> bool:
        """Whether something runs, and all that runs has done so for `seconds`."""
        lives = [i.life for i in self.instances.values() if i.busy]
        late = time.time() - seconds
        return bool(lives) and all(life.phase == "running" and life.started <= late for life in lives)

    def _consider_ending(self) -> None:
        if self._idle_due is not None:
            self._idle_due.cancel()
        linger = LINGER if self.instances or self._connections else 0.0
        self._idle_due = asyncio.get_running_loop().call_later(linger, self._end_if_idle)

    def _end_if_idle(self) -> None:
        self._idle_due = None
        if not self._connections and not any(i.busy for i in self.instances.values()):
            self._ending.set()

    def _spawn_task(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(self.check)

    def check(self, task: "asyncio.Task[None]") -> None:
        """A fault of ours in a task must not pass in silence."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self.complain("".join(traceback.format_exception(error)))

    def complain(self, text: str) -> None:
        os.write(2, f"{time.strftime('%F %T')} {text.rstrip()}\n".encode(errors="backslashreplace"))

    # -- the sandbox ------------------------------------------------------------------------------------------------

    async def sandbox(self) -> Sandbox:
        """The project's sandbox; a new one, with its networks, when there is none (yet, or any more)."""
        async with self._sandbox_lock:
            if self.living is None:
                sandbox = await self._make_sandbox(self.home, self._on_exit, self._on_lost)
                for network in self.networks.values():
                    await sandbox.add_network(network)
                self.living = sandbox
            return self.living

    def signal(self, token: str, signum: int) -> None:
        if self.living is not None:
            self.living.signal(token, signum)

    def _on_exit(self, token: str, code: int) -> None:
        if told := self.exits.pop(token, None):
            told(code)

    def _on_lost(self) -> None:
        """Stack init is gone, and with it every process: each life hears of its end, its policy decides."""
        self.complain("stack init is gone; everything in it ended")
        self.living = None
        for token in list(self.exits):
            self._on_exit(token, 137)

    # -- what happens -----------------------------------------------------------------------------------------------

    def tell(self, instance: Instance, kind: str, detail: str) -> None:
        life = instance.life
        event = Event(
            at=time.time(),
            id=life.spec.id,
            service=life.spec.service,
            kind=kind,
            detail=detail,
            exit_code=life.exit_code,
        )
        for watcher in tuple(self._watchers):  # one whose client has gone leaves the set as it is told
            watcher.send(Told(event=event))
        over = kind == "failed" or (kind == "exited" and life.phase == "exited")
        if over and life.spec.remove_on_exit:
            instance.keep = frozenset()
            asyncio.get_running_loop().call_soon(instance.feed, machine.Stop(then="gone"))

    def changed(self) -> None:
        """Some life took a step: those who wait look again, the state file follows."""
        self.reconsider_soon()
        for wake in self._wakes:
            if not wake.done():
                wake.set_result(None)
        if self._save_due is None:
            self._save_due = asyncio.get_running_loop().call_later(SAVE_AFTER, self._save)
        self._consider_ending()

    async def change(self, timeout: float | None = None) -> None:
        """Until something changes, or `timeout` seconds are over."""
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wakes.add(wake)
        try:
            await asyncio.wait((wake,), timeout=timeout)
        finally:
            self._wakes.discard(wake)

    async def until(self, true: Callable[[], bool]) -> None:
        while not true():
            await self.change()

    def _save(self, final: bool = False) -> None:
        if self._save_due is not None:
            self._save_due.cancel()
            self._save_due = None
        state = State(
            project=self.project,
            pid=0 if final else os.getpid(),
            since=self.since,
            networks=tuple(self.networks.values()),
            instances=tuple(Kept(spec=i.spec, state=i.state()) for i in self.instances.values()),
            config_files=self.config_files,
            working_dir=self.working_dir,
        )
        try:
            if final and not self.instances:
                (self.home / "state.json").unlink(missing_ok=True)
            else:
                write_state(self.home, state)
        except OSError as error:  # a full disk: the services go on, who asks is told, and it is tried again
            if not self._unsaved:
                self.complain(f"cannot write the state file: {error}")
            self._unsaved = words(error, self.home)
            if not final:
                self._save_due = asyncio.get_running_loop().call_later(SAVE_AGAIN, self._save)
        else:
            self._unsaved = ""

    def forget(self, instance: Instance) -> None:
        if self.instances.get(instance.spec.id) is instance:
            del self.instances[instance.spec.id]
        self.changed()

    # -- dependencies -----------------------------------------------------------------------------------------------

    def reconsider_soon(self) -> None:
        if not self._reconsider_due:
            self._reconsider_due = True
            asyncio.get_running_loop().call_soon(self._reconsider)

    def _reconsider(self) -> None:
        """Whether those who wait for their dependencies may start now, or never will."""
        self._reconsider_due = False
        waiting = [i for i in self.instances.values() if i.life.phase == "waiting"]
        if not waiting:
            return
        by_service: dict[str, list[machine.Life]] = {}
        for instance in self.instances.values():
            if not instance.spec.oneoff:
                by_service.setdefault(instance.spec.service, []).append(instance.life)
        for instance in waiting:
            if instance.life.phase != "waiting":
                continue
            if instance.no_deps:
                instance.feed(machine.Ready())
                continue
            verdict = judge(instance.spec.depends_on, by_service)
            if verdict.met:
                for warning in verdict.warnings:
                    self.tell(instance, "warning", warning)
                instance.waits_for = ""
                instance.feed(machine.Ready())
            elif verdict.failed:
                instance.culprit = verdict.culprit
                instance.feed(machine.Blocked(verdict.failed))
            elif verdict.waits_for != instance.waits_for:
                instance.waits_for = verdict.waits_for
                self.tell(instance, "waiting", verdict.waits_for)

    # -- the control socket -----------------------------------------------------------------------------------------

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                # The client stays in the queue: asked again at once, this loop would do nothing else.
                loop = asyncio.get_running_loop()
                loop.remove_reader(listener.fileno())
                loop.call_later(REST, self._listen_again, listener)
            return
        if peer_uid(sock) != os.geteuid():
            sock.close()
            return
        connection = Connection(sock, self._request, self._closed)
        self._connections.add(connection)
        connection.send(Hello(pid=os.getpid(), version=self.version))

    def _listen_again(self, listener: socket.socket) -> None:
        if listener is self._listener and listener.fileno() >= 0:
            asyncio.get_running_loop().add_reader(listener.fileno(), self._accept, listener)

    def _closed(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._watchers.discard(connection)
        self._consider_ending()

    def _request(self, connection: Connection, request: Request, fds: list[int]) -> None:
        if isinstance(request, Forward):
            if connection.token:
                self.signal(connection.token, request.signum)
            return
        self._spawn_task(self._answer(connection, request, fds))

    async def _answer(self, connection: Connection, request: Request, fds: list[int]) -> None:
        try:
            done = await self._carry_out(connection, request, fds)
        except Refused as error:
            done = Done(exit_code=1, error=plain(f"{error.step}: {error.why}"))
        except Exception as error:
            self.complain(traceback.format_exc())
            done = Done(exit_code=3, error=plain(f"the supervisor failed: {type(error).__name__}: {error}"))
        if done is not None:
            connection.send(done)

    async def _carry_out(self, connection: Connection, request: Request, fds: list[int]) -> Done | None:
        match request:
            case Status(specs=specs):
                connection.send(self._snapshot(specs))
                return Done()
            case Apply(desired=desired, options=options):
                self._watchers.add(connection)
                return await apply(self, desired, options)
            case Command():
                self._watchers.add(connection)
                return await command(self, request)
            case Exec():
                return await execute(self, connection, request, fds)
            case Run():
                self._watchers.add(connection)
                return await run(self, connection, request, fds)
            case Wait(ids=ids):
                self._watchers.add(connection)
                while any(i.busy for id in ids if (i := self.instances.get(id))):
                    await self.change()
                codes = [i.life.exit_code for id in ids if (i := self.instances.get(id))]
                return Done(exit_code=codes[-1] if codes else 0)
            case Watch():
                self._watchers.add(connection)
                return None
            case Forward():
                return None

    def _snapshot(self, specs: bool) -> Snapshot:
        return Snapshot(
            pid=os.getpid(),
            project=self.project,
            since=self.since,
            states=tuple(i.state() for i in self.instances.values()),
            specs=tuple(i.spec for i in self.instances.values()) if specs else (),
            networks=tuple(self.networks.values()),
            config_files=self.config_files,
            working_dir=self.working_dir,
            notes=self._notes(),
        )

    def _notes(self) -> tuple[str, ...]:
        unsaved = f"the state of {self.project} cannot be saved: {self._unsaved}" if self._unsaved else ""
        return tuple(note for note in (unsaved, *(i.note for i in self.instances.values())) if note)


def peer_uid(sock: socket.socket) -> int:
    """SO_PEERCRED, unix(7): who the kernel says is on the other side."""
    import struct

    _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(uid)


__all__ = ["InstanceSpec", "SandboxFactory", "Supervisor", "peer_uid"]
