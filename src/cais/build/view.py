"""Layers looked at as one tree, without mounting them: what overlayfs would show, read-only.

Needed to resolve `COPY` destinations and `--chown` names, and to copy from stages, as an ordinary user and without
a sandbox. The rules are those of the kernel's Documentation/filesystems/overlayfs.rst: the first layer that has a
name wins, directories merge, a character device 0/0 hides, an "opaque" directory hides what is below.
Symbolic links are followed inside the tree: `..` and absolute targets never leave it.
"""

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from typing import NamedTuple

MAX_LINKS = 40  # path_resolution(7)
_OPAQUE = ("user.overlay.opaque", "trusted.overlay.opaque")


class Entry(NamedTuple):
    """What is at a path. `parts` has no symbolic link in it; `places` are host paths: several for a directory."""

    parts: tuple[str, ...]
    places: tuple[str, ...]
    about: os.stat_result

    @property
    def path(self) -> str:
        return "/" + "/".join(self.parts)

    @property
    def host(self) -> str:
        return self.places[0]

    @property
    def is_dir(self) -> bool:
        return stat.S_ISDIR(self.about.st_mode)

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.about.st_mode)


class View:
    """`layers` are top first. A plain directory is a view of one layer (`plain`: nothing in it is a whiteout)."""

    def __init__(self, layers: Sequence[str], *, plain: bool = False) -> None:
        self.layers = tuple(layers)
        self.plain = plain

    def root(self) -> Entry:
        return Entry((), self.layers, os.lstat(self.layers[0]) if self.layers else os.stat("/"))

    def child(self, parent: Entry, name: str) -> Entry | None:
        """One name in a directory, not followed."""
        folders: list[str] = []
        about: os.stat_result | None = None
        for place in parent.places:
            path = f"{place}/{name}"
            try:
                found = os.lstat(path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            if stat.S_ISDIR(found.st_mode):
                about = about or found
                folders.append(path)
                if self._opaque(path):
                    break
                continue
            if folders or (not self.plain and _is_whiteout(found)):
                break
            return Entry((*parent.parts, name), (path,), found)
        if about is None:
            return None
        return Entry((*parent.parts, name), tuple(folders), about)

    def names(self, folder: Entry) -> list[str]:
        """What is in a directory, sorted."""
        seen: set[str] = set()
        hidden: set[str] = set()
        for place in folder.places:
            with os.scandir(place) as entries:
                for entry in entries:
                    if entry.name in seen or entry.name in hidden:
                        continue
                    hides = not self.plain and not entry.is_dir(follow_symlinks=False)
                    if hides and _is_whiteout(entry.stat(follow_symlinks=False)):
                        hidden.add(entry.name)
                        continue
                    seen.add(entry.name)
        return sorted(seen)

    def children(self, folder: Entry) -> Iterator[tuple[str, Entry]]:
        for name in self.names(folder):
            entry = self.child(folder, name)
            if entry is not None:
                yield name, entry

    def find(self, path: str, *, follow: bool = True) -> Entry | None:
        """What is at `path`, links on the way (and, with `follow`, at the end) followed inside the tree."""
        found, missing = self.resolve(path, follow=follow)
        return None if missing else found

    def resolve(self, path: str, *, follow: bool = True) -> tuple[Entry, list[str]]:
        """The deepest thing there is on the way to `path`, and the names that are missing after it.

        Raises OSError: ENOTDIR when a file is in the way, ELOOP when links go round.
        """
        todo = [part for part in reversed(path.split("/")) if part not in {"", "."}]
        trail = [self.root()]
        links = 0
        while todo:
            name = todo.pop()
            if name == "..":
                if len(trail) > 1:
                    trail.pop()
                continue
            here = trail[-1]
            if not here.is_dir:
                raise NotADirectoryError(errno.ENOTDIR, "a file is in the way", here.path)
            entry = self.child(here, name)
            if entry is None:
                missing = [name]
                for rest in reversed(todo):
                    if rest == "..":
                        if missing:
                            missing.pop()
                    else:
                        missing.append(rest)
                return here, missing
            if entry.is_link and (todo or follow):
                links += 1
                if links > MAX_LINKS:
                    raise OSError(errno.ELOOP, "symbolic links go round", entry.path)
                target = os.readlink(entry.host)
                if target.startswith("/"):
                    trail = trail[:1]
                todo.extend(part for part in reversed(target.split("/")) if part not in {"", "."})
                continue
            trail.append(entry)
        return trail[-1], []

    def read_text(self, path: str) -> str:
        """A small file such as /etc/passwd; "" when there is none."""
        try:
            entry = self.find(path)
            if entry is None or not stat.S_ISREG(entry.about.st_mode):
                return ""
            with open(entry.host, encoding="utf-8", errors="replace") as file:
                return file.read(1 << 20)
        except OSError:
            return ""

    def _opaque(self, path: str) -> bool:
        if self.plain:
            return False
        for name in _OPAQUE:
            try:
                if os.getxattr(path, name, follow_symlinks=False) == b"y":
                    return True
            except OSError:
                continue
        return False


def is_plain_folder(fs: str, parts: Sequence[str]) -> bool:
    """Whether every name of a path in an upper directory is a directory. A RUN may have put links there: on the host
    they lead out of it."""
    try:
        return all(stat.S_ISDIR(os.lstat("/".join((fs, *parts[:n]))).st_mode) for n in range(1, len(parts) + 1))
    except OSError:
        return False


def _is_whiteout(about: os.stat_result) -> bool:
    return stat.S_ISCHR(about.st_mode) and about.st_rdev == 0


def look_up_owner(view: View, text: str) -> tuple[int, int]:
    """`--chown=app:staff`, `app`, `10001`, `10001:app`: names by the tree's own /etc/passwd and /etc/group.

    As Docker: a user without a group gives the user's number to both when it is a number, and the user's own
    primary group when it is a name. Raises LookupError with the name that is not there.
    """
    user, colon, group = text.partition(":")
    uid, gid = 0, 0
    if user.isdigit():
        uid = gid = int(user)
    elif user:
        for line in view.read_text("/etc/passwd").splitlines():
            fields = line.split(":")
            if len(fields) > 3 and fields[0] == user:
                uid, gid = int(fields[2]), int(fields[3])
                break
        else:
            raise LookupError(f"there is no user {user!r} in /etc/passwd of this stage")
    if colon and group.isdigit():
        gid = int(group)
    elif colon and group:
        for line in view.read_text("/etc/group").splitlines():
            fields = line.split(":")
            if len(fields) > 2 and fields[0] == group:
                gid = int(fields[2])
                break
        else:
            raise LookupError(f"there is no group {group!r} in /etc/group of this stage")
    return uid, gid
