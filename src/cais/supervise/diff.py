"""What is against what is wanted: the actions between them. Pure; `up --dry-run` prints what this returns.

The rules are those of Compose's convergence (`pkg/compose/convergence.go`): fewer replicas remove the highest
numbers, a changed config hash recreates, an instance that has ended is started again, the rest is kept.
"""

from collections.abc import Mapping, Sequence

from cais.plan.api import Action, Plan
from cais.sandbox.api import NetworkSpec
from cais.supervise.actions import AddNetwork, Create, Keep, Recreate, Remove, RemoveNetwork, Restart, Start
from cais.supervise.api import Dependency, Desired, InstanceSpec, InstanceState
from cais.supervise.messages import ApplyOptions

LIVE = ("waiting", "starting", "running", "restarting")
WORDS = {
    "service_started": "has started",
    "service_healthy": "is healthy",
    "service_completed_successfully": "has completed",
}


def diff(
    specs: Sequence[InstanceSpec],
    states: Mapping[str, InstanceState],
    networks: Sequence[NetworkSpec],
    desired: Desired,
    options: ApplyOptions,
) -> Plan:
    """`specs`, `states` and `networks` are what there is; instances of services not in `desired` are left alone."""
    there = {spec.id: spec for spec in specs if not spec.oneoff}
    wanted = {spec.id: spec for spec in desired.instances}
    touched = {spec.service for spec in desired.instances} | set(desired.empty)
    actions: list[Action] = []

    old_networks = {network.name: network for network in networks}
    changed_networks = {n.name for n in desired.networks if n.name in old_networks and old_networks[n.name] != n}
    actions += [RemoveNetwork(name) for name in sorted(changed_networks)]
    actions += [AddNetwork(n) for n in desired.networks if n.name not in old_networks or n.name in changed_networks]

    for id, spec in there.items():
        if id in wanted:
            continue
        if spec.service in touched:
            actions.append(Remove(id, "scaled down"))
        elif options.remove_orphans and options.services and spec.service not in options.services:
            actions.append(Remove(id, "orphan"))

    renewed: set[str] = set()  # services and instances recreated or restarted by this plan
    starts: list[Action] = []
    for spec in _ordered(desired.instances):
        old = there.get(spec.id)
        if old is None:
            actions.append(Create(spec))
            starts.append(_start(spec, options))
            continue
        why = _why_recreate(old, spec, options, changed_networks, renewed)
        if why:
            actions.append(Recreate(spec, why, renew=options.renew_anonymous))
            starts.append(_start(spec, options))
            renewed.update((spec.service, spec.id))
        elif states[spec.id].phase not in LIVE:
            starts.append(_start(spec, options))
        elif because := [d.service for d in spec.depends_on if d.restart and d.service in renewed]:
            starts.append(Restart(spec.id, f"{because[0]} is new"))
            renewed.update((spec.service, spec.id))
        else:
            actions.append(Keep(spec.id, states[spec.id].phase))
    if options.start:
        actions += starts
    return Plan(tuple(actions))


def _why_recreate(
    old: InstanceSpec, new: InstanceSpec, options: ApplyOptions, networks: set[str], renewed: set[str]
) -> str:
    """Why it cannot stay as it is; "" when it can."""
    if options.recreate == "never":
        return ""
    if options.recreate == "force" and (not options.named or new.service in options.named):
        return "forced"
    if options.renew_anonymous and new.volumes and (not options.named or new.service in options.named):
        return "anonymous volumes renewed"
    if old.config_hash != new.config_hash:
        return "its configuration changed"
    if any(a.network in networks for a in new.net.attachments):
        return "its network changed"
    # It lives in the network namespace of another instance, which is about to be a new one.
    if new.net.mode.startswith("instance:") and new.net.mode[9:] in renewed:
        return f"{new.net.mode[9:]} is new"
    return ""


def _start(spec: InstanceSpec, options: ApplyOptions) -> Start:
    needs = () if options.no_deps else spec.depends_on
    return Start(spec.id, tuple(f"{d.service} {WORDS[d.condition]}" for d in needs))


def _ordered(specs: Sequence[InstanceSpec]) -> list[InstanceSpec]:
    """Dependencies first; else as given."""
    from cais.supervise.waiting import in_layers

    depends: dict[str, list[str]] = {}
    for spec in specs:
        depends.setdefault(spec.service, []).extend(_needs(spec.depends_on))
    place = {name: index for index, layer in enumerate(in_layers(depends)) for name in layer}
    return sorted(specs, key=lambda spec: place[spec.service])


def _needs(depends_on: Sequence[Dependency]) -> list[str]:
    return [d.service for d in depends_on]
