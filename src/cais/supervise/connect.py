"""Finding a supervisor: its socket, and its lock, which tells of its life when the socket does not."""

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from cais.diag.api import CaisError

PATIENCE = 10.0  # seconds in which a supervisor that is starting, ending or asked must have got on with it


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
    sock.settimeout(PATIENCE)  # one that has been stopped accepts nothing, and its backlog gets full
    try:
        with short_path(home, "control.sock") as path:
            sock.connect(path)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        sock.close()
        return None
    except TimeoutError:
        sock.close()
        raise silent(home) from None
    except OSError:
        sock.close()
        raise
    return sock


def reach(home: Path) -> socket.socket | None:
    """As `connect`, but one that lives without its socket gets time to come back to it (`Supervisor._keep_socket`)."""
    end = time.monotonic() + PATIENCE
    while True:
        sock = connect(home)
        if sock is not None or not supervisor_alive(home):
            return sock
        if time.monotonic() > end:
            raise silent(home)
        time.sleep(0.02)


def open_lock(home: Path, flags: int = os.O_RDWR) -> int:
    """The lock file's descriptor; FileNotFoundError where there is none."""
    path = home / "lock"
    try:
        return os.open(path, flags | os.O_CLOEXEC, 0o600)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise CaisError(
            f"cannot tell whether a supervisor lives: {path}: {(error.strerror or '').lower()}",
            hint="it must be a file that this user may write; when nothing of the project runs, remove it",
        ) from error


def supervisor_alive(home: Path) -> bool:
    """Whether the lock is held: the kernel lets go of it however its holder died."""
    try:
        fd = open_lock(home)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def still_comes(home: Path, since: float) -> bool:
    """Whether an answer that has been waited for since then may still come: none comes from one that is stopped."""
    return time.monotonic() - since < PATIENCE and not _is_stopped(_holder(home))


def silent(home: Path) -> CaisError:
    """What to say of a supervisor that holds its lock and does not answer."""
    pid = _holder(home)
    who = f"the supervisor of {home.name}" + (f" (pid {pid})" if pid else "")
    if _is_stopped(pid):
        return CaisError(
            f"cannot talk to {who}: it has been stopped (SIGSTOP)",
            hint=f"'kill -CONT {pid}' lets it go on; 'kill -KILL {pid}' ends it and all it runs",
        )
    return CaisError(
        f"cannot talk to {who}: it lives but does not answer",
        hint=f"look at {home / 'supervisor.log'}; 'kill -KILL {pid or 'PID'}' ends it and all it runs",
    )


def _holder(home: Path) -> str:
    try:
        text = (home / "lock").read_text(errors="replace").strip()
    except OSError:
        return ""
    return text if text.isdigit() else ""


def _is_stopped(pid: str) -> bool:
    """proc_pid_stat(5): state T is stopped by a signal."""
    try:
        with open(f"/proc/{pid}/stat", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] == "T"
    except (OSError, IndexError):
        return False
