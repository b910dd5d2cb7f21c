"""One project's supervisor: an event loop that owns a sandbox, the lives in it and the control socket.

It knows only `InstanceSpec`s, so everything goes on when the command that started it is gone: dependencies, health,
restarts, logs. It ends by itself when nothing runs and nobody asks.
"""

import asyncio
import os
import signal
import socket
import time
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any

from cais.sandbox.api import NetworkSpec, Refused, Sandbox
from cais.supervise import actions as act
from cais.supervise import machine
from cais.supervise.api import Desired, Event, InstanceSpec
from cais.supervise.chores import Chores
from cais.supervise.connection import Connection
from cais.supervise.diff import diff
from cais.supervise.instance import Instance
from cais.supervise.logs import last_lines, remove_logs
from cais.supervise.messages import (
    Apply,
    ApplyOptions,
    Began,
    Command,
    Done,
    Exec,
    Failure,
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
from cais.supervise.state import Kept, State, Unreadable, read_state, remove_tree, write_state
from cais.supervise.waiting import arrived, in_layers, judge, settles_in

SandboxFactory = Callable[[Path, Callable[[str, int], None], Callable[[], None]], Awaitable[Sandbox]]

SAVE_AFTER = 0.05  # seconds in which changes gather before the state file is written
LINGER = 0.3  # seconds without work before it ends
ORPHAN_LOG_LINES = 12
LOOK_AFTER_SOCKET = 3.0  # seconds


class Supervisor:
    def __init__(self, home: Path, project: str, make_sandbox: SandboxFactory, *, version: str = "") -> None:
        self.home, self.project, self.version = home, project, version
        self.since = time.time()
        self.instances: dict[str, Instance] = {}
        self.exits: dict[str, Callable[[int], None]] = {}  # who is told when a pid 1 or an entered process ends
        self.config_files: tuple[str, ...] = ()
        self.working_dir = ""
        self._networks: dict[str, NetworkSpec] = {}
        self._make_sandbox = make_sandbox
        self._sandbox: Sandbox | None = None
        self._sandbox_lock = asyncio.Lock()
        self._change_lock = asyncio.Lock()  # one command at a time decides what there is to be
        self._wakes: set[asyncio.Future[None]] = set()
        self._watchers: set[Connection] = set()
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._save_due: asyncio.TimerHandle | None = None
        self._idle_due: asyncio.TimerHandle | None = None
        self._reconsider_due = False
        self._ending = asyncio.Event()
        self._chores = Chores(self._settled)
        self._specs_saved: dict[str, Any] = {}
        self._execs = 0  # for their tokens: a connection may be gone while what it began still runs

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
            await self._chores.end()
            if self._sandbox is not None:
                await self._sandbox.close()
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
            self._networks = {network.name: network for network in state.networks}
            for kept in state.instances:
                if kept.spec.oneoff and kept.spec.remove_on_exit:
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
        self._chores.drop()
        await self._stop(list(self.instances.values()), "rest", None)
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

    @property
    def has_sandbox(self) -> bool:
        return self._sandbox is not None

    async def sandbox(self) -> Sandbox:
        """The project's sandbox; a new one, with its networks, when there is none (yet, or any more)."""
        async with self._sandbox_lock:
            if self._sandbox is None:
                sandbox = await self._make_sandbox(self.home, self._on_exit, self._on_lost)
                for network in self._networks.values():
                    await sandbox.add_network(network)
                self._sandbox = sandbox
            return self._sandbox

    def signal(self, token: str, signum: int) -> None:
        if self._sandbox is not None:
            self._sandbox.signal(token, signum)

    def _on_exit(self, token: str, code: int) -> None:
        if told := self.exits.pop(token, None):
            told(code)

    def _on_lost(self) -> None:
        """Stack init is gone, and with it every process: each life hears of its end, its policy decides."""
        self.complain("stack init is gone; everything in it ended")
        self._sandbox = None
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
        if kind == "exited" and life.spec.remove_on_exit and life.phase == "exited":
            instance.keep_volumes = False
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

    async def _change(self, timeout: float | None = None) -> None:
        """Until something changes, or `timeout` seconds are over."""
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wakes.add(wake)
        try:
            await asyncio.wait((wake,), timeout=timeout)
        finally:
            self._wakes.discard(wake)

    def _save(self, final: bool = False) -> None:
        if self._save_due is not None:
            self._save_due.cancel()
            self._save_due = None
        state = State(
            project=self.project,
            pid=0 if final else os.getpid(),
            since=self.since,
            networks=tuple(self._networks.values()),
            instances=tuple(Kept(spec=i.spec, state=i.state()) for i in self.instances.values()),
            config_files=self.config_files,
            working_dir=self.working_dir,
        )
        try:
            if final and not self.instances:
                (self.home / "state.json").unlink(missing_ok=True)
            else:
                write_state(self.home, state)
        except OSError as error:  # a full disk: the services go on, the next change tries again
            self.complain(f"cannot write the state file: {error}")

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
        by_service: dict[str, list[machine.Life]] = {}
        for instance in self.instances.values():
            if not instance.spec.oneoff:
                by_service.setdefault(instance.spec.service, []).append(instance.life)
        for instance in list(self.instances.values()):
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
        except OSError:
            return
        if peer_uid(sock) != os.geteuid():
            sock.close()
            return
        connection = Connection(sock, self._request, self._closed)
        self._connections.add(connection)
        connection.send(Hello(pid=os.getpid(), version=self.version))

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
                return await self._apply(desired, options)
            case Command():
                self._watchers.add(connection)
                return await self._command(request)
            case Exec():
                return await self._exec(connection, request, fds)
            case Run():
                self._watchers.add(connection)
                return await self._run(connection, request, fds)
            case Wait(ids=ids):
                self._watchers.add(connection)
                while any(i.busy for id in ids if (i := self.instances.get(id))):
                    await self._change()
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
            networks=tuple(self._networks.values()),
            config_files=self.config_files,
            working_dir=self.working_dir,
        )

    # -- up ---------------------------------------------------------------------------------------------------------

    async def _apply(self, desired: Desired, options: ApplyOptions) -> Done:
        async with self._change_lock:
            states = {i.spec.id: i.state() for i in self.instances.values()}
            specs = [i.spec for i in self.instances.values()]
            plan = diff(specs, states, tuple(self._networks.values()), desired, options)
            self.config_files = desired.config_files or self.config_files
            self.working_dir = desired.working_dir or self.working_dir
            before = {i.spec.id for i in self.instances.values() if i.busy}
            await self._make_room(plan.actions, options)
            await self._add_networks(plan.actions)
            for action in plan.actions:
                match action:
                    case act.Create(spec=spec) | act.Recreate(spec=spec):
                        self.instances[spec.id] = Instance(self, spec)
                        self.tell(self.instances[spec.id], "created", "")
                    case act.Keep(id=id):
                        kept = self.instances[id]
                        # Its crashes of before may come from what this very plan mends.
                        kept.life = kept.life._replace(crashes=0)
                        self.tell(kept, "running" if kept.life.phase == "running" else kept.life.phase, "")
            targets = [self.instances[spec.id] for spec in desired.instances]
            for instance, spec in zip(targets, desired.instances, strict=True):
                if (
                    instance.spec.config_hash == spec.config_hash
                ):  # what is not part of the hash may be new all the same
                    instance.life = instance.life._replace(spec=spec)
            starting = []
            for action in plan.actions:
                match action:
                    case act.Start(id=id):
                        self.instances[id].no_deps = options.no_deps
                        starting.append(self.instances[id])
                        self.instances[id].feed(machine.Start())
                    case act.Restart(id=id):
                        starting.append(self.instances[id])
                        self.instances[id].feed(machine.Stop(then="again", grace=options.stop_timeout))
            self.changed()
        done = (
            await self._arrival(targets, wait=options.wait, timeout=options.wait_timeout) if options.start else Done()
        )
        if not done.exit_code:
            self._chores.take(desired.chores)
        else:
            await self._stop([i for i in starting if i.spec.id not in before], "rest", options.stop_timeout)
        return Done(
            exit_code=done.exit_code,
            error=done.error,
            hint=done.hint,
            failures=done.failures,
            actions=tuple(action.describe() for action in plan.actions),
        )

    async def _make_room(self, plan: Sequence[object], options: ApplyOptions) -> None:
        """Everything that has to go, at once: orphans, replicas too many, those that will be made anew."""
        going: list[Instance] = []
        for action in plan:
            match action:
                case act.Remove(id=id):
                    self.instances[id].keep_volumes = False
                    going.append(self.instances[id])
                case act.Recreate(spec=spec, renew=renew):
                    self.instances[spec.id].keep_volumes = not renew
                    going.append(self.instances[spec.id])
        await self._remove(going, options.stop_timeout)
        for action in plan:
            if isinstance(action, act.RemoveNetwork):
                del self._networks[action.name]
                if self._sandbox is not None:
                    await self._sandbox.remove_network(action.name)

    async def _add_networks(self, plan: Sequence[object]) -> None:
        for action in plan:
            if isinstance(action, act.AddNetwork):
                if self._sandbox is not None:
                    await self._sandbox.add_network(action.network)
                self._networks[action.network.name] = action.network

    async def _arrival(self, targets: Sequence[Instance], *, wait: bool, timeout: float | None) -> Done:
        """Until all are there, or one never will be."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            now = time.time()
            failed: list[tuple[Instance, str]] = []
            missing: list[Instance] = []
            for instance in targets:
                there, why = arrived(instance.life, now, wait=wait)
                if why:
                    failed.append((instance, why))
                elif not there:
                    missing.append(instance)
            if failed:
                return Done(exit_code=1, failures=self._failures(failed, wait=wait))
            if not missing:
                return Done()
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                late = [
                    (i, f"it is not {'healthy' if i.spec.health else 'running'} after {timeout:g} s") for i in missing
                ]
                return Done(exit_code=1, failures=self._failures(late, wait=wait))
            settling = [settles_in(i.life, now) for i in missing if i.life.pid and i.life.spec.health is None]
            await self._change(min([t for t in (left, *settling) if t], default=None))

    def _failures(self, failed: Sequence[tuple[Instance, str]], *, wait: bool) -> tuple[Failure, ...]:
        """One message for each cause: those who only waited for it are named in it."""
        out: dict[str, Failure] = {}
        for instance, why in failed:
            cause = instance
            while (next := self.instances.get(cause.culprit)) is not None and next is not cause:
                cause = next
            spec = cause.spec
            if cause is not instance:
                why = cause.life.error or why
                if spec.id in out or any(c is cause for c, _ in failed):
                    continue
            if cause.life.health == "unhealthy" and cause.life.health_log:
                why += f"; the last check said: {cause.life.health_log[-1] or '(nothing)'}"
            out[spec.id] = Failure(
                id=spec.id,
                service=spec.service,
                what=f"start {instance.spec.service}",
                why=why,
                span=spec.span,
                log=tuple(last_lines(self.home, spec.id, ORPHAN_LOG_LINES)),
                hint=f"'cais logs {spec.service}' shows all that it wrote",
            )
        return tuple(out.values())

    # -- the other commands -----------------------------------------------------------------------------------------

    def _chosen(self, services: Sequence[str], ids: Sequence[str], *, oneoffs: bool = False) -> list[Instance]:
        return [
            i
            for i in self.instances.values()
            if ((not services and not ids) or i.spec.service in services or i.spec.id in ids)
            and (oneoffs or not i.spec.oneoff or i.spec.id in ids)
        ]

    async def _command(self, command: Command) -> Done:
        chosen = self._chosen(command.services, command.ids, oneoffs=command.verb in ("down", "kill"))
        if command.ids and not chosen:
            return Done(exit_code=1, error=f"no such instance: {', '.join(command.ids)}")
        match command.verb:
            case "start":
                for instance in chosen:
                    instance.no_deps = command.no_deps
                    instance.feed(machine.Start())
                return await self._arrival(chosen, wait=command.wait, timeout=command.timeout)
            case "stop":
                await self._stop(chosen, "rest", command.timeout)
            case "restart":
                return await self._restart(chosen, command)
            case "kill":
                now = time.time()
                for instance in chosen:
                    instance.feed(machine.Kill(command.signal, now))
                if command.signal == signal.SIGKILL:
                    await self._until(lambda: not any(i.life.phase == "stopping" for i in chosen))
            case "remove":
                running = [i for i in chosen if i.busy]
                if running and not command.force:
                    return Done(
                        exit_code=1, error=f"{running[0].spec.id} is running", hint="stop it first, or say --force"
                    )
                await self._throw_away(chosen, command)
            case "down":
                self._chores.drop()
                async with self._change_lock:
                    await self._throw_away(chosen, command)
                    if not self.instances:
                        await self._clear()
            case _:
                return Done(exit_code=2, error=f"unknown verb {command.verb}")
        return Done()

    async def _throw_away(self, chosen: Sequence[Instance], command: Command) -> None:
        for instance in chosen:
            # A container that `down` removes leaves its anonymous volumes dangling, and no later `up` finds them
            # again: kept or not, the next instance begins with new ones.
            instance.keep_volumes = False
        await self._remove(chosen, command.timeout)

    async def _clear(self) -> None:
        """Nothing is left of the project but its volumes."""
        if self._sandbox is not None:
            await self._sandbox.close()
            self._sandbox = None
        self._networks.clear()
        for file in (self.home / "logs").glob("*.log"):
            remove_logs(self.home, file.stem)

    async def _restart(self, chosen: Sequence[Instance], command: Command) -> Done:
        """Each of them, then those that depend on one with `restart: true`, dependencies first."""
        if not command.no_deps:
            services = {i.spec.service for i in chosen}
            for instance in self.instances.values():
                if instance in chosen or instance.life.phase not in ("running", "restarting"):
                    continue
                if any(d.restart and d.service in services for d in instance.spec.depends_on):
                    chosen = [*chosen, instance]
        for instance in chosen:
            instance.no_deps = command.no_deps
            instance.feed(machine.Stop(then="again", grace=command.timeout))
        await self._until(lambda: not any(i.life.phase == "stopping" for i in chosen))
        return await self._arrival(chosen, wait=False, timeout=None)

    async def _stop(self, chosen: Iterable[Instance], then: str, timeout: float | None) -> None:
        """Those that depend on others first, layer by layer."""
        chosen = list(chosen)
        depends: dict[str, list[str]] = {}
        for instance in chosen:
            depends.setdefault(instance.spec.service, []).extend(d.service for d in instance.spec.depends_on)
        for layer in reversed(in_layers(depends)):
            going = [i for i in chosen if i.spec.service in layer]
            for instance in going:
                instance.feed(machine.Stop(then=then, grace=timeout, at=time.time()))
            await self._until(lambda going=going: not any(i.busy and not i.gone.is_set() for i in going))  # type: ignore[misc]

    async def _remove(self, chosen: Sequence[Instance], timeout: float | None) -> None:
        await self._stop(chosen, "gone", timeout)

    async def _until(self, true: Callable[[], bool]) -> None:
        while not true():
            await self._change()

    # -- exec and run -----------------------------------------------------------------------------------------------

    async def _exec(self, connection: Connection, request: Exec, fds: list[int]) -> Done:
        instance = self.instances.get(request.id)
        if instance is None or instance.life.phase not in ("running", "stopping"):
            _close(fds)
            return Done(exit_code=1, error=f"{request.id} is not running")
        self._execs += 1
        token = f"{request.id}/exec/{self._execs}"
        ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.exits[token] = lambda code: None if ended.done() else ended.set_result(code)
        try:
            stdio = (-1, -1, -1) if request.process.tty else _three(fds)
            spawned = await (await self.sandbox()).enter(request.id, request.process, stdio, token)
        except Refused as error:
            self.exits.pop(token, None)
            code = 127 if "No such file" in error.why or "not found" in error.why else 126
            return Done(exit_code=code, error=f"cannot run {request.process.argv[0]} in {request.id}: {error.why}")
        finally:
            _close(fds)
        connection.token = token
        connection.send(Began(id=request.id, pid=spawned.pid, terminal=spawned.tty >= 0), fds=_some(spawned.tty))
        return Done(exit_code=await ended)

    async def _run(self, connection: Connection, request: Run, fds: list[int]) -> Done:
        spec = request.spec
        async with self._change_lock:
            if spec.id in self.instances:
                _close(fds)
                return Done(exit_code=1, error=f"the name {spec.id} is taken", hint="choose another with --name")
            states = {i.spec.id: i.state() for i in self.instances.values()}
            specs = [i.spec for i in self.instances.values()]
            nothing = Desired(project=self.project, networks=request.desired.networks, instances=())
            plan = diff(specs, states, tuple(self._networks.values()), nothing, ApplyOptions(start=False))
            # A network that changed is not made anew under services that run; only what is missing is added.
            await self._add_networks([a for a in plan.actions if getattr(a, "network", None) not in self._networks])
            instance = self.instances[spec.id] = Instance(self, spec)
            self.tell(instance, "created", "")
        if request.attached:
            instance.stdio = (-1, -1, -1) if spec.process.tty else _three(fds)
            if spec.process.tty:
                instance.on_terminal = lambda master: connection.send(
                    Began(id=spec.id, pid=0, terminal=True), fds=[os.dup(master)]
                )
                instance.stdio = None
        else:
            _close(fds)
        connection.token = spec.id
        instance.feed(machine.Start())
        if not request.attached:
            return await self._arrival([instance], wait=False, timeout=None)
        await self._until(lambda: not instance.busy or instance.life.phase == "removing")
        if instance.stdio:
            # It never started: whoever reads the other end of the client's pipes waits until we let go of them.
            _close(fd for fd in instance.stdio if fd >= 0)
            instance.stdio = (-1, -1, -1)
        if instance.life.error:
            return Done(exit_code=1, failures=self._failures([(instance, instance.life.error)], wait=False))
        return Done(exit_code=instance.life.exit_code)


def peer_uid(sock: socket.socket) -> int:
    """SO_PEERCRED, unix(7): who the kernel says is on the other side."""
    import struct

    _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(uid)


def _three(fds: Sequence[int]) -> tuple[int, int, int]:
    if len(fds) != 3:
        raise Refused("exec", "no stdin, stdout and stderr came with the request")
    return fds[0], fds[1], fds[2]


def _some(fd: int) -> list[int]:
    return [fd] if fd >= 0 else []


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)


__all__ = ["InstanceSpec", "SandboxFactory", "Supervisor", "peer_uid"]
