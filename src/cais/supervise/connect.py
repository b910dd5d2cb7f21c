"""Finding a supervisor's socket."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def short_path(home: Path, name: str) -> Iterator[str]:
    """A path to a socket in `home` that fits into sun_path (108 bytes, unix(7)) however long `home` is."""
    fd = os.open(home, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{name}"
    finally:
        os.close(fd)


def connect(home: Path) -> socket.socket | None:
    """A connection to the living supervisor, or None."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with short_path(home, "control.sock") as path:
            sock.connect(path)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        sock.close()
        return None
    except OSError:
        sock.close()
        raise
    return sock
