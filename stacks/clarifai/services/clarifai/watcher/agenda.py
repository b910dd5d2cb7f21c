"""What the watcher has to do, and when: paths to look at again once they are quiet, moves to pass on in order.

Nothing here knows files or HTTP. Events of the folder and answers of core come in, due work comes out; a path is in
it once, however many events it had.
"""

import threading
import time
from collections.abc import Callable

QUIET = 0.15  # seconds without an event before a file counts as saved
PATIENCE = 1.0  # a file that never stops changing is looked at nevertheless
BACKOFF = (0.25, 0.5, 1.0, 2.0, 4.0)


class Agenda:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.wake = threading.Condition()
        self.due: dict[str, float] = {}
        self.first: dict[str, float] = {}
        self.failures: dict[str, int] = {}
        self.moves: list[tuple[str, str]] = []

    def look_at(self, path: str) -> None:
        """Something happened to this path: look at it when it has been quiet for a moment."""
        with self.wake:
            now = self.clock()
            first = self.first.setdefault(path, now)
            self.due[path] = min(now + QUIET, first + PATIENCE)
            self.wake.notify()

    def move(self, old: str, new: str) -> None:
        with self.wake:
            self.moves.append((old, new))
            self.wake.notify()
        self.look_at(new)

    def again(self, path: str) -> None:
        """It could not be done now: later, and later still each time."""
        with self.wake:
            failed = self.failures.get(path, 0)
            self.failures[path] = failed + 1
            self.due.setdefault(path, self.clock() + BACKOFF[min(failed, len(BACKOFF) - 1)])
            self.wake.notify()

    def done(self, path: str) -> None:
        with self.wake:
            self.failures.pop(path, None)

    def next_move(self) -> tuple[str, str] | None:
        with self.wake:
            return self.moves[0] if self.moves else None

    def move_done(self) -> None:
        with self.wake:
            self.moves.pop(0)

    def take(self) -> list[str]:
        """The paths whose time has come; they are off the agenda until something puts them back."""
        with self.wake:
            now = self.clock()
            ready = sorted(path for path, moment in self.due.items() if moment <= now)
            for path in ready:
                del self.due[path]
                self.first.pop(path, None)
            return ready

    def wait(self, longest: float) -> None:
        with self.wake:
            pause = min(longest, min(self.due.values(), default=float("inf")) - self.clock())
            if pause > 0 and not self.moves:
                self.wake.wait(pause)

    def __len__(self) -> int:
        with self.wake:
            return len(self.due) + len(self.moves)
