"""`exec` and `run`: a process that a client begins and waits for, with the client's own descriptors or a terminal."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from msgspec.json import encode

from cais.sandbox.api import Refused
from cais.supervise import machine
from cais.supervise.api import Desired
from cais.supervise.apply import add_networks
from cais.supervise.arrival import arrival, failures
from cais.supervise.connection import Connection
from cais.supervise.diff import diff
from cais.supervise.disk import HINT, refused
from cais.supervise.instance import Instance
from cais.supervise.messages import ApplyOptions, Began, Done, Exec, Run

if TYPE_CHECKING:
    from cais.supervise.supervisor import Supervisor


async def execute(supervisor: Supervisor, connection: Connection, request: Exec, fds: list[int]) -> Done:
    instance = supervisor.instances.get(request.id)
    if instance is None or instance.life.phase not in ("running", "stopping"):
        _close(fds)
        return Done(exit_code=1, error=f"{request.id} is not running")
    supervisor.execs += 1
    token = f"{request.id}/exec/{supervisor.execs}"
    ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    supervisor.exits[token] = lambda code: None if ended.done() else ended.set_result(code)
    try:
        stdio = (-1, -1, -1) if request.process.tty else _three(fds)
        spawned = await (await supervisor.sandbox()).enter(request.id, request.process, stdio, token)
    except Refused as error:
        supervisor.exits.pop(token, None)
        code = 127 if error.missing else 126
        return Done(exit_code=code, error=f"cannot run {request.process.argv[0]} in {request.id}: {error.why}")
    finally:
        _close(fds)
    connection.token = token
    connection.send(Began(id=request.id, pid=spawned.pid, terminal=spawned.tty >= 0), fds=_some(spawned.tty))
    return Done(exit_code=await ended)


async def run(supervisor: Supervisor, connection: Connection, request: Run, fds: list[int]) -> Done:
    spec = request.spec
    async with supervisor.change_lock:
        if connection.closed:  # given up while another command was being carried out
            _close(fds)
            return Done(exit_code=1, error="nobody waits for it any more")
        if spec.id in supervisor.instances:
            _close(fds)
            return Done(exit_code=1, error=f"the name {spec.id} is taken", hint="choose another with --name")
        if not request.attached and (why := refused(supervisor.home, 2 * len(encode(spec)))):
            _close(fds)
            return Done(exit_code=1, error=f"cannot run {spec.service}: {why}", hint=HINT)  # nobody would see its log
        states = {i.spec.id: i.state() for i in supervisor.instances.values()}
        specs = [i.spec for i in supervisor.instances.values()]
        nothing = Desired(project=supervisor.project, networks=request.desired.networks, instances=())
        plan = diff(specs, states, tuple(supervisor.networks.values()), nothing, ApplyOptions(start=False))
        # A network that changed is not made anew under services that run; only what is missing is added.
        await add_networks(
            supervisor, [a for a in plan.actions if getattr(a, "network", None) not in supervisor.networks]
        )
        instance = supervisor.instances[spec.id] = Instance(supervisor, spec)
        supervisor.tell(instance, "created", "")
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
        return await arrival(supervisor, [instance], wait=False, timeout=None)
    await supervisor.until(lambda: not instance.busy or instance.life.phase == "removing")
    if instance.stdio:
        # It never started: whoever reads the other end of the client's pipes waits until we let go of them.
        _close(fd for fd in instance.stdio if fd >= 0)
        instance.stdio = (-1, -1, -1)
    if instance.life.error:
        return Done(exit_code=1, failures=failures(supervisor, [(instance, instance.life.error)], wait=False))
    return Done(exit_code=instance.life.exit_code)


def _three(fds: Sequence[int]) -> tuple[int, int, int]:
    if len(fds) != 3:
        raise Refused("exec", "no stdin, stdout and stderr came with the request")
    return fds[0], fds[1], fds[2]


def _some(fd: int) -> list[int]:
    return [fd] if fd >= 0 else []


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)
