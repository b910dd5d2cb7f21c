"""What is going on, a line per service: redrawn in place on a terminal, plain lines where it is not one.

    with Progress(sys.stderr, title="up") as progress:
        progress.update("postgres", "fetching 12 of 35 MB")
        progress.update("api", "waiting for postgres to be healthy")
        progress.done("postgres", "healthy")
        progress.fail("api", "exited (1)")
        progress.note("a sentence that stays")

Any thread may call it. On a terminal one thread redraws, at most ten times a second, each frame in a single write.
Elsewhere a line is printed when its words change; one that differs from the last in digits alone (bytes fetched)
comes at most every few seconds.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Literal, NamedTuple, Self, TextIO

Ansi = Literal["auto", "always", "never"]
Mode = Literal["auto", "tty", "plain", "json", "quiet"]

FRAME = 0.1  # seconds between two frames
NUMBERS_EVERY = 3.0  # seconds between two plain lines that differ in digits alone
NARROW = 40  # columns under which redrawing tells less than lines do
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"

_DIGITS = dict.fromkeys(map(ord, "0123456789."))
# C0 and C1 controls: a service's words must not move the cursor (ECMA-48, 5.2 and 5.3).
_CONTROLS = dict.fromkeys([*range(32), *range(127, 160)])


class Row(NamedTuple):
    """One service's line. `state` is working, done or failed. One that is `aside` (a program that is fetched) is shown,
    and not counted."""

    text: str
    state: str
    since: float
    ended: float = 0.0
    aside: bool = False


def wants_colour(stream: TextIO, ansi: Ansi = "auto") -> bool:
    """Whether control sequences are welcome: `--ansi`, then NO_COLOR (no-color.org) and TERM, then the stream."""
    if ansi != "auto":
        return ansi == "always"
    if os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb":
        return False
    return stream.isatty()


def clean(text: str) -> str:
    """The first line of `text` without control characters."""
    return text.partition("\n")[0].translate(_CONTROLS)


def cells(text: str) -> int:
    """Columns that `text` takes on a terminal: two for wide characters, none for combining ones."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def fit(text: str, width: int) -> str:
    """`text` in at most `width` columns, cut with an ellipsis."""
    if cells(text) <= width:
        return text
    room = max(0, width - 1)
    kept = text[:room]
    while kept and cells(kept) > room:
        kept = kept[:-1]
    return kept + "…" if width > 0 else ""


def short_time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest:02d}s"


class Progress:
    """See the module. `mode` is `--progress`, `ansi` is `--ansi`; `clock` is there for tests."""

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        ansi: Ansi = "auto",
        mode: Mode = "auto",
        title: str = "",
        clock: Callable[[], float] = time.monotonic,
        size: Callable[[], tuple[int, int]] | None = None,
    ) -> None:
        self.stream = sys.stderr if stream is None else stream
        self.title = title
        self._clock = clock
        self._size = size or self._terminal_size
        self._colour = wants_colour(self.stream, ansi)
        self._mode = self._choose(mode, ansi)
        # Reentrant: a signal handler of the main thread may report while the main thread does.
        self._lock = threading.RLock()
        self._rows: dict[str, Row] = {}
        self._printed: dict[str, tuple[str, float]] = {}
        self._drawn: list[int] = []  # columns of each line of the last frame
        self._dirty = False
        self._started = clock()
        self._open = False
        self._wake = threading.Event()
        self._ticker: threading.Thread | None = None

    def _choose(self, mode: Mode, ansi: Ansi) -> Mode:
        if mode in ("json", "quiet", "plain"):
            return mode
        if mode == "auto":
            live = self.stream.isatty() and ansi != "never" and os.environ.get("TERM", "dumb") != "dumb"
            if not live:
                return "plain"
        return "tty" if self._size()[0] >= NARROW else "plain"

    def _terminal_size(self) -> tuple[int, int]:
        try:
            columns, lines = os.get_terminal_size(self.stream.fileno())
        except (OSError, ValueError):
            return 80, 24
        return columns or 80, lines or 24

    # -- what callers say ---------------------------------------------------------------------------------------

    def update(self, service: str, text: str, *, aside: bool = False) -> None:
        """`service` is at work, and this is what it does or waits for."""
        self._set(service, text, "working", aside)

    def done(self, service: str, text: str = "done", *, aside: bool = False) -> None:
        self._set(service, text, "done", aside)

    def fail(self, service: str, text: str) -> None:
        self._set(service, text, "failed")

    def note(self, text: str) -> None:
        """A line that stays, above the services'."""
        with self._lock:
            if self._mode == "tty":
                lines = [line.translate(_CONTROLS) for line in text.splitlines()]
                self._frame(above=lines)
            elif self._mode == "json":
                self._json({"text": text})
            elif self._mode == "plain":
                self._write(text.rstrip("\n") + "\n")

    def _set(self, service: str, text: str, state: str, aside: bool = False) -> None:
        text = clean(text)
        now = self._clock()
        with self._lock:
            old = self._rows.get(service)
            if old is not None and old.text == text and old.state == state:
                return
            self._rows[service] = Row(
                text=text,
                state=state,
                since=old.since if old else now,
                ended=0.0 if state == "working" else now,
                aside=aside,
            )
            if self._mode == "tty":
                self._dirty = True
                self._wake.set()
            elif self._mode == "json":
                word = {"working": "Working", "done": "Done", "failed": "Error"}[state]
                self._json({"id": service, "status": word, "text": text})
            elif self._mode == "plain" and self._worth_a_line(service, text, state, now):
                self._printed[service] = (text, now)
                self._write(f"{service}  {text}\n")

    def _worth_a_line(self, service: str, text: str, state: str, now: float) -> bool:
        last = self._printed.get(service)
        if last is None or state != "working":
            return True
        said, at = last
        return now - at >= NUMBERS_EVERY or said.translate(_DIGITS) != text.translate(_DIGITS)

    # -- life ---------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._open = True
        self._started = self._clock()
        if self._mode == "tty":
            # A forked child (the supervisor) inherits neither the thread nor a lock that it may hold.
            os.register_at_fork(after_in_child=self._forget)
            self._ticker = threading.Thread(target=self._tick, name="progress", daemon=True)
            self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        self._wake.set()
        if self._ticker is not None:
            self._ticker.join()
        with self._lock:
            if self._mode == "tty":
                self._frame(last=True)
            elif self._mode == "plain" and self.title and self._rows:
                self._write(f"{self._summary(whole=kind is None)}\n")

    def _forget(self) -> None:
        self._lock = threading.RLock()
        self._mode = "quiet"
        self._ticker = None

    def _tick(self) -> None:
        while self._open:
            self._wake.clear()
            with self._lock:
                busy = any(row.state == "working" for row in self._rows.values())
                if self._dirty or busy:
                    self._frame()
            # Nothing at work: sleep until told, instead of spinning for ever beside a foreground `up`.
            self._wake.wait(FRAME if busy else None)
            if self._open and self._wake.is_set():
                time.sleep(FRAME / 2)  # gather a burst of updates into one frame

    # -- drawing ------------------------------------------------------------------------------------------------

    def _counted(self) -> list[str]:
        return [row.state for row in self._rows.values() if not row.aside]

    def _summary(self, *, whole: bool) -> str:
        """`whole`: it has come to its end. Otherwise an error follows, which a count of what went well would belie."""
        states = self._counted()
        done, failed = states.count("done"), states.count("failed")
        took = short_time(self._clock() - self._started)
        if not states or (not whole and not failed):
            return f"{self.title}: {'done in' if whole else 'ended after'} {took}"
        parts = [f"{done} of {len(states)} done"]
        if failed:
            parts.append(f"{failed} failed")
        return f"{self.title}: {', '.join(parts)} in {took}"

    def _frame(self, *, above: list[str] | None = None, last: bool = False) -> None:
        columns, height = self._size()
        now = self._clock()
        self._dirty = False
        out = ["\x1b[?25l"]
        # A line drawn on a wider terminal wraps on a narrower one: count the rows it takes now.
        rows_up = sum(max(1, -(-width // columns)) for width in self._drawn)
        if rows_up:
            out.append(f"\x1b[{rows_up}A")
        out.append("\r")
        out.extend(f"{line}\x1b[K\n" for line in above or ())
        lines = self._lines(columns, height, now, everything=last)
        out.extend(f"{shown}\x1b[K\n" for shown, _ in lines)
        out.append("\x1b[J\x1b[?25h")
        self._drawn = [width for _, width in lines]
        if last:
            self._drawn = []
        self._write("".join(out))

    def _lines(self, columns: int, height: int, now: float, *, everything: bool) -> list[tuple[str, int]]:
        if not self._rows:
            return []
        lines: list[tuple[str, int]] = []
        if self.title:
            states = self._counted()
            head = f"[+] {self.title}" + (f" {states.count('done')}/{len(states)}" if states else "")
            lines.append((self._paint(head, "1"), cells(head)))
        shown = list(self._rows.items())
        room = max(3, height - 3)
        hidden = 0
        if not everything and len(shown) > room:
            # The screen is too low: what is at work or failed first, in order; the rest is counted.
            urgent = [item for item in shown if item[1].state != "done"][:room]
            hidden = len(shown) - len(urgent)
            shown = urgent
        name_width = min(max((cells(name) for name, _ in shown), default=0), columns // 3)
        for name, row in shown:
            lines.append(self._line(name, row, name_width, columns, now))
        if hidden:
            more = f"   and {hidden} more"
            lines.append((self._paint(more, "2"), cells(more)))
        return lines

    def _line(self, name: str, row: Row, name_width: int, columns: int, now: float) -> tuple[str, int]:
        if row.state == "working" and not self._open:
            mark, colour = "-", "2"  # it ended, or the command did, before this was done
        elif row.state == "working":
            mark, colour = SPINNER[int((now - self._started) / FRAME) % len(SPINNER)], "36"
        else:
            mark, colour = ("✔", "32") if row.state == "done" else ("✘", "31")
        if (getattr(self.stream, "encoding", "") or "").lower() not in ("utf-8", "utf8"):
            mark = {"working": "*" if self._open else "-", "done": "+", "failed": "!"}[row.state]
        took = short_time((row.ended or now) - row.since)
        label = fit(name, name_width)
        label += " " * (name_width - cells(label))
        # One column stays free: a character in the last one makes some terminals wrap at once.
        room = columns - 1 - (3 + name_width + 2) - (len(took) + 2)
        text = fit(row.text, room)
        pad = " " * max(0, room - cells(text))
        shown = f" {self._paint(mark, colour)} {label}  {self._paint(text, '31') if row.state == 'failed' else text}"
        return f"{shown}{pad}  {self._paint(took, '2')}", columns - 1

    def _paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text

    def _json(self, value: dict[str, str]) -> None:
        import json

        self._write(json.dumps(value) + "\n")

    def _write(self, text: str) -> None:
        try:
            self.stream.write(text)
            self.stream.flush()
        except UnicodeEncodeError:
            encoding = self.stream.encoding or "ascii"
            self.stream.write(text.encode(encoding, "replace").decode(encoding))
            self.stream.flush()
        except (OSError, ValueError):
            self._mode = "quiet"  # whoever read this has gone; the work goes on
