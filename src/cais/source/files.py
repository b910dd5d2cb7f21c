"""Reading files that somebody else wrote: bounded, decoded, and remembered for messages."""

from __future__ import annotations

import os
import stat
from typing import NamedTuple

from cais.source.api import Span
from cais.source.tree import ITEM, NOWHERE, unpack

MAX_BYTES = 8 * 1024 * 1024


class Unreadable(Exception):
    """`reason` completes "cannot read FILE: …"."""

    def __init__(self, path: str, reason: str, line: int = 0, column: int = 0) -> None:
        super().__init__(f"cannot read {path}: {reason}")
        self.path, self.reason, self.line, self.column = path, reason, line, column


class File(NamedTuple):
    name: str
    text: str
    parent: int = NOWHERE  # where it was named: the position of an `include` or `extends`
    relation: str = ""  # "included from", "extended from"


class Sources:
    """Every file one loading has read; turns packed positions into spans."""

    def __init__(self) -> None:
        self.files: list[File] = []
        self._extents: dict[int, dict[int, tuple[int, ...]]] = {}

    def add(self, file: File) -> int:
        self.files.append(file)
        return len(self.files) - 1

    def chain(self, position: int) -> list[tuple[str, int]]:
        """How the file of `position` came to be read: (relation, position) outwards."""
        steps: list[tuple[str, int]] = []
        while position != NOWHERE and len(steps) < 100:
            file = self.files[unpack(position)[0]]
            if file.parent == NOWHERE:
                break
            steps.append((file.relation, file.parent))
            position = file.parent
        return steps

    def span(self, position: int, *, key: bool = False) -> Span | None:
        """The extent of the value at `position`; with `key`, of the key that stands there."""
        if position == NOWHERE:
            return None
        number, line, column = unpack(position)
        name = self.files[number].name
        found = self.extents(number).get(line << 32 | column | (position & ITEM) << 32)
        if found is None:
            return Span(name, line + 1, column + 1)
        if not key and len(found) == 6:
            return Span(name, found[2] + 1, found[3] + 1, found[4] + 1, found[5] + 1)
        return Span(name, line + 1, column + 1, found[0] + 1, found[1] + 1)

    def extents(self, number: int) -> dict[int, tuple[int, ...]]:
        if number not in self._extents:
            from cais.source.extents import measure

            self._extents[number] = measure(self.files[number].text)
        return self._extents[number]


def read_text(path: str, *, limit: int = MAX_BYTES) -> str:
    """The text of a regular file (or of standard input, `-`); raises `Unreadable`.

    Opened without blocking, so that a pipe nobody writes to does not hang the program.
    """
    if path == "-":
        import sys

        data = sys.stdin.buffer.read(limit + 1)
    else:
        data = _read_regular(path, limit)
    if len(data) > limit:
        raise Unreadable(path, f"it is larger than {limit // 1024 // 1024} MB, the most a file may have")
    return decode(data, path)


def _read_regular(path: str, limit: int) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Unreadable(path, _reason(error)) from error
    except ValueError as error:
        raise Unreadable(path.replace("\0", "\\0"), "its name contains a NUL character") from error
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise Unreadable(path, "it is a directory")
        if not stat.S_ISREG(status.st_mode) and not path.startswith(("/dev/fd/", "/proc/self/fd/", "/dev/stdin")):
            raise Unreadable(path, "it is not a regular file")
        if status.st_size > limit:
            raise Unreadable(
                path, f"it has {status.st_size // 1024 // 1024} MB; the most a file may have is {limit // 1024 // 1024}"
            )
        os.set_blocking(descriptor, True)
        parts = []
        left = limit + 1
        while left > 0 and (part := os.read(descriptor, min(left, 1 << 20))):
            parts.append(part)
            left -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)
    except OSError as error:
        raise Unreadable(path, _reason(error)) from error
    finally:
        os.close(descriptor)


def decode(data: bytes, path: str) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"  # YAML 1.2, 5.2: a byte order mark selects UTF-16
    else:
        encoding = "utf-8"
        if data[:3] == b"\xef\xbb\xbf":
            data = data[3:]
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line = before.count(b"\n")
        column = error.start - (before.rfind(b"\n") + 1)
        raise Unreadable(
            path, f"byte 0x{data[error.start]:02x} is not {encoding.upper()}", line + 1, column + 1
        ) from error


def _reason(error: OSError) -> str:
    import errno

    known = {
        errno.ENOENT: "there is no such file",
        errno.EACCES: "you may not read it",
        errno.ELOOP: "its symbolic links lead in a circle",
        errno.ENOTDIR: "a part of its path is not a directory",
        errno.ENAMETOOLONG: "its name is too long",
        errno.EISDIR: "it is a directory",
    }
    return known.get(error.errno or 0) or (error.strerror or str(error)).lower()
