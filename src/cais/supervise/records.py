"""The files of a log, as the supervisor writes and everybody reads them.

`<project>/logs/<id>.log` is a row of records, oldest first:

    u32 length · u8 stream · u8 flags · u16 0 · u64 nanoseconds since the epoch · payload · u32 length

little-endian. `stream` is 1 (stdout), 2 (stderr) or 0 (a note of the supervisor: `begins`,
`started`, `exited 3`, `closed`, `lost` and what was).
Flag 1 is *partial*: the line goes on in the next record of that stream; a payload has at most 16 KiB, as in Docker's
json-file (moby `daemon/logger/copier.go`). Payloads are bytes as they came, so binary output survives; the length
behind a record lets `--tail` walk backwards. A full file becomes `<id>.log.1`, that `<id>.log.2`, and so on; the new
one begins with the note `after N`: so many bytes of output are in all that came before it, those thrown away too.

Who turns the row of files has the lock of their folder (flock(2)), so who looks sees it whole. Who follows a log has
a shared lock on the newest file it knows: as long as that is the oldest there is, nothing is thrown away.
"""

import fcntl
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

NOTE, OUT, ERR = 0, 1, 2
PARTIAL = 1
BEGINS = b"begins"
AFTER = b"after "
LOST = b"lost "
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


class Record(NamedTuple):
    end: int
    stream: int
    flags: int
    at: int
    data: bytes

    @property
    def after(self) -> int | None:
        """What the first note of a file says that went before."""
        if self.stream == NOTE and self.data.startswith(AFTER) and self.data[len(AFTER) :].isdigit():
            return int(self.data[len(AFTER) :])
        return None


def record(stream: int, flags: int, at: int, data: bytes | bytearray) -> bytes:
    return HEAD.pack(len(data), stream, flags, 0, at) + data + TAIL.pack(len(data))


def shown_in(whole: bytes) -> int:
    """Bytes of output in a record, the end of the line included."""
    return len(whole) - FRAME + (not whole[5] & PARTIAL) if whole[4] != NOTE else 0


def walk(data: bytes, start: int = 0) -> Iterator[Record]:
    """Each whole record from `start`."""
    limit = len(data)
    while start + FRAME <= limit:
        length, stream, flags, _, at = HEAD.unpack_from(data, start)
        end = start + FRAME + length
        if length > CHUNK or end > limit or TAIL.unpack_from(data, end - TAIL.size)[0] != length:
            return
        yield Record(end, stream, flags, at, data[start + HEAD.size : end - TAIL.size])
        start = end


def backwards(data: bytes) -> Iterator[tuple[int, Record]]:
    """Every record and where it begins, the newest first."""
    position = len(data)
    while position >= FRAME:
        (length,) = TAIL.unpack_from(data, position - TAIL.size)
        begin = position - FRAME - length
        if length > CHUNK or begin < 0:
            return
        _, stream, flags, _, at = HEAD.unpack_from(data, begin)
        yield begin, Record(position, stream, flags, at, data[begin + HEAD.size : position - TAIL.size])
        position = begin


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


def lock(fd: int, how: int) -> bool:
    """flock(2); False when another has it. Where a file system has no locks, everybody gets them."""
    try:
        fcntl.flock(fd, how)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True
