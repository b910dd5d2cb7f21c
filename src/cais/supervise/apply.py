"""`up`: what there is becomes what is wanted, instance by instance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec.json import encode

from cais.supervise import actions as act
from cais.supervise import machine
from cais.supervise.api import Desired
from cais.supervise.arrival import arrival, failures
from cais.supervise.command import remove, stop
from cais.supervise.diff import diff
from cais.supervise.disk import HINT, refused
from cais.supervise.instance import Instance
from cais.supervise.messages import ApplyOptions, Done, Failure
from cais.supervise.waiting import REMOVED, STOPPED

if TYPE_CHECKING:
    from cais.supervise.supervisor import Supervisor


async def apply(supervisor: Supervisor, desired: Desired, options: ApplyOptions) -> Done:
    async with supervisor.change_lock:
        states = {i.spec.id: i.state() for i in supervisor.instances.values()}
        specs = [i.spec for i in supervisor.instances.values()]
        plan = diff(specs, states, tuple(supervisor.networks.values()), desired, options)
        if any(isinstance(action, act.Create | act.Recreate | act.Start | act.Restart) for action in plan.actions):
            # What cannot be written down is not begun: no later command would know of it, and no log would be kept.
            why = refused(supervisor.home, 2 * len(encode(desired)))
            if why:
                return Done(exit_code=1, error=f"cannot bring {supervisor.project} up: {why}", hint=HINT)
        supervisor.config_files = desired.config_files or supervisor.config_files
        supervisor.working_dir = desired.working_dir or supervisor.working_dir
        before = {i.spec.id for i in supervisor.instances.values() if i.busy}
        await _make_room(supervisor, plan.actions, options)
        await add_networks(supervisor, plan.actions)
        for action in plan.actions:
            match action:
                case act.Create(spec=spec) | act.Recreate(spec=spec):
                    supervisor.instances[spec.id] = Instance(supervisor, spec)
                    supervisor.tell(supervisor.instances[spec.id], "created", "")
                case act.Keep(id=id):
                    kept = supervisor.instances[id]
                    # Its crashes of before may come from what this very plan mends.
                    kept.life = kept.life._replace(crashes=0)
                    supervisor.tell(kept, "running" if kept.life.phase == "running" else kept.life.phase, "")
        targets = [supervisor.instances[spec.id] for spec in desired.instances]
        for instance, spec in zip(targets, desired.instances, strict=True):
            if instance.spec.config_hash == spec.config_hash:  # what is not part of the hash may be new all the same
                instance.life = instance.life._replace(spec=spec)
        starting = []
        for action in plan.actions:
            match action:
                case act.Start(id=id):
                    supervisor.instances[id].no_deps = options.no_deps
                    supervisor.instances[id].awaited = options.attached
                    starting.append(supervisor.instances[id])
                    supervisor.instances[id].feed(machine.Start())
                case act.Restart(id=id):
                    starting.append(supervisor.instances[id])
                    supervisor.instances[id].feed(machine.Stop(then="again", grace=options.stop_timeout))
        supervisor.changed()
    done = (
        await arrival(supervisor, targets, wait=options.wait, timeout=options.wait_timeout) if options.start else Done()
    )
    if not done.exit_code:
        supervisor.chores.take(desired.chores)
    elif not done.failures or any(failure.why not in (STOPPED, REMOVED) for failure in done.failures):
        await stop(supervisor, [i for i in starting if i.spec.id not in before], "rest", options.stop_timeout)
    return Done(
        exit_code=done.exit_code,
        error=done.error,
        hint=done.hint,
        failures=(*done.failures, *_meanwhile(supervisor, starting, done)) if done.failures else (),
        actions=tuple(action.describe() for action in plan.actions),
    )


def _meanwhile(supervisor: Supervisor, starting: Sequence[Instance], done: Done) -> list[Failure]:
    """Those that could not start either, while they were being stopped because of the first: all is told at once."""
    said = {failure.id for failure in done.failures}
    failed = [(i, i.life.error) for i in starting if i.life.error]
    return [failure for failure in failures(supervisor, failed, wait=False) if failure.id not in said]


async def _make_room(supervisor: Supervisor, plan: Sequence[object], options: ApplyOptions) -> None:
    """Everything that has to go, at once: orphans, replicas too many, those that will be made anew."""
    going: list[Instance] = []
    for action in plan:
        match action:
            case act.Remove(id=id):
                supervisor.instances[id].keep = frozenset()
                going.append(supervisor.instances[id])
            case act.Recreate(spec=spec, renew=renew):
                # Compose's way: those that the new one has at the same paths, and so in the same folders.
                supervisor.instances[spec.id].keep = frozenset(() if renew else spec.volumes)
                going.append(supervisor.instances[spec.id])
    await remove(supervisor, going, options.stop_timeout)
    for action in plan:
        if isinstance(action, act.RemoveNetwork):
            del supervisor.networks[action.name]
            if supervisor.living is not None:
                await supervisor.living.remove_network(action.name)


async def add_networks(supervisor: Supervisor, plan: Sequence[object]) -> None:
    for action in plan:
        if isinstance(action, act.AddNetwork):
            if supervisor.living is not None:
                await supervisor.living.add_network(action.network)
            supervisor.networks[action.network.name] = action.network
