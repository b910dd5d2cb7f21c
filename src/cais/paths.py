"""Where Cais keeps things on this machine: state, cache, and a shared read-only cache.

Places follow the XDG Base Directory Specification 0.8; each has an environment variable that moves it.
Everything made here is 0700: volumes and logs hold what their services hold. A folder that somebody else could have
filled is not used: what lies in it is run, and sockets in it are spoken to.
"""

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cais.diag.api import CaisError

_trusted: set[tuple[Path, bool]] = set()  # looked at once in a process


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
    """`CAIS_PROGRAMS`: a second cache, only read, that root or this user has filled.

    Raises CaisError where others could have changed it.
    """
    value = os.environ.get("CAIS_PROGRAMS")
    if not value:
        return None
    home = Path(value).absolute()
    for folder in (home, home / "programs"):
        trusted(folder, "CAIS_PROGRAMS", sticky=False)
    return home


def state_folder(kind: str) -> Path:
    """`<state>/<kind>`, which may not be there yet. Raises CaisError where somebody else could have filled it."""
    home = trusted(state_home(), "CAIS_STATE")
    return trusted(home / kind, "CAIS_STATE", tighten=True)


def cache_folder(kind: str) -> Path:
    """`<cache>/<kind>`, as `state_folder`. Its mode is the user's matter: others may be let in to read programs."""
    home = trusted(cache_home(), "CAIS_CACHE")
    return trusted(home / kind, "CAIS_CACHE")


def project_home(project: str) -> Path:
    """State of one project: `<state>/projects/<project>`."""
    return trusted(state_folder("projects") / project, "CAIS_STATE", tighten=True)


def private_dir(path: Path) -> Path:
    """Make `path` and its missing parents with mode 0700 and return it.

    Raises OSError as mkdir does (read-only file system, no space, no right), CaisError where somebody who may write
    above it was faster.
    """
    for part in reversed([path, *path.parents]):
        if not part.exists():
            try:
                part.mkdir(mode=0o700)
            except FileExistsError:
                trusted(part, "CAIS_STATE or CAIS_CACHE")
                continue
    return path


def trusted(folder: Path, variable: str, *, sticky: bool = True, tighten: bool = False) -> Path:
    """`folder`, when nobody but root and this user could have put something there, or when it is not there yet.

    `sticky`: a folder like /tmp will do, where everyone may make but nobody may move what is another's (its own
    folders are looked at in turn). `tighten`: one of this user's that others may read is closed to them.
    """
    if (folder, sticky) in _trusted:
        return folder
    try:
        link, found = os.lstat(folder), os.stat(folder)
    except OSError:
        return folder
    for owner in (link.st_uid, found.st_uid):
        if owner not in (0, os.geteuid()):
            raise _refusal(folder, variable, f"it belongs to {_name(owner)}, who could change what runs here")
    if _others_write(found) and not (sticky and found.st_mode & stat.S_ISVTX):
        raise _refusal(folder, variable, f"others may write there (mode {found.st_mode & 0o7777:04o})", found)
    if tighten and found.st_mode & 0o077 and found.st_uid == os.geteuid() and not found.st_mode & stat.S_ISVTX:
        os.chmod(folder, 0o700)
    _trusted.add((folder, sticky))
    return folder


def _others_write(found: os.stat_result) -> bool:
    """Somebody else may. The group does not count where it is its user's alone, as `umask 002` of Ubuntu supposes."""
    if found.st_mode & stat.S_IWOTH:
        return True
    if not found.st_mode & stat.S_IWGRP or found.st_gid == 0:
        return False
    import grp
    import pwd

    try:
        user, group = pwd.getpwuid(found.st_uid), grp.getgrgid(found.st_gid)
    except KeyError:
        return True
    return user.pw_gid != group.gr_gid or user.pw_name != group.gr_name or bool({*group.gr_mem} - {user.pw_name})


def _refusal(folder: Path, variable: str, why: str, found: os.stat_result | None = None) -> "CaisError":
    from cais.diag.api import CaisError

    cure = f"{variable}=/another/folder moves it to one of your own"
    if found is not None and found.st_uid == os.geteuid():
        cure = f"look at what lies in it, then 'chmod go-w {folder}'; or {cure}"
    return CaisError(f"cannot use {folder}: {why}", hint=cure)


def _name(uid: int) -> str:
    import pwd

    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"
