"""The vault folder: which files are notes, what they hold, what changed since core last saw it."""

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple


class Unreadable(Exception):
    """A note that is there and cannot be read; the reason is for a person."""


class Changes(NamedTuple):
    changed: tuple[str, ...]
    moved: tuple[tuple[str, str], ...]
    deleted: tuple[str, ...]


def is_note(path: str) -> bool:
    """A path relative to the vault: `.md`, and nothing hidden on the way (.obsidian, .trash, .git, editors' files)."""
    return path.endswith(".md") and not any(part.startswith(".") for part in path.split("/"))


def shown(path: str) -> str:
    """A file name may hold bytes that are no UTF-8; JSON and a person need text."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def read(vault: Path, path: str, largest: int) -> bytes | None:
    """What the note holds, None when it is not there. At most `largest` + 1 bytes: core refuses more than `largest`."""
    try:
        file = os.open(vault / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        reason = "a symbolic link" if (vault / path).is_symlink() else (error.strerror or str(error)).lower()
        raise Unreadable(f"cannot be read: {reason}") from error
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise Unreadable("cannot be read: not a regular file")
        with open(file, "rb", closefd=False) as handle:
            return handle.read(largest + 1)
    finally:
        os.close(file)


def walk(vault: Path) -> Iterator[str]:
    """Every note's path, relative, with `/`. Raises OSError when the vault itself is not there: an absent folder is
    not an empty one, and must not empty the databases."""
    os.listdir(vault)
    for folder, subfolders, files in os.walk(vault):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(files):
            path = os.path.relpath(os.path.join(folder, name), vault)
            if is_note(path):
                yield path


def compare(here: Mapping[str, str | None], known: Mapping[str, str]) -> Changes:
    """`here` and `known`: path -> sha256 (None: could not be read, which changes nothing that is known).

    A note that vanished and one that appeared with the same content are one note that was renamed.
    """
    appeared = {path: digest for path, digest in here.items() if path not in known}
    vanished = {path: digest for path, digest in known.items() if path not in here}
    by_content: dict[str, list[str]] = {}
    for path in sorted(vanished):
        by_content.setdefault(vanished[path], []).append(path)
    moved = []
    for path in sorted(appeared):
        digest = appeared[path]
        if digest is not None and by_content.get(digest):
            moved.append((by_content[digest].pop(0), path))
    gone = set(vanished) - {old for old, _ in moved}
    arrived = {new for _, new in moved}
    changed = [path for path in sorted(here) if here[path] != known.get(path) and path not in arrived]
    return Changes(tuple(changed), tuple(moved), tuple(sorted(gone)))


class Digests:
    """sha256 of the notes, computed again only for files whose inode, size or time changed."""

    def __init__(self, vault: Path, largest: int) -> None:
        self.vault, self.largest = vault, largest
        self.seen: dict[str, tuple[tuple[int, int, int], str]] = {}

    def all(self) -> dict[str, str | None]:
        found = {path: self.of(path) for path in walk(self.vault)}
        self.seen = {path: value for path, value in self.seen.items() if path in found}
        return found

    def of(self, path: str) -> str | None:
        try:
            status = os.lstat(self.vault / path)
            mark = (status.st_ino, status.st_size, status.st_mtime_ns)
            if path in self.seen and self.seen[path][0] == mark:
                return self.seen[path][1]
            raw = read(self.vault, path, self.largest)
        except (OSError, Unreadable):
            return None
        if raw is None:
            return None
        digest = hashlib.sha256(raw).hexdigest()
        self.seen[path] = (mark, digest)
        return digest
