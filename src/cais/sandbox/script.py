"""A child that makes system calls and nothing else: no copy of this process's memory is made for it.

fork(2) copies page tables, both sides copy the pages they touch afterwards, exec(2) throws it all away: for a Python
process that is half of what starting a service costs. As posix_spawn(3) does, the child here shares the memory
(CLONE_VM) and its maker waits (CLONE_VFORK) until it has exec'ed or ended. No Python may run in it, so what it does is
a table of calls, worked through by the few instructions below.
"""

import ctypes
import errno
import mmap
import os
import platform
import signal
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

CLONE_VM, CLONE_VFORK = 0x100, 0x4000  # clone(2)

# syscalls(2) of x86_64: the one machine whose instructions stand below
_NR = {
    "write": 1,
    "dup2": 33,
    "execve": 59,
    "chdir": 80,
    "rmdir": 84,
    "unlink": 87,
    "umask": 95,
    "setsid": 112,
    "setgroups": 116,
    "setresuid": 117,
    "setresgid": 119,
    "capset": 126,
    "prctl": 157,
    "mount": 165,
    "umount2": 166,
    "keyctl": 250,
    "prlimit64": 302,
    "move_mount": 429,
    "close_range": 436,
}

# struct call { long number, arguments[6], forgiven, result; }: int run(struct call *call), x86_64 System V ABI.
_RUN = bytes.fromhex(
    "53"  # push rbx
    "4889fb"  # mov rbx, rdi
    "488b03"  # next: mov rax, [rbx]: the number
    "4885c0"  # test rax, rax
    "7836"  # js end: the table ends with -1
    "488b7b08"  # mov rdi, [rbx+8]: the arguments, in the kernel's registers (syscall(2))
    "488b7310"  # mov rsi, [rbx+16]
    "488b5318"  # mov rdx, [rbx+24]
    "4c8b5320"  # mov r10, [rbx+32]
    "4c8b4328"  # mov r8, [rbx+40]
    "4c8b4b30"  # mov r9, [rbx+48]
    "0f05"  # syscall
    "48894340"  # mov [rbx+64], rax: the result
    "4885c0"  # test rax, rax
    "790d"  # jns on
    "48837b3801"  # cmp qword [rbx+56], 1: every error is forgiven
    "7406"  # je on
    "483b4338"  # cmp rax, [rbx+56]: this one is
    "7506"  # jne end
    "4883c348"  # on: add rbx, 72
    "ebc2"  # jmp next
    "b801000000"  # end: mov eax, 1: clone(3) makes it the exit status
    "5b"  # pop rbx
    "c3"  # ret
)
_ROW = struct.Struct("9q")
_NOT_REACHED = -4096  # below every errno
_STACK = 16 * 1024
ANY = 4096  # no errno

_libc = ctypes.PyDLL(None, use_errno=True)


class Failed(NamedTuple):
    """The call of a table that ended it: what it was for, and the errno (0: killed there)."""

    step: str
    errno: int
    row: int


def _string(text: str) -> "ctypes.Array[ctypes.c_char]":
    raw = os.fsencode(text)
    if b"\0" in raw:
        raise ValueError("embedded null byte")
    return ctypes.create_string_buffer(raw)


_text = lru_cache(256)(_string)  # paths and names are the same in most tables


class Calls:
    """The table. `step` names what a call is for; `forgive` is an errno that does not matter, or ANY."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, ...]] = []
        self.steps: list[str] = []
        self.execs: set[int] = set()
        self.held: list[object] = []  # what the arguments point at

    def add(self, step: str, name: str, *arguments: int | str | bytes | None, forgive: int = 0) -> None:
        values = [one if isinstance(one, int) else self._pointer(one) if one is not None else 0 for one in arguments]
        values += [0] * (6 - len(values))
        self.rows.append((_NR[name], *values, 1 if forgive == ANY else -forgive, _NOT_REACHED))
        self.steps.append(step)

    def exec(self, places: Sequence[str], argv: Sequence[str], env: dict[str, str], *, forgive: int) -> None:
        """The first of `places` that can be."""
        words = self._pointers(argv)
        whole = self._pointers([f"{name}={value}" for name, value in env.items()])
        for place in places:
            self.execs.add(len(self.rows))
            self.add(f"exec {place}", "execve", place, words, whole, forgive=forgive)

    def _pointer(self, data: str | bytes) -> int:
        held = _text(data) if isinstance(data, str) else ctypes.create_string_buffer(data)
        self.held.append(held)
        return ctypes.addressof(held)

    def _pointers(self, texts: Sequence[str]) -> int:
        """An array of strings, which nobody keeps: an environment has passwords in it."""
        held = [_string(text) for text in texts]
        self.held.append(held)
        return self._pointer(struct.pack(f"{len(held) + 1}Q", *map(ctypes.addressof, held), 0))

    def run(self, flags: int) -> tuple[int, Failed | None]:
        """The child's pid, and what failed: None when it has exec'ed. The last call is an exec."""
        assert _code is not None
        table = ctypes.create_string_buffer(b"".join(_ROW.pack(*row) for row in self.rows) + struct.pack("q", -1))
        stack = ctypes.create_string_buffer(_STACK)
        top = (ctypes.addressof(stack) + _STACK) & ~15
        pid: int = _libc.clone(
            ctypes.c_void_p(_code.address),
            ctypes.c_void_p(top),
            ctypes.c_int(flags | CLONE_VM | CLONE_VFORK | signal.SIGCHLD),
            ctypes.c_void_p(ctypes.addressof(table)),
        )
        if pid < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return pid, self._failed(table.raw)

    def _failed(self, table: bytes) -> Failed | None:
        refused: Failed | None = None
        for at, step in enumerate(self.steps):
            *_, forgive, result = _ROW.unpack_from(table, at * _ROW.size)
            if result == _NOT_REACHED:
                return None if at in self.execs else Failed(step, 0, at)
            if result < 0 and forgive not in (1, result):
                return Failed(step, -result, at)
            if result < 0 and at in self.execs:
                refused = refused or Failed(step, -result, at)
        return refused or Failed("exec", errno.ENOENT, -1)


class _Code:
    """The instructions, in a page that is not writable any more."""

    def __init__(self) -> None:
        self.page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        self.page.write(_RUN)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.page))
        if _libc.mprotect(
            ctypes.c_void_p(self.address), ctypes.c_size_t(mmap.PAGESIZE), mmap.PROT_READ | mmap.PROT_EXEC
        ):
            raise OSError(ctypes.get_errno(), "mprotect")


_code: _Code | None = None


def possible() -> bool:
    """Whether this machine is of the one kind, and lets a page be executed (SELinux may not)."""
    global _code
    if _code is None and platform.machine() == "x86_64" and struct.calcsize("P") == 8:
        try:
            _code = _Code()
        except OSError:
            return False
    return _code is not None
