"""Typed views of a stack's canonical tree: times in seconds, sizes in bytes, defaults filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cais.model.api import (
    Build,
    Dependency,
    Deploy,
    FileObject,
    Grant,
    Link,
    NamedVolume,
    Network,
    Port,
    Service,
    Volume,
)
from cais.model.image import Healthcheck
from cais.model.stack import Stack

Tree = Mapping[str, Any]

_PART = re.compile(r"([0-9.]+)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: str | None) -> float | None:
    """A canonical duration (`1m30s`) in seconds."""
    if text is None:
        return None
    total = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
    return -total if text.startswith("-") else total


def size(value: Any) -> int:
    return int(value) if value else 0


def pairs(value: Tree | None) -> tuple[tuple[str, str], ...]:
    return tuple((key, "" if item is None else str(item)) for key, item in (value or {}).items())


def variables(value: Tree | None) -> tuple[tuple[str, str | None], ...]:
    return tuple((key, item if item is None else str(item)) for key, item in (value or {}).items())


def texts(value: Any) -> tuple[str, ...]:
    return tuple(str(one) for one in value or ())


def hosts(value: Any) -> tuple[tuple[str, str], ...]:
    return tuple((name, address) for name, _, address in (str(one).partition("=") for one in value or ()))


def mode(value: Any) -> int | None:
    return None if value is None else int(str(value), 8)


def service(stack: Stack, name: str, raw: Tree) -> Service:
    at = ("services", name)
    logging = raw.get("logging") or {}
    return Service(
        name=name,
        image=raw.get("image", ""),
        build=_build(stack, at, raw["build"]) if "build" in raw else None,
        command=None if raw.get("command") is None else texts(raw["command"]),
        entrypoint=None if raw.get("entrypoint") is None else texts(raw["entrypoint"]),
        environment=variables(raw.get("environment")),
        working_dir=raw.get("working_dir", ""),
        user=raw.get("user", ""),
        group_add=texts(raw.get("group_add")),
        hostname=raw.get("hostname", ""),
        domainname=raw.get("domainname", ""),
        container_name=raw.get("container_name", ""),
        depends_on=tuple(
            Dependency(
                other,
                entry.get("condition", "service_started"),
                bool(entry.get("restart", False)),
                bool(entry.get("required", True)),
                stack.span(*at, "depends_on", other),
            )
            for other, entry in (raw.get("depends_on") or {}).items()
            if other in stack.canonical["services"]  # what is not required may be absent
        ),
        healthcheck=_healthcheck(raw.get("healthcheck")),
        restart=raw.get("restart", ""),
        ports=tuple(_port(stack, at, n, one) for n, one in enumerate(raw.get("ports") or ())),
        expose=texts(raw.get("expose")),
        volumes=tuple(_volume(stack, at, n, one) for n, one in enumerate(raw.get("volumes") or ())),
        volumes_from=texts(raw.get("volumes_from")),
        tmpfs=texts(raw.get("tmpfs")),
        networks=tuple(_link(stack, at, key, one or {}) for key, one in (raw.get("networks") or {}).items()),
        network_mode=raw.get("network_mode", ""),
        links=texts(raw.get("links")),
        extra_hosts=hosts(raw.get("extra_hosts")),
        dns=texts(raw.get("dns")),
        dns_search=texts(raw.get("dns_search")),
        dns_opt=texts(raw.get("dns_opt")),
        configs=_grants(stack, (*at, "configs"), raw.get("configs")),
        secrets=_grants(stack, (*at, "secrets"), raw.get("secrets")),
        cap_add=texts(raw.get("cap_add")),
        cap_drop=texts(raw.get("cap_drop")),
        privileged=bool(raw.get("privileged")),
        security_opt=texts(raw.get("security_opt")),
        read_only=bool(raw.get("read_only")),
        init=bool(raw.get("init")),
        tty=bool(raw.get("tty")),
        stdin_open=bool(raw.get("stdin_open")),
        stop_signal=raw.get("stop_signal", ""),
        stop_grace_period=seconds(raw.get("stop_grace_period")),
        shm_size=size(raw.get("shm_size")),
        ulimits=tuple(_ulimit(key, one) for key, one in (raw.get("ulimits") or {}).items()),
        sysctls=pairs(raw.get("sysctls")),
        oom_score_adj=int(raw.get("oom_score_adj") or 0),
        mem_limit=size(raw.get("mem_limit")),
        cpus=float(raw.get("cpus") or 0),
        pids_limit=int(raw.get("pids_limit") or 0),
        scale=raw.get("scale"),
        deploy=_deploy(raw.get("deploy")),
        profiles=texts(raw.get("profiles")),
        labels=pairs(raw.get("labels")),
        platform=raw.get("platform", ""),
        pull_policy=raw.get("pull_policy", ""),
        attach=bool(raw.get("attach", True)),
        logging_driver=logging.get("driver", ""),
        logging_options=pairs(logging.get("options")),
        x_cais=raw.get("x-cais") or {},
        raw=raw,
        span=stack.key_span(*at),
    )


def _build(stack: Stack, at: tuple[str, ...], raw: Tree) -> Build:
    at = (*at, "build")
    return Build(
        context=raw.get("context", "."),
        dockerfile=raw.get("dockerfile", "Dockerfile"),
        dockerfile_inline=raw.get("dockerfile_inline", ""),
        args=variables(raw.get("args")),
        target=raw.get("target", ""),
        secrets=_grants(stack, (*at, "secrets"), raw.get("secrets")),
        additional_contexts=pairs(raw.get("additional_contexts")),
        labels=pairs(raw.get("labels")),
        network=raw.get("network", ""),
        shm_size=size(raw.get("shm_size")),
        extra_hosts=hosts(raw.get("extra_hosts")),
        no_cache=bool(raw.get("no_cache")),
        pull=bool(raw.get("pull")),
        span=stack.span(*at),
    )


def _grants(stack: Stack, at: tuple[str, ...], raw: Any) -> tuple[Grant, ...]:
    return tuple(
        Grant(
            one.get("source", ""),
            one.get("target", ""),
            one.get("uid", ""),
            one.get("gid", ""),
            mode(one.get("mode")),
            stack.span(*at, n),
        )
        for n, one in enumerate(raw or ())
    )


def _healthcheck(raw: Tree | None) -> Healthcheck | None:
    if raw is None:
        return None
    test = texts(raw.get("test"))
    if raw.get("disable"):
        test = ("NONE",)
    retries = raw.get("retries")
    return Healthcheck(
        test,
        seconds(raw.get("interval")),
        seconds(raw.get("timeout")),
        seconds(raw.get("start_period")),
        seconds(raw.get("start_interval")),
        None if retries is None else int(retries),
    )


def _port(stack: Stack, at: tuple[str, ...], index: int, raw: Tree) -> Port:
    return Port(
        int(raw.get("target") or 0),
        str(raw.get("published", "")),
        raw.get("host_ip", ""),
        raw.get("protocol", "tcp"),
        raw.get("mode", "ingress"),
        stack.span(*at, "ports", index),
    )


def _volume(stack: Stack, at: tuple[str, ...], index: int, raw: Tree) -> Volume:
    bind, volume, tmpfs = raw.get("bind") or {}, raw.get("volume") or {}, raw.get("tmpfs") or {}
    image = raw.get("image") or {}
    return Volume(
        type=raw.get("type", "volume"),
        target=raw.get("target", ""),
        source=raw.get("source", ""),
        read_only=bool(raw.get("read_only")),
        create_host_path=bool(bind.get("create_host_path", True)),
        nocopy=bool(volume.get("nocopy")),
        subpath=volume.get("subpath") or image.get("subpath") or "",
        tmpfs_size=size(tmpfs.get("size")),
        tmpfs_mode=tmpfs.get("mode"),
        span=stack.span(*at, "volumes", index),
    )


def _link(stack: Stack, at: tuple[str, ...], name: str, raw: Tree) -> Link:
    return Link(
        name,
        texts(raw.get("aliases")),
        raw.get("ipv4_address", ""),
        raw.get("ipv6_address", ""),
        raw.get("mac_address", ""),
        int(raw.get("priority") or 0),
        stack.span(*at, "networks", name),
    )


def _ulimit(name: str, raw: Any) -> tuple[str, int, int]:
    if isinstance(raw, Mapping):
        return name, int(raw.get("soft") or 0), int(raw.get("hard") or 0)
    return name, int(raw), int(raw)


def _deploy(raw: Tree | None) -> Deploy:
    if not raw:
        return Deploy()
    policy = raw.get("restart_policy") or {}
    limits = (raw.get("resources") or {}).get("limits") or {}
    return Deploy(
        replicas=raw.get("replicas"),
        mode=raw.get("mode") or "replicated",
        restart_condition=policy.get("condition", ""),
        restart_delay=seconds(policy.get("delay")) or 0.0,
        restart_max_attempts=int(policy.get("max_attempts") or 0),
        restart_window=seconds(policy.get("window")) or 0.0,
        cpus=float(limits.get("cpus") or 0),
        memory=size(limits.get("memory")),
        pids=int(limits.get("pids") or 0),
        raw=raw,
    )


def network(stack: Stack, key: str, raw: Tree) -> Network:
    ipam = raw.get("ipam") or {}
    return Network(
        key=key,
        name=raw.get("name", key),
        internal=bool(raw.get("internal")),
        external=bool(raw.get("external")),
        driver=raw.get("driver", ""),
        subnets=tuple((one.get("subnet", ""), one.get("gateway", "")) for one in ipam.get("config") or ()),
        attachable=bool(raw.get("attachable")),
        labels=pairs(raw.get("labels")),
        raw=raw,
        span=stack.key_span("networks", key),
    )


def named_volume(stack: Stack, key: str, raw: Tree) -> NamedVolume:
    return NamedVolume(
        key=key,
        name=raw.get("name", key),
        external=bool(raw.get("external")),
        driver=raw.get("driver", ""),
        driver_opts=pairs(raw.get("driver_opts")),
        labels=pairs(raw.get("labels")),
        raw=raw,
        span=stack.key_span("volumes", key),
    )


def file_object(stack: Stack, section: str, key: str, raw: Tree) -> FileObject:
    variable = raw.get("environment", "")
    return FileObject(
        key=key,
        name=raw.get("name", key),
        file=raw.get("file", ""),
        environment=variable,
        content=raw.get("content"),
        external=bool(raw.get("external")),
        value=stack.environment.get(variable) if variable else None,
        span=stack.key_span(section, key),
    )
