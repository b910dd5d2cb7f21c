"""From clone to exec: the life of a child of stack init until it is the program that was asked for.

Every function here runs in the child. Whatever stops it is told through `status` as a step and a reason; when exec
succeeds the kernel closes `status`, and that end of file is the good news.
"""

import errno
import fcntl
import os
import resource
import signal
import socket
import stat
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple, NoReturn

import msgspec

from cais.sandbox import kernel, netlink, nftables, roots, users, wire
from cais.sandbox.api import DEFAULT_PATH, Process, Refused, of_the_machine
from cais.sandbox.messages import Link, Report, Spawn
from cais.sandbox.roots import step
from cais.sandbox.ulimits import ULIMITS, reaches_over

DNS_ADDRESS = "127.0.0.11"
# Above the ports that connect(2) and bind(2) choose by themselves, and where no program is known to listen.
_DNS_PORT = 61053


class World(NamedTuple):
    """What stack init knows and every child needs."""

    single: bool  # a user namespace with one uid
    mount_point: str
    nofile: tuple[int, int]  # as the supervisor was started
    last_capability: int
    capabilities: int  # a mask of those there are
    masked: tuple[tuple[str, bool], ...]


class Wired(NamedTuple):
    """A link as its instance needs it. Worked out before the clone: a child copies every page that it touches, so
    what stack init can do for it costs less there."""

    peer: str
    messages: bytes


def wired(link: Link) -> Wired:
    return Wired(link.peer, netlink.set_up(link.peer_index, link.address, link.prefix, link.gateway))


def run_instance(
    world: World,
    request: Spawn,
    stdio: Sequence[int],
    groups: Sequence[int],
    status: socket.socket,
    join: int,
    links: Sequence[Wired],
) -> NoReturn:
    """`join` is the pidfd of the instance whose network this one shares, or -1."""
    try:
        _prepare([*stdio, *groups, status.fileno(), join], groups)
        if join >= 0:
            with step(f"network of {request.net.partition(':')[2]}"):
                kernel.setns(join, kernel.CLONE_NEWNET)
        builder = roots.Builder(
            request.root,
            world.mount_point,
            world.masked,
            single=world.single,
            privileged=request.process.privileged,
            host_net=request.net == "host",
        )
        builder.build(request.files)
        with step("hostname"):
            socket.sethostname(request.hostname)
            kernel.set_domainname(request.domainname)
        if request.net == "new":
            _connect(links, status, dns=request.dns, single=world.single)
        notes = _sysctls(request.process, host_net=request.net == "host")
        make_cwd(request.process.cwd)  # before the root is read-only, as runc does
        builder.seal()
        _start(world, request.process, stdio, status, notes, nested=True)
    except Refused as error:
        fail(status, error.step, error.why, missing=error.missing)
    except BaseException as error:
        fail(status, "start", f"{type(error).__name__}: {error}")


class Host(NamedTuple):
    """A living instance, as `enter` must meet it."""

    pidfd: int
    ids: tuple[int, int] | None  # of its nested user namespace


def run_entered(
    world: World,
    host: Host,
    process: Process,
    stdio: Sequence[int],
    groups: Sequence[int],
    status: socket.socket,
) -> NoReturn:
    """Already in the PID namespace of the instance."""
    try:
        _prepare([*stdio, *groups, status.fileno(), host.pidfd], groups)
        with step("enter"):
            spaces = kernel.CLONE_NEWNS | kernel.CLONE_NEWNET | kernel.CLONE_NEWUTS | kernel.CLONE_NEWIPC
            kernel.setns(host.pidfd, spaces)
            os.chdir("/")
        person = users.look_up(process.user, process.group_add)
        same = world.single and host.ids == (person.uid, person.gid) and host.ids is not None
        if same:
            with step("enter the user namespace"):
                kernel.setns(host.pidfd, kernel.CLONE_NEWUSER)
        _start(world, process, stdio, status, (), nested=not same)
    except Refused as error:
        fail(status, error.step, error.why, missing=error.missing)
    except BaseException as error:
        fail(status, "start", f"{type(error).__name__}: {error}")


def report(status: socket.socket, message: Report, fds: Sequence[int] = ()) -> None:
    wire.send(status, msgspec.json.encode(message), fds)


def fail(status: socket.socket, at: str, why: str, *, missing: bool = False) -> NoReturn:
    with suppress(OSError):
        report(status, Report(step=at, why=why, missing=missing))
    os._exit(127)


def _prepare(keep: Sequence[int], groups: Sequence[int]) -> None:
    """A session of its own, and nothing of stack init's but what `keep` says; signals are its defaults already."""
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)  # until exec: this is still the memory of stack init
    os.setsid()
    os.umask(0o022)
    after = 3
    for fd in sorted({fd for fd in keep if fd > 2}):
        os.closerange(after, fd)
        after = fd + 1
    kernel.close_from(after)
    kernel.new_session_keyring()
    with step("enter the cgroup"):
        for fd in groups:
            os.write(fd, b"0")  # the writer itself, whatever its pid is where
            os.close(fd)


def _connect(links: Sequence[Wired], status: socket.socket, *, dns: bool, single: bool) -> None:
    """The instance's side of its network namespace; stack init says when the peers are here."""
    here = open_network(status, dns=dns, single=single)
    if wire.receive(status) is None:
        os._exit(127)
    raise_links(here, links)


def open_network(status: socket.socket, *, dns: bool, single: bool) -> socket.socket:
    """The loopback and the name server; returns a netlink socket of the network namespace we are in."""
    here = netlink.open_channel()
    with step("network: raise lo"):
        netlink.request(here, _LOOPBACK)
    # moby libnetwork sets these two for every container since 20.10, so that a service that is not root may
    # listen on port 80 and ping.
    _write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")
    _write("/proc/sys/net/ipv4/ping_group_range", "0 0" if single else "0 2147483647")
    if dns:
        with step("network: DNS"):
            _listen_dns(status)
    return here


def raise_links(here: socket.socket, links: Sequence[Wired]) -> None:
    for link in links:
        with step(f"network: raise {link.peer}"):
            _write(f"/proc/sys/net/ipv6/conf/{link.peer}/disable_ipv6", "1")  # as Docker without IPv6 networks
            netlink.request(here, link.messages)


_LOOPBACK = netlink.link_up(1)
_DNS_RULES = nftables.transaction(
    [
        nftables.table(),
        nftables.nat_chain("output", nftables.NF_INET_LOCAL_OUT),
        *(
            nftables.rule(
                "output",
                nftables.to_address(DNS_ADDRESS),
                nftables.protocol(number),
                nftables.to_port(53),
                nftables.dnat(DNS_ADDRESS, _DNS_PORT),
            )
            for number in (socket.IPPROTO_UDP, socket.IPPROTO_TCP)
        ),
    ]
)


def _listen_dns(status: socket.socket) -> None:
    """127.0.0.11:53 answers, and port 53 stays free for a service that is a DNS server itself: as Docker does it,
    the sockets have a port of their own and NAT brings what is meant for 53 to them."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((DNS_ADDRESS, _DNS_PORT))
    tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    tcp.bind((DNS_ADDRESS, _DNS_PORT))
    tcp.listen(128)
    with nftables.open_channel() as channel:
        netlink.request(channel, _DNS_RULES)
    report(status, Report(fds=("udp", "tcp")), [udp.fileno(), tcp.fileno()])
    udp.close()
    tcp.close()


def _write(path: str, text: str) -> None:
    with suppress(OSError), open(path, "w") as file:
        file.write(text)


def _sysctls(process: Process, *, host_net: bool) -> tuple[str, ...]:
    for name, value in process.sysctls.items():
        path = "/proc/sys/" + name.replace(".", "/")
        if why := of_the_machine(name, host_net=host_net):
            raise Refused(f"sysctl {name}", why)
        with step(f"sysctl {name}"), open(path, "w") as file:
            file.write(value)
    return ()


def _start(
    world: World, process: Process, given: Sequence[int], status: socket.socket, notes: tuple[str, ...], *, nested: bool
) -> NoReturn:
    person = users.look_up(process.user, process.group_add)
    bounds = users.capabilities(process, world.capabilities)
    if not process.cwd.startswith("/"):
        raise Refused(f"working directory {process.cwd}", "it must be an absolute path")
    notes += _limits(world, process)
    notes += _oom_score(process.oom_score_adj)
    terminal = _terminal(process, person, status, world) if process.tty else -1
    ends = [terminal] * 3 if terminal >= 0 else stdio(given, person, world)
    if notes:
        report(status, Report(notes=notes))
    _become(world, process, person, bounds, nested=nested)
    try:
        os.chdir(process.cwd)
    except OSError as error:  # the folder is in the reason: of an exec's refusal only that is shown
        raise Refused("working directory", f"{process.cwd}: {error.strerror}") from error
    os.umask(process.umask)
    for at, fd in enumerate(ends):
        os.dup2(fd, at)
    env = {"HOME": person.home, **process.env}
    if process.init:
        _reap_for(status, tty=process.tty)
    kernel.close_on_exec(3)
    _exec(process.argv, env)


def make_cwd(path: str) -> None:
    """Of the service; an exec with a missing one fails, as in Docker."""
    with step(f"working directory {path}"), suppress(FileExistsError):
        if path.startswith("/") and not os.path.isdir(path):
            os.makedirs(os.path.realpath(path), mode=0o755, exist_ok=True)  # Docker makes a missing one


def _limits(world: World, process: Process) -> tuple[str, ...]:
    """setrlimit(2). Only root may raise a hard limit: then the nearest is taken, and said."""
    notes = []
    resource.setrlimit(resource.RLIMIT_NOFILE, world.nofile)
    for name, (soft, hard) in process.ulimits.items():
        number = ULIMITS.get(name)
        if number is None:
            raise Refused(f"ulimit {name}", f"unknown; known are {', '.join(sorted(ULIMITS))}")
        if reaches_over(soft, hard):
            raise Refused(f"ulimit {name}", f"the soft limit {soft} is above the hard one, {hard}")
        try:
            resource.setrlimit(number, (soft, hard))
        except (PermissionError, ValueError):  # EPERM is a ValueError of Python's
            limit = resource.getrlimit(number)[1]
            resource.setrlimit(number, (limit if soft < 0 or soft > limit >= 0 else soft, limit))
            notes.append(f"ulimit {name}: this user may not have more than {limit}")
    return tuple(notes)


def _oom_score(score: int) -> tuple[str, ...]:
    if not score:
        return ()
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write(str(score))
    except OSError:  # lowering it takes CAP_SYS_RESOURCE of the machine
        return (f"oom_score_adj {score}: only root may lower it",)
    return ()


def _terminal(process: Process, person: users.Person, status: socket.socket, world: World) -> int:
    with step("terminal"):
        master, slave = kernel.open_terminal()
        fcntl.ioctl(slave, kernel.TIOCSCTTY, 0)
        if not world.single:
            os.fchown(slave, person.uid, -1)
        report(status, Report(fds=("tty",)), [master])
        os.close(master)
        return slave


def stdio(given: Sequence[int], person: users.Person, world: World) -> list[int]:
    """Descriptors 0, 1, 2 come in any order: away from each other first. Pipes become the user's, so that it may
    open /dev/stdout (runc fixStdioPermissions)."""
    ends = []
    for fd in given:
        end = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC) if fd < 0 else fd
        end = fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 3)
        about = os.fstat(end)
        if not world.single and about.st_uid != person.uid and stat.S_ISFIFO(about.st_mode):
            with suppress(OSError):
                os.fchown(end, person.uid, -1)
        ends.append(end)
    return ends


def _become(world: World, process: Process, person: users.Person, bounds: Sequence[int], *, nested: bool) -> None:
    if world.single:
        if person.uid == 0 and person.gid == 0:
            with step("seccomp"):
                kernel.fake_chown()
        elif nested:
            # The one uid there is gets the wanted number: `id` says postgres, and files of uid 0 are postgres's.
            with step(f"user {process.user}"):
                kernel.prctl(kernel.PR_SET_DUMPABLE, 1)  # or /proc/self/uid_map belongs to the machine's root
                kernel.unshare(kernel.CLONE_NEWUSER)
                kernel.map_ids("self", (person.uid, person.gid), (0, 0))
                kernel.prctl(kernel.PR_SET_DUMPABLE, 0)  # a reaper never execs, and its program may not read it
    with step("capabilities"):
        kernel.bound_capabilities(bounds, world.last_capability)
    if not world.single:
        with step(f"user {process.user}"):
            os.setgroups(person.groups)
            os.setresgid(person.gid, person.gid, person.gid)
            os.setresuid(person.uid, person.uid, person.uid)
    with step("capabilities"):
        kernel.set_capabilities(bounds if person.uid == 0 else ())
    if process.no_new_privileges:
        with step("no_new_privs"):
            kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)


def _reap_for(status: socket.socket, *, tty: bool) -> None:
    """`init: true`: this process stays pid 1; returns in its child, which is the program (as tini does)."""
    kernel.set_name("docker-init")  # what `ps` shows in Docker
    child = os.fork()
    if child == 0:
        if tty:
            os.setpgid(0, 0)
            signal.signal(signal.SIGTTOU, signal.SIG_IGN)
            os.tcsetpgrp(0, os.getpgid(0))
            signal.signal(signal.SIGTTOU, signal.SIG_DFL)
        # setns(2) asks for the right to trace. This pid 1 never execs, so it stays undumpable, and nobody but root
        # may trace it; the program may be, and stands in the same namespaces.
        door = os.pidfd_open(os.getpid())
        report(status, Report(fds=("door",)), [door])
        os.close(door)
        return
    every = signal.valid_signals() - {signal.SIGTTIN, signal.SIGTTOU}
    signal.pthread_sigmask(signal.SIG_SETMASK, every)
    status.close()  # from here on it counts as started, and a signal that is not held would be lost on a pid 1
    os.closerange(0, 1024)
    while True:
        with suppress(ChildProcessError):  # also one that has ended before signals were held
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                if found[0] == child:
                    os._exit(_shell_status(found[1]))
        info = signal.sigwaitinfo(every)
        if info.si_signo != signal.SIGCHLD:
            with suppress(ProcessLookupError):
                os.kill(child, info.si_signo)


def _shell_status(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _exec(argv: Sequence[str], env: dict[str, str]) -> NoReturn:
    program = argv[0] if argv else ""
    if not program:
        raise Refused("exec", "no command is given")
    if "/" in program:
        places = [program]
    else:
        folders = env.get("PATH", DEFAULT_PATH).split(":")
        places = [f"{folder or '.'}/{program}" for folder in folders]
    denied = ""
    for place in places:
        try:
            os.execve(place, list(argv), env)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                if os.path.exists(place):
                    raise Refused(f"exec {place}", why_no_exec(error.errno, place), missing=True) from error
                continue
            if error.errno == errno.EACCES:
                denied = denied or place
                continue
            raise Refused(f"exec {place}", why_no_exec(error.errno, place)) from error
        except ValueError as error:
            raise Refused(f"exec {place}", str(error)) from error
    if denied:
        raise Refused(f"exec {denied}", why_no_exec(errno.EACCES, denied))
    raise Refused(f"exec {program}", "no such file" if "/" in program else "not found in PATH", missing=True)


def why_no_exec(number: int | None, place: str) -> str:
    """In words, for a program that is there, at `place`."""
    match number:
        case errno.ENOENT | errno.ENOTDIR:
            if _ends_with_cr(place):
                return (
                    "its #! line ends with a carriage return, as Windows writes lines, and none is called so: "
                    "take them out (sed -i 's/\\r$//' FILE), and keep them out ('*.sh text eol=lf' in .gitattributes)"
                )
            return "the interpreter or loader it names is not in the image"
        case errno.ENOEXEC:
            return "exec format error: no program of this machine, no #! line"
        case errno.EACCES:
            return "permission denied"
    return os.strerror(number or errno.EINVAL)


def _ends_with_cr(place: str) -> bool:
    """Whether a script's first line does."""
    with suppress(OSError):
        fd = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            line, end, _ = os.read(fd, 256).partition(b"\n")  # of more the kernel reads nothing
            return line.startswith(b"#!") and bool(end) and line.endswith(b"\r")
        finally:
            os.close(fd)
    return False
