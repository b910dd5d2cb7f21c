"""The layer store: `layers/<key>/fs`, made once, whole or not at all.

A key is a hash over what a step gets: the key below it, its words after expansion, the content of its inputs. So
equal steps of any project share a layer. A layer is made in `layers/.new-…` and renamed; the lock on that directory
tells a live builder's from a killed one's, which the next build clears.
"""

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from cais.paths import cache_folder, private_dir

REPLACED = 86400.0  # seconds that a replaced layer is kept at least: a build may stand on it
FORMAT = 1  # raised when a step of the same words would give other content


def digest(*parts: object) -> str:
    return hashlib.sha256(repr((FORMAT, *parts)).encode("utf-8", "surrogateescape")).hexdigest()[:40]


class Layers:
    def __init__(self, home: Path | None = None) -> None:
        self.home = home or cache_folder("layers")
        self.swept = False

    def path(self, key: str) -> str:
        """The layer's directory when it is made, else ""."""
        fs = f"{self.home}/{key}/fs"
        return fs if os.path.isdir(fs) else ""

    def note(self, name: str) -> str | None:
        """A small fact kept beside the layers (the hash of what a COPY took from a stage)."""
        try:
            with open(self.home / "notes" / name, encoding="utf-8") as file:
                return file.read()
        except OSError:
            return None

    def write_note(self, name: str, text: str) -> None:
        from cais.fetch.store import write_text

        write_text(private_dir(self.home / "notes") / name, text, 0o600)

    async def make(self, key: str, fill: Callable[[str], Awaitable[None]], *, again: bool = False) -> str:
        """The layer of `key`; `fill(scratch)` fills `scratch/fs` when nobody has. Two builders at once: one works.

        `again` makes it anew (`--no-cache`) and replaces what is there; a root that stands on the old one keeps it,
        because it is renamed away, not emptied.
        """
        if not again and (ready := self.path(key)):
            return ready
        import asyncio

        from cais.fetch.store import explained, remove

        with explained("a layer of this build"):
            private_dir(self.home / ".locks")
            self._sweep()
            while (lock := _locked(self.home / ".locks" / key)) is None:
                await asyncio.sleep(0.05)
            try:
                if not again and (ready := self.path(key)):
                    return ready
                scratch = self.home / f".new-{key}-{os.getpid()}"
                remove(scratch)
                scratch.mkdir(mode=0o700)
                try:
                    with held(scratch):
                        fs = scratch / "fs"
                        fs.mkdir(mode=0o755)
                        fs.chmod(0o755)
                        await fill(str(scratch))
                        final = self.home / key
                        if final.exists():
                            final.rename(self.home / f".old-{key}-{os.getpid()}-{os.stat(final).st_ino}")
                        scratch.rename(final)
                except BaseException:
                    remove(scratch)
                    raise
            finally:
                os.close(lock)
        return f"{self.home}/{key}/fs"

    def _sweep(self) -> None:
        """Clear what killed builders left. Their lock went with them."""
        if self.swept:
            return
        self.swept = True
        from cais.fetch.store import remove

        for left in (*self.home.glob(".new-*"), *self.home.glob(".run-*")):
            if _alive(left.name.rpartition("-")[2]):
                continue  # it may be between making its directory and locking it
            with contextlib.suppress(OSError), held(left):
                remove(left)

        replaced = list(self.home.glob(".old-*"))
        before = min(_oldest_supervisor(), time.time() - REPLACED) if replaced else 0.0
        for old in replaced:
            with contextlib.suppress(OSError):
                if old.stat().st_ctime < before:  # rename(2) changes it
                    remove(old)

        for lock in (self.home / ".locks").iterdir():
            if self.path(lock.name):  # a layer that is there needs no lock; who waits on it sees that its file went
                with contextlib.suppress(OSError):
                    fd = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
                    try:
                        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        lock.unlink()
                    finally:
                        os.close(fd)


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep the lock that says a directory of the store is in use; BlockingIOError when another builder has it."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(fd)


def _locked(path: Path) -> int | None:
    """The descriptor of a lock file, locked; None when another has it, or swept it away before it was ours."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with contextlib.suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.stat(path).st_ino == os.fstat(fd).st_ino:
            return fd
    os.close(fd)
    return None


def _oldest_supervisor() -> float:
    """Since when a stack may stand on layers: the start of the oldest one alive (proc(5), `starttime`)."""
    boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    oldest = float("inf")
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{pid}/stat").read_text()
            if "(cais-supervisor)" in text:
                ticks = int(text.rpartition(")")[2].split()[19])
                oldest = min(oldest, boot + ticks / os.sysconf("SC_CLK_TCK"))
    return oldest


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return int(pid) != os.getpid()
