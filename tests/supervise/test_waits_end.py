"""Whoever waits for an instance hears of its end, also where a step on the way fails or is never answered."""

import asyncio
import math
import os
import resource
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cais.sandbox.api import Net, PortSpec, Process, Root, Spawned
from cais.supervise import machine
from cais.supervise.api import Health, InstanceSpec, Restart
from cais.supervise.arrival import arrival
from cais.supervise.instance import Instance
from cais.supervise.machine import Life
from cais.supervise.messages import Done, Watch, send
from cais.supervise.supervisor import Supervisor
from cais.supervise.waiting import SETTLED, arrived, settles_in

SPEC = InstanceSpec(
    id="t-a-1",
    service="a",
    number=1,
    config_hash="",
    root=Root(layers=(), upper="/nonexistent/u"),
    process=Process(argv=("true",)),
    net=Net(mode="none"),
)


async def _broken(*_: object) -> Any:
    raise RuntimeError("nobody thought of \udc80 this")


class Silent:
    """A stack init that takes every request and answers none."""

    async def enter(self, *_: object) -> Any:
        await asyncio.Event().wait()

    def signal(self, *_: object) -> bool:
        return False


def _supervisor(home: Path, sandbox: Any = _broken) -> tuple[Supervisor, Instance]:
    (home / "logs").mkdir()
    supervisor = Supervisor(home, "t", sandbox)
    instance = supervisor.instances["t-a-1"] = Instance(supervisor, SPEC)
    return supervisor, instance


async def _waited(supervisor: Supervisor, instance: Instance) -> Done:
    return await asyncio.wait_for(arrival(supervisor, [instance], wait=True, timeout=None), 20)


def test_a_start_that_fails_as_nobody_thought_is_told(tmp_path: Path) -> None:
    async def play() -> Done:
        supervisor, instance = _supervisor(tmp_path)
        instance.feed(machine.Start())
        return await _waited(supervisor, instance)

    done = asyncio.run(play())
    assert done.exit_code == 1
    assert "the supervisor failed: RuntimeError: nobody thought of ? this" in done.failures[0].why


def test_an_event_that_cannot_be_sent_does_not_hold_up_who_waits(tmp_path: Path) -> None:
    async def play() -> Done:
        supervisor, instance = _supervisor(tmp_path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        with listener, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(tmp_path / "s"))
            supervisor._accept(listener)
            send(client, Watch())
            while not supervisor._watchers:
                await asyncio.sleep(0)
            instance.life = instance.life._replace(phase="waiting", goal="run")
            instance.no_deps = False
            waiting = asyncio.ensure_future(_waited(supervisor, instance))
            await asyncio.sleep(0)
            instance.feed(machine.Blocked("no JSON can carry \udc80"))
            return await waiting

    assert asyncio.run(play()).exit_code == 1


def test_a_check_whose_start_is_never_answered_ends_at_its_timeout(tmp_path: Path) -> None:
    async def silent(*_: object) -> Any:
        return Silent()

    async def play() -> Instance:
        supervisor, instance = _supervisor(tmp_path, silent)
        await supervisor.sandbox()
        health = Health(argv=("true",), interval=0.01, timeout=0.05, retries=2)
        spec = machine.Life(SPEC).spec
        instance.life = Life(
            _with(spec, health=health), phase="running", goal="run", run=1, pid=os.getpid(), health="starting"
        )
        instance.feed(machine.ProbeDue(1, 1, 1.0))
        done = await _waited(supervisor, instance)
        assert done.exit_code == 1
        assert "it is unhealthy: 2 checks" in done.failures[0].why
        assert "took longer than 0.05 s" in done.failures[0].why
        return instance

    asyncio.run(play())


def _with(spec: InstanceSpec, **more: Any) -> InstanceSpec:
    from msgspec.structs import replace

    return replace(spec, **more)


@pytest.mark.parametrize("started", [1.0, 1_700_000_000.1, 1_795_271_000.123456, 1_795_271_000.7])
def test_while_one_is_not_there_yet_there_is_a_time_to_look_again(started: float) -> None:
    """Floating point: `started + 0.3 - now` may be 0 where `now - started >= 0.3` is not yet true."""
    life = Life(SPEC, phase="running", goal="run", run=1, pid=1, started=started)
    now = started + SETTLED
    for _ in range(6):
        now = math.nextafter(now, 0)
    for _ in range(12):
        there, why = arrived(life, now, wait=True)
        assert not why
        assert there or 0 < settles_in(life, now) <= SETTLED
        now = math.nextafter(now, math.inf)


def test_a_clock_that_is_set_back_makes_nobody_wait() -> None:
    life = Life(SPEC, phase="running", goal="run", run=1, pid=1, started=1_700_000_000.0)
    assert arrived(life, life.started - 3600, wait=True) == (True, "")


class Slow:
    """A stack init in which an instance ends while its port is being published, which then cannot be."""

    def __init__(self) -> None:
        self.spawned = 0
        self.ends: Callable[[int], None] = lambda code: None
        self.signals: list[int] = []

    async def spawn(self, *_: object) -> Spawned:
        self.spawned += 1
        return Spawned(pid=self.spawned)

    async def publish(self, *_: object) -> Any:
        if self.spawned > 1:
            return PORT
        self.ends(1)
        await asyncio.sleep(2 * machine.FIRST_BACKOFF)  # the next run would be there
        raise RuntimeError("it has no address")

    async def unpublish(self, *_: object) -> None:
        pass

    def signal(self, _: str, signum: int) -> bool:
        self.signals.append(signum)
        return True


PORT = PortSpec(target=80, host_port=1)


def test_a_run_that_ends_while_its_ports_are_published_does_not_end_the_next(tmp_path: Path) -> None:
    async def play() -> tuple[list[int], Life, tuple[PortSpec, ...]]:
        (tmp_path / "logs").mkdir()
        slow = Slow()

        async def make(*_: object) -> Any:
            return slow

        supervisor = Supervisor(tmp_path, "t", make)
        spec = _with(SPEC, ports=(PORT,), restart=Restart(policy="always"))
        instance = supervisor.instances[spec.id] = Instance(supervisor, spec)
        slow.ends = lambda code: supervisor._on_exit(spec.id, code)
        instance.feed(machine.Start())
        async with asyncio.timeout(20):
            while not (instance.life.run == 2 and instance.life.phase == "running"):
                await supervisor.change()
            await asyncio.sleep(2 * machine.FIRST_BACKOFF)
        return slow.signals, instance.life, instance.ports

    signals, life, ports = asyncio.run(play())
    assert (signals, life.run, life.phase, life.error, ports) == ([], 2, "running", "", (PORT,))


def test_out_of_descriptors_the_loop_does_not_spin_and_accepts_later(tmp_path: Path) -> None:
    class Counting(Supervisor):
        asked = 0

        def _accept(self, listener: socket.socket) -> None:
            self.asked += 1
            super()._accept(listener)

    async def play() -> int:
        supervisor = Counting(tmp_path, "t", _broken)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        with listener, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            supervisor._take_up(listener)
            client.connect(str(tmp_path / "s"))
            free = os.dup(0)
            os.close(free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
            try:
                for _ in range(50):
                    await asyncio.sleep(0)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            asked = supervisor.asked
            async with asyncio.timeout(20):
                while not supervisor._connections:
                    await asyncio.sleep(0.01)
            for connection in tuple(supervisor._connections):
                connection.close()
            asyncio.get_running_loop().remove_reader(listener.fileno())
        return asked

    assert asyncio.run(play()) == 1
