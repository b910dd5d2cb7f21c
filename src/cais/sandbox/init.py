"""Stack init: pid 1 of a stack. Starts what it is asked to, reaps, reports; ends with its supervisor.

It stays in the host's network namespace (a service with `network_mode: host` is cloned from here, and an ordinary
user cannot go back to it), and works in the stack's through sockets that a child made there.
"""

import gc
import os
import resource
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple, NoReturn

import msgspec

from cais.sandbox import kernel, netlink, nftables, script, service, starter, wire
from cais.sandbox.api import Process, Refused
from cais.sandbox.kernel import MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_REC, MS_SLAVE
from cais.sandbox.messages import (
    AddBridge,
    Cancel,
    DeleteLink,
    Done,
    Enter,
    Exited,
    OpenGateway,
    Ready,
    Reply,
    Report,
    Request,
    Spawn,
    StartBorder,
)
from cais.sandbox.netlink import Links
from cais.sandbox.roots import masked_here, step

_decoder: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)
_STARTERS = 4  # side by side; each waits for the kernel now and then
_STUCK = 1.0  # seconds after which one more is made
_IDLE = 2.0
_reports: msgspec.json.Decoder[Report] = msgspec.json.Decoder(Report)


class Network(NamedTuple):
    """The stack's network namespace, held by these descriptors alone."""

    namespace: int
    links: Links
    nft: socket.socket
    egress: int


class Child:
    """A process this one has cloned. `waiting` is the number of the request to answer when it has exec'ed."""

    def __init__(self, name: str, pid: int, status: socket.socket, waiting: int) -> None:
        self.name, self.pid, self.status, self.waiting = name, pid, status, waiting
        self.pidfd = os.pidfd_open(pid) if pid else -1  # 0: a starter will tell
        self.door = self.pidfd  # by which others enter its namespaces
        self.fds: dict[str, int] = {}
        self.notes: tuple[str, ...] = ()
        self.failed: Report | None = None
        self.suspect: Report | None = None  # why it failed, if it does not say itself
        self.process = Process(argv=())
        self.ids: tuple[int, int] | None = None
        self.is_instance = False
        self.upper = ""


class Starter:
    """A process of starter.py. `child` is what it is at."""

    def __init__(self, pid: int, channel: socket.socket) -> None:
        self.channel, self.pidfd = channel, os.pidfd_open(pid)
        self.child: Child | None = None
        self.since = time.monotonic()  # at work, or idle
        self.leaving = False


class Queued(NamedTuple):
    """An instance no starter has taken up yet."""

    child: Child
    body: bytes
    fds: list[int]

    def close(self) -> None:
        for fd in self.fds:
            os.close(fd)


def main(channel: socket.socket, mount_point: str, nofile: tuple[int, int], *, single: bool) -> NoReturn:
    """Runs in the new process; the first message it gets says that its uid map is written."""
    code = 1
    try:
        Init(channel, mount_point, nofile, single=single).run()
        code = 0
    except BaseException as error:
        with suppress(OSError):
            why = error.why if isinstance(error, Refused) else f"{type(error).__name__}: {error}"
            at = error.step if isinstance(error, Refused) else "stack init"
            wire.send(channel, msgspec.json.encode(Done(number=0, step=at, why=why)))
    finally:
        os._exit(code)


class Init:
    def __init__(self, channel: socket.socket, mount_point: str, nofile: tuple[int, int], *, single: bool) -> None:
        self.channel = channel
        # The kernel kills this process when the thread that cloned it ends; the end of file of the channel, which
        # only the supervisor holds, covers the moment before this line (getppid() is 0 in a new PID namespace).
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        if wire.receive(channel) is None:
            os._exit(0)
        self._become_daemon()
        self.poll = select.epoll()
        self.poll.register(channel.fileno(), select.EPOLLIN)
        with suppress(OSError, ValueError):  # what services get is in World
            resource.setrlimit(resource.RLIMIT_NOFILE, (nofile[1], nofile[1]))
        self.by_status: dict[int, Child] = {}
        self.by_pidfd: dict[int, Child] = {}
        self.instances: dict[str, Child] = {}
        self.borders: set[int] = set()
        self.starters: dict[int, Starter] = {}
        self.queue: deque[Queued] = deque()
        self.mounts(mount_point)
        self.world = service.World(
            single=single,
            mount_point=mount_point,
            nofile=nofile,
            last_capability=kernel.last_capability(),
            capabilities=kernel.own_capabilities(),
            masked=masked_here(),
        )
        self.own_pid_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        self.net, listener, lacks = make_network()
        self.say(Ready(egress=self.net.egress, lacks=lacks), [listener] if listener >= 0 else [])
        if listener >= 0:
            os.close(listener)
        if script.possible():
            with suppress(Refused):
                self.hire()  # while the supervisor gets ready itself

    def _become_daemon(self) -> None:
        os.setsid()  # ^C at the terminal is the supervisor's business
        kernel.scrub_environment("cais-init")
        os.chdir("/")
        os.umask(0o022)
        signal.set_wakeup_fd(-1)
        # Defaults for all, once, for every child to inherit (Python ignores SIGPIPE, which programs must not). The
        # kernel keeps from pid 1 every signal it has no handler for, so a broken pipe is no more than EPIPE here.
        for number in signal.valid_signals():
            with suppress(OSError, ValueError):  # KILL and STOP, and those the C library keeps for itself
                signal.signal(number, signal.SIG_DFL)
        kernel.default_library_signals()
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        null = os.open("/dev/null", os.O_RDWR)
        for fd in range(3):
            os.dup2(null, fd)
        keep = self.channel.fileno()
        os.closerange(3, keep)
        kernel.close_from(keep + 1)
        gc.freeze()  # what is shared with the supervisor stays shared: no collector writes into it
        gc.disable()

    def mounts(self, mount_point: str) -> None:
        with step("mount namespace"):
            kernel.mount(None, "/", None, MS_REC | MS_SLAVE)  # the host's later unmounts still reach us
        with step("mount /proc"):
            kernel.mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        os.makedirs(mount_point, mode=0o700, exist_ok=True)

    def say(self, message: Reply, fds: Sequence[int] = ()) -> None:
        try:
            wire.send(self.channel, msgspec.json.encode(message), fds)
        except (BrokenPipeError, ConnectionError):
            os._exit(0)

    def run(self) -> None:
        while True:
            for fd, _ in self.poll.poll(self.patience()):
                if fd == self.channel.fileno():
                    self.request()
                elif fd in self.by_status:
                    self.status(self.by_status[fd])
                elif fd in self.by_pidfd:
                    self.exited(self.by_pidfd[fd])
                elif fd in self.starters:
                    self.starter_ended(self.starters[fd])
            self.distribute()

    # requests

    def request(self) -> None:
        packet = wire.receive(self.channel)
        if packet is None:
            os._exit(0)  # the supervisor is gone; everything in this PID namespace goes with us
        body, fds = packet
        request = _decoder.decode(body)
        try:
            match request:
                case Spawn():
                    self.spawn(request, body, fds)
                case Enter():
                    self.enter(request, fds)
                case Cancel():
                    self.cancel(request.id)
                case AddBridge():
                    self.add_bridge(request)
                case OpenGateway():
                    self.open_gateway(request)
                case DeleteLink():
                    with suppress(OSError):
                        self.net.links.delete(request.name)
                    self.say(Done(number=request.number))
                case StartBorder():
                    self.start_border(fds[0])
                    self.say(Done(number=request.number))
        except Refused as error:
            self.say(Done(number=request.number, step=error.step, why=error.why))
        except Exception as error:
            what = type(request).__name__.lower()
            why = (
                error.strerror if isinstance(error, OSError) and error.strerror else f"{type(error).__name__}: {error}"
            )
            self.say(Done(number=request.number, step=what, why=why))
        finally:
            for fd in fds:
                os.close(fd)

    def add_bridge(self, request: AddBridge) -> None:
        with step(f"network: make the bridge {request.name}"):
            mac = bytes.fromhex(request.mac.replace(":", ""))
            self.net.links.add_bridge(request.name, request.index, mac, request.mtu, request.gateway, request.prefix)
        if self.net.egress:
            # To an address of the stack nothing is redirected: its own network stays on the bridge, another one is
            # dropped (nothing is forwarded here), and the gateway refuses, as nobody listens on it.
            inside = nftables.to_network(request.network, request.mask)
            own = nftables.rule("out", inside, nftables.accept(), first=True)
            with step("network: nf_tables"):
                nftables.apply(self.net.nft, [own, self._way_out(request.name)] if request.out else [own])
        self.say(Done(number=request.number))

    def _way_out(self, bridge: str, *matches: bytes, first: bool = False) -> tuple[int, int, bytes]:
        tcp = nftables.on_interface(bridge) + nftables.protocol(socket.IPPROTO_TCP)
        return nftables.rule("out", tcp, *matches, nftables.redirect(self.net.egress), first=first)

    def open_gateway(self, request: OpenGateway) -> None:
        if self.net.egress:
            with step("network: nf_tables"):
                to_host = self._way_out(request.bridge, nftables.to_address(request.gateway), first=True)
                nftables.apply(self.net.nft, [to_host])
        self.say(Done(number=request.number))

    def spawn(self, request: Spawn, body: bytes, fds: Sequence[int]) -> None:
        if request.id in self.instances:
            raise Refused(f"start {request.id}", "it is running already")
        for other in self.instances.values():
            if other.upper == request.root.upper:
                raise Refused(f"start {request.id}", f"{other.name} is running on the same root {other.upper}")
        if starter.plain(request, single=self.world.single):
            self.enqueue(request, body, fds)
            return
        spaces = kernel.CLONE_NEWPID | kernel.CLONE_NEWNS | kernel.CLONE_NEWUTS | kernel.CLONE_NEWIPC
        join = -1
        if request.net == "new":
            spaces |= kernel.CLONE_NEWNET
        elif request.net != "host":
            name = request.net.partition(":")[2]
            if name not in self.instances or self.instances[name].door < 0:
                raise Refused(f"network of {name}", "it is not running")
            join = self.instances[name].door
        wired = [service.wired(link) for link in request.links]
        ours, theirs = wire.pair()
        with step("clone"):
            pid = kernel.clone(spaces)
        if pid == 0:
            ours.close()
            service.run_instance(self.world, request, fds[:3], fds[3:], theirs, join, wired)
        theirs.close()
        child = self.adopt_instance(request, pid, ours)
        if request.net == "new":
            try:
                for link in request.links:
                    self.net.links.connect(link, pid)
                wire.send(ours, b"go")
            except BrokenPipeError:
                pass  # it has failed by itself, and says why
            except Refused as error:
                child.suspect = Report(step=error.step, why=error.why)  # it may have failed first, and says why
                os.kill(pid, signal.SIGKILL)

    def enter(self, request: Enter, fds: Sequence[int]) -> None:
        instance = self.instances.get(request.id)
        if instance is None or instance.waiting:
            raise Refused(f"enter {request.id}", "it is not running")
        # An exec has the instance's capabilities and limits, its own user, environment and terminal (docker exec).
        its = instance.process
        process = msgspec.structs.replace(
            request.process,
            init=False,
            cap_add=its.cap_add,
            cap_drop=its.cap_drop,
            privileged=its.privileged or request.process.privileged,
            no_new_privileges=its.no_new_privileges or request.process.no_new_privileges,
            ulimits=request.process.ulimits or its.ulimits,
            oom_score_adj=its.oom_score_adj,
            group_add=request.process.group_add or its.group_add,
        )
        ours, theirs = wire.pair()
        try:
            with step(f"enter {request.id}"):
                # Children only: this process stays where it is, and its child is in there from its first moment.
                kernel.setns(instance.door, kernel.CLONE_NEWPID)
                pid = os.fork()
        except Refused as error:
            raise Refused(error.step, f"it has ended ({error.why})") from error
        finally:
            if os.getpid() == 1:
                kernel.setns(self.own_pid_namespace, kernel.CLONE_NEWPID)
        if pid == 0:
            ours.close()
            host = service.Host(instance.door, instance.ids)
            service.run_entered(self.world, host, process, fds[:3], fds[3:], theirs)
        theirs.close()
        self.adopt(request.token, pid, ours, request.number)

    def cancel(self, name: str) -> None:
        """A start that is stuck (a bind from a dead network drive) ends, and its request is answered with that."""
        child = self.instances.get(name)
        if child is None or not child.waiting:
            return
        child.failed = child.failed or Report(step=f"start {name}", why="it was stopped before it had started")
        for queued in [one for one in self.queue if one.child is child]:
            self.queue.remove(queued)
            queued.close()
        if child.pidfd >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)
        for one in self.starters.values():
            if one.child is child:
                one.leaving = True
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(one.pidfd, signal.SIGKILL)

    # the starters

    def enqueue(self, request: Spawn, body: bytes, fds: Sequence[int]) -> None:
        ours, theirs = wire.pair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        child = self.adopt_instance(request, 0, ours)
        self.queue.append(Queued(child, body, [*(os.dup(fd) for fd in fds), theirs.detach()]))

    def distribute(self) -> None:
        """What is queued to who is idle. One that is stuck (a bind from a dead network drive) keeps nobody else
        waiting for long; who has been idle for a while goes home."""
        now = time.monotonic()
        for one in self.starters.values():
            if one.child is not None and one.child.status.fileno() not in self.by_status:
                one.leaving = one.leaving or one.child.failed is not None  # a failure ends it
                one.child, one.since = None, now
        idle = [one for one in self.starters.values() if one.child is None and not one.leaving]
        while self.queue:
            if idle:
                chosen = idle.pop()
            elif sum(one.since > now - _STUCK and not one.leaving for one in self.starters.values()) < _STARTERS:
                try:
                    chosen = self.hire()
                except Refused as error:
                    if any(one.child is not None for one in self.starters.values()):
                        return  # it can take this up, too
                    queued = self.queue.popleft()
                    queued.child.failed = Report(step=error.step, why=error.why)
                    queued.close()  # the end of file of the child's status comes with it
                    continue
            else:
                return
            queued = self.queue.popleft()
            chosen.child, chosen.since = queued.child, now
            with suppress(OSError):  # it is gone: the end of file of the child's status says so
                wire.send(chosen.channel, queued.body, queued.fds)
            queued.close()
        for one in idle:
            if one.since < now - _IDLE:
                self.dismiss(one)

    def patience(self) -> float | None:
        return _STUCK / 2 if self.queue else _IDLE if self.starters else None

    def hire(self) -> Starter:
        with step("clone"):
            ours, theirs = wire.pair()
            pid = os.fork()
        if pid == 0:
            starter.main(theirs, self.world, self.net.namespace)
        theirs.close()
        with step("clone"):
            one = Starter(pid, ours)
        self.starters[one.pidfd] = one
        self.poll.register(one.pidfd, select.EPOLLIN)
        return one

    def dismiss(self, one: Starter) -> None:
        one.channel.close()
        one.leaving = True

    def starter_ended(self, one: Starter) -> None:
        os.waitid(os.P_PIDFD, one.pidfd, os.WEXITED)
        self.poll.unregister(one.pidfd)
        del self.starters[one.pidfd]
        os.close(one.pidfd)
        one.channel.close()

    def adopt_instance(self, request: Spawn, pid: int, status: socket.socket) -> Child:
        child = self.instances[request.id] = self.adopt(request.id, pid, status, request.number)
        child.is_instance = True
        child.process = request.process
        child.upper = request.root.upper
        return child

    def adopt(self, name: str, pid: int, status: socket.socket, number: int) -> Child:
        child = Child(name, pid, status, number)
        self.by_status[status.fileno()] = child
        self.poll.register(status.fileno(), select.EPOLLIN)
        if pid:
            self.watch(child)
        return child

    def watch(self, child: Child) -> None:
        self.by_pidfd[child.pidfd] = child
        self.poll.register(child.pidfd, select.EPOLLIN)

    def start_border(self, channel: int) -> None:
        from cais.sandbox import border

        pid = os.fork()
        if pid == 0:
            try:
                kernel.setns(self.net.namespace, kernel.CLONE_NEWNET)
                border.main(socket.socket(fileno=os.dup(channel)))
            finally:
                os._exit(1)
        for ended in [one for one in self.borders if os.waitid(os.P_PIDFD, one, os.WEXITED | os.WNOHANG)]:
            self.borders.discard(ended)
            os.close(ended)
        pidfd = os.pidfd_open(pid)
        self.borders.add(pidfd)  # held, so that its exit is not taken for a service

    # what children tell

    def status(self, child: Child) -> None:
        told = wire.receive_from(child.status)
        if told is not None:
            body, fds, pid = told
            report = _reports.decode(body)
            child.fds.update(zip(report.fds, fds, strict=True))
            child.notes += report.notes
            if report.alive:
                # It is our child: nobody else gets its pid before we have waited for it.
                child.pidfd = child.door = os.pidfd_open(pid)
                self.watch(child)
                if child.failed:  # cancelled meanwhile
                    signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)
            if report.step:
                child.failed = child.failed or report
            return
        self.poll.unregister(child.status.fileno())
        del self.by_status[child.status.fileno()]
        child.status.close()
        child.failed = child.failed or child.suspect
        if child.pidfd < 0:  # its starter is gone, and there never was a process
            child.failed = child.failed or Report(step="start", why="the process that starts instances was killed")
            self.not_started(child)
        elif child.failed is None:
            self.started(child)

    def started(self, child: Child) -> None:
        if child.is_instance and self.world.single and child.pid:
            child.ids = _ids_of(child.pid)
        child.door = child.fds.pop("door", child.door)
        child.fds["pidfd"] = child.pidfd
        self.say(Done(number=child.waiting, fds=tuple(child.fds), notes=child.notes), list(child.fds.values()))
        child.waiting = 0
        self.forget_fds(child)

    def forget_fds(self, child: Child) -> None:
        for name, fd in child.fds.items():
            if name != "pidfd":
                os.close(fd)
        child.fds = {}

    def exited(self, child: Child) -> None:
        while child.status.fileno() in self.by_status:  # what it said last comes first
            self.status(child)
        result = os.waitid(os.P_PIDFD, child.pidfd, os.WEXITED)
        self.poll.unregister(child.pidfd)
        del self.by_pidfd[child.pidfd]
        os.close(child.pidfd)
        if child.door != child.pidfd:
            os.close(child.door)
        if child.failed is not None:
            self.not_started(child)
            return
        if child.is_instance:
            del self.instances[child.name]
        status = (result.si_status if result.si_code == os.CLD_EXITED else 128 + result.si_status) if result else 255
        self.say(Exited(id=child.name, status=status))

    def not_started(self, child: Child) -> None:
        assert child.failed is not None
        if child.is_instance:
            del self.instances[child.name]
        self.forget_fds(child)
        self.say(Done(number=child.waiting, step=child.failed.step, why=child.failed.why, missing=child.failed.missing))


def make_network() -> tuple[Network, int, str]:
    """The stack's network namespace and, in it, the listener to which everything that leaves is redirected.

    Returns them, the listener's descriptor (-1 without nf_tables) and what is lacking.
    """
    ours, theirs = wire.pair()
    pid = os.fork()
    if pid == 0:
        try:
            _in_network(theirs)
        except OSError as error:
            wire.send(theirs, f"!{error.strerror}".encode())
        finally:
            os._exit(0)
    theirs.close()
    packet = wire.receive(ours)
    os.waitpid(pid, 0)
    if packet is None or packet[0].startswith(b"!"):
        raise Refused("network namespace", packet[0][1:].decode() if packet else "the child died")
    body, fds = packet
    port, _, lacks = body.decode().partition(" ")
    links = Links(socket.socket(fileno=fds[1]))
    return Network(fds[0], links, socket.socket(fileno=fds[2]), int(port)), fds[3] if int(port) else -1, lacks


def _in_network(channel: socket.socket) -> None:
    kernel.unshare(kernel.CLONE_NEWNET)
    # A new namespace takes ip_forward from the host (1 where Docker ran), and networks would be routed to each other.
    # br_netfilter, where loaded, would send what stays on a bridge through the redirect.
    for name, value in (
        ("ipv4/ip_forward", "0"),
        ("ipv6/conf/all/disable_ipv6", "1"),
        ("ipv6/conf/default/disable_ipv6", "1"),
        ("bridge/bridge-nf-call-iptables", "0"),
    ):
        with suppress(OSError), open(f"/proc/sys/net/{name}", "w") as file:
            file.write(value)
    links = Links()
    netlink.request(links.channel, netlink.link_up(1))
    nft = nftables.open_channel()
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("0.0.0.0", 0))
    listener.listen(4096)
    port, lacks = listener.getsockname()[1], ""
    try:
        nftables.apply(nft, [nftables.table(), nftables.nat_chain("out", nftables.NF_INET_PRE_ROUTING)])
    except OSError as error:
        port, lacks = 0, f"nf_tables with nat: {error.strerror}"
    namespace = os.open("/proc/self/ns/net", os.O_RDONLY)
    fds = [namespace, links.channel.fileno(), nft.fileno(), listener.fileno()]
    wire.send(channel, f"{port} {lacks}".encode(), fds)


def _ids_of(pid: int) -> tuple[int, int] | None:
    """The ids a process's own user namespace gives the one uid; None when that is root, as in the stack's."""
    found = []
    try:
        for name in ("uid_map", "gid_map"):
            with open(f"/proc/{pid}/{name}") as file:
                found.append(int(file.read().split()[0]))
    except (OSError, IndexError):
        return None
    return None if found == [0, 0] else (found[0], found[1])
