"""^C while images are made ready."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

LOOK = 0.3  # seconds


@contextlib.contextmanager
def interrupted_at_once(consequence: str) -> Iterator[None]:
    """Nothing of the stack runs yet, trees and layers are renamed into place when they are whole, and what builds
    dies with this process. So there is nothing to wait for, least of all the threads that fetch."""

    def end(*_: object) -> None:
        os.write(2, f"\ninterrupted; {consequence}\n".encode())
        os._exit(130)

    before = signal.signal(signal.SIGINT, end)
    # Python acts on a signal in its main thread, between two steps: one that comes right before that thread begins to
    # wait for those that fetch is seen when the next signal wakes it. So there is always a next one.
    waking = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, LOOK, LOOK)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, waking)
        signal.signal(signal.SIGINT, before)
