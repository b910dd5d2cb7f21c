"""The kernel's calls that Python 3.11 does not have, one function each, constants by their man page names.

Sections name the man page to check against. Numbers of system calls differ between x86_64 and aarch64 only where
`_NR` says so; calls newer than Linux 5.0 have one number everywhere (asm-generic/unistd.h).
"""

import ctypes
import errno
import fcntl
import os
import platform
import signal
import struct
from collections.abc import Iterable
from contextlib import suppress

# PyDLL keeps the GIL: between clone() and PyOS_AfterFork no other Python thread may run.
_libc = ctypes.PyDLL(None, use_errno=True)
_python = ctypes.pythonapi

# clone(2), unshare(2), setns(2)
CLONE_PARENT = 0x00008000
CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

# mount(2)
MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
MNT_DETACH = 2  # umount2(2)

# open_tree(2), move_mount(2), mount_setattr(2), openat2(2)
OPEN_TREE_CLONE = 1
MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOVE_MOUNT_T_SYMLINKS = 0x10
AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
RESOLVE_IN_ROOT = 0x10

# prctl(2)
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
PR_SET_SECCOMP = 22
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_MODE_FILTER = 2

# ioctl_tty(2)
TIOCSCTTY = 0x540E
TIOCSPTLCK = 0x40045431
TIOCGPTPEER = 0x5441

# capabilities(7), in the order of linux/capability.h
CAPABILITIES = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
]

_ARM = platform.machine() == "aarch64"
_NR = {
    "clone": 220 if _ARM else 56,
    "rt_sigaction": 134 if _ARM else 13,
    "pivot_root": 41 if _ARM else 155,
    "keyctl": 219 if _ARM else 250,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "close_range": 436,
    "openat2": 437,
    "mount_setattr": 442,
}
_AUDIT_ARCH = 0xC00000B7 if _ARM else 0xC000003E
# chown(2): fchownat, fchown; x86_64 also has chown and lchown of its own
_CHOWN_CALLS = (54, 55) if _ARM else (92, 93, 94, 260)


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _syscall(name: str, *arguments: object) -> int:
    return _check(_libc.syscall(ctypes.c_long(_NR[name]), *arguments))


def clone(flags: int) -> int:
    """clone(2) as fork(2) into new namespaces.

    A copy has the locks that other threads hold at that moment (malloc's, say), and nobody who gives them back. fork(2)
    of the C library sees to that, a system call does not: where there are other threads, a fork of this process, which
    has none, makes the child. The kernel is asked, as a thread that Python has joined may still be at its end.
    """
    if len(os.listdir("/proc/self/task")) == 1:
        return _clone(flags)
    ours, theirs = os.pipe()
    between = os.fork()
    if between == 0:
        pid = -errno.EINTR
        try:
            pid = _clone(flags | CLONE_PARENT)
        except OSError as error:
            pid = -(error.errno or errno.EPERM)
        finally:
            if pid != 0:
                os.write(theirs, struct.pack("i", pid))
                os._exit(0)
        os.close(ours)
        os.close(theirs)
        return 0
    os.close(theirs)
    with open(ours, "rb") as answer:
        said = answer.read(4)
    os.waitpid(between, 0)
    pid = struct.unpack("i", said)[0] if said else -errno.EINTR  # it was killed; what it made ends with our channel
    if pid < 0:
        raise OSError(-pid, os.strerror(-pid))
    return pid


def _clone(flags: int) -> int:
    _python.PyOS_BeforeFork()
    # With a null stack the child goes on with the parent's, copied: what fork does.
    pid: int = _libc.syscall(
        ctypes.c_long(_NR["clone"]), ctypes.c_ulong(flags | signal.SIGCHLD), None, None, None, None
    )
    number = ctypes.get_errno()
    if pid == 0:
        _python.PyOS_AfterFork_Child()
    else:
        _python.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(number, os.strerror(number))
    return pid


def default_library_signals() -> None:
    """32 and 33, which the C library keeps for its threads and lets nobody set (nptl(7)): ignored, they would stay
    so through every exec. The kernel is asked itself; what it takes is all zeros for SIG_DFL, rt_sigaction(2)."""
    for number in (32, 33):
        with suppress(OSError):
            _syscall("rt_sigaction", ctypes.c_int(number), ctypes.c_char_p(b"\0" * 32), None, ctypes.c_size_t(8))


def unshare(flags: int) -> None:
    _check(_libc.unshare(ctypes.c_int(flags)))


def setns(fd: int, flags: int) -> None:
    """setns(2). A pidfd takes several flags at once; CLONE_NEWPID takes effect for children only."""
    _check(_libc.setns(ctypes.c_int(fd), ctypes.c_int(flags)))


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    _check(
        _libc.mount(
            None if source is None else os.fsencode(source),
            os.fsencode(target),
            None if kind is None else kind.encode(),
            ctypes.c_ulong(flags),
            None if data is None else os.fsencode(data),
        )
    )


def umount(target: str, flags: int = MNT_DETACH) -> None:
    _check(_libc.umount2(os.fsencode(target), ctypes.c_int(flags)))


def pivot_root(new: str, old: str) -> None:
    _syscall("pivot_root", os.fsencode(new), os.fsencode(old))


def clone_mount(path: str, *, recursive: bool, at: int = AT_FDCWD) -> int:
    """open_tree(2), Linux 5.2: a copy of the mount, in no tree; `..` does not lead out of it. "" is `at` itself."""
    flags = OPEN_TREE_CLONE | os.O_CLOEXEC | (AT_RECURSIVE if recursive else 0) | (0 if path else AT_EMPTY_PATH)
    return _syscall("open_tree", ctypes.c_int(at), os.fsencode(path), ctypes.c_uint(flags))


def make_mount(kind: str, attributes: int) -> int:
    """fsopen(2), fsconfig(2), fsmount(2): a new file system, in no tree yet."""
    context = _syscall("fsopen", kind.encode(), ctypes.c_uint(1))  # FSOPEN_CLOEXEC
    set_string, create, nothing = ctypes.c_uint(1), ctypes.c_uint(6), ctypes.c_int(0)  # FSCONFIG_SET_STRING, CMD_CREATE
    try:
        _syscall("fsconfig", ctypes.c_int(context), set_string, b"source", kind.encode(), nothing)
        _syscall("fsconfig", ctypes.c_int(context), create, None, None, nothing)
        return _syscall("fsmount", ctypes.c_int(context), ctypes.c_uint(1), ctypes.c_uint(attributes))
    finally:
        os.close(context)


def attach(tree: int, target: str, add: int = 0, *, recursive: bool = False) -> None:
    """move_mount(2): what is in no tree, at `target`. `add` are MOUNT_ATTR flags (RDONLY, NOSUID, NODEV and
    NOEXEC have the values of their MS_ flags), with `recursive` for the mounts below
    it too; mount_setattr(2) sets them, Linux 5.12, and before that only those of the mount itself can be."""
    late = False
    if add:
        attributes = ctypes.create_string_buffer(struct.pack("QQQQ", add, 0, 0, 0))
        flags = ctypes.c_uint(AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0))
        try:
            _syscall("mount_setattr", ctypes.c_int(tree), b"", flags, attributes, ctypes.c_size_t(32))
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
            late = True
    flags = ctypes.c_uint(MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_SYMLINKS)
    _syscall("move_mount", ctypes.c_int(tree), b"", ctypes.c_int(AT_FDCWD), os.fsencode(target), flags)
    if late:
        mount(None, target, None, MS_REMOUNT | MS_BIND | add)


def open_beneath(root: int, path: str, flags: int) -> int:
    """openat2(2) with RESOLVE_IN_ROOT: no symbolic link and no `..` of `path` leads out of the directory `root`."""
    how = ctypes.create_string_buffer(struct.pack("QQQ", flags | os.O_CLOEXEC, 0, RESOLVE_IN_ROOT))
    return _syscall("openat2", ctypes.c_int(root), os.fsencode(path), how, ctypes.c_size_t(24))


def prctl(option: int, argument: int, second: int = 0) -> None:
    zero = ctypes.c_ulong(0)
    _check(_libc.prctl(ctypes.c_int(option), ctypes.c_ulong(argument), ctypes.c_ulong(second), zero, zero))


def set_name(name: str) -> None:
    """The name that ps and /proc/PID/comm show, at most 15 bytes."""
    buffer = ctypes.create_string_buffer(name.encode()[:15])
    _libc.prctl(ctypes.c_int(PR_SET_NAME), buffer, ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))


def set_domainname(name: str) -> None:
    raw = os.fsencode(name)
    _check(_libc.setdomainname(raw, ctypes.c_size_t(len(raw))))


def new_session_keyring() -> None:
    """keyctl(2) KEYCTL_JOIN_SESSION_KEYRING: the caller's keys are not the service's."""
    with suppress(OSError):  # ENOSYS where the kernel has no keys; EDQUOT where the user has too many
        _syscall("keyctl", ctypes.c_long(1), None, None, None, None)


def close_on_exec(first: int) -> None:
    """close_range(2) with CLOSE_RANGE_CLOEXEC: no descriptor from `first` on outlives the next exec."""
    try:
        _syscall("close_range", ctypes.c_uint(first), ctypes.c_uint(0xFFFFFFFF), ctypes.c_uint(4))
    except OSError:  # before Linux 5.11
        for name in os.listdir("/proc/self/fd"):
            if int(name) >= first:
                with suppress(OSError):
                    os.set_inheritable(int(name), False)


def close_from(first: int) -> None:
    """close_range(2): every descriptor from `first` on."""
    try:
        _syscall("close_range", ctypes.c_uint(first), ctypes.c_uint(0xFFFFFFFF), ctypes.c_uint(0))
    except OSError:  # before Linux 5.9
        for name in os.listdir("/proc/self/fd"):
            if int(name) >= first:
                with suppress(OSError):
                    os.close(int(name))


def last_capability() -> int:
    with open("/proc/sys/kernel/cap_last_cap") as file:
        return int(file.read())


def own_capabilities() -> int:
    """The permitted set of this process, as a mask. Root of a container or of a machine may lack some."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1], 16) for line in file if line.startswith("CapPrm:"))


def bound_capabilities(keep: Iterable[int], last: int) -> None:
    """Leave only `keep` in the bounding set, which no exec ever goes beyond."""
    kept = set(keep)
    for number in range(last + 1):
        if number not in kept:
            prctl(PR_CAPBSET_DROP, number)


def set_capabilities(keep: Iterable[int]) -> None:
    """capset(2): effective and permitted are `keep`, inheritable is empty, as Docker has it since 20.10.14."""
    header, data = capability_sets(keep)
    _check(_libc.capset(ctypes.create_string_buffer(header), ctypes.create_string_buffer(data)))


def capability_sets(keep: Iterable[int]) -> tuple[bytes, bytes]:
    """What capset(2) takes: cap_user_header_t of this process, and cap_user_data_t[2]."""
    mask = sum(1 << number for number in keep)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    header = struct.pack("Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3
    return header, struct.pack("6I", low, low, 0, high, high, 0)


def scrub_environment(name: str) -> None:
    """Forget the environment and the arguments this process was started with, also where /proc/PID/environ and
    /proc/PID/cmdline show them; `name` is all that is left.

    proc(5): both are the memory the kernel filled at exec; its place is in fields 48 to 51 of /proc/PID/stat.
    """
    os.environ.clear()
    with open("/proc/self/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    arguments, arguments_end, environment, environment_end = (int(field) for field in fields[45:49])
    if 0 < environment < environment_end:
        ctypes.memset(environment, 0, environment_end - environment)
    if 0 < arguments < arguments_end:
        size = arguments_end - arguments
        ctypes.memmove(arguments, name.encode()[: size - 1].ljust(size, b"\0"), size)
    set_name(name)


class ChownFilter:
    """struct sock_fprog of seccomp(2): chown, fchown, lchown and fchownat succeed and do nothing."""

    def __init__(self, program: bytes) -> None:
        self.program = ctypes.create_string_buffer(program)
        head = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(self.program))
        self.head = ctypes.create_string_buffer(head)
        self.address = ctypes.addressof(self.head)


def fake_chown() -> None:
    """The filter for this process and all it starts.

    In a user namespace with one uid every chown to another is EINVAL, and dpkg, tar and entrypoints give up on it.
    Needs CAP_SYS_ADMIN in the user namespace, or no_new_privs.
    """
    program = chown_filter()
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program.address)


def chown_filter() -> ChownFilter:
    load_word = 0x20  # BPF_LD | BPF_W | BPF_ABS
    jump_equal = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
    answer = 0x06  # BPF_RET | BPF_K
    calls = _CHOWN_CALLS
    rows = [(load_word, 0, 0, 4), (jump_equal, 0, len(calls) + 1, _AUDIT_ARCH), (load_word, 0, 0, 0)]
    rows += [(jump_equal, len(calls) - at, 0, call) for at, call in enumerate(calls)]
    rows += [(answer, 0, 0, 0x7FFF0000), (answer, 0, 0, 0x00050000)]  # SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO | 0
    return ChownFilter(b"".join(struct.pack("HBBI", *row) for row in rows))


def map_ids(pid: int | str, inside: tuple[int, int], outside: tuple[int, int]) -> None:
    """user_namespaces(7): one uid and one gid; `setgroups` must be denied before a gid is mapped without privilege."""
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{inside[0]} {outside[0]} 1"),
        ("gid_map", f"{inside[1]} {outside[1]} 1"),
    ):
        with open(f"/proc/{pid}/{name}", "w") as file:
            file.write(text)


def open_terminal() -> tuple[int, int]:
    """A pty of the devpts mounted here: (master, slave). pts(4), ioctl_tty(2)."""
    master = os.open("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    fcntl.ioctl(master, TIOCSPTLCK, struct.pack("i", 0))
    slave = fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY)
    return master, slave
