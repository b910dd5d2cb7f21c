"""The Stack: one compose project, loaded. Frozen values with defaults filled in; times in seconds, sizes in bytes.

Two faces of one thing. `Stack.canonical` is the project exactly as `cais config --format json` prints it (Docker
Compose's canonical form); the typed values below are made from it on first use (`Stack.services`), so `config`
never pays for them. `Stack.span(path)` says where a value came from: `stack.span("services", "api", "ports", 0)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from cais.model.image import Healthcheck
from cais.model.stack import Stack
from cais.source.api import Span


class Build(NamedTuple):
    context: str
    dockerfile: str = "Dockerfile"
    dockerfile_inline: str = ""
    args: tuple[tuple[str, str | None], ...] = ()
    target: str = ""
    secrets: tuple[Grant, ...] = ()
    additional_contexts: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    network: str = ""
    shm_size: int = 0
    extra_hosts: tuple[tuple[str, str], ...] = ()
    no_cache: bool = False
    pull: bool = False
    span: Span | None = None


class Dependency(NamedTuple):
    service: str
    condition: str = "service_started"
    restart: bool = False
    required: bool = True
    span: Span | None = None


class Deploy(NamedTuple):
    replicas: int | None = None
    mode: str = "replicated"
    restart_condition: str = ""  # none | on-failure | any; "" = not said
    restart_delay: float = 0.0
    restart_max_attempts: int = 0
    restart_window: float = 0.0
    cpus: float = 0.0
    memory: int = 0
    pids: int = 0
    raw: Mapping[str, Any] = {}


class Grant(NamedTuple):
    """A config or secret given to a service (or build). `target` is absolute once the engine has placed it."""

    source: str
    target: str = ""
    uid: str = ""
    gid: str = ""
    mode: int | None = None
    span: Span | None = None


class Link(NamedTuple):
    """A network of a service."""

    name: str  # key in Stack.networks
    aliases: tuple[str, ...] = ()
    ipv4: str = ""
    ipv6: str = ""
    mac: str = ""
    priority: int = 0
    span: Span | None = None


class Port(NamedTuple):
    target: int
    published: str = ""  # "8080", "8000-8010", "" = the system chooses
    host_ip: str = ""
    protocol: str = "tcp"
    mode: str = "ingress"
    span: Span | None = None


class Volume(NamedTuple):
    """A mount of a service: `type` is volume, bind, tmpfs, image, npipe or cluster."""

    type: str
    target: str
    source: str = ""
    read_only: bool = False
    create_host_path: bool = True
    nocopy: bool = False
    subpath: str = ""
    tmpfs_size: int = 0
    tmpfs_mode: int | None = None
    span: Span | None = None


class Service(NamedTuple):
    """One service. `None` for command/entrypoint is "the image's", `()` is "none at all" (Compose: `[]`, `""`)."""

    name: str
    image: str = ""
    build: Build | None = None
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    environment: tuple[tuple[str, str | None], ...] = ()
    working_dir: str = ""
    user: str = ""
    group_add: tuple[str, ...] = ()
    hostname: str = ""
    domainname: str = ""
    container_name: str = ""
    depends_on: tuple[Dependency, ...] = ()
    healthcheck: Healthcheck | None = None  # test ("NONE",) when disabled; () test = only times are said
    restart: str = ""
    ports: tuple[Port, ...] = ()
    expose: tuple[str, ...] = ()
    volumes: tuple[Volume, ...] = ()
    volumes_from: tuple[str, ...] = ()
    tmpfs: tuple[str, ...] = ()
    networks: tuple[Link, ...] = ()
    network_mode: str = ""
    links: tuple[str, ...] = ()
    extra_hosts: tuple[tuple[str, str], ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_opt: tuple[str, ...] = ()
    configs: tuple[Grant, ...] = ()
    secrets: tuple[Grant, ...] = ()
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    privileged: bool = False
    security_opt: tuple[str, ...] = ()
    read_only: bool = False
    init: bool = False
    tty: bool = False
    stdin_open: bool = False
    stop_signal: str = ""
    stop_grace_period: float | None = None
    shm_size: int = 0
    ulimits: tuple[tuple[str, int, int], ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    oom_score_adj: int = 0
    mem_limit: int = 0
    cpus: float = 0.0
    pids_limit: int = 0
    scale: int | None = None
    deploy: Deploy = Deploy()
    profiles: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    platform: str = ""
    pull_policy: str = ""
    attach: bool = True
    logging_driver: str = ""
    logging_options: tuple[tuple[str, str], ...] = ()
    x_cais: Mapping[str, Any] = {}
    raw: Mapping[str, Any] = {}  # the canonical mapping, for what has no field here
    span: Span | None = None

    @property
    def replicas(self) -> int:
        """`deploy.replicas`, else `scale`, else 1 (Compose spec: if both are set they must agree)."""
        if self.deploy.replicas is not None:
            return self.deploy.replicas
        return 1 if self.scale is None else self.scale


class Network(NamedTuple):
    key: str
    name: str
    internal: bool = False
    external: bool = False
    driver: str = ""
    subnets: tuple[tuple[str, str], ...] = ()  # (subnet, gateway)
    attachable: bool = False
    labels: tuple[tuple[str, str], ...] = ()
    raw: Mapping[str, Any] = {}
    span: Span | None = None


class NamedVolume(NamedTuple):
    key: str
    name: str
    external: bool = False
    driver: str = ""
    driver_opts: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    raw: Mapping[str, Any] = {}
    span: Span | None = None


class FileObject(NamedTuple):
    """A top-level config or secret: exactly one of file, environment, content, external."""

    key: str
    name: str
    file: str = ""
    environment: str = ""
    content: str | None = None
    external: bool = False
    value: str | None = None  # what the environment variable held when the stack was loaded
    span: Span | None = None


__all__ = [
    "Build",
    "Dependency",
    "Deploy",
    "FileObject",
    "Grant",
    "Healthcheck",
    "Link",
    "NamedVolume",
    "Network",
    "Port",
    "Service",
    "Stack",
    "Volume",
]
