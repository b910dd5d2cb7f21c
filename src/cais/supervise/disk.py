"""A full disk, in words. What is lost to one is lost silently otherwise: logs, the state file, a service's own data."""

import errno
import os
from collections.abc import Iterable
from pathlib import Path

LITTLE = 1 << 20  # bytes; with less than that free a service that writes fails sooner or later
FIRST_LOGS = 64 * 1024  # what has to be free beside the state file for a start to make sense
HINT = "make room there, or move the state to another disk with CAIS_STATE=/another/folder"


def full(folders: Iterable[str | Path]) -> str:
    """That the disk of one of them is full, with its name, or "". A folder that is not there yet is its parent's."""
    seen: set[int] = set()
    for folder in folders:
        place = _existing(folder)
        try:
            device = os.stat(place).st_dev
            if device not in seen and _is_full(os.statvfs(place)):
                return _full(place)
        except OSError:
            continue
        seen.add(device)
    return ""


def refused(home: Path, size: int) -> str:
    """Why `size` bytes more, and the first of the logs, cannot be written in `home`; "" when they can. Tried: of a
    quota, or of blocks that are root's, statvfs(2) tells nothing."""
    probe = home / ".room"
    try:
        fd = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(fd, "wb", buffering=0) as file:
            left = size + FIRST_LOGS
            while left > 0:
                left -= file.write(bytes(left))
    except OSError as error:
        return words(error, home)
    finally:
        try:
            os.unlink(probe)
        except OSError:
            pass
    return ""


def words(error: OSError, folder: Path, *, was: bool = False) -> str:
    """What the system said to a write in `folder`. `was`: it is told later."""
    match error.errno:
        case errno.ENOSPC:
            return f"the disk of {folder} was full" if was else _full(folder)
        case errno.EDQUOT:
            return f"the disk quota for {folder} {'was' if was else 'is'} used up"
    return f"{folder} {'could' if was else 'can'} not be written: {(error.strerror or str(error)).lower()}"


def _full(folder: Path) -> str:
    try:
        found = os.statvfs(folder)
    except OSError:
        return f"the disk of {folder} is full"
    mount = next(place for place in (folder, *folder.parents) if os.path.ismount(place) or place == place.parent)
    if found.f_files and not found.f_ffree:
        return f"the disk of {folder} has no room for more files (all inodes of {mount} are taken)"
    free, whole = _free(found), found.f_blocks * found.f_frsize
    return f"the disk of {folder} is full ({free // 1000} KB of {whole // 1_000_000} MB free in {mount})"


def _is_full(found: os.statvfs_result) -> bool:
    """Not one that has no blocks at all, as /proc and some of FUSE say."""
    return bool(found.f_blocks and _free(found) < LITTLE) or bool(found.f_files and not found.f_ffree)


def _free(found: os.statvfs_result) -> int:
    return (found.f_bfree if os.geteuid() == 0 else found.f_bavail) * found.f_frsize


def _existing(folder: str | Path) -> Path:
    place = Path(folder)
    while not place.exists() and place != place.parent:
        place = place.parent
    return place
