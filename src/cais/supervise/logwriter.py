"""The supervisor's end of a log."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from fcntl import LOCK_EX, LOCK_NB
from pathlib import Path

from cais.supervise.api import Log
from cais.supervise.disk import words
from cais.supervise.records import AFTER, CHUNK, ERR, LOST, NOTE, OUT, PARTIAL, lock, record, rotated, shown_in, walk

# Seconds that a full row of files waits for who follows it and has not read the oldest. Docker's attached terminals
# hold a service up for as long as nobody reads them (moby `pkg/broadcaster`, `daemon/stream/bytespipe.go`).
PATIENCE = 10.0
NOTES = 64 * 1024  # bytes of notes that a file may have beyond its size


class LogWriter:
    """Takes what comes out of an instance's pipes and keeps it. Never raises: a full disk must not end a service."""

    def __init__(self, path: Path, log: Log, *, awaited: bool = False) -> None:
        """`awaited`: somebody is about to follow it from here on, so nothing is thrown away until he has come."""
        self.path, self.log = path, log
        self._awaited = awaited
        self.lost = 0  # bytes of output that the disk refused, and that the log does not tell of yet
        self.why = ""  # why it did
        self._rest = {OUT: bytearray(), ERR: bytearray()}
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size, self._shown = _mend(self._fd)
        self._empty = 0  # size of this file with nothing in it but how it begins
        self._notes = 0  # bytes of notes in this file
        self._waits = 0.0  # since when a rotation waits for who follows

    @property
    def full(self) -> bool:
        """Whether nothing more should be fed for now: who follows still needs what would be thrown away."""
        if not self._waits or self._patience_over():
            return False
        held: list[int] = []
        try:
            return not self._may_turn(held)
        except OSError:
            return False
        finally:
            _close(held)

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
                out.append(record(stream, PARTIAL, at, rest[start : start + CHUNK]))
                start += CHUNK
            out.append(record(stream, 0, at, rest[start:end]))
            start = end + 1
        while len(rest) - start > CHUNK:
            out.append(record(stream, PARTIAL, at, rest[start : start + CHUNK]))
            start += CHUNK
        del rest[:start]
        if out:
            self._write(out)

    def end(self, stream: int) -> None:
        """The stream is at its end: an unfinished line is written as it is."""
        rest = self._rest[stream]
        if rest:
            self._write([record(stream, 0, time.time_ns(), rest)])
            rest.clear()

    def note(self, text: str) -> None:
        """Notes alone do not push output out, unless they are many."""
        data = record(NOTE, 0, time.time_ns(), text.encode())
        if self._notes > NOTES:
            self._turn()
        self._notes += len(data)
        self._append(data)

    def close(self) -> None:
        for stream in (OUT, ERR):
            self.end(stream)
        self._append(b"")
        os.close(self._fd)

    def _write(self, records: list[bytes]) -> None:
        for batch, shown in _batches(records, 256 * 1024):
            if self._size > self._empty and self._size + len(batch) > self.log.max_size:
                self._turn()
            self._append(batch, shown)

    def _append(self, data: bytes, shown: int = 0) -> None:
        if self.lost:
            text = b"%d bytes were lost here: %s" % (self.lost, self.why.encode(errors="replace"))
            data = record(NOTE, 0, time.time_ns(), LOST + text) + data
        try:
            done = 0
            while done < len(data):
                done += os.write(self._fd, data[done:])
        except OSError as error:
            self.lost += shown
            self.why = words(error, self.path.parent, was=True)
            self._cut()
        else:
            self._size += len(data)
            self._shown += shown
            self.lost = 0

    def _cut(self) -> None:
        """Take back half a record: what follows one could not be read."""
        with suppress(OSError):
            os.ftruncate(self._fd, self._size)

    def _turn(self) -> None:
        """Rotate, or note since when that has to wait; meanwhile this file grows."""
        if self._rotate(force=self._patience_over()):
            self._waits = 0.0
        elif not self._waits:
            self._waits = time.monotonic()

    def _patience_over(self) -> bool:
        return bool(self._waits) and time.monotonic() - self._waits >= PATIENCE

    def _rotate(self, force: bool) -> bool:
        """False: not now, somebody needs the oldest file, or is looking at the row."""
        held: list[int] = []
        try:
            self._awaited = self._awaited and not force
            if not self._may_turn(held) and not force:
                return False
            for number in range(self._last, 0, -1):
                younger = f"{self.path}.{number - 1}" if number > 1 else self.path
                if os.path.exists(younger):
                    os.replace(younger, f"{self.path}.{number}")
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            if self.log.max_file <= 1 and not self._awaited and _unread(f"{self.path}.1", held):
                os.unlink(f"{self.path}.1")
        except OSError:
            return True  # go on in the file that is open
        finally:
            _close(held)
        os.close(self._fd)
        self._fd, self._size, self._notes = fd, 0, 0
        self._append(record(NOTE, 0, time.time_ns(), AFTER + b"%d" % self._shown))
        self._empty = self._size
        return True

    @property
    def _last(self) -> int:
        """The number of the oldest file. With none to be kept there is one all the same while it is read, for who
        follows to get to its end."""
        return max(self.log.max_file - 1, 1)

    def _may_turn(self, held: list[int]) -> bool:
        """Whether nobody looks at the row of files, nor needs the oldest, which stays so while `held` is open."""
        held.append(os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        oldest = f"{self.path}.{self._last}"
        if not lock(held[0], LOCK_EX | LOCK_NB):
            return False
        if self._awaited and os.path.exists(oldest):
            row = (str(self.path), *map(str, rotated(self.path)))
            self._awaited = all(_unread(file, held) for file in row)
            return False  # if he has come, the next look will tell
        return _unread(oldest, held)


def _unread(file: str, held: list[int]) -> bool:
    """Whether nobody follows `file`, which stays so while it is in `held`."""
    with suppress(FileNotFoundError):
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        held.append(fd)
        return lock(fd, LOCK_EX | LOCK_NB)
    return True


def _close(held: list[int]) -> None:
    for fd in held:
        os.close(fd)


def _batches(records: list[bytes], size: int) -> Iterator[tuple[bytes, int]]:
    """Records together, and how much output is in them."""
    batch: list[bytes] = []
    held = shown = 0
    for one in records:
        batch.append(one)
        held += len(one)
        shown += shown_in(one)
        if held >= size:
            yield b"".join(batch), shown
            batch, held, shown = [], 0, 0
    if batch:
        yield b"".join(batch), shown


def _mend(fd: int) -> tuple[int, int]:
    """Cut half a record off the end, left by a supervisor that was killed while it wrote. The size of the file, and
    how much output is in it and in all before it."""
    size = os.fstat(fd).st_size
    data = os.pread(fd, size, 0)
    whole = shown = 0
    for one in walk(data):
        shown += shown_in(data[whole : one.end]) if one.after is None else one.after
        whole = one.end
    if whole < size:
        os.ftruncate(fd, whole)
    return whole, shown
