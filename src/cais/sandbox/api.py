"""The kernel, asked directly: namespaces, roots, networks, limits. Knows no Compose. Read this first.

Everything that crosses a process border here is a `msgspec.Struct`, so it is JSON on the way.

    supervisor (host namespaces, asyncio)
      └ stack init: pid 1 of a new user (not for root), PID, mount and network namespace; dies with its supervisor
          ├ service: PID, mount, network, UTS, IPC namespaces of its own; pid 1 is its program
          ├ starters: make namespaces and roots of services, and go when there is nothing to start
          └ border: proxy for published ports, in the stack's network namespace

`StackSandbox` (stack.py) is the supervisor's handle on one stack init. The builder of Dockerfiles uses the
same class for `RUN`.
"""

from collections.abc import Callable
from typing import Literal, Protocol

from msgspec import Struct

# moby `system.DefaultPathEnv`: what a container has when PATH is not set
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Mount(Struct, frozen=True, kw_only=True):
    """One mount over a root, in the order given (the engine sorts by target depth).

    bind: `source` is a host path, file or directory. volume: a directory of the project's state;
    with `populate`, when it is empty, it first gets what the image has at `target`, owner and mode of the
    directory included (what Docker does with a named or anonymous volume). tmpfs: `size` bytes (0: the
    kernel's default) and `mode`. file: `content` becomes a file with `uid`, `gid`, `mode` (configs, secrets).
    cache: a writable host directory of the builder (`RUN --mount=type=cache`).
    """

    kind: Literal["bind", "volume", "tmpfs", "file", "cache"]
    target: str
    source: str = ""
    read_only: bool = False
    populate: bool = False
    subpath: str = ""
    size: int = 0
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    content: bytes = b""


class Root(Struct, frozen=True, kw_only=True):
    """What a process sees as `/`: layers top first, one upper of its own, mounts.

    `upper` is a directory this root owns and that outlives the process (`upper/fs` and `upper/work` are made
    in it); two live roots never share one. `read_only` makes `/` read-only, not its mounts.
    """

    layers: tuple[str, ...]
    upper: str
    mounts: tuple[Mount, ...] = ()
    read_only: bool = False
    shm_size: int = 64 * 1024 * 1024


class Process(Struct, frozen=True, kw_only=True):
    """What runs in a root. `env` is the whole environment: nothing of the caller's is added.

    `user` is what `USER` takes: name, uid, `name:group`, `uid:gid`; looked up in the root's own /etc/passwd and
    /etc/group, "" is root. `argv[0]` without a slash is looked up in `env["PATH"]` inside the root.
    Capabilities: Docker's default fourteen, then `cap_add`, `cap_drop` ("ALL" is allowed in both).
    """

    argv: tuple[str, ...]
    env: dict[str, str] = {}
    cwd: str = "/"
    user: str = ""
    group_add: tuple[str, ...] = ()
    tty: bool = False
    init: bool = False  # a tiny reaper as pid 1 that forwards signals
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    privileged: bool = False
    no_new_privileges: bool = False
    ulimits: dict[str, tuple[int, int]] = {}
    sysctls: dict[str, str] = {}
    oom_score_adj: int = 0
    umask: int = 0o022
    memory: int = 0  # bytes; these three are limits of the whole instance, 0 = none, enforced where cgroups may be made
    cpus: float = 0.0
    pids: int = 0


class Attachment(Struct, frozen=True, kw_only=True):
    """One network of an instance. `names` resolve to it for every other instance on that network."""

    network: str
    names: tuple[str, ...] = ()
    ipv4: str = ""  # "" = the sandbox chooses
    mac: str = ""


class Net(Struct, frozen=True, kw_only=True):
    """How an instance is connected. mode: `bridge` (attachments), `none`, `host`, or `instance:<id>`."""

    mode: str = "bridge"
    attachments: tuple[Attachment, ...] = ()
    hostname: str = ""
    domainname: str = ""
    extra_hosts: tuple[tuple[str, str], ...] = ()  # (name, address); "host-gateway" is an address too
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_opt: tuple[str, ...] = ()


class NetworkSpec(Struct, frozen=True, kw_only=True):
    """A bridge inside the stack. `internal` has no way out. `subnet` "" = the sandbox chooses."""

    name: str
    internal: bool = False
    subnet: str = ""
    gateway: str = ""
    mtu: int = 1500


class PortSpec(Struct, frozen=True, kw_only=True):
    """A published port: `host_ip` "" is every interface (v4 and v6), `host_port` 0 lets the system choose."""

    target: int
    host_ip: str = ""
    host_port: int = 0
    protocol: Literal["tcp", "udp"] = "tcp"


class Spawned(Struct, frozen=True, kw_only=True):
    """A process that runs. `pid` is its pid in the host's namespace; `addresses` by network."""

    pid: int
    addresses: dict[str, str] = {}
    tty: int = -1  # the pty's master in this process, when Process.tty
    notes: tuple[str, ...] = ()  # what was asked and could not be had (a ulimit above the user's own), in words


class Refused(Exception):
    """The kernel (or the root) refused one step. `step` names it ("mount /vault", "exec uvicorn"); `missing` is that
    the program, or the interpreter it names, is not in the root."""

    def __init__(self, step: str, why: str, *, missing: bool = False) -> None:
        super().__init__(f"{step}: {why}")
        self.step, self.why, self.missing = step, why, missing


def of_the_machine(sysctl: str, *, host_net: bool) -> str:
    """Why a service may not set it, or ""."""
    if not sysctl.startswith(("net.", "kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")):
        # moby `oci.go`: "sysctl is not in a separate kernel namespace"
        return "it is not of a namespace: it would change the whole machine"
    if host_net and sysctl.startswith("net."):  # as Docker
        return "this service is on the host's network: it would change the whole machine"
    return ""


class Sandbox(Protocol):
    """What the supervisor and the builder need; `stack.StackSandbox` is it.

    `stdio` are three descriptors (stdin, stdout, stderr) of this process, given to the child and left open here;
    -1 is /dev/null. Every coroutine raises `Refused`. `on_exit(id, status)` is called in the event loop for an
    instance's pid 1 and for every entered process; `status` is 0..255, or 128+signal as a shell says it.
    `on_lost()` is called when stack init itself is gone; everything in it is dead then.
    """

    pid: int  # stack init, host pid

    async def add_network(self, spec: NetworkSpec) -> str:
        """Make the bridge; returns its subnet."""

    async def remove_network(self, name: str) -> None: ...

    async def spawn(self, id: str, root: Root, process: Process, net: Net, stdio: tuple[int, int, int]) -> Spawned:
        """Start an instance. Returns when exec has succeeded; raises Refused, with nothing left, otherwise."""

    async def enter(self, id: str, process: Process, stdio: tuple[int, int, int], token: str) -> Spawned:
        """Run a process inside a living instance (exec, healthcheck); its exit is told under `token`."""

    async def publish(self, id: str, port: PortSpec) -> PortSpec:
        """Listen on the host and forward to the instance; returns it with the host port really taken."""

    async def unpublish(self, id: str) -> None: ...

    def signal(self, id: str, signum: int) -> bool:
        """Signal an instance's pid 1 (or an entered process by its token). False when there is none."""

    async def close(self) -> None:
        """Kill all that is left and wait until it is gone."""


OnExit = Callable[[str, int], None]
