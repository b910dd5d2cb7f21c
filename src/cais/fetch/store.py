"""The cache on disk: trees that are made once, whole or not at all, by whoever comes first.

A tree is made in `tmp/`, on the same file system, and renamed into place, so a name that exists is complete. A lock
per tree lets the second of two commands wait for the first one's work. What a killed command left in `tmp/` is
cleared by the next one that makes the same tree.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from cais.diag.api import CaisError
from cais.paths import cache_folder, cache_home, private_dir, trusted
from cais.trees import remove_tree


def tree(kind: str, name: str, make: Callable[[Path], None], *, what: str = "") -> Path:
    """`<cache>/<kind>/<name>`, made by `make(empty directory)` when it is not there yet.

    `what` names it for people. Raises CaisError in words when the disk is full or may not be written.
    """
    home = cache_folder(kind)
    final = home / name
    if final.is_dir():
        return trusted(final, "CAIS_CACHE")
    what = what or name
    with explained(what):
        private_dir(home)
        with locked(f"{kind}-{name}"):
            if final.is_dir():
                return final
            scratch_home = private_dir(cache_folder("tmp"))
            for left in scratch_home.glob(f"{kind}-{name}.*"):
                remove(left)
            scratch = scratch_home / f"{kind}-{name}.{os.getpid()}"
            scratch.mkdir(mode=0o755)
            scratch.chmod(0o755)  # it becomes the / of services, whatever the caller's umask
            try:
                with explained(what):  # here, while the disk is still as full as it was
                    make(scratch)
                    scratch.rename(final)
            except BaseException:
                remove(scratch)
                raise
    return final


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the lock `name` of this cache: threads and processes wait here one after the other."""
    path = private_dir(cache_folder("locks")) / f"{name}.lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    """Say in words what the system refuses while `what` is made."""
    try:
        yield
    except OSError as err:
        if err.errno in (errno.ENOSPC, errno.EDQUOT):
            home = _existing(cache_home())
            free = shutil.disk_usage(home).free // 1_000_000
            why = "the disk is full" if err.errno == errno.ENOSPC else "your disk quota is used up"
            raise CaisError(
                f"cannot prepare {what}: {why} ({free} MB free in {home})",
                hint="make room, or move the cache with CAIS_CACHE=/another/folder",
            ) from err
        if err.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise CaisError(
                f"cannot prepare {what}: {err.filename or cache_home()} may not be written "
                f"({(err.strerror or '').lower()})",
                hint="give a folder of your own in CAIS_CACHE, or name a ready one in CAIS_PROGRAMS",
            ) from err
        raise


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def remove(path: Path) -> None:
    """Remove a tree, also where directories in it may not be written (packages have such). Quiet: what it leaves
    costs room in the cache, no more, and the fault that led here is the one to tell.
    """
    with contextlib.suppress(CaisError):
        remove_tree(path)


def write_text(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a whole file or none: a reader beside us sees the old text or the new one."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    with scratch.open("w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
    scratch.replace(path)
