"""One file over another, attribute by attribute (Compose specification, "Merge").

Mappings merge, lists append, scalars are replaced; the table below holds the exceptions. Lists of named things
then keep the last of each name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cais.load import volumes
from cais.load.canonical import go_text, made
from cais.load.job import Job
from cais.load.shapes import identity
from cais.source.tree import NOWHERE, List, Map

Merger = Callable[["Merge", Any, Any, int, str], Any]


class Merge:
    def __init__(self, job: Job) -> None:
        self.job = job

    def files(self, base: Map, over: Map) -> Map:
        self.mapping(base, over, "", TOP)
        return base

    def mapping(self, base: Map, over: Map, path: str, table: dict[str, Any] | None) -> Map:
        """`over` into `base`, in place."""
        for key, value in over.items():
            at = over.at.get(key, NOWHERE)
            if key not in base:
                base.put(key, value, at)
                continue
            inner = (table.get(key) or table.get("*")) if table else None
            base[key] = self.value(base[key], value, at, f"{path}.{key}" if path else key, inner)
            if base[key] is value or base[key].__class__ not in (Map, List):
                base.at[key] = at
        return base

    def value(self, base: Any, over: Any, at: int, path: str, rule: Any) -> Any:
        if rule is not None and rule.__class__ is not dict:
            return rule(self, base, over, at, path)
        if over is None:
            return base
        if base is None:
            return over
        if base.__class__ is Map:
            if over.__class__ is Map:
                return self.mapping(base, over, path, rule)
        elif base.__class__ is List:
            if over.__class__ is List:
                return append(base, over)
        else:
            return over
        self.job.error("merge", f"{path} cannot be merged: one file gives {_kind(base)}, another {_kind(over)}", at)
        return over


def _kind(value: Any) -> str:
    return "a mapping" if value.__class__ is Map else "a list" if value.__class__ is List else "a single value"


def append(base: List, over: List) -> List:
    """`over` behind `base`, without what stands there already."""
    known = {identity(item) for item in base}
    for item, at in zip(over, over.at, strict=True):
        mark = identity(item)
        if mark not in known:
            known.add(mark)
            base.add(item, at)
    return base


def replace(merge: Merge, base: Any, over: Any, at: int, path: str) -> Any:
    return over


def sequence(value: Any, at: int) -> List:
    """A mapping as `name=value` items (sorted, as Docker Compose does), a scalar as a list of it."""
    if value.__class__ is List:
        return value
    fresh = List()
    if value.__class__ is Map:
        found: list[tuple[str, int]] = []
        for name, given in value.items():
            place = value.where(name)
            if given is None:
                found.append((name, place))
            else:
                found += [(f"{name}={go_text(one)}", place) for one in (given if given.__class__ is List else [given])]
        for text, place in sorted(found):
            fresh.add(text, place)
    elif value.__class__ is str:
        fresh.add(value, at)
    return fresh


def as_pairs(merge: Merge, base: Any, over: Any, at: int, path: str) -> Any:
    """`name=value` items: the last of a name counts, at the place of the first."""
    left, right = sequence(base, at), sequence(over, at)
    return _unique(List([*left, *right], [*left.at, *right.at]), _pair)


def as_list(merge: Merge, base: Any, over: Any, at: int, path: str) -> Any:
    return append(sequence(base, at), sequence(over, at))


def _as_mapping(value: Any, at: int, default: Callable[[int], Any]) -> Map:
    if value.__class__ is Map:
        return value
    if value.__class__ is List:
        return Map(
            {str(name): default(place) for name, place in zip(value, value.at, strict=True)},
            dict(zip(map(str, value), value.at, strict=True)),
        )
    return Map()


def depends_on(merge: Merge, base: Any, over: Any, at: int, path: str) -> Any:
    def started(place: int) -> Map:
        return made(place, condition="service_started", required=True)

    return merge.mapping(_as_mapping(base, at, started), _as_mapping(over, at, started), path, None)


def named(merge: Merge, base: Any, over: Any, at: int, path: str) -> Any:
    def nothing(place: int) -> None:
        return None

    return merge.mapping(_as_mapping(base, at, nothing), _as_mapping(over, at, nothing), path, None)


def build(merge: Merge, base: Any, over: Any, at: int, path: str) -> Any:
    def long(value: Any) -> Map:
        if value.__class__ is Map:
            return value
        return Map() if value is None else made(at, context=value)

    return merge.mapping(long(base), long(over), path, BUILD)


def logging(merge: Merge, base: Any, over: Any, at: int, path: str) -> Any:
    if base.__class__ is not Map or over.__class__ is not Map:
        merge.job.error("merge", f"{path} cannot be merged: one file gives {_kind(base)}, another {_kind(over)}", at)
        return base
    mine, theirs = base.get("driver"), over.get("driver")
    if mine is None or theirs is None or mine == theirs:
        return merge.mapping(base, over, path, None)
    return over


def ulimit(merge: Merge, base: Any, over: Any, at: int, path: str) -> Any:
    if base.__class__ is Map and over.__class__ is Map:
        return merge.mapping(base, over, path, None)
    return over


def ipam_config(merge: Merge, base: Any, over: Any, at: int, path: str) -> Any:
    """Configurations of one subnet merge, others append."""
    if base.__class__ is not List or over.__class__ is not List:
        merge.job.error("merge", f"{path} must be a list", at)
        return over
    fresh = List()

    def place_of(subnet: Any) -> int:
        return next((n for n, one in enumerate(fresh) if one.__class__ is Map and one.get("subnet") == subnet), -1)

    for mine, mine_at in zip(base, base.at, strict=True):
        for theirs, theirs_at in zip(over, over.at, strict=True):
            if mine.__class__ is not Map or theirs.__class__ is not Map:
                continue
            if mine.get("subnet") != theirs.get("subnet"):
                if place_of(theirs.get("subnet")) < 0:
                    fresh.add(theirs, theirs_at)
                continue
            merged = merge.mapping(Map(mine, dict(mine.at)), theirs, path, None)
            found = place_of(merged.get("subnet"))
            if found >= 0:
                fresh[found] = merged
            else:
                fresh.add(merged, mine_at)
    return fresh


BUILD: dict[str, Any] = {
    "args": as_pairs,
    "additional_contexts": as_pairs,
    "extra_hosts": as_list,
    "labels": as_pairs,
}
SERVICE: dict[str, Any] = {
    "annotations": as_pairs,
    "build": build,
    "command": replace,
    "depends_on": depends_on,
    "deploy": {"labels": as_pairs},
    "dns": as_list,
    "dns_opt": as_list,
    "dns_search": as_list,
    "entrypoint": replace,
    "env_file": as_list,
    "label_file": as_list,
    "environment": as_pairs,
    "extra_hosts": as_list,
    "healthcheck": {"test": replace},
    "labels": as_pairs,
    "logging": logging,
    "models": named,
    "networks": named,
    "sysctls": as_pairs,
    "tmpfs": as_list,
    "ulimits": {"*": ulimit},
}
_LABELLED = {"*": {"labels": as_pairs}}
TOP: dict[str, Any] = {
    "services": {"*": SERVICE},
    "jobs": {"*": SERVICE},
    "networks": {"*": {"ipam": {"config": ipam_config}, "labels": as_pairs}},
    "volumes": _LABELLED,
    "secrets": _LABELLED,
    "configs": _LABELLED,
}


# --- unicity: of several items with one name, the last counts, at the place of the first


def _pair(item: Any) -> Any:
    return item.partition("=")[0] if item.__class__ is str else item


def _itself(item: Any) -> Any:
    return go_text(item) if item.__class__ not in (Map, List) else id(item)


def _volume(item: Any) -> Any:
    if item.__class__ is Map:
        return item.get("target")
    try:
        return volumes.clean(volumes.parse(item)["target"])
    except (ValueError, TypeError, AttributeError):
        return item


def _env_file(item: Any) -> Any:
    return item.get("path") if item.__class__ is Map else item


def _device(item: Any) -> Any:
    if item.__class__ is Map:
        return item.get("target") or item.get("source")
    parts = str(item).split(":")
    return parts[1] if len(parts) > 1 else parts[0]


def _grant(folder: str) -> Callable[[Any], Any]:
    def name(item: Any) -> Any:
        if item.__class__ is Map:
            return item.get("target") or f"{folder}/{item.get('source')}"
        return f"{folder}/{item}"

    return name


def _port(item: Any) -> Any:
    if item.__class__ is Map:
        host = item.get("host_ip") or "0.0.0.0"
        published = item.get("published", "")  # "80" and 80 are two to Docker Compose
        return f"{host}:{published!r}:{item.get('target')}/{item.get('protocol') or 'tcp'}"
    return go_text(item)


UNIQUE_BUILD = dict.fromkeys(("args", "additional_contexts", "labels", "tags"), _pair)
UNIQUE_SERVICE: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(
        (
            "annotations",
            "cap_add",
            "cap_drop",
            "dns",
            "dns_opt",
            "dns_search",
            "environment",
            "labels",
            "links",
            "profiles",
            "sysctls",
            "tmpfs",
        ),
        _pair,
    ),
    "configs": _grant(""),
    "devices": _device,
    "env_file": _env_file,
    "expose": _itself,
    "ports": _port,
    "secrets": _grant("/run/secrets"),
    "volumes": _volume,
}


def unify(tree: Map) -> None:
    services = tree.get("services")
    for service in services.values() if services.__class__ is Map else ():
        if service.__class__ is Map:
            unify_service(service)
    networks = tree.get("networks")
    for network in networks.values() if networks.__class__ is Map else ():
        if network.__class__ is Map and network.get("labels").__class__ is List:
            network["labels"] = _unique(network["labels"], _pair)


def unify_service(service: Map) -> None:
    for key, value in service.items():
        if value.__class__ is List and key in UNIQUE_SERVICE:
            service[key] = _unique(value, UNIQUE_SERVICE[key])
    networks = service.get("networks")
    for network in networks.values() if networks.__class__ is Map else ():
        for key in ("aliases", "link_local_ips") if network.__class__ is Map else ():
            if network.get(key).__class__ is List:
                network[key] = _unique(network[key], _pair)
    deploy = service.get("deploy")
    if deploy.__class__ is Map and deploy.get("labels").__class__ is List:
        deploy["labels"] = _unique(deploy["labels"], _pair)
    build = service.get("build")
    for key, value in build.items() if build.__class__ is Map else ():
        if value.__class__ is List and key in UNIQUE_BUILD:
            build[key] = _unique(value, UNIQUE_BUILD[key])


def _unique(items: List, name: Callable[[Any], Any]) -> List:
    places: dict[Any, int] = {}
    fresh = List()
    for item, at in zip(items, items.at, strict=True):
        mark = identity(name(item))
        if mark in places:
            fresh[places[mark]] = item
            fresh.at[places[mark]] = at
        else:
            places[mark] = len(fresh)
            fresh.add(item, at)
    return fresh
