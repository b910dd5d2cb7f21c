"""What services wrote, read from the files of `records.py`: all of it, the end of it, or as it comes.

Who follows loses nothing as long as he reads: the supervisor holds the service up, for a while (`logwriter.PATIENCE`),
before it throws away what he has yet to read. What is thrown away after all is told, in a line of stream NOTE.
"""

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from fcntl import LOCK_NB, LOCK_SH, LOCK_UN
from heapq import heapify, heappop, heapreplace
from pathlib import Path

from cais.supervise.records import (
    BEGINS,
    LOST,
    NOTE,
    PARTIAL,
    LogLine,
    Record,
    backwards,
    lock,
    log_path,
    rotated,
    walk,
)

AT_ONCE = 1024 * 1024  # bytes of a file that are in memory


class _Log:
    """One instance's files, read from the oldest on. `hold`: the supervisor shall wait for us."""

    def __init__(self, folder: int, path: Path, id: str, *, hold: bool) -> None:
        self.id, self.path = id, path
        self.lines: deque[LogLine] = deque()  # read, not yet given
        self.closed = False  # it ended and will not restart by itself
        self.place = 0  # bytes of output before what is read next; -1: wherever the log begins
        self.since = 0  # older lines are not wanted
        self._folder, self._hold = folder, hold
        self._files: list[int] = []  # what is read, and what followed it when that was looked for last
        self._offset = 0

    # -- where to begin ---------------------------------------------------------------------------------------------

    def begin(self, tail: int | None, since: int | None, *, tell: bool) -> None:
        """At the first line wanted. `tell`: also that there was more of it, which has been thrown away."""
        self.place = -1
        if not self._take():
            self.place = 0
            return
        self.since = since or 0
        if since is not None and tail is None:
            self._pass_by(since)
        if tail is not None:
            self._find(tail)
        elif tell and since is not None:
            first = next(walk(os.pread(self._files[0], 4096, 0)), None)
            if first is not None and first.after and first.at >= since:
                self._tell(first, f"up to {first.after}")

    def _pass_by(self, since: int) -> None:
        """Files that were full before that."""
        while len(self._files) > 1 and os.fstat(self._files[0]).st_mtime_ns < since:
            os.close(self._files.pop(0))

    def _find(self, tail: int) -> None:
        found = 0
        for number in range(len(self._files) - 1, -1, -1):
            fd = self._files[number]
            data = os.pread(fd, os.fstat(fd).st_size, 0)
            data = data[: max((one.end for one in walk(data)), default=0)]
            offset = len(data)
            for begin, one in backwards(data):
                if one.stream != NOTE and not one.flags & PARTIAL:
                    if found == tail:
                        break
                    found += 1
                offset = begin
            if found == tail or number == 0:
                for older in self._files[:number]:
                    os.close(older)
                del self._files[:number]
                since, self.since = self.since, sys.maxsize  # what the wanted lines come after
                self._offset = self._read(data[:offset])
                self.since = since
                return

    # -- on from there ----------------------------------------------------------------------------------------------

    def end(self) -> tuple[int, int]:
        """The file that is written now, and its size: as far as one look should read."""
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            return 0, 0
        return status.st_ino, status.st_size

    def more(self, end: tuple[int, int]) -> bool:
        """Some lines more into `lines`; False when all up to `end` has been read."""
        while self._files or self._take():
            fd = self._files[0]
            status = os.fstat(fd)
            if status.st_ino == end[0] and self._offset >= end[1]:
                return False
            whole = len(self._files) > 1 or self.end()[0] != status.st_ino  # asked first: nothing is added to it then
            if status.st_size < self._offset:
                self._offset = 0
            used = self._read(os.pread(fd, AT_ONCE, self._offset))
            self._offset += used
            if self.lines:
                return True
            if used:
                continue
            if not whole or (len(self._files) == 1 and not self._take()):
                return False
            os.close(self._files.pop(0))
            self._offset = 0
        return False

    def _read(self, data: bytes) -> int:
        """Takes the whole records of `data`, which is of the file from `_offset` on; how many bytes they are."""
        used, first = 0, self._offset == 0
        for one in walk(data):
            used = one.end
            if first:
                self._enter(one)
                first = False
            if one.stream != NOTE:
                partial = bool(one.flags & PARTIAL)
                self.place += len(one.data) + (not partial)
                if one.at >= self.since:
                    self.lines.append(LogLine(self.id, one.stream, one.at, one.data, partial))
            elif one.data.startswith(LOST):
                if one.at >= self.since:
                    self.lines.append(LogLine(self.id, NOTE, one.at, b"cais: " + one.data[len(LOST) :]))
            elif one.data in (b"closed", b"started"):
                self.closed = one.data == b"closed"
        return used

    def _enter(self, first: Record) -> None:
        """The first record of a file: whether it goes on where the one before it ended."""
        after = first.after
        if after and self.place >= 0:
            lost = after - self.place
            if lost:  # less than nothing: it is another log of that name
                self._tell(first, str(lost if lost > 0 else after))
        self.place = after or 0

    def _tell(self, at: Record, lost: str) -> None:
        text = f"cais: {lost} bytes were rotated away before they could be shown here (logging: max-size, max-file)"
        self.lines.append(LogLine(self.id, NOTE, at.at, text.encode()))

    def _take(self) -> bool:
        """Files that came after the newest we have, each opened while the row stands still. False: there are none."""
        newest = os.fstat(self._files[-1]).st_ino if self._files else 0
        new: list[int] = []
        lock(self._folder, LOCK_SH)
        try:
            number = 0
            while True:
                name = f"{self.path}.{number}" if number else self.path
                try:
                    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
                except FileNotFoundError:
                    if number:
                        break
                else:
                    if os.fstat(fd).st_ino == newest:
                        os.close(fd)
                        break
                    new.insert(0, fd)
                number += 1
            if new and self._hold:
                lock(new[-1], LOCK_SH | LOCK_NB)
        finally:
            lock(self._folder, LOCK_UN)
        if new and self._files:
            lock(self._files[-1], LOCK_UN)
        self._files += new
        return bool(new)

    @property
    def there(self) -> bool:
        return bool(self._files)

    def close(self) -> None:
        for fd in self._files:
            os.close(fd)
        self._files.clear()


class Follower:
    """Reads logs as they grow. `wait` sleeps on inotify, so a quiet log costs nothing.

    `ids` None: every instance of the project, also one that comes later. `hold` False: nobody waits for us.
    """

    def __init__(self, project_home: Path, ids: Iterable[str] | None, *, hold: bool = True) -> None:
        self.folder = project_home / "logs"
        self.ids = None if ids is None else set(ids)
        self._logs: dict[str, _Log] = {}
        self._hold = hold
        self._inotify = _Inotify(self.folder)
        self._lock = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def fileno(self) -> int:
        return self._inotify.fd

    def begin(self, tail: int | None, since: int | None) -> Iterator[LogLine]:
        """What is there already (see `read`); afterwards `poll` gives what is new."""
        for log in self._all():
            log.begin(tail, since, tell=self._hold)
        yield from self.poll()
        for log in self._logs.values():
            log.since = 0

    def _all(self) -> list[_Log]:
        names = self.ids
        if names is None:
            names = {name[:-4] for name in os.listdir(self.folder) if name.endswith(".log")}
        for id in sorted(names - self._logs.keys()):
            self._logs[id] = _Log(self._lock, self.folder / f"{id}.log", id, hold=self._hold)
        return [self._logs[id] for id in sorted(names)]

    def poll(self) -> Iterator[LogLine]:
        """Records written between the last call and this, in the order of their times."""
        self._inotify.drain()
        ends = [(log, log.end()) for log in self._all()]
        first = [(log.lines[0].at, number) for number, (log, end) in enumerate(ends) if log.lines or log.more(end)]
        heapify(first)
        while first:
            number = first[0][1]
            log, end = ends[number]
            yield log.lines.popleft()
            if log.lines or log.more(end):
                heapreplace(first, (log.lines[0].at, number))
            else:
                heappop(first)

    @property
    def all_closed(self) -> bool:
        return all(log.closed or not log.there for log in self._all())

    def wait(self, seconds: float) -> None:
        self._inotify.wait(seconds)

    def close(self) -> None:
        for log in self._logs.values():
            log.close()
        self._logs.clear()
        os.close(self._lock)
        self._inotify.close()


def read(
    project_home: Path,
    ids: Sequence[str] | None = None,
    *,
    follow: bool = False,
    tail: int | None = None,
    since: int | None = None,
    until: int | None = None,
    alive: Callable[[], bool] | None = None,
) -> Iterator[LogLine]:
    """What instances wrote, merged by time. `tail`: that many last lines of each; `since`, `until`: nanoseconds.

    `follow` goes on until every instance has ended for good, or `alive()` says that its supervisor is gone.
    """
    folder = project_home / "logs"
    if not folder.is_dir():
        return
    follower = Follower(project_home, ids, hold=follow)
    try:
        for line in follower.begin(tail, since):
            if until is None or line.at <= until:
                yield line
        while follow:
            gone = alive is not None and not alive()
            for line in follower.poll():
                if until is not None and line.at > until:
                    return
                yield line
            if gone or follower.all_closed or (until is not None and time.time_ns() > until):
                return
            follower.wait(1.0)
    finally:
        follower.close()


def last_lines(project_home: Path, id: str, lines: int = 10) -> list[str]:
    """The end of what the last run wrote, as text for error messages. A run begins at its note `begins`."""
    path = log_path(project_home, id)
    newest: list[LogLine] = []  # newest first
    for file in (path, *rotated(path)):
        try:
            data = file.read_bytes()
        except FileNotFoundError:
            break
        for _, one in backwards(data):
            if (one.stream == NOTE and one.data == BEGINS) or sum(not each.partial for each in newest) > lines:
                break
            if one.stream != NOTE:
                newest.append(LogLine(id, one.stream, one.at, one.data, bool(one.flags & PARTIAL)))
        else:
            continue
        break
    out: list[str] = []
    text = ""
    for line in reversed(newest):
        text += line.data.decode(errors="replace")
        if not line.partial:
            out.append(text[:500].rstrip("\r"))
            text = ""
    return out[-lines:]


class _Inotify:
    """inotify(7) on a folder; where the kernel gives none, a look every 200 ms."""

    IN_MODIFY, IN_MOVED_TO, IN_CREATE = 0x2, 0x80, 0x100

    def __init__(self, folder: Path) -> None:
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        self.fd: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd >= 0:
            libc.inotify_add_watch(self.fd, os.fsencode(folder), self.IN_MODIFY | self.IN_MOVED_TO | self.IN_CREATE)

    def drain(self) -> None:
        try:
            while self.fd >= 0 and os.read(self.fd, 65536):
                pass
        except BlockingIOError:
            pass

    def wait(self, seconds: float) -> None:
        import select

        if self.fd < 0:
            time.sleep(0.2)
        else:
            select.select([self.fd], [], [], seconds)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)


__all__ = ["Follower", "LogLine", "last_lines", "read"]
