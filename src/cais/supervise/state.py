"""Where a project's state lies, and its one state file.

<project>/            0700
  state.json          0600, replaced in one rename: what was wanted, what is, who supervises
  control.sock        0600, of the living supervisor
  lock                flock'ed as long as a supervisor lives, or one is being made
  supervisor.log      what went wrong inside Cais
  logs/ uppers/ anonymous/
"""

import fcntl
import os
from pathlib import Path

import msgspec
from msgspec import Struct

from cais.sandbox.api import NetworkSpec
from cais.supervise.api import InstanceSpec, InstanceState


class Kept(Struct, frozen=True, kw_only=True):
    """One instance in the state file."""

    spec: InstanceSpec
    state: InstanceState


class State(Struct, frozen=True, kw_only=True):
    """What `state.json` holds. `pid` is the supervisor's, 0 when it has ended in good order."""

    project: str
    pid: int = 0
    since: float = 0.0
    networks: tuple[NetworkSpec, ...] = ()
    instances: tuple[Kept, ...] = ()
    config_files: tuple[str, ...] = ()
    working_dir: str = ""


def read_state(home: Path) -> State | None:
    """The state file, or None when there is none (or a full disk cut it: volumes are found without it)."""
    try:
        return msgspec.json.decode((home / "state.json").read_bytes(), type=State)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None


def write_state(home: Path, state: State) -> None:
    write_private(home / "state.json", msgspec.json.encode(state))


def write_private(path: Path, data: bytes) -> None:
    """Replace a file in one step, mode 0600."""
    new = f"{path}.new"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as file:
            file.write(data)
        os.replace(new, path)
    except OSError:
        Path(new).unlink(missing_ok=True)
        raise


def supervisor_alive(home: Path) -> bool:
    """Whether the lock is held: the kernel lets go of it however its holder died."""
    try:
        fd = os.open(home / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def remove_tree(path: Path) -> None:
    """rm -rf of an upper or a volume: overlayfs leaves its `work/work` at mode 000 (and a service may leave worse)."""
    import shutil

    def open_up(function: object, name: str, error: object) -> None:
        parent = os.path.dirname(name)
        for place in (parent, name):
            try:
                if not os.path.islink(place):
                    os.chmod(place, 0o700)
            except OSError:
                pass
        try:
            if os.path.isdir(name) and not os.path.islink(name):
                shutil.rmtree(name, ignore_errors=True)
            else:
                os.unlink(name)
        except OSError:
            pass

    try:
        os.lstat(path)
    except FileNotFoundError:
        return
    shutil.rmtree(path, onerror=open_up)
