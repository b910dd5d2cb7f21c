"""Listening sockets of the host for published ports, and who holds a port that is taken."""

import errno
import os
import socket
from collections.abc import Iterator

from cais.sandbox.api import PortSpec, Refused


def listen(port: PortSpec, *, backlog: int = 4096) -> tuple[list[socket.socket], int]:
    """Sockets for `port` (v4 and, where there is IPv6, v6 when no address is given), and the port number taken.
    `backlog` 0: bound alone, which with SO_REUSEADDR keeps nobody else from binding and listening (socket(7))."""
    number = port.host_port
    sockets: list[socket.socket] = []
    hosts = [port.host_ip] if port.host_ip else ["0.0.0.0", "::"]
    try:
        for host in hosts:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            if family == socket.AF_INET6 and not port.host_ip and not socket.has_ipv6:
                continue
            try:
                one = _bound(family, host, number, port.protocol, backlog)
            except OSError as error:
                no_v6 = error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
                if family == socket.AF_INET6 and not port.host_ip and no_v6:
                    continue
                raise Refused(_name(port), _why(error, number, port)) from error
            sockets.append(one)
            number = one.getsockname()[1]
    except Refused:
        for one in sockets:
            one.close()
        raise
    return sockets, number


def _bound(family: socket.AddressFamily, host: str, number: int, protocol: str, backlog: int) -> socket.socket:
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    one = socket.socket(family, kind)
    try:
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if protocol == "tcp":
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind((host, number))
        if protocol == "tcp" and backlog:
            one.listen(backlog)
    except BaseException:
        one.close()
        raise
    return one


def _name(port: PortSpec) -> str:
    host = f"[{port.host_ip}]" if ":" in port.host_ip else port.host_ip or "0.0.0.0"
    return f"publish {host}:{port.host_port}/{port.protocol}"


def _why(error: OSError, number: int, port: PortSpec) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            holder = who_holds(number, port.protocol, port.host_ip)
            return f"the port is taken by {holder}" if holder else "the port is taken"
        case errno.EACCES:
            return (
                f"ports below {_unprivileged_start()} take root here; publish a higher one, or allow it: "
                f"sysctl -w net.ipv4.ip_unprivileged_port_start={number}"
            )
        case errno.EADDRNOTAVAIL:
            return f"this machine has no address {port.host_ip}; leave it out, or publish at one it has"
    return error.strerror or str(error)


def _unprivileged_start() -> int:
    try:
        with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 1024


def check(port: PortSpec) -> None:
    """Raise the Refused that publishing would meet, and leave nothing open: asked before anything starts, maybe at the
    moment when another command publishes that port."""
    if port.host_port:
        for one in listen(port, backlog=0)[0]:
            one.close()


def who_holds(port: int, protocol: str = "tcp", host_ip: str = "") -> str:
    """`redis-server (pid 412)`, or "" when nobody does; "another user's process" where /proc does not tell."""
    inodes = _inodes(port, protocol, host_ip)
    if not inodes:
        return ""
    for pid in _holders(inodes):
        folder, supervisor = _project(pid)
        if folder:
            return f"the project '{os.path.basename(folder)}', which Cais runs (pid {supervisor})"
        return f"{_command(pid)} (pid {pid})"
    return "a process of another user"


def held_by(port: PortSpec, home: str) -> bool:
    """Whether the supervisor of the project in `home` publishes there already, and nobody else is in the way."""
    pids = list(_holders(_inodes(port.host_port, port.protocol, port.host_ip)))
    return bool(pids) and all(_project(pid)[0] == os.path.realpath(home) for pid in pids)


def _holders(inodes: set[str]) -> Iterator[str]:
    """Pids of those that have one of the sockets, as far as /proc tells this user."""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if any(os.readlink(f"/proc/{pid}/fd/{fd}") in wanted for fd in os.listdir(f"/proc/{pid}/fd")):
                yield pid
        except OSError:  # ended, or another user's
            continue


def _project(pid: str) -> tuple[str, str]:
    """Which project's published ports the process carries: the project's folder, and the pid of its supervisor, which,
    some parents up, holds the lock in it. Nothing for a process that is not ours."""
    if _command(pid) != "cais-border":
        return "", ""
    for _ in range(4):
        try:
            with open(f"/proc/{pid}/stat", errors="replace") as file:
                pid = file.read().rpartition(")")[2].split()[1]
            for fd in os.listdir(f"/proc/{pid}/fd"):
                place = os.readlink(f"/proc/{pid}/fd/{fd}").split("/")
                if place[-1] == "lock" and place[-3:-2] == ["projects"]:
                    return "/".join(place[:-1]), pid
        except OSError:
            break
    return "", ""


def _command(pid: str) -> str:
    try:
        with open(f"/proc/{pid}/comm") as file:
            return file.read().strip()
    except OSError:
        return "a process"


def _inodes(port: int, protocol: str, host_ip: str) -> set[str]:
    """proc(5), /proc/net/tcp: local_address is hex, each 32 bits in the machine's byte order; state 0A listens."""
    found = set()
    for name in (protocol, f"{protocol}6"):
        try:
            with open(f"/proc/net/{name}") as file:
                rows = file.read().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            address, _, number = fields[1].partition(":")
            if int(number, 16) != port or (protocol == "tcp" and fields[3] != "0A"):
                continue
            if _meets(address, host_ip):
                found.add(fields[9])
    return found


def _meets(held: str, wanted: str) -> bool:
    if not wanted or wanted in ("0.0.0.0", "::") or not held.strip("0"):
        return True
    raw = bytes.fromhex(held)
    words = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))  # little-endian machines
    family = socket.AF_INET6 if len(words) == 16 else socket.AF_INET
    return socket.inet_ntop(family, words) in (wanted, f"::ffff:{wanted}")
