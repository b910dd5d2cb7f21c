"""What supervisor, stack init and border say to each other: JSON over `wire`. `fds` names descriptors sent along."""

from msgspec import Struct

from cais.sandbox.api import Mount, PortSpec, Process, Root


class Link(Struct, frozen=True, kw_only=True):
    """One end of a veth pair for a new instance; indexes are chosen by the supervisor, so nobody asks for them."""

    name: str  # in the stack's network namespace
    index: int
    bridge: int
    mtu: int
    peer: str  # in the instance's: eth0, eth1, …
    peer_index: int
    mac: str
    address: str
    prefix: int
    gateway: str = ""  # of the default route; "" = none by this link
    stale: str = ""  # an older link that had this address: it must be gone first


class Spawn(Struct, frozen=True, kw_only=True, tag=True):
    """fds: stdin, stdout, stderr, then each cgroup.procs to enter."""

    number: int
    id: str
    root: Root
    process: Process
    net: str  # new, host, or instance:<id>
    links: tuple[Link, ...] = ()
    hostname: str = ""
    domainname: str = ""
    files: tuple[Mount, ...] = ()
    dns: bool = False


class Enter(Struct, frozen=True, kw_only=True, tag=True):
    """fds: stdin, stdout, stderr, then each cgroup.procs to enter."""

    number: int
    id: str
    token: str
    process: Process


class Cancel(Struct, frozen=True, kw_only=True, tag=True):
    """An instance that is being started is not wanted any more: its Spawn is answered, as one that failed."""

    number: int
    id: str


class AddBridge(Struct, frozen=True, kw_only=True, tag=True):
    """`network` and `mask` are dotted; `out` redirects what leaves the stack to its listener."""

    number: int
    name: str
    index: int
    mac: str
    mtu: int
    gateway: str
    prefix: int
    network: str
    mask: str
    out: bool


class OpenGateway(Struct, frozen=True, kw_only=True, tag=True):
    """What goes to the gateway of `bridge` is redirected too: an instance there has a name for the host."""

    number: int
    bridge: str
    gateway: str


class DeleteLink(Struct, frozen=True, kw_only=True, tag=True):
    number: int
    name: str


class StartBorder(Struct, frozen=True, kw_only=True, tag=True):
    """fds: the border's end of its channel with the supervisor."""

    number: int


Request = Spawn | Enter | Cancel | AddBridge | OpenGateway | DeleteLink | StartBorder


class Ready(Struct, frozen=True, kw_only=True, tag=True):
    """Stack init is up. fds: the egress listener, on `egress` of the stack's network namespace (0: no nf_tables)."""

    egress: int = 0
    lacks: str = ""


class Done(Struct, frozen=True, kw_only=True, tag=True):
    """The answer to the request `number`; fds as in `fds`: pidfd, tty, udp, tcp. `missing` as in Refused."""

    number: int
    fds: tuple[str, ...] = ()
    step: str = ""
    why: str = ""
    missing: bool = False
    notes: tuple[str, ...] = ()


class Exited(Struct, frozen=True, kw_only=True, tag=True):
    id: str
    status: int


Reply = Ready | Done | Exited


class Report(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """From a child on its way to exec. `fds` as in Done; `step` and `why` when it cannot go on; end of file: exec.
    `alive` is what a starter's child says first: its pid comes with it."""

    alive: bool = False
    fds: tuple[str, ...] = ()
    step: str = ""
    why: str = ""
    missing: bool = False
    notes: tuple[str, ...] = ()


class Publish(Struct, frozen=True, kw_only=True, tag=True):
    """To the border. fds: the listening (tcp) or bound (udp) sockets of the host."""

    id: str
    address: str
    port: PortSpec


class Unpublish(Struct, frozen=True, kw_only=True, tag=True):
    id: str


BorderRequest = Publish | Unpublish
