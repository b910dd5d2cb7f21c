"""What a killed process leaves running: all of it, also what hides its name, environment and mounts."""

import ctypes
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER, prctl(2)


@contextmanager
def adopted() -> Iterator[None]:
    """Within it, whatever loses its parent becomes this process's child: nothing that was started is out of sight."""
    libc = ctypes.CDLL(None)
    assert libc.prctl(_SUBREAPER, 1, 0, 0, 0) == 0
    try:
        yield
    finally:
        libc.prctl(_SUBREAPER, 0, 0, 0, 0)
        running()


def running() -> list[str]:
    """Every descendant, "PID name". Those that have ended are reaped; nobody else waits for a child meanwhile."""
    parents: dict[int, list[tuple[int, str, str]]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                name, _, rest = (entry / "stat").read_text().partition("(")[2].rpartition(")")
                state, parent = rest.split()[:2]
                parents.setdefault(int(parent), []).append((int(entry.name), name, state))
    found: list[str] = []
    below = [os.getpid()]
    while below:
        parent = below.pop()
        for pid, name, state in parents.get(parent, []):
            below.append(pid)
            if state != "Z":
                found.append(f"{pid} {name}")
            elif parent == os.getpid():
                with suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
    return found


def running_after(seconds: float = 5.0) -> list[str]:
    """What is still there when the kernel has had its time; [] is what must be."""
    until = time.monotonic() + seconds
    while (found := running()) and time.monotonic() < until:
        time.sleep(0.02)
    return found
