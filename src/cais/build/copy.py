"""COPY and ADD: sources into a layer's directory, as BuildKit's file operations do it.

The destination is resolved in the stage's own tree (`/bin` may be a link to `/usr/bin`), never outside. What is
written lies in the layer alone; a directory that lower layers have is made anew there with their owner and mode,
because overlayfs shows the uppermost one's.
"""

import os
import shutil
import stat
from collections.abc import Sequence
from typing import NamedTuple

from cais.build.context import Found, Tree, readable
from cais.build.view import Entry, View
from cais.source.formats.dockerignore import Ignore


class CannotCopy(Exception):
    """A rule of COPY that the sources and the destination break."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Text(NamedTuple):
    """A here-document or a download as a source."""

    name: str
    content: bytes
    mode: int = 0o644
    mtime: float = 0.0


class How(NamedTuple):
    """The flags. `owner` None keeps what the source has; `mode` is `--chmod` as written."""

    owner: tuple[int, int] | None = None
    mode: str = ""
    parents: bool = False
    exclude: tuple[str, ...] = ()
    unpack: bool = False


class Writer:
    """Writes below `fs`, seen over `lowers`."""

    def __init__(self, fs: str, lowers: Sequence[str]) -> None:
        self.fs = fs
        self.view = View([fs, *lowers])
        self.is_root = os.geteuid() == 0
        self.times: list[tuple[str, int]] = []

    def host(self, parts: Sequence[str]) -> str:
        return "/".join((self.fs, *parts))

    def directory(self, path: str, *, mode: int = 0o755, owner: tuple[int, int] = (0, 0)) -> tuple[str, ...]:
        """Make a directory and its parents; returns its path with every link followed."""
        try:
            last, missing = self.view.resolve(path)
        except NotADirectoryError as err:
            raise CannotCopy(f"cannot make the directory {path}: {err.filename} is a file") from err
        except OSError as err:
            raise CannotCopy(f"cannot make the directory {path}: {err.strerror}") from err
        if not last.is_dir:
            raise CannotCopy(f"cannot make the directory {path}: {last.path} is a file")
        self.raise_up(last)
        parts = last.parts
        for name in missing:
            parts = (*parts, name)
            os.mkdir(self.host(parts))
            self.finish(self.host(parts), mode, owner)
        return parts

    def raise_up(self, folder: Entry) -> None:
        """Have a directory of lower layers in this one, with its owner, mode and time."""
        for depth in range(1, len(folder.parts) + 1):
            there = self.host(folder.parts[:depth])
            try:
                os.lstat(there)
                continue
            except FileNotFoundError:
                pass
            lower = self.view.find("/".join(folder.parts[:depth]))
            if lower is None:
                raise CannotCopy(f"{folder.path} went away")
            os.mkdir(there)
            about = lower.about
            self.finish(there, stat.S_IMODE(about.st_mode), (about.st_uid, about.st_gid))
            self.times.append((there, about.st_mtime_ns))

    def finish(self, path: str, mode: int | None, owner: tuple[int, int]) -> None:
        """Owner first: chown(2) clears set-user-ID bits. An ordinary user has one owner to give, his own."""
        if self.is_root:
            os.chown(path, *owner, follow_symlinks=False)
        if mode is not None:
            os.chmod(path, mode)

    def settle(self) -> None:
        """Times of directories, when all that changes them is done."""
        for path, mtime in reversed(self.times):
            os.utime(path, ns=(mtime, mtime))


def copy(
    writer: Writer, tree: Tree, sources: Sequence[Found], texts: Sequence[Text], dest: str, how: How, *, many: bool
) -> None:
    """Carry out one COPY or ADD. `dest` is absolute; a trailing slash says directory."""
    into = dest.endswith("/") or os.path.basename(dest) in {".", ".."}
    if many and not into:
        raise CannotCopy(
            "with more than one source the destination must be a directory", f"end it with a slash: {dest}/"
        )
    exclude = Ignore(how.exclude)
    for source in sources:
        if how.exclude and not source.entry.is_dir and exclude.ignored(source.name.rpartition("/")[2]):
            continue
        _one(writer, tree, source, dest, into, how, exclude)
    for text in texts:
        _text(writer, text, dest, into, how)
    writer.settle()


def _one(writer: Writer, tree: Tree, source: Found, dest: str, into: bool, how: How, exclude: Ignore) -> None:
    owner = how.owner or (0, 0)
    entry = source.entry
    if how.unpack and not entry.is_dir and _is_archive(entry):
        from cais.build.unpack import unpack

        with readable(entry.host):
            unpack(writer, writer.directory(dest, owner=owner), entry.host, how.owner)
        return
    if how.parents:
        dest, into = _with_parents(writer, tree, source, dest, how), False
    if entry.is_dir:
        _directory(writer, tree, entry, writer.directory(dest, owner=owner), how, exclude)
        return
    name = source.name.rpartition("/")[2] or entry.parts[-1]
    target = _file_target(writer, dest, into, name, owner)
    _file(writer, tree, entry, target, how)


def _with_parents(writer: Writer, tree: Tree, source: Found, dest: str, how: How) -> str:
    """`--parents`: the source's own directories below the destination, with their modes."""
    folders = source.name.split("/")[:-1]
    at = dest.rstrip("/")
    for depth in range(1, len(folders) + 1):
        there = tree.view.find("/".join(folders[:depth]))
        mode = stat.S_IMODE(there.about.st_mode) if there else 0o755
        at += "/" + folders[depth - 1]
        writer.directory(at, mode=mode, owner=how.owner or (0, 0))
    return at + "/" + source.name.rpartition("/")[2]


def _file_target(writer: Writer, dest: str, into: bool, name: str, owner: tuple[int, int]) -> tuple[str, ...]:
    """Where a file goes: into a directory that is there or said by a slash, else to the name itself, through links."""
    if into:
        return (*writer.directory(dest, owner=owner), name)
    try:
        last, missing = writer.view.resolve(dest)
    except NotADirectoryError as err:
        raise CannotCopy(f"cannot copy to {dest}: {err.filename} is a file") from err
    except OSError as err:
        raise CannotCopy(f"cannot copy to {dest}: {err.strerror}") from err
    if not missing and last.is_dir:
        writer.raise_up(last)
        return (*last.parts, name)
    if not missing:
        return (*writer.directory("/".join(last.parts[:-1])), last.parts[-1])
    if not last.is_dir:
        raise CannotCopy(f"cannot copy to {dest}: {last.path} is a file")
    folder = "/".join((*last.parts, *missing[:-1]))
    return (*writer.directory(folder, owner=owner), missing[-1])


def _directory(writer: Writer, tree: Tree, entry: Entry, target: tuple[str, ...], how: How, exclude: Ignore) -> None:
    """The contents of a directory into another; sub-directories take the source's mode, as in Docker."""
    for below, inner in tree.walk(entry, exclude):
        parts = (*target, *below.split("/"))
        if not inner.is_dir:
            _file(writer, tree, inner, parts, how)
            continue
        there = writer.view.find("/".join(parts), follow=False)
        if there is not None and not there.is_dir:
            raise CannotCopy(f"cannot copy the directory {inner.path} over the file {there.path}")
        if there is not None:
            writer.raise_up(there)
        else:
            os.mkdir(writer.host(parts))
        mode = stat.S_IMODE(inner.about.st_mode)
        writer.finish(writer.host(parts), change_mode(how.mode, mode, True), _owner(tree, inner, how))
        writer.times.append((writer.host(parts), inner.about.st_mtime_ns))


def _owner(tree: Tree, entry: Entry, how: How) -> tuple[int, int]:
    if how.owner is not None:
        return how.owner
    return (entry.about.st_uid, entry.about.st_gid) if tree.owners else (0, 0)


def _make_way(writer: Writer, parts: tuple[str, ...]) -> str:
    """The host path for a new file; what the layer has there goes, a directory is not replaced."""
    there = writer.view.find("/".join(parts), follow=False)
    if there is not None and there.is_dir:
        raise CannotCopy(f"cannot copy a file over the directory {there.path}")
    host = writer.host(parts)
    if os.path.lexists(host):
        os.unlink(host)
    return host


def _file(writer: Writer, tree: Tree, entry: Entry, parts: tuple[str, ...], how: How) -> None:
    host = _make_way(writer, parts)
    mode = entry.about.st_mode
    owner = _owner(tree, entry, how)
    if entry.is_link:
        os.symlink(os.readlink(entry.host), host)
        writer.finish(host, None, owner)
    elif stat.S_ISREG(mode):
        with readable(entry.host):
            shutil.copyfile(entry.host, host, follow_symlinks=False)
        writer.finish(host, change_mode(how.mode, stat.S_IMODE(mode), False), owner)
        if tree.owners:
            _capabilities(entry.host, host)
    elif stat.S_ISFIFO(mode):
        os.mkfifo(host)
        writer.finish(host, stat.S_IMODE(mode), owner)
    else:
        return  # devices: Docker copies them only from images, where we never have one
    mtime = entry.about.st_mtime_ns
    os.utime(host, ns=(mtime, mtime), follow_symlinks=False)


def _capabilities(source: str, target: str) -> None:
    try:
        os.setxattr(target, "security.capability", os.getxattr(source, "security.capability"))
    except OSError:
        return  # it has none, or this user may not give them


def _text(writer: Writer, text: Text, dest: str, into: bool, how: How) -> None:
    owner = how.owner or (0, 0)
    parts = _file_target(writer, dest, into, text.name, owner)
    host = _make_way(writer, parts)
    with open(host, "wb") as file:
        file.write(text.content)
    writer.finish(host, change_mode(how.mode, text.mode, False), owner)
    if text.mtime:
        os.utime(host, (text.mtime, text.mtime))


def _is_archive(entry: Entry) -> bool:
    """ADD unpacks by content, not by name (identity, gzip, bzip2, xz)."""
    if not stat.S_ISREG(entry.about.st_mode):
        return False
    with readable(entry.host), open(entry.host, "rb") as file:
        head = file.read(512)
    if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00")):
        import tarfile

        with readable(entry.host):
            return tarfile.is_tarfile(entry.host)
    return head[257:262] == b"ustar"


def change_mode(chmod: str, mode: int, is_dir: bool) -> int:
    """`--chmod`: octal, or chmod(1)'s symbols (`u=rwX,go=rX`). Raises CannotCopy when it is neither."""
    if not chmod:
        return mode
    if chmod.isdigit():
        try:
            return int(chmod, 8) & 0o7777
        except ValueError as err:
            raise CannotCopy(f"--chmod={chmod} is not an octal mode") from err
    for clause in chmod.split(","):
        mode = _symbolic(clause, mode, is_dir)
    return mode


def _symbolic(clause: str, mode: int, is_dir: bool) -> int:
    import re

    match = re.fullmatch(r"([ugoa]*)((?:[-+=][rwxXst]*|[-+=][ugo])+)", clause)
    if match is None:
        raise CannotCopy(f"--chmod={clause} is neither octal nor like u=rwX,go=rX")
    who = match[1] or "a"
    masks = {"u": 0o4700, "g": 0o2070, "o": 0o1007}
    reach = sum(masks[w] for w in ("ugo" if "a" in who else "".join(dict.fromkeys(who))))
    for sign, letters in re.findall(r"([-+=])([rwxXstugo]*)", match[2]):
        bits = 0
        for letter in letters:
            match letter:
                case "r":
                    bits |= 0o444
                case "w":
                    bits |= 0o222
                case "x":
                    bits |= 0o111
                case "X":
                    bits |= 0o111 if is_dir or mode & 0o111 else 0
                case "s":
                    bits |= 0o6000
                case "t":
                    bits |= 0o1000
                case _:
                    three = mode >> {"u": 6, "g": 3, "o": 0}[letter] & 7
                    bits |= three << 6 | three << 3 | three
        bits &= reach | (0o1000 if "t" in letters else 0)
        if sign == "+":
            mode |= bits
        elif sign == "-":
            mode &= ~bits
        else:
            mode = mode & ~(reach & 0o777) | bits
    return mode
