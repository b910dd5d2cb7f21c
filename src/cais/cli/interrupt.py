"""^C while images are made ready."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def interrupted_at_once(consequence: str) -> Iterator[None]:
    """Nothing of the stack runs yet, trees and layers are renamed into place when they are whole, and what builds
    dies with this process. So there is nothing to wait for, least of all the threads that fetch."""

    def end(*_: object) -> None:
        os.write(2, f"\ninterrupted; {consequence}\n".encode())
        os._exit(130)

    before = signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
