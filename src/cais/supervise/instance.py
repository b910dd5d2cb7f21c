"""Acts for one instance: carries out what `machine.step` says and tells it what happened.

Owns the instance's pipes, log, timers and upper. Everything here runs in the supervisor's one thread.
"""

import asyncio
import contextlib
import os
import time
import traceback
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from cais.diag.api import CaisError
from cais.paths import private_dir
from cais.sandbox.api import PortSpec, Refused
from cais.supervise import machine
from cais.supervise.api import InstanceSpec, InstanceState
from cais.supervise.disk import full
from cais.supervise.logwriter import LogWriter
from cais.supervise.machine import Life
from cais.supervise.messages import plain
from cais.supervise.records import ERR, OUT, log_path, remove_logs
from cais.trees import remove_tree

if TYPE_CHECKING:
    from cais.supervise.supervisor import Supervisor

# The kernel closes a dead instance's pipes at once; only a descriptor passed out of it could hold one open.
DRAIN = 2.0
READ = 256 * 1024
LOOK = 0.05  # seconds between two looks whether its log can take more


class Instance:
    """One replica: its life and what belongs to it."""

    def __init__(self, supervisor: "Supervisor", spec: InstanceSpec, *, created: float = 0.0) -> None:
        self.supervisor = supervisor
        self.life = Life(spec)
        self.created = created or time.time()
        self.addresses: dict[str, str] = {}
        self.ports: tuple[PortSpec, ...] = ()
        self.waits_for = ""
        self.no_deps = False
        self.culprit = ""  # id of the dependency that failed it
        self.keep: frozenset[str] = frozenset(spec.volumes)  # anonymous volumes that outlive its removal
        self.full = ""  # that a disk was full when its run failed
        self._lost = (0, "")  # bytes of its log that were lost, and why, when that was closed
        self.left = ""  # what of it could not be removed
        self.gone = asyncio.Event()
        self.stdio: tuple[int, int, int] | None = None  # a one-off's, from its client
        self.on_terminal: Callable[[int], None] | None = None  # who wants the pty's master
        self.awaited = False  # somebody will follow its log, and is not there yet
        self._timers: dict[type, asyncio.TimerHandle] = {}
        self._readers: set[int] = set()
        self._waiting: list[tuple[int, int]] = []  # those of them that are not read for now
        self._over = False  # its pid 1 has ended: what is left in its pipes is little
        self._stdin = -1
        self._drained = asyncio.Event()
        self._log: LogWriter | None = None
        self._failed = ""  # a step after exec that failed (a port), told instead of the exit
        self._publishing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def spec(self) -> InstanceSpec:
        return self.life.spec

    @property
    def busy(self) -> bool:
        """Something of it runs or is about to."""
        return self.life.phase in ("waiting", "starting", "running", "restarting", "stopping", "removing")

    def state(self) -> InstanceState:
        life = self.life
        return InstanceState(
            id=life.spec.id,
            service=life.spec.service,
            number=life.spec.number,
            phase=life.phase,
            health=life.health,
            pid=life.pid,
            exit_code=life.exit_code,
            created=self.created,
            started=life.started,
            finished=life.finished,
            restarts=life.restarts,
            addresses=self.addresses if life.pid else {},
            ports=self.ports if life.pid else (),
            waits_for=self.waits_for if life.phase == "waiting" else "",
            error=life.error,
            health_log=life.health_log,
            streak=life.streak,
            config_hash=life.spec.config_hash,
        )

    def restore(self, state: InstanceState) -> None:
        """Take over what a supervisor before this one knew. Whatever ran then is dead: 137, as after a kill -9."""
        was_live = state.phase in ("starting", "running", "restarting", "stopping", "removing")
        self.created = state.created
        self.life = self.life._replace(
            phase="exited" if state.started else "created",
            run=1 if state.started else 0,
            started=state.started,
            finished=state.finished if not was_live else time.time(),
            exit_code=137 if was_live else state.exit_code,
            restarts=state.restarts,
            error=state.error,
        )

    @property
    def note(self) -> str:
        """What of its log was lost and stands nowhere yet."""
        lost, why = (self._log.lost, self._log.why) if self._log else self._lost
        return f"{lost} bytes of the log of {self.spec.id} were lost: {why}" if lost else ""

    def _look_at_disks(self) -> None:
        """Why it failed may be that it could not write; a moment later there may be room again."""
        own = (mount.source for mount in self.spec.root.mounts if mount.kind == "volume")
        self.full = full((self.supervisor.home, self.spec.root.upper, *own))

    # -- the machine ----------------------------------------------------------------------------------------------

    def feed(self, event: machine.Event) -> None:
        """One step. An action that fails must not take the others with it: a check that is never due again, a change
        that nobody hears of, and whoever waits for this instance waits for ever."""
        self.life, actions = machine.step(self.life, event)
        for action in actions:
            try:
                self._do(action)
            except Exception:
                self.supervisor.complain(traceback.format_exc())
        self.supervisor.changed()

    def _do(self, action: machine.Action) -> None:
        match action:
            case machine.AskDependencies():
                self.culprit = self.waits_for = ""
                self.supervisor.reconsider_soon()
            case machine.Spawn(run):
                self._task(self._spawn(run))
            case machine.Signal(signum):
                self.supervisor.signal(self.spec.id, signum)
            case machine.Timer(seconds, event):
                self._timer(seconds, event)
            case machine.Probe(run, probe):
                self._task(self._probe(run, probe))
            case machine.Tell(kind, detail):
                self._tell(kind, detail)
            case machine.Remove():
                self._task(self._remove())

    def _tell(self, kind: str, detail: str) -> None:
        if kind == "started" and self._log:
            self._log.note("started")
        if kind in ("stopped", "failed") or (kind == "exited" and self.life.phase == "exited"):
            for timer in self._timers.values():
                timer.cancel()
            self._timers.clear()
            self._close_log()
        self.supervisor.tell(self, kind, detail)

    def _timer(self, seconds: float, event: machine.Event) -> None:
        if old := self._timers.pop(type(event), None):
            old.cancel()

        def fire() -> None:
            self._timers.pop(type(event), None)
            self.feed(event._replace(at=time.time()) if isinstance(event, machine.ProbeDue) else event)

        self._timers[type(event)] = asyncio.get_running_loop().call_later(seconds, fire)

    def _task(self, work: Coroutine[Any, Any, None]) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(self.supervisor.check)

    # -- start ----------------------------------------------------------------------------------------------------

    async def _spawn(self, run: int) -> None:
        spec = self.spec
        ours: list[int] = []  # given to the child, closed here afterwards

        def told(code: int) -> None:
            self._exit(run, code)

        try:
            try:
                self._make_volumes()
                stdio = self._stdio(ours)
                self._failed = self.full = ""
                self.supervisor.exits[spec.id] = told
                sandbox = await self.supervisor.sandbox()
                spawned = await sandbox.spawn(spec.id, spec.root, spec.process, spec.net, stdio)
            finally:
                for fd in ours:
                    os.close(fd)
            if spawned.tty >= 0:
                self._take_terminal(spawned.tty)
        except Exception as error:
            # When stack init dies, the end of this run may have been told before this, and the next run have begun.
            if self.supervisor.exits.get(spec.id) is told:
                del self.supervisor.exits[spec.id]
            if run == self.life.run:
                self._close_pipes()
                if self._log:
                    self._log.note("closed")
            self._look_at_disks()
            self.feed(machine.SpawnFailed(run, self._why(error), time.time()))
            return
        # `_exited` waits for this: the next run does not begin while ports are published for this one.
        async with self._publishing:
            if self.supervisor.exits.get(spec.id) is told:  # else it has ended, and the next run may have begun
                self.addresses = spawned.addresses
                for note in spawned.notes:
                    self.supervisor.tell(self, "noted", note)
                ports: list[PortSpec] = []
                try:
                    for port in spec.ports:
                        ports.append(await sandbox.publish(spec.id, port))
                except Exception as error:
                    if self.supervisor.exits.get(spec.id) is told:  # else its own end is why, and is told
                        self._failed = self._why(error)
                        sandbox.signal(spec.id, 9)
                self.ports = tuple(ports)
            if not self._failed:
                self.feed(machine.Spawned(run, spawned.pid, time.time()))

    def _why(self, error: Exception) -> str:
        """In words that a message can carry; what nobody expected is ours, with its trace in our log."""
        if isinstance(error, Refused):
            return plain(f"{error.step}: {error.why}")
        if not isinstance(error, (OSError, CaisError)):
            self.supervisor.complain(traceback.format_exc())
            return plain(f"the supervisor failed: {type(error).__name__}: {error}")
        return plain(str(error))

    def _make_volumes(self) -> None:
        """Its anonymous volumes; mode 0755 is what the service sees at the target until the image fills them."""
        for volume in self.spec.volumes:
            if not os.path.isdir(volume):
                private_dir(Path(volume).parent)
                os.mkdir(volume)
                os.chmod(volume, 0o755)

    def _stdio(self, ours: list[int]) -> tuple[int, int, int]:
        """The child's stdin, stdout and stderr; `ours` gets what is to be closed after the spawn."""
        spec = self.spec
        if self.stdio is not None:
            ours += [fd for fd in self.stdio if fd >= 0]
            given, self.stdio = self.stdio, (-1, -1, -1)  # a restart of a one-off has no client to talk to
            return given
        if self.on_terminal is not None:
            return (-1, -1, -1)
        if self._log is None:
            self._log = LogWriter(log_path(self.supervisor.home, spec.id), spec.log, awaited=self.awaited)
            self.awaited = False
            self._log.lost, self._log.why = self._lost
        self._log.note("begins")
        self._drained.clear()
        self._over = False
        if spec.process.tty:
            return (-1, -1, -1)
        stdin = -1
        if spec.stdin_open:
            stdin, self._stdin = os.pipe2(os.O_CLOEXEC)
            ours.append(stdin)
        pairs = []
        for stream in (OUT, ERR):
            reading, writing = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(reading, False)
            ours.append(writing)
            pairs.append(writing)
            self._watch(reading, stream)
        return (stdin, pairs[0], pairs[1])

    def _take_terminal(self, master: int) -> None:
        if self.on_terminal is not None:
            self.on_terminal(master)
            os.close(master)
            return
        os.set_blocking(master, False)
        self._watch(master, OUT)

    def _watch(self, fd: int, stream: int) -> None:
        self._readers.add(fd)
        asyncio.get_running_loop().add_reader(fd, self._read, fd, stream)

    def _read(self, fd: int, stream: int) -> None:
        if self._log and not self._over and self._log.full:
            # Its pipe fills up and it waits: who follows its log is behind, and would lose what is thrown away.
            loop = asyncio.get_running_loop()
            loop.remove_reader(fd)
            self._waiting.append((fd, stream))
            if len(self._waiting) == 1:
                loop.call_later(LOOK, self._read_on)
            return
        try:
            data = os.read(fd, READ)
        except BlockingIOError:
            return
        except OSError:  # EIO: the last one on the other side of a pty has gone
            data = b""
        if data:
            if self._log:
                self._log.feed(stream, data)
            return
        self._close_pipe(fd)
        if self._log:
            self._log.end(stream)
        if not self._readers:
            self._drained.set()

    def _read_on(self) -> None:
        waiting, self._waiting = self._waiting, []
        for fd, stream in waiting:
            asyncio.get_running_loop().add_reader(fd, self._read, fd, stream)

    # -- end ------------------------------------------------------------------------------------------------------

    def _exit(self, run: int, code: int) -> None:
        self._task(self._exited(run, code))

    async def _exited(self, run: int, code: int) -> None:
        """Its pid 1 has ended: take what is left in the pipes, then tell."""
        at = time.time()
        self._over = True
        self._read_on()
        if self._readers:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._drained.wait(), DRAIN)
        self._close_pipes()
        async with self._publishing:
            try:
                if self.spec.ports and self.supervisor.living is not None:
                    await self.supervisor.living.unpublish(self.spec.id)
            except Exception as error:
                self.supervisor.complain(f"unpublish {self.spec.id}: {self._why(error)}")
            self.ports = ()
        if self._failed:
            self.feed(machine.SpawnFailed(run, self._failed, at, exit_code=128))
            return
        if self._log:
            self._log.note(f"exited {code}")
        if code:
            self._look_at_disks()
        self.feed(machine.Exited(run, code, at))

    def _close_pipe(self, fd: int) -> None:
        asyncio.get_running_loop().remove_reader(fd)
        self._waiting = [one for one in self._waiting if one[0] != fd]
        self._readers.discard(fd)
        os.close(fd)

    def _close_pipes(self) -> None:
        for fd in list(self._readers):
            self._close_pipe(fd)
        if self._stdin >= 0:
            os.close(self._stdin)
            self._stdin = -1

    def _close_log(self) -> None:
        if self._log and not self._readers:
            self._log.note("closed")
            self._log.close()
            self._lost = self._log.lost, self._log.why
            self._log = None

    async def _remove(self) -> None:
        """Nothing of it runs: throw away what belonged to it alone."""
        spec = self.spec
        self._close_log()
        try:
            await asyncio.get_running_loop().run_in_executor(None, self._remove_files)
        except Exception as error:
            self.left = self._why(error)
            self.supervisor.complain(f"remove {spec.id}: {self.left}")
        self.supervisor.forget(self)
        self.gone.set()
        self.supervisor.tell(self, "removed", "")
        self.supervisor.exits.pop(spec.id, None)

    def _remove_files(self) -> None:
        """Each thing, whatever becomes of the others; the first that stays is told."""
        home = self.supervisor.home
        going = [Path(self.spec.root.upper), *(Path(volume) for volume in self.spec.volumes if volume not in self.keep)]
        if not self.keep:
            going.append(home / "anonymous" / self.spec.id)  # also what specs before this one had
        faults: list[Exception] = []
        steps = [partial(remove_tree, tree) for tree in going]
        for step in (partial(remove_logs, home, self.spec.id), *steps):
            try:
                step()
            except (OSError, CaisError) as error:
                faults.append(error)
        if faults:
            raise faults[0]

    # -- health ---------------------------------------------------------------------------------------------------

    async def _probe(self, run: int, probe: int) -> None:
        """One healthcheck: the command inside the instance, its output kept, its time limited."""
        health = self.spec.health
        assert health is not None
        token = f"{self.spec.id}/health/{run}.{probe}"
        loop = asyncio.get_running_loop()
        reading, writing = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(reading, False)
        output = bytearray()
        ended: asyncio.Future[int] = loop.create_future()

        def take() -> None:
            try:
                while data := os.read(reading, 65536):
                    if len(output) < machine.HEALTH_OUTPUT:
                        output.extend(data[: machine.HEALTH_OUTPUT - len(output)])
                loop.remove_reader(reading)
            except BlockingIOError:
                pass

        loop.add_reader(reading, take)
        self.supervisor.exits[token] = lambda code: None if ended.done() else ended.set_result(code)
        process = replace(self.spec.process, argv=health.argv, tty=False, init=False)

        async def check() -> int:
            try:
                if self.supervisor.living is None:
                    raise Refused("stack init", "it is gone")
                await self.supervisor.living.enter(self.spec.id, process, (-1, writing, writing), token)
            finally:
                os.close(writing)
            return await asyncio.shield(ended)

        code = -1
        try:
            # Its start counts too: one that is never answered must not be waited for longer than the check may take.
            code = await asyncio.wait_for(check(), health.timeout or None)
        except TimeoutError:
            self.supervisor.signal(token, 9)
            output[:] = f"the check took longer than {health.timeout:g} s".encode()
        except Exception as error:
            output[:] = self._why(error).encode()
        finally:
            take()
            loop.remove_reader(reading)
            os.close(reading)
            self.supervisor.exits.pop(token, None)
        self.feed(machine.ProbeEnded(run, probe, code, output.decode(errors="replace").strip(), time.time()))
