"""Memory, CPU and number of processes of an instance, by cgroups(7) where this user may make them.

Version 1: a folder in each of three trees, below the group this process is in. Version 2: one folder, for root below
the root group; for an ordinary user below the own group, when it is delegated. Elsewhere a limit is not enforced,
and that is said. A folder outlives kill -9 of its maker: it is named by its stack and swept at the next start.
"""

import os
from contextlib import suppress
from typing import NamedTuple

from cais.sandbox.api import Process

_ROOT = "/sys/fs/cgroup"
_PERIOD = 100_000  # microseconds: Docker's cpu period


class Group(NamedTuple):
    """The folders of one instance and a descriptor on each `cgroup.procs`, to which a process writes itself."""

    folders: tuple[str, ...]
    entries: tuple[int, ...]
    notes: tuple[str, ...]

    def close(self) -> None:
        for fd in self.entries:
            os.close(fd)

    def remove(self) -> bool:
        """True when all folders are gone; a dying process keeps its own for a moment."""
        for folder in self.folders:
            with suppress(FileNotFoundError):
                try:
                    os.rmdir(folder)
                except OSError:
                    return False
        return True


NO_GROUP = Group((), (), ())


def make(stack: str, id: str, process: Process) -> Group:
    wanted = [
        (controller, text, files)
        for controller, value, text, files in (
            ("memory", process.memory, "memory limit", _memory(process.memory)),
            ("cpu", process.cpus, "CPU limit", _cpu(process.cpus)),
            ("pids", process.pids, "limit of processes", {"pids.max": str(process.pids)}),
        )
        if value
    ]
    if not wanted:
        return NO_GROUP
    folders: list[str] = []
    entries: list[int] = []
    notes: list[str] = []
    bases = {controller: base(controller) for controller, _, _ in wanted}
    for controller, text, files in wanted:
        parent = bases[controller]
        try:
            if parent is None:
                raise PermissionError
            folder = f"{parent}/cais-{_safe(stack)}/{_safe(id)}"
            if folder not in folders:
                os.makedirs(folder, exist_ok=True)
                _delegate(parent, f"{parent}/cais-{_safe(stack)}", [name for name in bases if bases[name] == parent])
                folders.append(folder)
                entries.append(os.open(f"{folder}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC))
            _write(folder, files)
        except OSError:
            notes.append(f"{text}: not enforced, this user may make no cgroup for it here")
    return Group(tuple(folders), tuple(entries), tuple(notes))


def sweep(stack: str) -> None:
    """Remove what a killed supervisor of the same stack has left; folders with living processes stay."""
    for parent in {base(controller) for controller in ("memory", "cpu", "pids")} - {None}:
        folder = f"{parent}/cais-{_safe(stack)}"
        with suppress(OSError):
            for name in os.listdir(folder):
                with suppress(OSError):
                    os.rmdir(f"{folder}/{name}")
            os.rmdir(folder)


def base(controller: str) -> str | None:
    """The folder below which groups with `controller` may be made, or None."""
    with suppress(OSError), open("/proc/self/cgroup") as file:
        rows = [line.rstrip("\n").split(":", 2) for line in file]
        for number, names, path in rows:
            if controller in names.split(","):
                folder = f"{_ROOT}/{controller}{path}".rstrip("/")
                return folder if os.access(folder, os.W_OK) else None
            if number == "0" and _has(_ROOT, controller):
                folder = _ROOT if os.geteuid() == 0 else f"{_ROOT}{path}".rstrip("/")
                return folder if os.access(folder, os.W_OK) and _has(folder, controller) else None
    return None


def _has(folder: str, controller: str) -> bool:
    with suppress(OSError), open(f"{folder}/cgroup.controllers") as file:
        return controller in file.read().split()
    return False


def _delegate(parent: str, middle: str, controllers: list[str]) -> None:
    """Version 2 hands controllers down folder by folder."""
    for folder in (parent, middle):
        path = f"{folder}/cgroup.subtree_control"
        if os.path.exists(path):
            with open(path, "w") as file:
                file.write(" ".join(f"+{name}" for name in controllers))


def _write(folder: str, files: dict[str, str]) -> None:
    """Each file is of one version; the one that is there is written, and none is a failure."""
    there = {name: text for name, text in files.items() if os.path.exists(f"{folder}/{name}")}
    if not there:
        raise FileNotFoundError
    for name, text in there.items():
        with open(f"{folder}/{name}", "w") as file:
            file.write(text)


def _memory(size: int) -> dict[str, str]:
    return {"memory.limit_in_bytes": str(size), "memory.max": str(size)}


def _cpu(cpus: float) -> dict[str, str]:
    quota = int(cpus * _PERIOD)
    return {
        "cpu.cfs_period_us": str(_PERIOD),
        "cpu.cfs_quota_us": str(quota),
        "cpu.max": f"{quota} {_PERIOD}",
    }


def _safe(name: str) -> str:
    return name.replace("/", "_")
