"""Unpack tar streams fast and safely: Debian's data.tar, npm's tarballs.

The standard tarfile costs 60 µs a member and has its own ideas of owners; this reads what dpkg and npm write
(POSIX ustar, GNU long names, pax headers) and puts files where the archive says, never outside the root it was given.
Every parent is looked at before it is used: a link in the tree that leads out of it is followed inside it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

BLOCK = 512
FILE, HARDLINK, SYMLINK, CHAR, BLOCKDEV, DIRECTORY, FIFO = "0", "1", "2", "3", "4", "5", "6"


class Member(NamedTuple):
    path: str  # without leading ./ or /, no ".." in it
    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    link: str


class BadArchive(Exception):
    """The stream is not a tar archive we can trust; the message says what is wrong with it."""


def members(stream: BinaryIO) -> Iterator[tuple[Member, BinaryIO]]:
    """Each member, with the stream standing at its content; what is not read is skipped."""
    long_name = long_link = ""
    pax: dict[str, str] = {}
    while True:
        header = _exactly(stream, BLOCK)
        if header == bytes(BLOCK):
            return
        if sum(header) - sum(header[148:156]) + 256 != _number(header[148:156]):
            raise BadArchive("a header's checksum is wrong")
        size, kind = _number(header[124:136]), chr(header[156])
        if kind in "LKxg":  # what belongs to the next member: long name, long link, extended header
            if size > 1 << 20:
                raise BadArchive("an extended header is larger than 1 MiB")
            text = _exactly(stream, size)
            _skip(stream, -size % BLOCK)
            if kind == "L":
                long_name = _text(text)
            elif kind == "K":
                long_link = _text(text)
            elif kind == "x":
                pax = dict(_pax(text))
            continue
        name = _text(header[:100])
        if header[257:263] == b"ustar\0" and header[345]:
            name = f"{_text(header[345:500])}/{name}"
        name = pax.get("path") or long_name or name
        link = pax.get("linkpath") or long_link or _text(header[157:257])
        size = int(pax.get("size", size))
        if kind in ("\0", "7"):
            kind = FILE
        if kind == FILE and name.endswith("/"):
            kind = DIRECTORY
        member = Member(
            path=clean(name),
            kind=kind,
            mode=_number(header[100:108]) & 0o7777,
            uid=int(pax.get("uid", _number(header[108:116]))),
            gid=int(pax.get("gid", _number(header[116:124]))),
            size=size if kind == FILE else 0,
            mtime=int(float(pax.get("mtime", _number(header[136:148])))),
            link=link,
        )
        long_name = long_link = ""
        pax = {}
        window = _Window(stream, member.size)
        yield member, window  # type: ignore[misc]
        window.finish(-member.size % BLOCK)


class _Window:
    """The content of one member, and no more of the stream than that."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream, self._left = stream, size

    def read(self, size: int = -1) -> bytes:
        size = self._left if size < 0 else min(size, self._left)
        if not size:
            return b""
        data = self._stream.read(size)
        if not data:
            raise BadArchive("it ends in the middle of a file")
        self._left -= len(data)
        return data

    def finish(self, padding: int) -> None:
        _skip(self._stream, self._left + padding)


def clean(name: str) -> str:
    """The member's path below the root; raises BadArchive when it would leave it."""
    parts = [p for p in name.split("/") if p not in ("", ".")]
    if ".." in parts or "\0" in name:
        raise BadArchive(f"the member {name!r} lies outside the archive")
    return "/".join(parts)


class Writer:
    """Writes members below `root`. As root files get the archive's owners, else all belong to who runs this.

    Several writers may fill one root at the same time.
    """

    def __init__(self, root: str, *, owners: bool | None = None, merged_usr: bool = False) -> None:
        self.root = os.path.realpath(root)
        self._owners = os.geteuid() == 0 if owners is None else owners
        self._merged = merged_usr
        self._parents: dict[str, str] = {"": self.root}

    def place(self, path: str) -> str:
        """The host path of a member; its parent exists afterwards and lies inside the root."""
        if self._merged:
            path = usr_merged(path)
        parent, _, name = path.rpartition("/")
        return f"{self._parent(parent)}/{name}" if name else self.root

    def _parent(self, path: str, links: int = 8) -> str:
        """The directory of a member's path, each link on the way followed as if `self.root` were /; made when missing.

        What it returns has no link in it: a link may lead through another, and only a path that was walked name by
        name stays inside.
        """
        known = self._parents.get(path)
        if known is not None:
            return known
        above, _, name = path.rpartition("/")
        here = f"{self._parent(above, links)}/{name}"
        try:
            mode = os.lstat(here).st_mode
        except FileNotFoundError:
            try:
                os.mkdir(here, 0o755)
                os.chmod(here, 0o755)  # the umask of who runs this is not ours
            except FileExistsError:
                pass  # a writer beside this one was first
        else:
            if stat.S_ISLNK(mode):
                if not links:
                    raise BadArchive(f"{path} is a chain of links without end")
                here = self._parent(self._inside(here), links - 1)
            elif not stat.S_ISDIR(mode):
                raise BadArchive(f"{path} is a file and a directory at once")
        self._parents[path] = here
        return here

    def _inside(self, link: str) -> str:
        """Where a symbolic link leads when `self.root` is /, as it will be: a path below the root."""
        target = os.readlink(link)
        base = [] if target.startswith("/") else os.path.relpath(os.path.dirname(link), self.root).split("/")
        for part in target.split("/"):
            if part == "..":
                base = base[:-1]
            elif part not in ("", "."):
                base = [*base, part]
        return "/".join(p for p in base if p != ".")

    def write(self, member: Member, content: BinaryIO) -> str:
        """Put one member in place and return its host path ("" when it is of a kind that is left out)."""
        match member.kind:
            case "5":
                where = self._parent(usr_merged(member.path) if self._merged else member.path)
                self._own(where, member)
                os.chmod(where, member.mode)
                return where
            case "0":
                where = self.place(member.path)
                self.file(where, member, content)
            case "2":
                where = self.place(member.path)
                self._replace(where, lambda: os.symlink(member.link, where))
                self._own(where, member)
            case "1":
                where, source = self.place(member.path), self.place(clean(member.link))
                self._replace(where, lambda: os.link(source, where, follow_symlinks=False))
            case _:
                return ""  # devices and fifos: no package that a service needs has one
        return where

    def file(self, where: str, member: Member, content: BinaryIO) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(where, flags, 0o600)
        except FileExistsError:
            os.unlink(where)
            fd = os.open(where, flags, 0o600)
        try:
            left = member.size
            while left:
                data = memoryview(content.read(min(left, 1 << 20)))
                left -= len(data)
                while data:
                    data = data[os.write(fd, data) :]
            if self._owners and (member.uid or member.gid):
                os.fchown(fd, member.uid, member.gid)
            os.fchmod(fd, member.mode)
            os.utime(fd, (member.mtime, member.mtime))
        finally:
            os.close(fd)

    def _own(self, where: str, member: Member) -> None:
        if self._owners and (member.uid or member.gid):
            os.chown(where, member.uid, member.gid, follow_symlinks=False)

    def _replace(self, where: str, make: Callable[[], None]) -> None:
        try:
            make()
        except FileExistsError:
            if stat.S_ISDIR(os.lstat(where).st_mode):
                raise BadArchive(f"{where[len(self.root) :]} is a link and a directory at once") from None
            os.unlink(where)
            make()


_ALIASES = frozenset(("bin", "sbin", "lib", "lib32", "lib64", "libx32"))


def usr_merged(path: str) -> str:
    """Where a path lies on a system whose /bin, /sbin and /lib* are links into /usr (Debian since bookworm)."""
    top, slash, _ = path.partition("/")
    return f"usr/{path}" if slash and top in _ALIASES else path


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    while len(data) < size:
        more = stream.read(size - len(data))
        if not more:
            raise BadArchive("it ends too early")
        data += more
    return data


def _skip(stream: BinaryIO, size: int) -> None:
    while size > 0:
        data = stream.read(min(size, 1 << 20))
        if not data:
            raise BadArchive("it ends too early")
        size -= len(data)


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _number(field: bytes) -> int:
    if field[0] & 0x80:  # GNU's base 256
        return int.from_bytes(field, "big") & ((1 << (len(field) * 8 - 1)) - 1)
    digits = field.strip(b" \0")
    try:
        return int(digits, 8) if digits else 0
    except ValueError:
        raise BadArchive("a header holds a number that is none") from None


def _pax(text: bytes) -> Iterator[tuple[str, str]]:
    """`<length> <key>=<value>\\n`, again and again (POSIX.1-2017, pax)."""
    while text:
        length, _, _ = text.partition(b" ")
        record, text = text[: int(length)], text[int(length) :]
        key, _, value = record[len(length) + 1 : -1].partition(b"=")
        yield key.decode(), value.decode("utf-8", "surrogateescape")
