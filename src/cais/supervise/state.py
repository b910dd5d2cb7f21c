"""Where a project's state lies, and its one state file.

<project>/            0700
  state.json          0600, replaced in one rename: what was wanted, what is, who supervises
  control.sock        0600, of the living supervisor
  lock                flock'ed as long as a supervisor lives, or one is being made
  supervisor.log      what went wrong inside Cais
  logs/ uppers/ anonymous/
"""

import os
from pathlib import Path

import msgspec
from msgspec import Struct

from cais.diag.api import CaisError
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


class Unreadable(CaisError):
    """The state file says nothing. `replaceable`: its place can be written, so an `up` may begin anew."""

    replaceable = False


def read_state(home: Path) -> State | None:
    """The state file, or None when there is none."""
    path = home / "state.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=State)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except msgspec.DecodeError as error:  # a full disk cut it, or somebody wrote it
        lost = Unreadable(
            f"cannot read the state of {home.name}: {path}: {error}",
            hint="'cais up -d' begins a new one, with the volumes there are; 'cais logs' shows what is in the logs",
        )
        lost.replaceable = True
        raise lost from error
    except OSError as error:
        raise Unreadable(
            f"cannot read the state of {home.name}: {path}: {(error.strerror or '').lower()}",
            hint="it must be a file of this user; move it away, and 'cais up -d' begins a new one",
        ) from error


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
