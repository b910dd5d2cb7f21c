"""Carry one finishing step out: `python -m cais.catalog.finish`, the job as JSON on standard input.

A process of its own because the sandbox is booted in the main thread of a process without other threads. The
command runs as root over the layers below it, without network; what it left at its outputs becomes a layer.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from cais.diag.api import CaisError
from cais.fetch import store
from cais.paths import cache_home, private_dir
from cais.sandbox.api import Net, Process, Refused, Root
from cais.sandbox.stack import StackSandbox

_ENV = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}
LIMIT = 600.0


def main() -> int:
    job = json.load(sys.stdin)
    try:
        store.tree("programs", job["name"], lambda root: _make(root, job), what=job["name"])
    except (CaisError, Refused) as err:
        print(err, file=sys.stderr)
        return 1
    return 0


def _make(root: Path, job: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory(dir=private_dir(cache_home() / "tmp"), ignore_cleanup_errors=True) as scratch:
        upper = Path(scratch) / "upper"
        upper.mkdir()
        exited: dict[str, int] = {}
        gone = asyncio.Event()

        def on_exit(token: str, status: int) -> None:
            exited[token] = status
            gone.set()

        sandbox = StackSandbox.boot("finish", Path(scratch) / "run", on_exit=on_exit, on_lost=gone.set)

        async def run() -> int:
            try:
                await sandbox.spawn(
                    "finish",
                    Root(layers=tuple(job["layers"]), upper=str(upper)),
                    Process(argv=tuple(job["argv"]), env=_ENV),
                    Net(mode="none"),
                    (-1, 1, 2),
                )
                await asyncio.wait_for(gone.wait(), LIMIT)
                return exited.get("finish", 255)
            finally:
                await sandbox.close()

        status = asyncio.run(run())
        if status:
            raise CaisError(f"{' '.join(job['argv'])} ended with {status}")
        for output in job["outputs"]:
            _copy(upper / "fs", output.strip("/"), root)
        store.remove(upper)


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
