"""Making a supervisor: a forked daemon of the command that needs one, and the socket by which it is found.

Forked rather than started anew: what the command has imported is there already, and its memory is shared. This
module imports little, so a command can fork first and import side by side with what it has forked. The command
takes the lock, binds the socket and then forks, so it can connect at once; the lock (flock(2), it belongs to the open
file, not to the process) goes on in the daemon until that dies, however it dies.
"""

import contextlib
import fcntl
import gc
import os
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cais.diag.api import CaisError
from cais.paths import private_dir, project_home
from cais.supervise.connect import PATIENCE, connect, open_lock, short_path, silent

if TYPE_CHECKING:
    from cais.supervise.supervisor import SandboxFactory

FOLDERS = ("logs", "uppers", "anonymous")
TRIES = 50  # so often a supervisor that ends may take away what has just been made


def prepare_home(project: str) -> Path:
    """The project's folder, with what a supervisor expects in it."""
    home = project_home(project)
    _make_folders(home)
    return home


def _make_folders(home: Path) -> None:
    """Again when one that ends takes them away meanwhile (`remove_home`)."""
    for left in reversed(range(TRIES)):
        try:
            for name in FOLDERS:
                private_dir(home / name)
            return
        except OSError as error:
            if isinstance(error, FileNotFoundError) and left:
                continue
            raise CaisError(
                f"cannot keep the state of {home.name} in {home}: {error.strerror}",
                hint="CAIS_STATE=/another/folder moves it",
            ) from error


def remove_home(home: Path) -> None:
    """The last act of a supervisor that leaves no instance behind: its folder, when but empty folders are in it.

    Only for who holds the lock, so nobody starts another meanwhile; who waits for it sees that its file is gone, and
    makes all anew (`ensure`).
    """
    if (home / "state.json").exists():
        return
    with contextlib.suppress(OSError):  # of a full disk, or somebody is at work in it
        for folder in (*(home / "anonymous").glob("*"), *(home / name for name in (*FOLDERS, "run/root", "run"))):
            with contextlib.suppress(OSError):
                folder.rmdir()
        if (home / "supervisor.log").exists() and not os.path.getsize(home / "supervisor.log"):
            (home / "supervisor.log").unlink()
        if os.listdir(home) == ["lock"]:
            (home / "lock").unlink()
            home.rmdir()


def ensure(home: Path, project: str, factory: "SandboxFactory", version: str) -> socket.socket:
    """A connection to this project's supervisor, which is started when there is none.

    The caller has to read `Hello` first: no Hello means that it met a supervisor in its last moment.
    """
    end = time.monotonic() + PATIENCE
    while True:
        sock = connect(home)
        if sock is not None:
            return sock
        try:
            lock = open_lock(home, os.O_RDWR | os.O_CREAT)
        except FileNotFoundError:  # a `down` has just removed it all
            _make_folders(home)
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)  # one is starting, or ending: soon there is a socket, or no lock
            if time.monotonic() > end:
                raise silent(home) from None
            time.sleep(0.01)
            continue
        try:
            _make_folders(home)
            if not _is_at(home / "lock", lock):
                continue
            log = _open_log(home)
            try:
                _fork(home, project, factory, version, lock, _first_listen(home), log)
            finally:
                os.close(log)
        finally:
            os.close(lock)


def _is_at(path: Path, fd: int) -> bool:
    """Whether the file that is open still lies there."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except FileNotFoundError:
        return False


def _open_log(home: Path) -> int:
    try:
        return os.open(home / "supervisor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CaisError(
            f"cannot write {home / 'supervisor.log'}: {(error.strerror or '').lower()}",
            hint="make room, or let CAIS_STATE name another folder",
        ) from error


def _first_listen(home: Path) -> socket.socket:
    try:
        return listen(home)
    except OSError as error:
        raise CaisError(
            f"cannot make the control socket {home / 'control.sock'}: {(error.strerror or '').lower()}",
            hint="move away what lies there, or let CAIS_STATE name another folder",
        ) from error


def listen(home: Path) -> socket.socket:
    """The control socket, bound anew. Only for who holds the lock: what lies there is of one that was killed."""
    (home / "control.sock").unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        with short_path(home, "control.sock") as path:
            listener.bind(path)
    finally:
        os.umask(mask)
    listener.listen(64)
    return listener


def _fork(
    home: Path, project: str, factory: "SandboxFactory", version: str, lock: int, listener: socket.socket, log: int
) -> None:
    """Double fork, setsid: the daemon is nobody's child and has no terminal (daemon(7))."""
    sys.stdout.flush()
    sys.stderr.flush()
    gc.freeze()  # pages that both processes only read stay shared
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setsid()
            if os.fork() == 0:
                _daemon(home, project, factory, version, lock, listener, log)
            status = 0
        except BaseException as error:
            os.write(2, f"cais: the supervisor could not start: {error}\n".encode())
        finally:
            os._exit(status)
    gc.unfreeze()
    listener.close()
    os.waitpid(child, 0)


def _daemon(
    home: Path, project: str, factory: "SandboxFactory", version: str, lock: int, listener: socket.socket, log: int
) -> None:
    from cais.sandbox import kernel

    status = 1
    try:
        # The command's line and environment would stand in /proc as long as the stack runs, the line for every user
        # of the machine to read: `run -e PASSWORD=…`.
        kernel.scrub_environment(f"cais-supervisor {project}")
        os.umask(0o077)
        os.chdir("/")
        _only({lock, listener.fileno()}, log)
        with contextlib.suppress(OSError):  # of a full disk: it only names us to people
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        _serve(home, project, factory, version, listener)
        remove_home(home)
        status = 0
    except BaseException:
        import traceback

        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)


def _only(keep: set[int], log: int) -> None:
    """Close what the command had open; stdin and stdout are /dev/null, stderr is the supervisor's log."""
    import signal

    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.dup2(log, 2)
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd > 2 and fd not in keep:
            with contextlib.suppress(OSError):
                os.close(fd)
    signal.set_wakeup_fd(-1)
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD, signal.SIGWINCH):
        signal.signal(signum, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _serve(home: Path, project: str, factory: "SandboxFactory", version: str, listener: socket.socket) -> None:
    gc.set_threshold(20_000, 20, 20)  # its modules are no garbage: looking for some is a tenth of their import
    import asyncio

    from cais.supervise.supervisor import Supervisor

    async def serve() -> None:
        supervisor = Supervisor(home, project, factory, version=version)
        await supervisor.serve(listener, listen)

    try:
        asyncio.run(serve())
    finally:
        # The name first, then (with the process) the socket and the lock: nobody finds half a supervisor.
        (home / "control.sock").unlink(missing_ok=True)
