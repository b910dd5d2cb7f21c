"""What services wrote: one file per instance, written by the supervisor, read by everybody.

`<project>/logs/<id>.log` is a row of records, oldest first:

    u32 length · u8 stream · u8 flags · u16 0 · u64 nanoseconds since the epoch · payload · u32 length

little-endian. `stream` is 1 (stdout), 2 (stderr) or 0 (a note of the supervisor: `begins`,
`started`, `exited 3`, `closed`).
Flag 1 is *partial*: the line goes on in the next record of that stream; a payload has at most 16 KiB, as in Docker's
json-file (moby `daemon/logger/copier.go`). Payloads are bytes as they came, so binary output survives; the length
behind a record lets `--tail` walk backwards. A full file becomes `<id>.log.1`, that `<id>.log.2`, and so on.
"""

import os
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import merge
from pathlib import Path
from typing import NamedTuple

from cais.supervise.api import Log

NOTE, OUT, ERR = 0, 1, 2
PARTIAL = 1
BEGINS = b"begins"
CHUNK = 16 * 1024
HEAD = struct.Struct("<IBBHQ")
TAIL = struct.Struct("<I")
FRAME = HEAD.size + TAIL.size


class LogLine(NamedTuple):
    """A record. `data` is without its newline; a `partial` one is continued by the next of that id and stream."""

    id: str
    stream: int
    at: int  # nanoseconds since the epoch
    data: bytes
    partial: bool = False


def log_path(project_home: Path, id: str) -> Path:
    return project_home / "logs" / f"{id}.log"


def remove_logs(project_home: Path, id: str) -> None:
    path = log_path(project_home, id)
    for file in (path, *rotated(path)):
        file.unlink(missing_ok=True)


def rotated(path: Path) -> list[Path]:
    """The older files of a log, youngest first."""
    found: list[Path] = []
    while (older := Path(f"{path}.{len(found) + 1}")).exists():
        found.append(older)
    return found


class LogWriter:
    """Takes what comes out of an instance's pipes and keeps it. Never raises: a full disk must not end a service."""

    def __init__(self, path: Path, log: Log) -> None:
        self.path, self.log = path, log
        self.lost = 0  # bytes that the disk refused
        self._rest = {OUT: bytearray(), ERR: bytearray()}
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = _mend(self._fd)

    def feed(self, stream: int, data: bytes) -> None:
        """Bytes of a stream: whole lines are written, the beginning of a line waits for its end or for 16 KiB."""
        at = time.time_ns()
        rest = self._rest[stream]
        rest += data
        out: list[bytes] = []
        start = 0
        while True:
            end = rest.find(b"\n", start)
            if end < 0:
                break
            while end - start > CHUNK:
                out.append(_record(stream, PARTIAL, at, rest[start : start + CHUNK]))
                start += CHUNK
            out.append(_record(stream, 0, at, rest[start:end]))
            start = end + 1
        while len(rest) - start > CHUNK:
            out.append(_record(stream, PARTIAL, at, rest[start : start + CHUNK]))
            start += CHUNK
        del rest[:start]
        if out:
            self._write(out)

    def end(self, stream: int) -> None:
        """The stream is at its end: an unfinished line is written as it is."""
        rest = self._rest[stream]
        if rest:
            self._write([_record(stream, 0, time.time_ns(), rest)])
            rest.clear()

    def note(self, text: str) -> None:
        self._write([_record(NOTE, 0, time.time_ns(), text.encode())])

    def close(self) -> None:
        for stream in (OUT, ERR):
            self.end(stream)
        os.close(self._fd)

    def _write(self, records: list[bytes]) -> None:
        for batch in _batches(records, 256 * 1024):
            if self._size and self._size + len(batch) > self.log.max_size:
                self._rotate()
            try:
                done = os.write(self._fd, batch)
                while done < len(batch):
                    done += os.write(self._fd, batch[done:])
            except OSError:
                self.lost += len(batch)
                self._cut()
                continue
            self._size += len(batch)

    def _cut(self) -> None:
        """Take back half a record: what follows one could not be read."""
        try:
            os.ftruncate(self._fd, self._size)
        except OSError:
            pass

    def _rotate(self) -> None:
        try:
            for number in range(self.log.max_file - 1, 0, -1):
                younger = Path(f"{self.path}.{number - 1}") if number > 1 else self.path
                if younger.exists():
                    os.replace(younger, f"{self.path}.{number}")
            if self.log.max_file <= 1:
                os.unlink(self.path)
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError:
            return  # go on in the file that is open
        os.close(self._fd)
        self._fd, self._size = fd, 0


def _record(stream: int, flags: int, at: int, data: bytes | bytearray) -> bytes:
    return HEAD.pack(len(data), stream, flags, 0, at) + data + TAIL.pack(len(data))


def _batches(records: list[bytes], size: int) -> Iterator[bytes]:
    batch: list[bytes] = []
    held = 0
    for record in records:
        batch.append(record)
        held += len(record)
        if held >= size:
            yield b"".join(batch)
            batch, held = [], 0
    if batch:
        yield b"".join(batch)


def _mend(fd: int) -> int:
    """Cut half a record off the end, left by a supervisor that was killed while it wrote; returns the size."""
    size = os.fstat(fd).st_size
    data = os.pread(fd, size, 0)
    whole = 0
    for end, *_ in _walk(data, 0):
        whole = end
    if whole < size:
        os.ftruncate(fd, whole)
    return whole


def _walk(data: bytes, start: int) -> Iterator[tuple[int, int, int, int, bytes]]:
    """(end, stream, flags, at, payload) of each whole record from `start`."""
    limit = len(data)
    while start + FRAME <= limit:
        length, stream, flags, _, at = HEAD.unpack_from(data, start)
        end = start + FRAME + length
        if length > CHUNK or end > limit or TAIL.unpack_from(data, end - TAIL.size)[0] != length:
            return
        yield end, stream, flags, at, data[start + HEAD.size : end - TAIL.size]
        start = end


def _whole(data: bytes, id: str, start: int = 0) -> Iterator[LogLine]:
    for _, stream, flags, at, payload in _walk(data, start):
        yield LogLine(id, stream, at, payload, bool(flags & PARTIAL))


def _last(data: bytes, lines: int) -> tuple[int, int]:
    """(where the last `lines` lines begin, how many of them were found)."""
    position, found, cut = len(data), 0, len(data)
    while position >= FRAME:
        (length,) = TAIL.unpack_from(data, position - TAIL.size)
        begin = position - FRAME - length
        if length > CHUNK or begin < 0:
            break
        _, stream, flags, _, _ = HEAD.unpack_from(data, begin)
        if stream != NOTE and not flags & PARTIAL:
            if found == lines:
                return cut, found
            found += 1
        cut = position = begin
    return cut, found


class Follower:
    """Reads logs as they grow. `wait` sleeps on inotify, so a quiet log costs nothing.

    `ids` None: every instance of the project, also one that comes later.
    """

    def __init__(self, project_home: Path, ids: Iterable[str] | None) -> None:
        self.folder = project_home / "logs"
        self.ids = None if ids is None else set(ids)
        self.closed: set[str] = set()  # instances that ended and will not restart by themselves
        self._open: dict[str, tuple[int, int]] = {}  # id -> descriptor, offset
        self._inotify = _Inotify(self.folder)

    def fileno(self) -> int:
        return self._inotify.fd

    def begin(self, tail: int | None, since: int | None) -> Iterator[LogLine]:
        """What is there already (see `read`); afterwards `poll` gives what is new."""
        return merge(*(self._begin(id, tail, since) for id in self._names()), key=lambda line: line.at)

    def _begin(self, id: str, tail: int | None, since: int | None) -> list[LogLine]:
        path = self.folder / f"{id}.log"
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return []
        data = os.pread(fd, os.fstat(fd).st_size, 0)
        offset = 0
        for end, stream, _, _, payload in _walk(data, 0):
            offset = end
            if stream == NOTE:
                self._note(id, payload)
        data = data[:offset]
        self._open[id] = fd, offset
        parts = [data]
        if tail is not None:
            start, found = _last(data, tail)
            parts = [data[start:]]
            for older in rotated(path) if found < tail else ():
                old = older.read_bytes()
                start, more = _last(old, tail - found)
                parts.insert(0, old[start:])
                found += more
                if found >= tail:
                    break
        else:
            for older in rotated(path):
                if since is not None and older.stat().st_mtime_ns < since:
                    break
                parts.insert(0, older.read_bytes())
        lines = [line for part in parts for line in _whole(part, id) if line.stream != NOTE]
        return lines if since is None else [line for line in lines if line.at >= since]

    def _names(self) -> list[str]:
        if self.ids is not None:
            return sorted(self.ids)
        return sorted(name[:-4] for name in os.listdir(self.folder) if name.endswith(".log"))

    def poll(self) -> list[LogLine]:
        """Records written since the last call, in the order of their times."""
        self._inotify.drain()
        lines: list[LogLine] = []
        for id in self._names():
            lines += self._more(id)
        lines.sort(key=lambda line: line.at)
        return lines

    def _more(self, id: str) -> list[LogLine]:
        path = self.folder / f"{id}.log"
        lines: list[LogLine] = []
        while True:
            if id not in self._open:
                try:
                    self._open[id] = os.open(path, os.O_RDONLY | os.O_CLOEXEC), 0
                except FileNotFoundError:
                    return lines
            fd, offset = self._open[id]
            size = os.fstat(fd).st_size
            if size < offset:
                offset = 0
            data = os.pread(fd, size - offset, offset)
            used = 0
            for end, stream, flags, at, payload in _walk(data, 0):
                used = end
                if stream == NOTE:
                    self._note(id, payload)
                else:
                    lines.append(LogLine(id, stream, at, payload, bool(flags & PARTIAL)))
            self._open[id] = fd, offset + used
            try:
                same = os.stat(path).st_ino == os.fstat(fd).st_ino
            except FileNotFoundError:
                same = False
            if same:
                return lines
            os.close(fd)
            del self._open[id]

    def _note(self, id: str, payload: bytes) -> None:
        if payload == b"closed":
            self.closed.add(id)
        elif payload == b"started":
            self.closed.discard(id)

    @property
    def all_closed(self) -> bool:
        return all(id in self.closed or id not in self._open for id in self._names())

    def wait(self, seconds: float) -> None:
        self._inotify.wait(seconds)

    def close(self) -> None:
        for fd, _ in self._open.values():
            os.close(fd)
        self._open.clear()
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
    follower = Follower(project_home, ids)
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
        for line in _backwards(data, id):
            if (line.stream == NOTE and line.data == BEGINS) or sum(not each.partial for each in newest) > lines:
                break
            if line.stream != NOTE:
                newest.append(line)
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


def _backwards(data: bytes, id: str) -> Iterator[LogLine]:
    """Every record, the newest first."""
    position = len(data)
    while position >= FRAME:
        (length,) = TAIL.unpack_from(data, position - TAIL.size)
        begin = position - FRAME - length
        if length > CHUNK or begin < 0:
            return
        _, stream, flags, _, at = HEAD.unpack_from(data, begin)
        yield LogLine(id, stream, at, data[begin + HEAD.size : position - TAIL.size], bool(flags & PARTIAL))
        position = begin


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
