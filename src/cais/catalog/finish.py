"""Carry one finishing step out: `python -m cais.catalog.finish [--idle]`, the job as JSON on standard input.

A process of its own because the sandbox is booted in the main thread of a process without other threads. The
command runs as root over the layers below it, without network; what it left at its outputs becomes a layer. It dies
with who asked for it.

`--idle` is how a supervisor asks when its stack is up: only with time nobody else wants, one step at a time, what it
says kept in `<cache>/logs/`; a log that is there says that the step failed, and it is not tried again.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from cais.diag.api import CaisError
from cais.fetch import store
from cais.paths import cache_folder, private_dir
from cais.sandbox import kernel
from cais.sandbox.api import DEFAULT_PATH, Net, Process, Refused, Root
from cais.sandbox.stack import StackSandbox

_ENV = {
    "PATH": DEFAULT_PATH,
    "HOME": "/root",
    "LANG": "C.UTF-8",
}
LIMIT = 600.0


LATER = 75  # EX_TEMPFAIL, sysexits.h: another one is at work
ENDED = 128 + signal.SIGTERM


class Ended(Exception):
    """Asked to end."""


def main() -> int:
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    job = json.load(sys.stdin)
    if "--idle" in sys.argv[1:]:
        return _idle(job)
    return _carry_out(job)


def _carry_out(job: dict[str, Any]) -> int:
    try:
        store.tree("programs", job["name"], lambda root: _make(root, job), what=job["name"])
    except (CaisError, Refused) as err:
        print(err, file=sys.stderr)
        return 1
    except Ended:
        return ENDED
    return 0


def _idle(job: dict[str, Any]) -> int:
    # sched(7): SCHED_IDLE gets what is left over, and its I/O class is idle too (ioprio_set(2)).
    os.setpriority(os.PRIO_PROCESS, 0, 19)
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    lock = os.open(private_dir(cache_folder("locks")) / "idle.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return LATER
    kept = private_dir(cache_folder("logs")) / f"{job['name']}.log"
    scratch = kept.with_suffix(".log.part")
    log = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    code = _carry_out({**job, "idle": True})
    if code in (0, ENDED):
        scratch.unlink(missing_ok=True)
    else:
        sys.stderr.flush()
        scratch.replace(kept)
    return code


def _make(root: Path, job: dict[str, Any]) -> None:
    # Beside the tree and called as it is: when this process is killed, who makes the tree next clears both.
    scratch = root.with_name(f"{root.name}.work")
    try:
        upper = scratch / "upper"
        upper.mkdir(parents=True)
        exited: dict[str, int] = {}
        gone = asyncio.Event()

        def on_exit(token: str, status: int) -> None:
            exited[token] = status
            gone.set()

        sandbox = StackSandbox.boot("finish", scratch / "run", on_exit=on_exit, on_lost=gone.set)

        async def run() -> int:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, gone.set)
            try:
                await sandbox.spawn(
                    "finish",
                    Root(layers=tuple(job["layers"]), upper=str(upper)),
                    Process(argv=tuple(job["argv"]), env=_ENV, oom_score_adj=1000 if job.get("idle") else 0),
                    Net(mode="none"),
                    (-1, 1, 2),
                )
                await asyncio.wait_for(gone.wait(), LIMIT)
                if "finish" not in exited:
                    raise Ended
                return exited["finish"]
            except TimeoutError:
                raise CaisError(f"it took longer than {LIMIT:g} s") from None
            finally:
                await sandbox.close()

        status = asyncio.run(run())
        if status:
            raise CaisError(f"{' '.join(job['argv'])} ended with {status}")
        for output in job["outputs"]:
            _copy(upper / "fs", output.strip("/"), root)
    finally:
        store.remove(scratch)


def _copy(upper: Path, output: str, root: Path) -> None:
    """Copy what was written at `output`, with owners; overlayfs's own marks (attributes, whiteouts) stay behind."""
    source, target = upper / output, root / output
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, target, symlinks=True, ignore=_whiteouts, copy_function=_copy_file)
        if os.geteuid() == 0:
            for folder, folders, _ in os.walk(source):
                for name in (".", *folders):
                    there = Path(folder) / name
                    status = there.lstat()
                    os.chown(target / there.relative_to(source), status.st_uid, status.st_gid, follow_symlinks=False)
    elif source.exists() or source.is_symlink():
        _copy_file(str(source), str(target))
    else:
        raise CaisError(f"it wrote nothing at /{output}")


def _copy_file(source: str, target: str) -> str:
    shutil.copy2(source, target, follow_symlinks=False)
    if os.geteuid() == 0:
        status = os.lstat(source)
        os.chown(target, status.st_uid, status.st_gid, follow_symlinks=False)
        if not os.path.islink(target):
            os.chmod(target, status.st_mode & 0o7777)
    return target


def _whiteouts(folder: str, entries: list[str]) -> set[str]:
    import stat

    return {n for n in entries if stat.S_ISCHR(os.lstat(os.path.join(folder, n)).st_mode)}


if __name__ == "__main__":
    sys.exit(main())
