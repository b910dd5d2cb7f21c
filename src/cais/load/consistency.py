"""What a project must be beyond its schema: names that lead somewhere, no circles, no contradictions."""

from __future__ import annotations

from typing import Any

from cais.load.job import Job, nearest
from cais.load.ports import is_address
from cais.source.tree import NOWHERE, Map

_NAMESPACES = ("network_mode", "ipc", "pid", "uts", "cgroup")


def validate(job: Job, tree: Map) -> None:
    """Rules that hold even without the consistency check."""
    for section, wanted in (("configs", ("file", "environment", "content")), ("secrets", ("file", "environment"))):
        for name, entry in _items(tree, section):
            _file_object(job, section, name, entry, wanted, tree[section].where(name))
    for name, entry in _items(tree, "volumes"):
        _external(job, "volumes", name, entry)
    for name, service in _items(tree, "services"):
        for index, volume in enumerate(service.get("volumes") or ()):
            if volume.__class__ is Map:
                _volume(job, name, volume, service["volumes"].at[index])
        ports = service.get("ports")
        for index, port in enumerate(ports or ()):
            host = port.get("host_ip") if port.__class__ is Map else None
            if host is not None and not is_address(str(host)):
                job.error("port", f'service "{name}": host_ip "{host}" is not an IP address', ports.at[index])
        _devices(job, name, service)
    for name, entry in _items(tree, "jobs"):
        triggers = entry.get("triggers")
        if triggers.__class__ is Map and not any(_given(triggers, key) for key in ("manual", "schedule")):
            job.error(
                "missing-key", f'job "{name}": triggers needs manual or schedule', entry.where("triggers"), key=True
            )


def _file_object(job: Job, section: str, name: str, entry: Map, wanted: tuple[str, ...], at: int) -> None:
    given = [key for key in wanted if key in entry]
    if len(given) > 1:
        job.error("conflict", f'{section[:-1]} "{name}" may have only one of {", ".join(given)}',
                  entry.where(given[1]), key=True)  # fmt: skip
    elif not any(_given(entry, key) for key in (*wanted, "driver", "external")):
        job.error("missing-key", f'{section[:-1]} "{name}" needs {", ".join(wanted)} or external', at, key=True)


def _external(job: Job, section: str, name: str, entry: Map) -> None:
    if not entry.get("external"):
        return
    for key, value in entry.items():
        if key in ("name", "external") or key.startswith("x-") or value in (None, "", False):
            continue
        job.error(
            "conflict",
            f'{section[:-1]} "{name}" is external: {key} cannot be given',
            entry.where(key),
            key=True,
        )


def _volume(job: Job, name: str, volume: Map, at: int) -> None:
    kind = volume.get("type")
    if kind == "bind" and volume.get("source") is None and not volume.lost("source"):
        job.error("volume", f'service "{name}": a {kind} mount needs a source', at)
    if not volume.get("target") and not volume.lost("target") and kind != "":
        job.error("volume", f'service "{name}": a mount needs a target', at)


def _devices(job: Job, name: str, service: Map) -> None:
    deploy = service.get("deploy")
    resources = deploy.get("resources") if deploy.__class__ is Map else None
    reservations = resources.get("reservations") if resources.__class__ is Map else None
    devices: Any
    for devices in (reservations.get("devices") if reservations.__class__ is Map else None, service.get("gpus")):
        for index, device in enumerate(devices or ()):
            if device.__class__ is Map and device.get("count") is not None and device.get("device_ids"):
                job.error("conflict", f'service "{name}": count and device_ids exclude each other', devices.at[index])


def consistent(job: Job, tree: Map, disabled: Map) -> None:
    """The checks of a whole project; `disabled` are the services that no profile activates."""
    services = tree.get("services")
    services = services if services.__class__ is Map else Map()
    for name, service in services.items():
        if service.__class__ is Map:
            _service(job, tree, name, service, services, disabled)
    _jobs(job, tree, services, disabled)
    for name, entry in _items(tree, "secrets"):
        ways = ("file", "environment", "external")
        told = not any(_given(entry, key) for key in (*ways, "driver"))  # by `validate`
        if not told and not any(entry.get(key) or (key not in entry and _given(entry, key)) for key in ways):
            at = tree["secrets"].where(name)
            job.error("missing-key", f'secret "{name}" needs file or environment', at, key=True)
    _circles(job, services)


def _jobs(job: Job, tree: Map, services: Map, disabled: Map) -> None:
    """A job's name is no service's; it may wait for services and for jobs."""
    jobs = tree.get("jobs") if tree.get("jobs").__class__ is Map else Map()
    for name, entry in _items(tree, "jobs"):
        if name in services or name in disabled:
            job.error("conflict", f'"{name}" is the name of a service and of a job', jobs.where(name), key=True)
        depends = entry.get("depends_on")
        for other in list(depends) if depends.__class__ is Map else ():
            optional = depends[other].__class__ is Map and depends[other].get("required") is False
            known = other in jobs or other in services or jobs.lost(other) or services.lost(other)
            if not known and not (optional and other in disabled):
                message = f'job "{name}" depends on "{other}", which is not defined'
                job.error("undefined-service", message, depends.where(other), key=True, hint=nearest(other, services))


def _service(job: Job, tree: Map, name: str, service: Map, services: Map, disabled: Map) -> None:
    at = services.where(name)
    meant = job.failed and any(service.lost(key) or _meant(service, key) for key in ("image", "build", "provider"))
    if (
        name not in job.incomplete
        and not meant
        and not service.get("image")
        and service.get("build") is None
        and service.get("provider") is None
    ):
        job.error(
            "no-image",
            f'service "{name}" has neither an image nor a build',
            at,
            key=True,
            hint="give it image or build",
        )
    if service.get("network_mode") and service.get("networks"):
        job.error(
            "conflict", f'service "{name}" has both network_mode and networks', service.where("network_mode"), key=True
        )
    _references(job, tree, name, service)
    _dependencies(job, name, service, services, disabled)
    deploy = service.get("deploy")
    if deploy.__class__ is Map:
        _limits(job, name, service, deploy)
    scale = service.get("scale")
    if scale is None and deploy.__class__ is Map:
        scale = deploy.get("replicas")
    if service.get("container_name") and scale.__class__ is int and scale > 1:
        job.error(
            "conflict",
            f'service "{name}" has a container_name and {scale} replicas: a name can exist once',
            service.where("container_name"),
        )
    _mounts(job, name, service)
    _platform(job, name, service)
    build = service.get("build")
    if build.__class__ is Map and build.get("dockerfile") and build.get("dockerfile_inline"):
        job.error(
            "conflict",
            f'service "{name}" has both dockerfile and dockerfile_inline',
            build.where("dockerfile_inline"),
            key=True,
            notes=[("the other", build.where("dockerfile"))],
        )
    contexts: Any = build.get("additional_contexts") if build.__class__ is Map else None
    for context, source in contexts.items() if contexts.__class__ is Map else ():
        if source.__class__ is str and source.startswith("service:"):
            _built(job, name, source[len("service:") :], contexts.where(context), services, disabled)
    develop = service.get("develop")
    watches: Any = develop.get("watch") if develop.__class__ is Map else None
    for index, watch in enumerate(watches or ()):
        if watch.__class__ is not Map or watch.lost("action") or watch.lost("target"):
            continue
        if watch.get("action") not in ("rebuild", "restart") and not watch.get("target"):
            job.error("missing-key", f'service "{name}": {watch.get("action")} needs a target', watches.at[index])
    check = service.get("healthcheck")
    if check.__class__ is Map and check.get("test"):
        test = check["test"]
        if test.__class__ is not str and test[0] not in ("NONE", "CMD", "CMD-SHELL"):
            job.error(
                "healthcheck",
                f'service "{name}": the first item of healthcheck.test is CMD, CMD-SHELL or NONE, not "{test[0]}"',
                test.where(0),
            )


def _mounts(job: Job, name: str, service: Map) -> None:
    """One mount at one place, be it a volume or a tmpfs."""
    seen: dict[Any, int] = {}
    tmpfs, volumes = service.get("tmpfs"), service.get("volumes")
    mounts = [(str(item).partition(":")[0], tmpfs.where(index)) for index, item in enumerate(tmpfs or ())]
    mounts += [
        (volume.get("target"), volumes.where(index))
        for index, volume in enumerate(volumes or ())
        if volume.__class__ is Map and volume.get("target")
    ]
    for target, at in mounts:
        if target in seen:
            notes = [("the other", seen[target])]
            job.error("conflict", f'service "{name}": something is mounted at {target} already', at, notes=notes)
        seen.setdefault(target, at)


def _platform(job: Job, name: str, service: Map) -> None:
    build, platform = service.get("build"), service.get("platform")
    platforms = build.get("platforms") if build.__class__ is Map else None
    if platforms and platform and platform not in platforms:
        job.error(
            "conflict",
            f'service "{name}": platform "{platform}" is not among build.platforms',
            service.where("platform"),
            notes=[("build.platforms", build.where("platforms"))],
        )


def _limits(job: Job, name: str, service: Map, deploy: Map) -> None:
    """A limit in both places must be the same (docker/compose: "can't set distinct values")."""
    from cais.load.forms import number_of

    resources = deploy.get("resources")
    resources = resources if resources.__class__ is Map else Map()
    limits, reservations = resources.get("limits"), resources.get("reservations")
    pairs = (
        ("scale", "replicas", deploy),
        ("mem_limit", "memory", limits),
        ("cpus", "cpus", limits),
        ("pids_limit", "pids", limits),
        ("mem_reservation", "memory", reservations),
    )
    for mine, theirs, holder in pairs:
        left = number_of(mine, service.get(mine))
        if left is None or holder.__class__ is not Map or holder.lost(theirs):
            continue
        right = number_of(mine, holder.get(theirs))
        if mine == "scale":
            if right is None:
                deploy.put("replicas", service["scale"], service.where("scale"))
            differ = right is not None and left != right
            where = "deploy.replicas"
        else:  # where there are limits at all, one that is not among them is 0
            differ = left != 0 and left != (right or 0)
            where = f"deploy.resources.{'reservations' if holder is reservations else 'limits'}.{theirs}"
        if differ:
            notes = [("the other value", holder.where(theirs))] if theirs in holder else []
            hint = "" if theirs in holder else f"give {where} the same value, or only one of the two"
            message = f'service "{name}": {mine} and {where} differ'
            job.error("conflict", message, service.where(mine), key=True, hint=hint, notes=notes)


def _built(job: Job, name: str, other: str, at: int, services: Map, disabled: Map) -> None:
    """An additional context `service:x` needs a service x that is built."""
    if other not in services:
        if other not in disabled and not services.lost(other):
            message = f'service "{name}" takes a build context from "{other}", which is not defined'
            job.error("undefined-service", message, at, hint=nearest(other, services))
    elif (
        services[other].__class__ is Map and services[other].get("build") is None and not services[other].lost("build")
    ):
        job.error("undefined-service", f'service "{name}" takes a build context from "{other}", which has no build', at)


def _references(job: Job, tree: Map, name: str, service: Map) -> None:
    for network in service.get("networks") or ():
        _defined(job, tree, "networks", name, network, service["networks"].where(network), key=True)
    volumes = service.get("volumes")
    for index, volume in enumerate(volumes or ()):
        if volume.__class__ is Map and volume.get("type") == "volume" and volume.get("source"):
            at = volume.where("source")
            _defined(job, tree, "volumes", name, volume["source"], at if at != NOWHERE else volumes.at[index])
    for section in ("configs", "secrets"):
        grants = service.get(section)
        for index, grant in enumerate(grants or ()):
            if grant.__class__ is Map and not grant.lost("source"):
                _defined(job, tree, section, name, grant.get("source", ""), grants.at[index])
    build = service.get("build")
    if build.__class__ is Map:
        for index, grant in enumerate(build.get("secrets") or ()):
            if grant.__class__ is Map and not grant.lost("source"):
                _defined(job, tree, "secrets", name, grant.get("source", ""), build["secrets"].at[index])
    for model in service.get("models") or ():
        _defined(job, tree, "models", name, model, service["models"].where(model), key=True)


def _defined(job: Job, tree: Map, section: str, service: str, wanted: Any, at: int, *, key: bool = False) -> None:
    known = tree.get(section)
    known = known if known.__class__ is Map else Map()
    if wanted in known or known.lost(wanted) or tree.lost(section) or (job.failed and _meant(tree, section)):
        return
    job.error(
        f"undefined-{section[:-1]}",
        f'service "{service}" uses {section[:-1]} "{wanted}", which is not defined',
        at,
        key=key,
        hint=nearest(str(wanted), known) or f"define it under the top-level {section}",
    )


def _given(entry: Map, key: str) -> bool:
    """Whether `key` is there, or was, with a value or a name that was reported."""
    return key in entry or entry.lost(key) or _meant(entry, key)


def _meant(holder: Map, key: str) -> bool:
    """Whether an unknown key of `holder` is `key` with a slip of the pen: it was reported, its absence is no news."""
    from difflib import get_close_matches

    if key in holder:
        return False
    return any(get_close_matches(name, [key], 1, 0.72) for name in _unknown(holder))


def _unknown(holder: Map) -> set[str]:
    from cais.load.schema import FILE, SERVICE

    known = (SERVICE.fields, FILE.fields)
    return {name for name in holder if not name.startswith("x-") and not any(name in fields for fields in known)}


def _dependencies(job: Job, name: str, service: Map, services: Map, disabled: Map) -> None:
    depends = service.get("depends_on")
    for other in list(depends) if depends.__class__ is Map else ():
        if other in services or services.lost(other):
            continue
        entry = depends[other]
        if other in disabled and entry.__class__ is Map and entry.get("required") is False:
            continue  # `required: false` speaks of a service no profile activates, not of one that is nowhere
        at = depends.where(other)
        if other in disabled:
            profiles = disabled[other].get("profiles") or ()
            job.error(
                "inactive-service",
                f'service "{name}" depends on "{other}", which no active profile includes',
                at,
                key=True,
                hint=f"activate it with --profile {profiles[0]}" if profiles else "",
            )
        else:
            job.error(
                "undefined-service",
                f'service "{name}" depends on "{other}", which is not defined',
                at,
                key=True,
                hint=nearest(other, services),
            )


def container_names(job: Job, tree: Map) -> None:
    """No two of the services that take part have one `container_name`."""
    seen: dict[str, int] = {}
    holders: dict[str, str] = {}
    for name, service in _items(tree, "services"):
        container = service.get("container_name")
        if not container:
            continue
        at = service.where("container_name")
        if container in seen:
            message = f'services "{holders[container]}" and "{name}" have one container_name, "{container}"'
            job.error("conflict", message, at, notes=[("the other", seen[container])])
        seen.setdefault(container, at)
        holders.setdefault(container, name)


def _circles(job: Job, services: Map) -> None:
    """Depth first, with a stack of its own; each circle is reported once."""
    done: set[str] = set()
    for start in services:
        if start in done:
            continue
        trail: list[str] = [start]
        on_trail = {start}
        open_iterators = [iter(_needs(services, start))]
        while trail:
            other = next(open_iterators[-1], None)
            if other is None:
                done.add(trail[-1])
                on_trail.discard(trail.pop())
                open_iterators.pop()
            elif other in on_trail:
                circle = [*trail[trail.index(other) :], other]
                last = services[trail[-1]]
                at = last["depends_on"].where(other) if other in (last.get("depends_on") or ()) else NOWHERE
                job.error("dependency-cycle", f"services wait for each other: {' -> '.join(circle)}", at, key=True)
                return
            elif other not in done and other in services:
                trail.append(other)
                on_trail.add(other)
                open_iterators.append(iter(_needs(services, other)))


def _needs(services: Map, name: str) -> list[str]:
    service = services.get(name)
    depends = service.get("depends_on") if service.__class__ is Map else None
    return list(depends) if depends.__class__ is Map else []


def _items(tree: Map, section: str) -> list[tuple[str, Map]]:
    entries = tree.get(section)
    return [(k, v) for k, v in entries.items() if v.__class__ is Map] if entries.__class__ is Map else []
