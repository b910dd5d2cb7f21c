"""Short forms to long ones, so that files in either form merge and the rest of the loader sees one form."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from cais.load import ports, volumes
from cais.load.job import Job
from cais.source.scalars import go_float
from cais.source.tree import NOWHERE, List, Map

MAX_PORTS = 140_000

Transform = Callable[["Canonical", Any, int], Any]


def canonical(job: Job, tree: Map) -> None:
    """Transform `tree` in place."""
    worker = Canonical(job)
    table = SERVICE if job.options.interpolate else AS_WRITTEN
    for section in ("services", "jobs"):
        services = tree.get(section)
        if services.__class__ is Map:
            for service in services.values():
                if service.__class__ is Map:
                    worker.service(service, table)
    for section in ("networks", "volumes", "secrets", "configs"):
        entries = tree.get(section)
        if entries.__class__ is Map:
            for name, entry in entries.items():
                if entry.__class__ is Map:
                    worker.external(section, name, entry)
                    if entry.get("labels").__class__ is List and job.options.interpolate:
                        entry["labels"] = pairs(worker, entry["labels"], entry.where("labels"))


def made(at: int, **values: Any) -> Map:
    """A mapping that a short form at `at` stands for."""
    return Map(values, dict.fromkeys(values, at))


class Canonical:
    def __init__(self, job: Job) -> None:
        self.job = job

    def service(self, service: Map, table: dict[str, Transform]) -> None:
        for key, value in service.items():
            transform = table.get(key)
            if transform is not None and value is not None:
                service[key] = transform(self, value, service.at.get(key, NOWHERE))

    def external(self, section: str, name: str, entry: Map) -> None:
        """`external: {name: x}` is the old way to write `external: true, name: x`."""
        external = entry.get("external")
        at = entry.where("external")
        if external.__class__ is Map:
            given = external.get("name")
            if given is not None:
                self.job.warn("obsolete", f"{section}.{name}: external.name is deprecated: write name", at)
                if entry.get("name") not in (None, given):
                    self.job.error(
                        "conflict", f"{section}.{name}: name and external.name differ", external.where("name")
                    )
                entry.put("name", given, external.where("name"))
            entry["external"] = True


def pairs(worker: Canonical, value: Any, at: int) -> Any:
    """`[A=1, B]` to `{A: "1", B: null}`; the last of a name wins."""
    if value.__class__ is not List:
        return value
    fresh = Map()
    for item, place in zip(value, value.at, strict=True):
        name, equals, text = str(item).partition("=")
        fresh.put(name, text if equals else None, place)
    return fresh


def environment(worker: Canonical, value: Any, at: int) -> Any:
    """A name alone in a list has the value it has around the project."""
    if value.__class__ is not List:
        return value
    around = worker.job.environment
    for index, item in enumerate(value):
        if item in around:
            value[index] = f"{item}={around[item]}"
    return pairs(worker, value, at)


def names(worker: Canonical, value: Any, at: int) -> Any:
    """`[a, b]` to `{a: null, b: null}`."""
    if value.__class__ is not List:
        return value
    return Map(dict.fromkeys(value), dict(zip(value, value.at, strict=True)))


def texts(worker: Canonical, value: Any, at: int) -> Any:
    """One text to a list of it."""
    return value if value.__class__ is List else List([value], [at])


def build(worker: Canonical, value: Any, at: int) -> Any:
    if value.__class__ is str:
        return made(at, context=value)
    if value.__class__ is Map:
        worker.service(value, BUILD if worker.job.options.interpolate else BUILD_AS_WRITTEN)
    return value


def attestation(worker: Canonical, value: Any, at: int) -> Any:
    return go_text(value) if value.__class__ is bool else value


def contexts(worker: Canonical, value: Any, at: int) -> Any:
    """`[name=source]`: a name alone leads nowhere."""
    for index, item in enumerate(value if value.__class__ is List else ()):
        if "=" not in str(item):
            if not worker.job.options.interpolate:
                return value
            worker.job.error("context", f'"{item}" names no build context', value.at[index], hint="name=source")
    return pairs(worker, value, at)


def depends_on(worker: Canonical, value: Any, at: int) -> Any:
    if value.__class__ is List:
        fresh = Map()
        for name, place in zip(value, value.at, strict=True):
            fresh.put(name, made(place, condition="service_started", required=True), place)
        return fresh
    if value.__class__ is Map:
        for name, entry in value.items():
            if entry.__class__ is Map and "required" not in entry:
                entry.put("required", True, value.where(name))
    return value


def env_file(worker: Canonical, value: Any, at: int) -> Any:
    items = value if value.__class__ is List else List([value], [at])
    fresh = List()
    for item, place in zip(items, items.at, strict=True):
        if item.__class__ is str:
            item = made(place, path=item, required=True)
        elif item.__class__ is Map and "required" not in item:
            item.put("required", True, place)
        fresh.add(item, place)
    return fresh


def extends(worker: Canonical, value: Any, at: int) -> Any:
    return made(at, service=value) if value.__class__ is str else value


def grants(worker: Canonical, value: Any, at: int) -> Any:
    for index, item in enumerate(value if value.__class__ is List else ()):
        if item.__class__ is str:
            value[index] = made(value.at[index], source=item)
    return value


def port_list(worker: Canonical, value: Any, at: int) -> Any:
    if value.__class__ is not List:
        return value
    fresh = List()
    for item, place in zip(value, value.at, strict=True):
        if item.__class__ is Map:
            if item.get("target") is None:
                worker.job.error("port", "a port needs a target: the port inside the container", place)
            fresh.add(item, place)
            continue
        if item.__class__ is float:
            worker.job.error("port", f"{go_text(item)} is not a port", place)
            continue
        try:
            parsed = ports.parse(go_text(item))
        except ValueError as error:
            written = item.__class__ is str and error.__class__ is not ports.NoTarget
            if written and not worker.job.options.interpolate:
                return value  # a variable may stand in it
            worker.job.error("port", str(error), place, hint="[[address:]published:]target[/protocol]")
            continue
        for port in parsed:
            fresh.add(Map(port, dict.fromkeys(port, place)), place)
        worker.job.ports += len(parsed)
        if worker.job.ports > MAX_PORTS:
            worker.job.error("port", f"more than {MAX_PORTS:,} ports are published", place)
            return fresh
    return fresh


def volume_list(worker: Canonical, value: Any, at: int) -> Any:
    if value.__class__ is not List:
        return value
    for index, item in enumerate(value):
        place = value.at[index]
        if item.__class__ is str:
            try:
                parsed = volumes.parse(item)
            except ValueError as error:
                worker.job.error("volume", str(error), place, hint="[source:]target[:options]")
                parsed = {"type": ""}  # reported: nothing more is said of it
            if "target" in parsed:
                parsed["target"] = volumes.clean(parsed["target"])
            item = Map(parsed, dict.fromkeys(parsed, place))
            for name in ("bind", "volume"):
                if name in item:
                    item[name] = made(place, **item[name])
            value[index] = item
        extra = item.get("volume") if item.__class__ is Map else None
        if extra.__class__ is Map and "labels" in extra:
            extra["labels"] = pairs(worker, extra["labels"], extra.where("labels"))
    return value


def devices(worker: Canonical, value: Any, at: int) -> Any:
    for index, item in enumerate(value if value.__class__ is List else ()):
        if item.__class__ is Map and not item.get("target") and not item.lost("target"):
            worker.job.error("device", "a device needs a target: its path in the container", value.at[index])
        if item.__class__ is not str:
            continue
        place = value.at[index]
        parts = item.split(":")
        if len(parts) > 3:
            if not worker.job.options.interpolate:
                return value
            worker.job.error("device", f'"{item}" is not a device', place, hint="source[:target[:permissions]]")
            continue
        target = parts[1] if len(parts) > 1 else parts[0]
        value[index] = made(place, source=parts[0], target=target, permissions=parts[2] if len(parts) == 3 else "rwm")
    return value


def gpus(worker: Canonical, value: Any, at: int) -> Any:
    if value.__class__ is str:
        return List([made(at, count="all")], [at])
    return device_requests(worker, value, at)


def device_requests(worker: Canonical, value: Any, at: int) -> Any:
    for device in value if value.__class__ is List else ():
        if device.__class__ is Map and "options" in device:
            device["options"] = pairs(worker, device["options"], device.where("options"))
    return value


def ssh(worker: Canonical, value: Any, at: int) -> Any:
    for index, item in enumerate(value if value.__class__ is List else ()):
        if item != "default" and "=" not in str(item):
            if not worker.job.options.interpolate:
                return value
            worker.job.error("ssh", f'"{item}" names no key', value.at[index], hint="default, or name=path")
    return pairs(worker, value, at)


def deploy(worker: Canonical, value: Any, at: int) -> Any:
    if value.__class__ is Map:
        if "labels" in value:
            value["labels"] = pairs(worker, value["labels"], value.where("labels"))
        resources = value.get("resources")
        reservations = resources.get("reservations") if resources.__class__ is Map else None
        device_requests(worker, reservations.get("devices") if reservations.__class__ is Map else None, at)
    return value


def develop(worker: Canonical, value: Any, at: int) -> Any:
    watches: Any = value.get("watch") if value.__class__ is Map else None
    for watch in watches if watches.__class__ is List else ():
        if watch.__class__ is not Map:
            continue
        for key in ("ignore", "include"):
            if watch.get(key) is not None:
                watch[key] = texts(worker, watch[key], watch.where(key))
        if watch.get("exec").__class__ is Map:
            hooks(worker, List([watch["exec"]]), at)
    return value


def hooks(worker: Canonical, value: Any, at: int) -> Any:
    table = HOOK if worker.job.options.interpolate else AS_WRITTEN
    for hook in value if value.__class__ is List else ():
        if hook.__class__ is Map:
            worker.service(hook, table)
    return value


def triggers(worker: Canonical, value: Any, at: int) -> Any:
    """A job's: `[cron expression]` to `[{cron: …}]`."""
    schedule: Any = value.get("schedule") if value.__class__ is Map else None
    for index, item in enumerate(schedule if schedule.__class__ is List else ()):
        if item.__class__ is str:
            schedule[index] = made(schedule.at[index], cron=item)
    return value


_HOST = re.compile(r"([^=:]*)[=:](.*)", re.S)


def canonical_hosts(job: Job, value: Any) -> Any:
    """`extra_hosts` as `{name: [address, …]}`."""
    fresh = Map()
    if value.__class__ is List:
        for item, place in zip(value, value.at, strict=True):
            match = _HOST.fullmatch(str(item))
            if not match or not match[1]:
                job.error("extra-host", f'"{item}" is not "name=address"', place)
                continue
            addresses = fresh.setdefault(match[1], List())
            for address in match[2].split(","):
                addresses.add(_bare(address), place)
            fresh.at.setdefault(match[1], place)
        return fresh
    if value.__class__ is Map:
        for name, given in value.items():
            place = value.where(name)
            addresses = given if given.__class__ is List else List([given], [place])
            fresh.put(name, List([_bare(str(one)) for one in addresses], addresses.at), place)
        return fresh
    return value


def _bare(address: str) -> str:
    return address[1:-1] if address.startswith("[") and address.endswith("]") else address


def go_text(value: Any) -> str:
    """A scalar as Go prints it."""
    if value is None:
        return ""
    if value.__class__ is bool:
        return "true" if value else "false"
    if value.__class__ is float:
        return go_float(value)
    if value.__class__ is int and not -(2**63) <= value < 2**64:
        return go_float(float(value))  # more than Go's integers hold
    return str(value)


BUILD: dict[str, Transform] = {
    "additional_contexts": contexts,
    "args": pairs,
    "labels": pairs,
    "no_cache_filter": texts,
    "provenance": attestation,
    "sbom": attestation,
    "secrets": grants,
    "ssh": ssh,
}
SERVICE: dict[str, Transform] = {
    "annotations": pairs,
    "build": build,
    "configs": grants,
    "depends_on": depends_on,
    "deploy": deploy,
    "develop": develop,
    "devices": devices,
    "dns": texts,
    "dns_search": texts,
    "env_file": env_file,
    "environment": environment,
    "extends": extends,
    "gpus": gpus,
    "label_file": texts,
    "labels": pairs,
    "models": names,
    "networks": names,
    "ports": port_list,
    "post_start": hooks,
    "pre_start": hooks,
    "pre_stop": hooks,
    "secrets": grants,
    "sysctls": pairs,
    "tmpfs": texts,
    "triggers": triggers,
    "volumes": volume_list,
}
HOOK = {**SERVICE, "environment": pairs}

# `--no-interpolate`: what the files' own form has to become is less, the rest is Go's types' doing.
_READ_LATER = ("annotations", "args", "dns_search", "environment", "labels", "no_cache_filter", "sysctls", "tmpfs")
AS_WRITTEN = {key: transform for key, transform in SERVICE.items() if key not in (*_READ_LATER, "deploy")}
BUILD_AS_WRITTEN = {key: transform for key, transform in BUILD.items() if key not in _READ_LATER}
