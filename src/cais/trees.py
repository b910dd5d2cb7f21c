"""Removing what services left on disk: closed folders, links to anywhere, names of any depth."""

import contextlib
import os
import stat
from collections import deque
from pathlib import Path

from cais.diag.api import CaisError

# Folders that are open at once. What lies deeper is moved up first: descriptors and Python's stack have an end, and
# a service may nest folders as deep as it likes.
DEEPEST = 64


def remove_tree(path: Path) -> None:
    """rm -rf that opens what is closed (overlayfs leaves its `work/work` at mode 000, a service may leave worse),
    follows no link and leaves no name out. What cannot be removed is told, after all else has gone.
    """
    removal = _Removal(str(path))
    try:
        parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        removal.run(parent, path.name)
    finally:
        os.close(parent)
    if removal.left:
        first, why = removal.left[0]
        more = f" and {len(removal.left) - 1} more" if len(removal.left) > 1 else ""
        raise CaisError(
            f"cannot remove {first}{more}: {why}", hint="look who owns it or has it mounted, and remove it by hand"
        )


class _Removal:
    def __init__(self, path: str) -> None:
        self.path = path
        self.left: list[tuple[str, str]] = []  # what could not be removed, and why
        self._root = -1
        self._count = 0
        self._moved: deque[tuple[str, str]] = deque()  # names in the root that came from deep below, and from where

    def run(self, parent: int, name: str) -> None:
        try:
            if not stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
                os.unlink(name, dir_fd=parent)
                return
            self._root = _opened(parent, name)
        except OSError as error:
            self._keep(self.path, error)
            return
        try:
            self._empty(self._root, self.path, 0)
            while self._moved:
                moved, was = self._moved.popleft()
                self._remove(self._root, moved, was, 1)
        finally:
            os.close(self._root)
        self._rmdir(parent, name, self.path)

    def _empty(self, folder: int, path: str, depth: int) -> None:
        for name in os.listdir(folder):
            self._remove(folder, name, f"{path}/{name}", depth + 1)

    def _remove(self, folder: int, name: str, path: str, depth: int) -> None:
        try:
            if not stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode):
                os.unlink(name, dir_fd=folder)
                return
            inside = _opened(folder, name)
        except OSError as error:
            self._keep(path, error)
            return
        try:
            if depth >= DEEPEST and self._move_up(folder, name, path):
                return
            self._empty(inside, path, depth)
        finally:
            os.close(inside)
        self._rmdir(folder, name, path)

    def _move_up(self, folder: int, name: str, path: str) -> bool:
        self._count += 1
        there = f".cais-{os.getpid()}-{id(self)}-{self._count}"
        try:
            os.rename(name, there, src_dir_fd=folder, dst_dir_fd=self._root)
        except OSError:
            return False
        self._moved.append((there, path))
        return True

    def _rmdir(self, folder: int, name: str, path: str) -> None:
        try:
            os.rmdir(name, dir_fd=folder)
        except OSError as error:
            if not any(below.startswith(f"{path}/") for below, _ in self.left):
                self._keep(path, error)

    def _keep(self, path: str, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            self.left.append((path, (error.strerror or "").lower()))


def _opened(folder: int, name: str) -> int:
    """A folder, opened to be emptied. Its mode is changed through a descriptor, so never that of another that took
    its name meanwhile: fchmodat(2) follows links, and fchmod(2) refuses O_PATH, but /proc leads to the very folder.
    """
    flags = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    place = os.open(name, os.O_PATH | flags, dir_fd=folder)
    try:
        if os.fstat(place).st_mode & 0o700 != 0o700:
            with contextlib.suppress(OSError):  # another's: what it holds will say so
                os.chmod(f"/proc/self/fd/{place}", 0o700)
        return os.open(".", os.O_RDONLY | flags, dir_fd=place)
    finally:
        os.close(place)
