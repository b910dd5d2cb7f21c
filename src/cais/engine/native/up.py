"""`up` decided: which services, their images, what each instance is to be; everything that can be known to fail
before anything starts is told here, at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from cais.diag.api import ERROR, CaisError, Diagnostic, Faults
from cais.engine.native.images import AS_NEEDED, Policy, is_plain, prepare, unavailable
from cais.engine.native.mounts import Places
from cais.engine.native.networks import network_warnings
from cais.engine.native.preflight import early, external_networks, make_places, preflight, warnings
from cais.engine.native.specs import Options, desired
from cais.load.job import sort
from cais.model.api import Service, Stack
from cais.model.image import FIDELITY_ORDER, NEAR, Image
from cais.paths import cache_home, project_home, state_folder
from cais.supervise.api import Chore, Desired, InstanceState

if TYPE_CHECKING:
    from cais.catalog.make import Job


class Wanted(NamedTuple):
    """What `up` brings about. By service: `said`, sentences on what is not as with Docker, and `warned`.

    `warnings`: of the stack's networks.
    """

    desired: Desired
    said: Mapping[str, tuple[str, ...]]
    warnings: tuple[Diagnostic, ...] = ()
    warned: Mapping[str, tuple[Diagnostic, ...]] = {}


def places_of(project: str) -> Places:
    return Places(home=project_home(project), volumes=state_folder("volumes"))


def choose(stack: Stack, named: Sequence[str], *, deps: bool = True) -> list[Service]:
    """The named services and what they depend on; all of them when none is named."""
    if not named:
        return list(stack.services.values())
    chosen: set[str] = set()
    queue = list(named)
    while queue:
        name = queue.pop()
        if name in chosen or name not in stack.services:
            continue
        chosen.add(name)
        if deps:
            from cais.engine.native.specs import dependencies_of

            queue += [d.service for d in dependencies_of(stack.services[name])]
    return [service for name, service in stack.services.items() if name in chosen]


def want(
    stack: Stack,
    services: Sequence[Service],
    states: Sequence[InstanceState],
    say: Callable[[str, str], None],
    *,
    scales: Mapping[str, int] | None = None,
    policy: Policy = AS_NEEDED,
    strict: bool = False,
) -> Wanted:
    """Prepare images, decide specs, look for faults. Starts nothing."""
    faults = early(stack, services, states, scales)
    if faults:
        raise Faults(sort([*faults, *unavailable(stack, services, policy)]))
    later: list[Job] = []
    images = prepare(stack, services, say, policy, later)
    if strict:
        refuse_far(services, images)
    wanted = specify(stack, services, images, states, scales or {})
    return wanted._replace(desired=replace(wanted.desired, chores=_chores(later))) if later else wanted


def _chores(jobs: Sequence[Job]) -> tuple[Chore, ...]:
    """Finishing steps of cards that no start waits for: the supervisor has them done when the machine has time."""
    names = ("PATH", "HOME", "CAIS_PROGRAMS", "PYTHONPATH", "LD_LIBRARY_PATH")
    env = {name: os.environ[name] for name in names if name in os.environ} | {"CAIS_CACHE": str(cache_home())}
    argv = (sys.executable, "-m", "cais.catalog.finish", "--idle")
    return tuple(Chore(name=job.name, argv=argv, env=env, input=job.text()) for job in jobs)


def specify(
    stack: Stack,
    services: Sequence[Service],
    images: Mapping[str, Image],
    states: Sequence[InstanceState],
    scales: Mapping[str, int],
) -> Wanted:
    options = Options(scales=scales, services=frozenset(s.name for s in services))
    result = desired(stack, images, places_of(stack.name), options, web=_web_ports(services))
    faults = preflight(stack, services, result, states)
    if faults:
        raise Faults(sort(faults))
    make_places(stack.services.values(), result)
    said = {s.name: _sentences(images[s.name]) for s in services if _sentences(images[s.name])}
    warned = {s.name: found for s in services if (found := warnings(stack, s))}
    of_networks = (*external_networks(stack, services), *network_warnings(stack, services))
    return Wanted(result, said, of_networks, warned)


def _sentences(image: Image) -> tuple[str, ...]:
    if image.fidelity == "real" and not image.differs:
        return ()
    return tuple(f"{image.fidelity}: {sentence}" for sentence in image.differs) or (image.fidelity,)


def _web_ports(services: Sequence[Service]) -> dict[str, tuple[int, ...]]:
    """Ports that a person opens in a browser: what the card says; of a service of one's own, every published one."""
    from cais.catalog.find import card_for, parse

    found: dict[str, tuple[int, ...]] = {}
    for service in services:
        if not service.ports:
            continue
        if service.build is not None or is_plain(service):
            found[service.name] = tuple(p.target for p in service.ports if p.protocol == "tcp")
        else:
            card = card_for(parse(service.image))
            found[service.name] = card.CARD.web_ports if card is not None else ()
    return found


def refuse_far(services: Sequence[Service], images: Mapping[str, Image]) -> None:
    worst = FIDELITY_ORDER.index(NEAR)
    faults = [
        Diagnostic(
            ERROR,
            "not-near",
            f"cannot start {s.name}: {images[s.name].origin or s.image} is only {images[s.name].fidelity} "
            f"({'; '.join(images[s.name].differs) or 'another program'}), and --strict was asked",
            s.span,
            "leave --strict out to run it all the same",
        )
        for s in services
        if FIDELITY_ORDER.index(images[s.name].fidelity) > worst
    ]
    if faults:
        raise Faults(faults)


def read_scales(texts: Sequence[str], stack: Stack) -> dict[str, int]:
    """`--scale web=3`."""
    found: dict[str, int] = {}
    for text in texts:
        name, _, count = text.partition("=")
        if not count.isdigit():
            raise CaisError(f"invalid --scale {text!r}", hint="write it as SERVICE=NUMBER", exit_code=2)
        if name not in stack.services:
            raise CaisError(f"no such service: {name}", hint=f"services: {', '.join(sorted(stack.services))}")
        found[name] = int(count)
    return found
