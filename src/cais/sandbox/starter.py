"""A process that starts instances for stack init, one after the other, without a copy of itself for each.

It goes into new namespaces, makes there all that an instance needs but its PID namespace, and lets a child that only
makes system calls (script.py) finish and exec; then it returns to its own namespaces. Whatever goes wrong ends it, so
nothing of a failed start is left in it: stack init makes another one. The rare kinds of instances, which need more
than a list of calls between clone and exec, are stack init's own children (`plain` says which are not).
"""

import errno
import os
import resource
import socket
import struct
from collections.abc import Sequence
from typing import NoReturn

import msgspec

from cais.sandbox import kernel, roots, script, service, users, wire
from cais.sandbox.api import DEFAULT_PATH, Process, Refused
from cais.sandbox.kernel import CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUTS, CLONE_PARENT
from cais.sandbox.messages import Report, Spawn
from cais.sandbox.netlink import Links
from cais.sandbox.roots import step
from cais.sandbox.script import Calls

_HERE = wire.packet(msgspec.json.encode(Report(alive=True)))
_SPACES = ("mnt", CLONE_NEWNS), ("net", CLONE_NEWNET), ("uts", CLONE_NEWUTS), ("ipc", CLONE_NEWIPC)


def plain(request: Spawn, *, single: bool) -> bool:
    """Whether an instance can be started this way."""
    process = request.process
    return (
        script.possible()
        and request.net == "new"
        and not (process.tty or process.init or process.sysctls or process.ulimits or process.oom_score_adj)
        and (not single or process.user in ("", "0", "0:0"))
        and not any(mount.populate or _in_proc(mount.target) for mount in request.root.mounts)
        and not _in_proc(process.cwd)
        and _absolute(process)
    )


def _in_proc(path: str) -> bool:
    return f"{os.path.normpath(path)}/".startswith(("/proc/", "//proc/"))


def _absolute(process: Process) -> bool:
    program = process.argv[0] if process.argv else ""
    if "/" in program:
        return program.startswith("/")
    return bool(program) and all(one.startswith("/") for one in process.env.get("PATH", DEFAULT_PATH).split(":"))


def main(channel: socket.socket, world: service.World, network: int) -> NoReturn:
    """`network` is a descriptor of the stack's network namespace."""
    try:
        kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
        kernel.set_name("cais-starter")
        after = 3
        for fd in sorted((channel.fileno(), network)):
            os.closerange(after, fd)
            after = fd + 1
        kernel.close_from(after)
        kernel.setns(network, CLONE_NEWNET)
        kernel.unshare(CLONE_NEWUTS | CLONE_NEWIPC)
        starter = Starter(world)
        while (packet := wire.receive(channel)) is not None:
            body, fds = packet
            starter.start(msgspec.json.decode(body, type=Spawn), fds)
    finally:
        os._exit(0)


class Starter:
    def __init__(self, world: service.World) -> None:
        self.world = world
        self.links = Links()  # of the stack's network namespace: a socket keeps the one it was made in
        self.home = [(os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC), flag) for name, flag in _SPACES]

    def start(self, request: Spawn, fds: Sequence[int]) -> None:
        """fds: stdin, stdout, stderr, each cgroup.procs to enter, and the status to tell how it goes."""
        status = socket.socket(fileno=fds[-1])
        try:
            self._start(request, fds[:3], fds[3:-1], status)
        except Refused as error:
            service.fail(status, error.step, error.why, missing=error.missing)
        except BaseException as error:
            service.fail(status, "start", f"{type(error).__name__}: {error}")
        for fd in fds[:-1]:
            os.close(fd)
        for space, flag in self.home:
            kernel.setns(space, flag)
        status.close()

    def _start(self, request: Spawn, stdio: Sequence[int], groups: Sequence[int], status: socket.socket) -> None:
        world, process = self.world, request.process
        with step("clone"):
            kernel.unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC)
        self._network(request, status)
        with step("hostname"):
            socket.sethostname(request.hostname)
            kernel.set_domainname(request.domainname)
        builder = roots.Builder(
            request.root,
            world.mount_point,
            world.masked,
            single=world.single,
            privileged=process.privileged,
            host_net=False,
        )
        builder.build_around(request.files)
        service.make_cwd(process.cwd)
        person = users.look_up(process.user, process.group_add)
        if not process.cwd.startswith("/"):
            raise Refused(f"working directory {process.cwd}", "it must be an absolute path")
        ends = service.stdio(stdio, person, world)
        calls = Calls()
        calls.add("report", "write", status.fileno(), _HERE, len(_HERE))  # stack init reads from whom it is
        calls.add("session", "setsid")
        calls.add("keyring", "keyctl", 1, None, forgive=script.ANY)  # as kernel.new_session_keyring
        for fd in groups:
            calls.add("enter the cgroup", "write", fd, b"0", 1)
        builder.finish(calls)
        files = struct.pack("QQ", *(limit & 0xFFFFFFFFFFFFFFFF for limit in world.nofile))
        calls.add("open files", "prlimit64", 0, resource.RLIMIT_NOFILE, files, None)
        _become(calls, world, process, person)
        calls.add("working directory", "chdir", process.cwd)
        calls.add("umask", "umask", process.umask)
        for at, fd in enumerate(ends):
            calls.add("stdio", "dup2", fd, at)
        calls.add("descriptors", "close_range", 3, 0xFFFFFFFF, 0, forgive=errno.ENOSYS)  # they close by themselves
        _exec(calls, process.argv, {"HOME": person.home, **process.env})
        with step("clone"):
            _, failed = calls.run(CLONE_NEWPID | CLONE_PARENT)
        if failed is not None:
            raise _refused(failed, process)
        for fd in ends:
            os.close(fd)
        if builder.proc >= 0:
            os.close(builder.proc)

    def _network(self, request: Spawn, status: socket.socket) -> None:
        wired = [service.wired(link) for link in request.links]
        for link in request.links:
            self.links.connect(link, os.getpid())
        here = service.open_network(status, dns=request.dns, single=self.world.single)
        service.raise_links(here, wired)
        here.close()


def _become(calls: Calls, world: service.World, process: Process, person: users.Person) -> None:
    bounds = users.capabilities(process, world.capabilities)
    if world.single:
        if person.uid or person.gid:
            raise Refused(f"user {process.user}", "it is not root in the image's /etc/passwd")
        program = kernel.chown_filter()
        calls.held.append(program)
        calls.add("seccomp", "prctl", kernel.PR_SET_SECCOMP, kernel.SECCOMP_MODE_FILTER, program.address)
    for number in range(world.last_capability + 1):
        if number not in bounds:
            calls.add("capabilities", "prctl", kernel.PR_CAPBSET_DROP, number)
    if not world.single:
        who = f"user {process.user}"
        groups = struct.pack(f"{len(person.groups)}I", *person.groups)
        calls.add(who, "setgroups", len(person.groups), groups)
        calls.add(who, "setresgid", person.gid, person.gid, person.gid)
        calls.add(who, "setresuid", person.uid, person.uid, person.uid)
    header, data = kernel.capability_sets(bounds if person.uid == 0 else ())
    calls.add("capabilities", "capset", header, data)
    if process.no_new_privileges:
        calls.add("no_new_privs", "prctl", kernel.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _exec(calls: Calls, argv: Sequence[str], env: dict[str, str]) -> None:
    """As service.execute: each place where the program may be; one that may not be run gives way to the next."""
    program = argv[0]
    if "/" in program:
        if not os.path.lexists(program):
            raise Refused(f"exec {program}", "no such file", missing=True)
        places = [program]
    else:
        folders = env.get("PATH", DEFAULT_PATH).split(":")
        places = [place for folder in folders if os.path.exists(place := f"{folder}/{program}")]
    if not places:
        raise Refused(f"exec {program}", "not found in PATH", missing=True)
    try:
        calls.exec(places, argv, env, forgive=errno.EACCES)
    except ValueError as error:
        raise Refused(f"exec {places[0]}", str(error)) from error


def _refused(failed: script.Failed, process: Process) -> Refused:
    at, number = failed.step, failed.errno
    if at.startswith("exec "):
        return Refused(
            at, service.why_no_exec(number, at.removeprefix("exec ")), missing=number in (errno.ENOENT, errno.ENOTDIR)
        )
    why = os.strerror(number) if number else "it was killed"
    return Refused(at, f"{process.cwd}: {why}" if at == "working directory" else why)
