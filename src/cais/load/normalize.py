"""What a file leaves unsaid: the default network, names of resources, dependencies that follow from others."""

from __future__ import annotations

from typing import Any

from cais.load import volumes
from cais.load.canonical import AS_WRITTEN, HOOK, Canonical, made
from cais.load.environment import bare_names
from cais.load.job import Job
from cais.load.merge import SERVICE, Merge
from cais.load.schema import CONTAINER
from cais.source.tree import List, Map, copy

CONTAINERS = ("services", "jobs")

NAMESPACES = ("network_mode", "ipc", "pid", "uts", "cgroup")


def defaults(job: Job, tree: Map, working_dir: str) -> None:
    """Values that are always there, normalized or not."""
    for container in [*_maps(tree, "services"), *_maps(tree, "jobs")]:
        build = container.get("build")
        if build.__class__ is Map and "context" not in build:
            build.put("context", working_dir if job.options.resolve_paths else ".", container.where("build"))
        for port, at in _listed(container, "ports"):
            for key, value in (("mode", "ingress"), ("protocol", "tcp")):
                if key not in port:
                    port.put(key, value, at)
        for grant, at in _listed(container, "secrets"):
            if "target" not in grant:
                grant.put("target", f"/run/secrets/{grant.get('source', '')}", at)
        _bound(container, created=True)
        for hook, _ in _listed(container, "pre_start"):
            _bound(hook, created=False)
        for devices in (container.get("gpus"), _devices(container)):
            for index, device in enumerate(devices or ()):
                if device.__class__ is Map and "count" not in device and "device_ids" not in device:
                    device.put("count", "all", devices.at[index])


def _bound(container: Map, *, created: bool) -> None:
    """Whether the source of a bind mount is made when it is missing, where nothing is said of it."""
    for volume, _ in _listed(container, "volumes"):
        bind = volume.get("bind")
        if bind.__class__ is Map and "create_host_path" not in bind:
            bind.put("create_host_path", created, volume.where("bind"))


def _listed(holder: Map, key: str) -> list[tuple[Map, int]]:
    items = holder.get(key)
    if items.__class__ is not List:
        return []
    return [(item, at) for item, at in zip(items, items.at, strict=True) if item.__class__ is Map]


def _devices(service: Map) -> Any:
    deploy = service.get("deploy")
    resources = deploy.get("resources") if deploy.__class__ is Map else None
    reservations = resources.get("reservations") if resources.__class__ is Map else None
    return reservations.get("devices") if reservations.__class__ is Map else None


def normalize(job: Job, tree: Map, name: str) -> None:
    _networks(tree)
    for section in CONTAINERS:
        for container_name, container in _items(tree, section):
            _container(job, container, tree[section].where(container_name))
    for section in ("networks", "volumes", "configs", "secrets"):
        entries = tree.get(section)
        if entries.__class__ is not Map:
            continue
        for key in list(entries):
            if entries[key] is None:
                entries[key] = Map()
            entry = entries[key]
            if entry.__class__ is Map and entry.get("name") is None:
                at = entries.where(key)
                entry.put("name", key if entry.get("external") else f"{name}_{key}", at)


def _container(job: Job, container: Map, at: int) -> None:
    if container.get("pull_policy") == "if_not_present":
        container["pull_policy"] = "missing"
    build = container.get("build")
    if build.__class__ is Map and build.get("dockerfile") is None and build.get("dockerfile_inline") is None:
        build.put("dockerfile", "Dockerfile", container.where("build"))
    bare_names(job, container)
    _dependencies(container, at)
    for volume in container.get("volumes") or ():
        if volume.__class__ is Map and volume.get("target").__class__ is str:
            volume["target"] = volumes.clean(volume["target"])
    if container.get("pre_start"):
        _inherit(job, container, container["pre_start"])


def _inherit(job: Job, service: Map, hooks: List) -> None:
    """What runs before a service runs as the service does, save for what it says itself and the volumes."""
    given = [key for key in service if key in CONTAINER and key != "volumes"]
    for index, hook in enumerate(hooks):
        if hook.__class__ is Map:
            base = copy(Map({key: service[key] for key in given}, {key: service.where(key) for key in given}))
            hooks[index] = Merge(job).mapping(base, hook, "pre_start", SERVICE)
            Canonical(job).service(hooks[index], HOOK if job.options.interpolate else AS_WRITTEN)


def _networks(tree: Map) -> None:
    used = False
    for section in CONTAINERS:
        for name, container in _items(tree, section):
            if container.get("provider") is not None or container.get("network_mode") is not None:
                continue
            if not container.get("networks"):
                at = tree[section].where(name)
                container.put("networks", Map({"default": None}, {"default": at}), at)
            used = used or "default" in container["networks"]
    if used:
        if tree.lost("networks"):
            return
        if tree.get("networks").__class__ is not Map:
            tree.put("networks", Map(), -1)
        if "default" not in tree["networks"]:
            tree["networks"].put("default", Map(), -1)


def _dependencies(service: Map, at: int) -> None:
    wanted: list[tuple[str, bool, int]] = []
    links = service.get("links")
    for index, link in enumerate(links or ()):
        wanted.append((str(link).split(":")[0], True, links.where(index) if links.__class__ is List else at))
    for key in NAMESPACES:
        value = service.get(key)
        if value.__class__ is str and value.startswith("service:"):
            wanted.append((value[8:], True, service.where(key)))
    sources = service.get("volumes_from")
    for index, source in enumerate(sources or ()):
        if not str(source).startswith("container:"):
            wanted.append((str(source).split(":")[0], False, sources.where(index)))
    for name, restart, place in wanted:
        if service.get("depends_on") is None:
            service.put("depends_on", Map(), place)
        if name not in service["depends_on"]:
            entry = made(place, condition="service_started", required=True, restart=restart)
            service["depends_on"].put(name, entry, place)


def _items(tree: Map, section: str) -> list[tuple[str, Map]]:
    entries = tree.get(section)
    return [(k, v) for k, v in entries.items() if v.__class__ is Map] if entries.__class__ is Map else []


def _maps(tree: Map, section: str) -> list[Map]:
    return [entry for _, entry in _items(tree, section)]
