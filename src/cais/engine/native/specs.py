"""Stack and images -> `Desired`: what each instance is to be, all decided. Pure: reads no file, asks no kernel.

An image's configuration and a service are merged as Docker does it (moby `daemon/commit.go`, `merge`), a service's
attributes become a container's as Compose does it (`pkg/compose/create.go`).
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from cais.diag.api import CaisError
from cais.engine.native.mounts import Places, mounts_of
from cais.engine.native.names import place_name, short_id
from cais.engine.native.networks import ipv4_of, used_networks
from cais.engine.native.restarts import restart_of
from cais.engine.native.signals import signal_number
from cais.model.api import Service, Stack
from cais.model.image import Healthcheck, Image, ImageConfig
from cais.sandbox.api import DEFAULT_PATH, Attachment, Net, NetworkSpec, PortSpec, Process, Root
from cais.supervise.api import Dependency, Desired, Health, InstanceSpec, Log, Restart

# moby `daemon/oci_linux.go` and `oci/defaults.go`: what a container has when nobody said anything.
SHM_SIZE = 64 * 1024 * 1024
# moby `daemon/health.go`
INTERVAL, TIMEOUT, START_PERIOD, START_INTERVAL, RETRIES = 30.0, 30.0, 0.0, 5.0, 3


class Options(NamedTuple):
    """What the command line adds to the file."""

    scales: Mapping[str, int] = {}
    services: frozenset[str] | None = None  # only these; None: all


EVERYTHING = Options()


def desired(
    stack: Stack,
    images: Mapping[str, Image],
    places: Places,
    options: Options = EVERYTHING,
    web: Mapping[str, tuple[int, ...]] = {},
) -> Desired:
    """Every instance of the chosen services. `web`: ports of a service that a browser opens."""
    chosen = [s for s in stack.services.values() if options.services is None or s.name in options.services]
    instances: list[InstanceSpec] = []
    empty: list[str] = []
    aliases = _link_aliases(stack)
    for service in chosen:
        count = options.scales.get(service.name, service.replicas)
        refuse_scaling(service, count)
        if not count:
            empty.append(service.name)
        for number in range(1, count + 1):
            spec = instance(
                stack,
                service,
                number,
                images[service.name],
                places,
                aliases,
                web=web.get(service.name, ()),
                count=count,
            )
            instances.append(spec)
    return Desired(
        project=stack.name,
        networks=networks_of(stack, chosen),
        instances=tuple(instances),
        empty=tuple(empty),
        config_files=tuple(stack.files),
        working_dir=stack.working_dir,
    )


def instance_id(stack: Stack, service: Service, number: int) -> str:
    return service.container_name or f"{stack.name}-{service.name}-{number}"


def instance(
    stack: Stack,
    service: Service,
    number: int,
    image: Image,
    places: Places,
    aliases: Mapping[str, tuple[str, ...]],
    *,
    web: tuple[int, ...] = (),
    count: int = 1,
    id: str = "",
    oneoff: bool = False,
) -> InstanceSpec:
    """One replica."""
    id = place_name("container", id or instance_id(stack, service, number), service.span)
    config = image.config
    argv = command_of(service, config)
    if not argv:
        raise CaisError(
            f"cannot start {service.name}: neither its image ({image.origin or service.image}) "
            "nor the file gives a command",
            hint=f"say 'command:' in service {service.name}",
            span=service.span,
        )
    hostname = service.hostname or short_id(stack.name, id)
    mounts, anonymous = mounts_of(stack, service, image, places, id)
    policy = restart_of(service)
    spec = InstanceSpec(
        id=id,
        service=service.name,
        number=number,
        config_hash="",
        root=Root(
            layers=image.layers,
            upper=str(places.home / "uppers" / id),
            mounts=mounts,
            read_only=service.read_only,
            shm_size=service.shm_size or SHM_SIZE,
        ),
        process=Process(
            argv=argv,
            env=environment_of(service, config, hostname),
            cwd=service.working_dir or config.working_dir or "/",
            user=service.user or config.user,
            group_add=service.group_add,
            tty=service.tty,
            init=service.init,
            cap_add=service.cap_add,
            cap_drop=service.cap_drop,
            privileged=service.privileged,
            no_new_privileges=any(o.replace("=", ":") in NO_NEW for o in service.security_opt),
            ulimits={name: (soft, hard) for name, soft, hard in service.ulimits},
            sysctls=dict(service.sysctls),
            oom_score_adj=service.oom_score_adj,
            **limits_of(service),
        ),
        net=net_of(stack, service, id, hostname, aliases.get(service.name, ()), oneoff=oneoff),
        ports=() if oneoff or service.network_mode in ("host", "none") else ports_of(service, number),
        depends_on=dependencies_of(service),
        health=health_of(service, config),
        restart=policy if not oneoff else Restart(),
        stop_signal=signal_number(service.stop_signal or config.stop_signal or "SIGTERM", service),
        stop_grace=10.0 if service.stop_grace_period is None else service.stop_grace_period,
        log=log_of(service),
        oneoff=oneoff,
        attach=service.attach,
        stdin_open=service.stdin_open,
        labels={**dict(config.labels), **dict(service.labels), **_compose_labels(stack, service, number, oneoff)},
        image=service.image or f"{stack.name}-{service.name}",
        fidelity=image.fidelity,
        differs=image.differs,
        web_ports=web,
        span=str(service.span or ""),
        volumes=anonymous,
    )
    return msgspec.structs.replace(spec, config_hash=config_hash(spec, image))


def limits_of(service: Service) -> dict[str, Any]:
    """`deploy.resources.limits`, else the service's own attributes (where both are given they agree: the loader sees
    to it). -1, Docker's "no limit", is 0 here."""
    deploy = service.deploy
    return {
        "memory": max(0, deploy.memory or service.mem_limit),
        "cpus": max(0.0, deploy.cpus or service.cpus),
        "pids": max(0, deploy.pids or service.pids_limit),
    }


NO_NEW = ("no-new-privileges", "no-new-privileges:true")


def _compose_labels(stack: Stack, service: Service, number: int, oneoff: bool) -> dict[str, str]:
    prefix = "com.docker.compose."
    return {
        f"{prefix}project": stack.name,
        f"{prefix}service": service.name,
        f"{prefix}container-number": str(number),
        f"{prefix}oneoff": str(oneoff),
        f"{prefix}project.working_dir": stack.working_dir,
        f"{prefix}project.config_files": ",".join(stack.files),
    }


def config_hash(spec: InstanceSpec, image: Image) -> str:
    """What must be the same for an instance to stay. As in Compose, `depends_on` is not part of it; where the image
    lies on this machine is not either, what is in it (its digest) is."""
    replace = msgspec.structs.replace
    core = replace(
        spec,
        root=replace(spec.root, layers=(image.digest,), upper=""),
        depends_on=(),
        config_hash="",
        span="",
        labels={k: v for k, v in spec.labels.items() if not k.startswith("com.docker.compose.")},
        attach=True,
        web_ports=(),
        fidelity="",
        differs=(),
    )
    return hashlib.sha256(msgspec.json.encode(core, order="deterministic")).hexdigest()


def command_of(service: Service, config: ImageConfig) -> tuple[str, ...]:
    """moby's `merge`: an entrypoint of one's own resets the image's command, an empty command is the image's."""
    entrypoint, command = service.entrypoint, service.command or ()
    own = native_command(service)
    if own:
        return own
    if not entrypoint:
        command = command or config.cmd
        if entrypoint is None:
            entrypoint = config.entrypoint
    if entrypoint == ("",):
        entrypoint = ()
    return (*entrypoint, *command)


def native_command(service: Service) -> tuple[str, ...] | None:
    """`x-cais: {native: {command: …}}`; None when it is not said."""
    native = service.x_cais.get("native") if isinstance(service.x_cais, Mapping) else None
    if not isinstance(native, Mapping) or "command" not in native:
        return None
    match native["command"]:
        case str(text):
            return ("/bin/sh", "-c", text)
        case [*words] if all(isinstance(word, (str, int, float)) for word in words):
            return tuple(str(word) for word in words)
    raise CaisError(
        f"cannot start {service.name}: its x-cais.native.command is neither a text nor a list of words",
        hint='write it as a shell line or as ["program", "argument"]',
        span=service.span,
    )


def environment_of(service: Service, config: ImageConfig, hostname: str) -> dict[str, str]:
    """Docker's own, then the image's, then the service's; a variable without a value is taken away. HOME comes from
    the root's passwd file, which the sandbox reads."""
    env = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname}
    if service.tty:
        env["TERM"] = "xterm"
    env.update(config.env)
    for name, value in service.environment:
        if value is None:
            env.pop(name, None)
        else:
            env[name] = value
    return env


def health_of(service: Service, config: ImageConfig) -> Health | None:
    """The service's healthcheck over the image's, field by field (moby `merge`), then the defaults."""
    own, image = service.healthcheck, config.healthcheck
    if own is None and image is None:
        return None
    own = own or Healthcheck(())
    image = image or Healthcheck(())
    test = own.test or image.test
    if not test or test[0] == "NONE":
        return None
    match test[0]:
        case "CMD":
            argv = test[1:]
        case "CMD-SHELL":
            argv = (*config.shell, *test[1:])
        case _:
            argv = test
    if not argv:
        return None
    return Health(
        argv=argv,
        interval=own.interval or image.interval or INTERVAL,
        timeout=own.timeout or image.timeout or TIMEOUT,
        start_period=own.start_period or image.start_period or START_PERIOD,
        start_interval=own.start_interval or image.start_interval or START_INTERVAL,
        retries=own.retries or image.retries or RETRIES,
    )


def dependencies_of(service: Service) -> tuple[Dependency, ...]:
    """`depends_on`, and what other attributes imply (compose-go `inferImplicitDependencies`)."""
    found = {
        d.service: Dependency(
            service=d.service,
            condition=d.condition,  # type: ignore[arg-type]
            restart=d.restart,
            required=d.required,
        )
        for d in service.depends_on
    }
    implied: list[str] = []
    if service.network_mode.startswith("service:"):
        implied.append(service.network_mode[8:])
    implied += [link.partition(":")[0] for link in service.links]
    implied += [v.partition(":")[0] for v in service.volumes_from if not v.startswith("container:")]
    for name in implied:
        found.setdefault(name, Dependency(service=name, restart=True))
    return tuple(found.values())


def log_of(service: Service) -> Log:
    options = dict(service.logging_options)
    size = _size(options.get("max-size", ""))
    files = options.get("max-file", "")
    return Log(
        max_size=size or Log().max_size,
        # Docker keeps one file by default, however long it grows; with a size but no count it keeps one of that size.
        max_file=int(files) if files.isdigit() and int(files) > 0 else (1 if size else Log().max_file),
    )


def _size(text: str) -> int:
    word = text.strip().lower().removesuffix("b")
    factor = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}.get(word[-1:], 1)
    number = word.rstrip("kmg")
    return int(float(number) * factor) if number.replace(".", "", 1).isdigit() else 0


# -- networks and ports ---------------------------------------------------------------------------------------------


def networks_of(stack: Stack, services: Iterable[Service]) -> tuple[NetworkSpec, ...]:
    """The networks that somebody is on. An external one is this project's alone: projects do not see each other."""
    found = []
    for network in used_networks(stack, services).values():
        subnet, gateway = ipv4_of(network)
        found.append(NetworkSpec(name=network.name, internal=network.internal, subnet=subnet, gateway=gateway))
    return tuple(found)


def _link_aliases(stack: Stack) -> dict[str, tuple[str, ...]]:
    """`links: ["db:database"]`: the other names a service is given by its users."""
    found: dict[str, tuple[str, ...]] = {}
    for service in stack.services.values():
        for link in service.links:
            target, colon, alias = link.partition(":")
            if colon:
                found[target] = (*found.get(target, ()), alias)
    return found


def net_of(
    stack: Stack, service: Service, id: str, hostname: str, aliases: tuple[str, ...], *, oneoff: bool = False
) -> Net:
    mode = service.network_mode
    if mode.startswith("service:"):
        target = stack.services[mode[8:]]
        mode = f"instance:{instance_id(stack, target, 1)}"
    elif mode.startswith("container:"):
        mode = f"instance:{mode[10:]}"
    elif mode in ("", "bridge", "default"):
        mode = "bridge"
    attachments: list[Attachment] = []
    if mode == "bridge":
        for link in sorted(service.networks, key=lambda link: -link.priority):
            # A one-off answers to its own name alone (Compose: `run` without --use-aliases).
            names: tuple[str, ...] = (id, short_id(stack.name, id))
            if not oneoff:
                names = (service.name, *names, *aliases, *link.aliases)
            attachments.append(
                Attachment(
                    network=stack.networks[link.name].name,
                    names=tuple(dict.fromkeys(names)),
                    ipv4=link.ipv4,
                    mac=link.mac,
                )
            )
    return Net(
        mode=mode,
        attachments=tuple(attachments),
        hostname=hostname,
        domainname=service.domainname,
        extra_hosts=service.extra_hosts,
        dns=service.dns,
        dns_search=service.dns_search,
        dns_opt=service.dns_opt,
    )


def ports_of(service: Service, number: int) -> tuple[PortSpec, ...]:
    """A range of published ports gives each replica one of it."""
    found = []
    for port in service.ports:
        first, dash, last = port.published.partition("-")
        host = int(first) if first else 0
        if dash:
            host += number - 1
            if host > int(last):
                raise CaisError(
                    f"cannot publish port {port.target} of {service.name} {number}: "
                    f"the range {port.published} is used up",
                    hint="publish a longer range, or leave the host port out",
                    span=port.span or service.span,
                )
        if port.protocol not in ("tcp", "udp"):
            raise CaisError(
                f"cannot publish port {port.target}/{port.protocol} of {service.name}: "
                "only tcp and udp can be published",
                span=port.span or service.span,
            )
        found.append(
            PortSpec(
                target=port.target,
                host_ip=port.host_ip,
                host_port=host,
                protocol=port.protocol,  # type: ignore[arg-type]
            )
        )
    return tuple(dict.fromkeys(found))


def refuse_scaling(service: Service, count: int) -> None:
    if count <= 1:
        return
    if service.container_name:
        raise CaisError(
            f"cannot run {count} of {service.name}: it has the container_name {service.container_name!r}, "
            "and names are unique",
            hint="remove container_name, or run one",
            span=service.span,
        )
    fixed = [p for p in service.ports if p.published and "-" not in p.published]
    if fixed:
        raise CaisError(
            f"cannot run {count} of {service.name}: each would publish port {fixed[0].published}",
            hint="publish a range (8000-8010:80), leave the host port out, or run one",
            span=fixed[0].span or service.span,
        )


__all__ = ["Options", "Path", "desired", "instance", "instance_id"]
