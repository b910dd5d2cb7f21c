"""What services say, for people: aligned prefixes in a colour per service, bytes as they came.

    printer = LogPrinter(sys.stdout.buffer, names=["api-1", "postgres-1"], colour=True)
    printer.write("api-1", b"hello", at=nanoseconds, partial=False)

Bytes go out unchanged: a line of a megabyte, a line that is not UTF-8, a NUL. A line that comes in several records
(`partial`) is put together first, so that two services never share one.
"""

import time
from collections.abc import Iterable
from typing import BinaryIO

# Docker Compose's order (cmd/formatter/colors.go): cyan, yellow, green, magenta, blue, then the bright ones.
COLOURS = ("36", "33", "32", "35", "34", "96", "93", "92", "95", "94")
OUT, ERR = 1, 2
LONGEST = 64 * 1024 * 1024  # of one line that is kept in memory; beyond it the rest is printed as it comes


class LogPrinter:
    """`names` are the prefixes to align for; later ones may be longer and then move the bar.

    `out` gets stdout and stderr alike, as in Compose, unless `err` is given.
    """

    def __init__(
        self,
        out: BinaryIO,
        *,
        names: Iterable[str] = (),
        colour: bool = False,
        prefix: bool = True,
        timestamps: bool = False,
        err: BinaryIO | None = None,
    ) -> None:
        self._out, self._err = out, err or out
        self._colour, self._prefix, self._timestamps = colour, prefix, timestamps
        self._numbers: dict[str, int] = {}
        self._width = 0
        self._begun: dict[tuple[str, int], bytearray] = {}
        for name in names:
            self.expect(name)

    def expect(self, name: str) -> None:
        """Make room for a name, and give it the next colour."""
        if name not in self._numbers:
            self._numbers[name] = len(self._numbers)
            self._width = max(self._width, len(name))

    def write(self, name: str, data: bytes, *, at: int = 0, stream: int = OUT, partial: bool = False) -> None:
        """One record. `at` is nanoseconds since the epoch, of use with timestamps alone."""
        key = (name, stream)
        begun = self._begun.get(key)
        if partial or begun is not None:
            if begun is None:
                begun = self._begun[key] = bytearray(self._head(name, at))
            begun += data
            if partial and len(begun) < LONGEST:
                return
            whole = bytes(begun) if partial else bytes(begun) + b"\n"
            if partial:
                begun.clear()
            else:
                del self._begun[key]
        else:
            whole = self._head(name, at) + data + b"\n"
        (self._err if stream == ERR else self._out).write(whole)

    def say(self, name: str, text: str) -> None:
        """A sentence of ours about an instance: `api-1 exited with code 3`."""
        self._out.write(f"{self._paint(name, f'{name} {text}')}\n".encode())

    def flush(self) -> None:
        self._out.flush()
        if self._err is not self._out:
            self._err.flush()

    def close(self) -> None:
        """Print what has no end of line yet."""
        for (name, stream), begun in list(self._begun.items()):
            del self._begun[(name, stream)]
            (self._err if stream == ERR else self._out).write(bytes(begun) + b"\n")
        self.flush()

    def _head(self, name: str, at: int) -> bytes:
        self.expect(name)
        head = self._paint(name, f"{name:<{self._width}}  | ") if self._prefix else ""
        if self._timestamps:
            head += f"{stamp(at)} "
        return head.encode()

    def _paint(self, name: str, text: str) -> str:
        if not self._colour:
            return text
        self.expect(name)
        return f"\x1b[{COLOURS[self._numbers[name] % len(COLOURS)]}m{text}\x1b[0m"


def stamp(at: int) -> str:
    """RFC 3339 with nanoseconds, in UTC, as Docker writes it."""
    seconds, rest = divmod(at, 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z"
