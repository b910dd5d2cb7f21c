"""`start`, `stop`, `restart`, `kill`, `rm` and `down`, on the instances that are chosen."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from cais.supervise import machine
from cais.supervise.arrival import arrival
from cais.supervise.instance import Instance
from cais.supervise.messages import Command, Done
from cais.supervise.records import remove_logs
from cais.supervise.waiting import in_layers

if TYPE_CHECKING:
    from cais.supervise.supervisor import Supervisor


def _chosen(
    supervisor: Supervisor, services: Sequence[str], ids: Sequence[str], *, oneoffs: bool = False
) -> list[Instance]:
    return [
        i
        for i in supervisor.instances.values()
        if ((not services and not ids) or i.spec.service in services or i.spec.id in ids)
        and (oneoffs or not i.spec.oneoff or i.spec.id in ids)
    ]


async def command(supervisor: Supervisor, command: Command) -> Done:
    """One at a time with `up`, which makes instances anew: who is meant is known when it is this command's turn.
    `kill` takes no turn: it ends what another command waits for."""
    if command.verb == "kill":
        return await _kill(supervisor, command)
    if command.verb == "down":
        supervisor.chores.drop()
    _hurry(supervisor, command)
    async with supervisor.change_lock:
        chosen = _chosen(supervisor, command.services, command.ids, oneoffs=command.verb == "down")
        if command.ids and not chosen:
            return _none(command)
        match command.verb:
            case "start":
                for instance in chosen:
                    instance.no_deps = command.no_deps
                    instance.feed(machine.Start())
            case "stop":
                await stop(supervisor, chosen, "rest", command.timeout)
            case "restart":
                chosen = _restart(supervisor, chosen, command)
            case "remove":
                running = [i for i in chosen if i.busy]
                if running and not command.force:
                    error = f"{running[0].spec.id} is running"
                    return Done(exit_code=1, error=error, hint="stop it first, or say --force")
                await _throw_away(supervisor, chosen, command)
                return _removed(chosen)
            case "down":
                await _throw_away(supervisor, chosen, command)
                if not supervisor.instances:
                    await _clear(supervisor)
                return _removed(chosen)
            case _:
                return Done(exit_code=2, error=f"unknown verb {command.verb}")
    match command.verb:
        case "start":
            return await arrival(supervisor, chosen, wait=command.wait, timeout=command.timeout)
        case "restart":
            await supervisor.until(lambda: not any(i.life.phase == "stopping" for i in chosen))
            return await arrival(supervisor, chosen, wait=False, timeout=None)
    return Done()


def _none(command: Command) -> Done:
    return Done(exit_code=1, error=f"no such instance: {', '.join(command.ids)}")


async def _kill(supervisor: Supervisor, command: Command) -> Done:
    chosen = _chosen(supervisor, command.services, command.ids, oneoffs=True)
    if command.ids and not chosen:
        return _none(command)
    now = time.time()
    for instance in chosen:
        instance.feed(machine.Kill(command.signal, now))
    if command.signal == signal.SIGKILL:
        await supervisor.until(lambda: not any(i.life.phase == "stopping" for i in chosen))
    return Done()


def _hurry(supervisor: Supervisor, command: Command) -> None:
    """What another command stops already gets no more time than this one gives, though it is not its turn yet:
    `down -t 0` beside a `stop` that takes long."""
    if command.timeout is None or command.verb == "start" or (command.verb == "remove" and not command.force):
        return
    for instance in _chosen(supervisor, command.services, command.ids, oneoffs=command.verb == "down"):
        if instance.life.phase == "stopping":
            instance.feed(machine.Stop(then=instance.life.goal, grace=command.timeout))


async def _throw_away(supervisor: Supervisor, chosen: Sequence[Instance], command: Command) -> None:
    for instance in chosen:
        # A container that `down` removes leaves its anonymous volumes dangling, and no later `up` finds them
        # again: kept or not, the next instance begins with new ones.
        instance.keep = frozenset()
    await remove(supervisor, chosen, command.timeout)


def _removed(chosen: Sequence[Instance]) -> Done:
    left = [instance.left for instance in chosen if instance.left]
    return Done(exit_code=1, error="; ".join(left), hint="remove it by hand") if left else Done()


async def _clear(supervisor: Supervisor) -> None:
    """Nothing is left of the project but its volumes."""
    if supervisor.living is not None:
        await supervisor.living.close()
        supervisor.living = None
    supervisor.networks.clear()
    for file in (supervisor.home / "logs").glob("*.log"):
        remove_logs(supervisor.home, file.stem)


def _restart(supervisor: Supervisor, chosen: list[Instance], command: Command) -> list[Instance]:
    """Each of them, then those that depend on one with `restart: true`, dependencies first; all that are told."""
    if not command.no_deps:
        services = {i.spec.service for i in chosen}
        for instance in supervisor.instances.values():
            if instance in chosen or instance.life.phase not in ("running", "restarting"):
                continue
            if any(d.restart and d.service in services for d in instance.spec.depends_on):
                chosen = [*chosen, instance]
    for instance in chosen:
        instance.no_deps = command.no_deps
        instance.feed(machine.Stop(then="again", grace=command.timeout))
    return chosen


async def stop(supervisor: Supervisor, chosen: Iterable[Instance], then: str, timeout: float | None) -> None:
    """Those that depend on others first, layer by layer."""
    chosen = list(chosen)
    depends: dict[str, list[str]] = {}
    for instance in chosen:
        depends.setdefault(instance.spec.service, []).extend(d.service for d in instance.spec.depends_on)
    for layer in reversed(in_layers(depends)):
        going = [i for i in chosen if i.spec.service in layer]
        for instance in going:
            instance.feed(machine.Stop(then=then, grace=timeout, at=time.time()))
        await supervisor.until(lambda going=going: not any(i.busy and not i.gone.is_set() for i in going))  # type: ignore[misc]


async def remove(supervisor: Supervisor, chosen: Sequence[Instance], timeout: float | None) -> None:
    await stop(supervisor, chosen, "gone", timeout)
