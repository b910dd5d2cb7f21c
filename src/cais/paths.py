"""Where Cais keeps things on this machine: state, cache, and a shared read-only cache.

Places follow the XDG Base Directory Specification 0.8; each has an environment variable that moves it.
Everything made here is 0700: volumes and logs hold what their services hold.
"""

import os
from pathlib import Path


def _under(variable: str, xdg: str, default: str) -> Path:
    own = os.environ.get(variable)
    if own:
        return Path(own).absolute()
    base = os.environ.get(xdg)
    # XDG 0.8: "All paths set in these environment variables must be absolute", a relative one is ignored.
    root = Path(base) if base and os.path.isabs(base) else _own_home() / default
    return root / "cais"


def _own_home() -> Path:
    """`HOME`; where it is empty or no absolute path, what the user database says, as for one that is not set."""
    home = os.environ.get("HOME", "")
    if os.path.isabs(home):
        return Path(home)
    import pwd

    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir or "/")
    except KeyError:
        return Path("/")


def state_home() -> Path:
    """`CAIS_STATE`, else `$XDG_STATE_HOME/cais`: projects, their volumes, logs and state files."""
    return _under("CAIS_STATE", "XDG_STATE_HOME", ".local/state")


def cache_home() -> Path:
    """`CAIS_CACHE`, else `$XDG_CACHE_HOME/cais`: downloads, programs, layers. Deleting it loses only time."""
    return _under("CAIS_CACHE", "XDG_CACHE_HOME", ".cache")


def shared_programs() -> Path | None:
    """`CAIS_PROGRAMS`: a second cache, only read, that another user of this machine has filled."""
    value = os.environ.get("CAIS_PROGRAMS")
    return Path(value).absolute() if value else None


def project_home(project: str) -> Path:
    """State of one project: `<state>/projects/<project>`."""
    return state_home() / "projects" / project


def private_dir(path: Path) -> Path:
    """Make `path` and its missing parents with mode 0700 and return it.

    Raises OSError as mkdir does (read-only file system, no space, no right).
    """
    for part in reversed([path, *path.parents]):
        if not part.exists():
            try:
                part.mkdir(mode=0o700)
            except FileExistsError:
                continue
    return path
