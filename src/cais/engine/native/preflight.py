"""What is looked at before anything starts, so that a fault leaves everything as it was: all faults at once."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from cais.diag.api import ERROR, WARNING, CaisError, Diagnostic, Note
from cais.engine.native.networks import network_faults
from cais.engine.native.restarts import restart_warnings
from cais.engine.native.unheeded import refused, unheeded
from cais.engine.native.values import value_faults
from cais.model.api import FileObject, Grant, Service, Stack
from cais.paths import project_home, state_folder
from cais.sandbox import ports
from cais.sandbox.api import PortSpec, Refused
from cais.source.api import Span
from cais.supervise.api import Desired, InstanceState

# What no compose file of ours can have: it would be the key to the host (or there is no such thing here).
DOCKER_SOCKETS = ("/var/run/docker.sock", "/run/docker.sock")


def preflight(
    stack: Stack,
    services: Sequence[Service],
    desired: Desired,
    states: Sequence[InstanceState],
    *,
    without_image: Iterable[str] = (),
) -> list[Diagnostic]:
    """`without_image`: services whose image, and so whose healthcheck, is not known yet."""
    found: list[Diagnostic] = []
    for service in services:
        found += _binds(stack, service)
        found += value_faults(stack, service)
        found += _health_waits(service, desired, set(without_image))
    found += _ports(stack, [_Wanted(s.service, s.id, port) for s in desired.instances for port in s.ports], states)
    found += external_volumes(stack, services)
    found += network_faults(stack, services)
    return found


def _binds(stack: Stack, service: Service) -> list[Diagnostic]:
    found = []
    sockets = set()
    for source, span in _sources(stack, service):
        if os.path.realpath(source) in map(os.path.realpath, DOCKER_SOCKETS):
            sockets.add(source)
            found.append(
                Diagnostic(
                    ERROR,
                    "docker-socket",
                    f"cannot start {service.name}: it wants {source}, and there is no Docker here to talk to",
                    span,
                    "take the mount out, or run this stack with Docker",
                )
            )
    for volume in service.volumes:
        if volume.type == "bind" and not volume.create_host_path and not os.path.lexists(volume.source):
            found.append(
                Diagnostic(
                    ERROR,
                    "missing-bind-source",
                    f"cannot start {service.name}: its bind source {volume.source} does not exist",
                    volume.span or service.span,
                    "make it, or let Cais make a folder there (create_host_path: true)",
                )
            )
        if not volume.target.startswith("/"):  # the daemon: "mount path must be absolute"
            hint = "write the path in the service with a leading /"
            if volume.target[1:2] == ":":
                hint = "a single letter before a colon reads as a Windows drive: give the volume a longer name"
            message = f"cannot start {service.name}: the mount target {volume.target} is not absolute"
            found.append(Diagnostic(ERROR, "mount-target", message, volume.span or service.span, hint))
    for word, grants, things in _grants(stack, service):
        for grant in grants:
            thing = things.get(grant.source)
            if thing is None or not thing.file or thing.file in sockets or os.path.lexists(thing.file):
                continue
            message = f"cannot start {service.name}: the file {thing.file} of its {word} {grant.source} does not exist"
            found.append(
                Diagnostic(ERROR, f"missing-{word}", message, thing.span or grant.span or service.span, "make the file")
            )
    return found


def _grants(stack: Stack, service: Service) -> tuple[tuple[str, Sequence[Grant], Mapping[str, FileObject]], ...]:
    return ("config", service.configs, stack.configs), ("secret", service.secrets, stack.secrets)


def _sources(stack: Stack, service: Service) -> Iterator[tuple[str, Span | None]]:
    """Every path of the host that a service is given, by whatever word."""
    for volume in service.volumes:
        span = volume.span or service.span
        if volume.type == "bind":
            yield volume.source, span
        elif volume.type == "volume" and (named := stack.volumes.get(volume.source)):
            device = dict(named.driver_opts).get("device", "")
            if device.startswith("/"):
                yield device, named.span or span
    for _, grants, things in _grants(stack, service):
        for grant in grants:
            if (thing := things.get(grant.source)) and thing.file:
                yield thing.file, grant.span or service.span


def docker_folders(stack: Stack, service: Service) -> tuple[Diagnostic, ...]:
    """A warning for each folder that Docker's socket lies in, or would: what binds it may mean to talk to Docker."""
    found = {}
    for source, span in _sources(stack, service):
        real = os.path.realpath(source).rstrip("/") + "/"
        inside = [socket for socket in DOCKER_SOCKETS if os.path.realpath(socket).startswith(real)]
        if not inside:
            continue
        why = "which Docker's socket would be in, and there is no Docker here to talk to"
        if os.path.exists(inside[0]):
            why = "and this machine's Docker socket with it: whoever may write to that is root here"
        message = f"{service.name} gets {source}, {why}"
        found[source] = Diagnostic(WARNING, "docker-socket-folder", message, span, "bind only the folder it needs")
    return tuple(found.values())


def warnings(stack: Stack, service: Service) -> tuple[Diagnostic, ...]:
    """What will be otherwise than the file says, or than its writer may think."""
    return (*docker_folders(stack, service), *unheeded(stack, service), *restart_warnings(stack, service))


def _health_waits(service: Service, desired: Desired, unknown: set[str]) -> list[Diagnostic]:
    """Waiting for the health of what has no healthcheck would never end."""
    without = {spec.service for spec in desired.instances if spec.health is None} - unknown
    return [
        Diagnostic(
            ERROR,
            "no-healthcheck",
            f"cannot start {service.name}: it waits for {d.service} to be healthy, and {d.service} has no healthcheck",
            d.span or service.span,
            f"give {d.service} a healthcheck, or wait for service_started",
        )
        for d in service.depends_on
        if d.condition == "service_healthy" and d.service in without and d.required
    ]


def external_volumes(stack: Stack, services: Iterable[Service]) -> list[Diagnostic]:
    """A volume that somebody else keeps has to be there: an empty one in its place would look like lost data."""
    from cais.engine.native.names import volume_folder

    found: dict[str, Diagnostic] = {}
    for service in services:
        for volume in service.volumes:
            named = stack.volumes.get(volume.source) if volume.type == "volume" else None
            if named is None or not named.external or named.key in found:
                continue
            folder = volume_folder(state_folder("volumes"), named.name)
            if not folder.is_dir():
                found[named.key] = Diagnostic(
                    ERROR,
                    "no-external-volume",
                    f'cannot start {service.name}: external volume "{named.name}" not found',
                    named.span or volume.span,
                    f"start the project that has it, make it with 'mkdir -p {folder}', or remove external: true",
                )
    return list(found.values())


def external_networks(stack: Stack, services: Iterable[Service]) -> list[Diagnostic]:
    """A warning for each network that other projects would be on too."""
    used = {link.name for service in services if not service.network_mode for link in service.networks}
    return [
        Diagnostic(
            WARNING,
            "external-network",
            f"network {network.name} is external: here it is this project's own, other projects are not on it",
            network.span,
        )
        for key, network in stack.networks.items()
        if network.external and key in used
    ]


def early(
    stack: Stack,
    services: Sequence[Service],
    states: Sequence[InstanceState],
    scales: Mapping[str, int] | None = None,
) -> list[Diagnostic]:
    """What can be known before any image is there: nobody should wait for a download to hear of a taken port."""
    from cais.engine.native.specs import ports_of, refuse_scaling

    found = external_volumes(stack, services) + network_faults(stack, services)
    wanted = []
    for service in services:
        found += _binds(stack, service)
        found += value_faults(stack, service)
        found += refused(stack, service)
        try:
            refuse_scaling(service, (scales or {}).get(service.name, service.replicas))
            if service.network_mode not in ("host", "none") and service.replicas:
                wanted += [_Wanted(service.name, service.name, port) for port in ports_of(service, 1)]
        except CaisError as error:
            found += error.diagnostics()
    return found + _ports(stack, wanted, states)


def _own(states: Iterable[InstanceState]) -> set[tuple[str, int, str]]:
    """Ports that this project holds already, each at its address: they are free for it."""
    return {(p.host_ip, p.host_port, p.protocol) for state in states if state.pid for p in state.ports}


def _is_own(port: PortSpec, own: set[tuple[str, int, str]]) -> bool:
    """Held by this project, at an address that this one's would overlap."""
    return any(
        (number, protocol) == (port.host_port, port.protocol) and _overlap(ip, port.host_ip)
        for ip, number, protocol in own
    )


def _overlap(one: str, other: str) -> bool:
    """Whether two sockets with one port cannot listen at both addresses. No address is all of IPv4 and of IPv6."""
    if one == other or not one or not other:
        return True
    return (":" in one) == (":" in other) and not {"0.0.0.0", "::"}.isdisjoint((one, other))


def _place(port: PortSpec) -> str:
    host = f"[{port.host_ip}]" if ":" in port.host_ip else port.host_ip
    return f"{host}:{port.host_port}" if host else str(port.host_port)


class _Wanted(NamedTuple):
    service: str
    who: str  # the instance, or the service where instances are not known yet
    port: PortSpec


def _ports(stack: Stack, all_wanted: Iterable[_Wanted], states: Sequence[InstanceState]) -> list[Diagnostic]:
    """A port that somebody else holds, or that is wanted twice by our own."""
    own = _own(states)
    fine: dict[tuple[int, str], list[_Wanted]] = {}
    found = []
    for wanted in all_wanted:
        service, _, port = wanted
        if not port.host_port:
            continue
        others = fine.setdefault((port.host_port, port.protocol), [])
        other = next((o for o in others if _overlap(o.port.host_ip, port.host_ip)), None)
        why, hint = "", ""
        notes: tuple[Note, ...] = ()
        if other is not None:
            why, hint = f"{other.who} publishes {_place(other.port)}", "publish one of the two at another port"
            notes = (Note(f"{other.who} publishes it", _port_span(stack, other.service, other.port)),)
        elif not _is_own(port, own):
            why = _refusal(port)
            if "is taken" in why:  # of a port that takes root, or an address that is not here, `why` says the way out
                hint = "end what holds it, or publish another port"
            if why and ports.held_by(port, str(project_home(stack.name))):
                why = ""  # another `up` of this project was faster: its supervisor knows what goes before what comes
        if not why:
            others.append(wanted)
            continue
        message = f"cannot start {service}: port {_place(port)} cannot be published: {why}"
        found.append(Diagnostic(ERROR, "port-taken", message, _port_span(stack, service, port), hint, notes))
    return found


def _refusal(port: PortSpec) -> str:
    try:
        ports.check(port)
    except Refused as refused:
        return refused.why
    return ""


def _port_span(stack: Stack, name: str, port: PortSpec) -> Span | None:
    service = stack.services[name]
    for declared in service.ports:
        first, _, last = declared.published.partition("-")
        same = (declared.target, declared.protocol, declared.host_ip) == (port.target, port.protocol, port.host_ip)
        if same and first and int(first) <= port.host_port <= int(last or first):
            return declared.span or service.span
    return service.span


def make_places(services: Iterable[Service], desired: Desired) -> None:
    """The host side of mounts: bind folders as Docker makes them, volumes' folders. Raises CaisError."""
    try:
        _make_places(services, desired)
    except OSError as error:
        raise CaisError(
            f"cannot make {error.filename}, which a service mounts: {error.strerror}",
            hint="make it by hand, or mount another place",
        ) from error


def _make_places(services: Iterable[Service], desired: Desired) -> None:
    from pathlib import Path

    from cais.paths import private_dir

    asked = {volume.source: volume for service in services for volume in service.volumes if volume.type == "bind"}
    for spec in desired.instances:
        for mount in spec.root.mounts:
            if mount.kind == "volume" and mount.source not in spec.volumes:
                folder = Path(mount.source)
                private_dir(folder.parent)
                # The volume's own mode is what a service sees at its target; what is above it keeps others out.
                folder.mkdir(mode=0o755, exist_ok=True)
            elif mount.kind == "bind" and not os.path.lexists(mount.source):
                volume = asked.get(mount.source)
                if volume is not None and volume.create_host_path:
                    os.makedirs(mount.source, exist_ok=True)
