"""RUN: one command in the sandbox, over the layers so far; what it wrote becomes the layer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from cais.build import machine
from cais.build.layers import held
from cais.build.view import View, is_plain_folder
from cais.sandbox.api import Attachment, Mount, Net, NetworkSpec, Process, Refused, Root
from cais.sandbox.stack import StackSandbox

NETWORK = "build"
KEPT_LINES = 20
_MAX_LINE = 16 * 1024
# What the sandbox mounts over every root: their mount points must not stay in the layer.
_SANDBOX = ("/etc/hosts", "/etc/resolv.conf", "/etc/hostname", "/proc", "/sys", "/dev")


class Failed(Exception):
    """The command ended with another code than 0; `lines` are its last ones."""

    def __init__(self, code: int, lines: Sequence[str]) -> None:
        super().__init__(f"exit code {code}")
        self.code, self.lines = code, tuple(lines)


class Command(NamedTuple):
    """All that a RUN is. `mounts` are those of its own flags, ready for the sandbox."""

    layers: tuple[str, ...]
    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str
    user: str
    uid: int
    mounts: tuple[Mount, ...]
    network: str  # "default", "none", "host"
    extra_hosts: tuple[tuple[str, str], ...] = ()
    shm_size: int = 0


class Runner:
    """One sandbox for all RUNs of a build. Boot it in the main thread (sandbox/stack.py says why)."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.exits: dict[str, asyncio.Future[int]] = {}
        self.sandbox: StackSandbox | None = None
        self.network: asyncio.Task[str] | None = None
        self.count = 0
        self.hold = contextlib.ExitStack()
        self.machine = machine.read()

    def boot(self) -> None:
        if self.sandbox is None:
            self.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.hold.enter_context(held(self.run_dir))
            self.sandbox = StackSandbox.boot("build", self.run_dir, on_exit=self._exited, on_lost=self._lost)

    def _exited(self, name: str, status: int) -> None:
        waiting = self.exits.get(name)
        if waiting is not None and not waiting.done():
            waiting.set_result(status)

    def _lost(self) -> None:
        for waiting in self.exits.values():
            if not waiting.done():
                waiting.set_exception(Refused("stack init", "the sandbox of the build was killed"))

    async def close(self) -> None:
        from cais.fetch.store import remove

        if self.sandbox is not None:
            await self.sandbox.close()
            self.sandbox = None
        await asyncio.to_thread(remove, self.run_dir)
        self.hold.close()

    async def run(self, command: Command, scratch: str, output: Callable[[str], None]) -> None:
        """Fills `scratch/fs`. Raises Failed, or Refused when it could not even start."""
        assert self.sandbox is not None
        self.count += 1
        name = f"run-{self.count}"
        view = View(command.layers)
        fs = f"{scratch}/fs"
        files = machine.mounts(self.machine, view, command.uid)
        files_dir = self.run_dir / name
        mounts = (*self._on_disk(files, files_dir), *command.mounts)
        targets = [*_SANDBOX, machine.BUNDLE, *(m.target for m in mounts)]
        machine.lay_certificates(fs, self.machine, view)
        root = Root(layers=command.layers, upper=scratch, mounts=mounts)
        if command.shm_size:
            root = Root(layers=command.layers, upper=scratch, mounts=mounts, shm_size=command.shm_size)
        env = {**machine.variables(self.machine, view), **command.env}
        process = Process(argv=command.argv, env=env, cwd=command.cwd, user=command.user)
        net = await self._net(command)
        try:
            code, lines = await self._spawn(name, root, process, net, output)
        finally:
            from cais.fetch.store import remove

            remove(files_dir)
        if code:
            raise Failed(code, lines)
        await asyncio.to_thread(self._settle, scratch, view, targets)

    def _on_disk(self, files: Sequence[Mount], folder: Path) -> list[Mount]:
        """Generated files as binds: a message to stack init is one packet, a bundle of authorities is larger."""
        folder.mkdir(mode=0o700)
        made = []
        for number, mount in enumerate(files):
            if mount.kind == "file":
                path = folder / str(number)
                path.write_bytes(mount.content)
                path.chmod(mount.mode)
                mount = Mount(kind="bind", source=str(path), target=mount.target, read_only=True)
            made.append(mount)
        return made

    async def _net(self, command: Command) -> Net:
        assert self.sandbox is not None
        if command.network == "none":
            return Net(mode="none")
        if command.network == "host":
            return Net(mode="host", hostname="buildkitsandbox", extra_hosts=command.extra_hosts)
        if self.network is None:
            self.network = asyncio.create_task(self.sandbox.add_network(NetworkSpec(name=NETWORK)))
        await self.network
        return Net(
            attachments=(Attachment(network=NETWORK),), hostname="buildkitsandbox", extra_hosts=command.extra_hosts
        )

    async def _spawn(
        self, name: str, root: Root, process: Process, net: Net, output: Callable[[str], None]
    ) -> tuple[int, Sequence[str]]:
        assert self.sandbox is not None
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[int] = loop.create_future()
        self.exits[name] = ended
        reader, writer = os.pipe2(os.O_CLOEXEC)
        kept: deque[str] = deque(maxlen=KEPT_LINES)
        try:
            try:
                await self.sandbox.spawn(name, root, process, net, (-1, writer, writer))
            finally:
                os.close(writer)
            reading = asyncio.create_task(_lines(reader, kept, output))
            try:
                code = await ended
                # A daemon the command left has died with the PID namespace, and the pipe's last end with it.
                await reading
            except asyncio.CancelledError:
                self.sandbox.signal(name, 9)
                with contextlib.suppress(asyncio.TimeoutError, Refused):
                    await asyncio.wait_for(asyncio.shield(ended), 5)
                reading.cancel()
                raise
            return code, list(kept)
        finally:
            self.exits.pop(name, None)
            os.close(reader)

    def _settle(self, scratch: str, view: View, targets: Sequence[str]) -> None:
        """From an upper directory to a layer: mount points, the machine's authorities and `work` go."""
        from cais.fetch.store import remove

        fs = f"{scratch}/fs"
        remove(Path(scratch, "work"))
        machine.take_certificates(fs, self.machine, view)
        for target in sorted(targets, key=len, reverse=True):
            clear_mount_point(fs, view, target)


async def _lines(fd: int, kept: deque[str], output: Callable[[str], None]) -> None:
    """Lines of a pipe until its last writer is gone. A line is cut where no terminal would show it."""
    loop = asyncio.get_running_loop()
    stream = asyncio.StreamReader(limit=1 << 20, loop=loop)
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stream, loop=loop), os.fdopen(os.dup(fd), "rb", buffering=0)
    )

    def take(raw: bytes) -> None:
        line = raw[:_MAX_LINE].decode("utf-8", "replace").rstrip("\r\n").rpartition("\r")[2]
        kept.append(line)
        output(line)

    rest = b""
    try:
        while chunk := await stream.read(65536):
            *whole, rest = (rest + chunk).split(b"\n")
            for raw in whole:
                take(raw)
            if len(rest) > _MAX_LINE:
                take(rest)
                rest = b""
        if rest:
            take(rest)
    finally:
        transport.close()


def clear_mount_point(fs: str, view: View, target: str) -> None:
    """Take away the empty file or directory that was made to mount on, and the directories made above it.

    What lower layers have stays as it is there: an empty copy of it in the upper adds nothing but a time.
    """
    try:
        last, missing = view.resolve(target)
    except OSError:
        return
    parts = (*last.parts, *missing)
    for depth in range(len(parts), 0, -1):
        host = "/".join((fs, *parts[:depth]))
        if not is_plain_folder(fs, parts[: depth - 1]):
            continue
        try:
            about = os.lstat(host)
        except OSError:
            continue
        lower = None
        if depth <= len(last.parts):
            lower = view.find("/".join(parts[:depth]), follow=False)
        try:
            if stat.S_ISDIR(about.st_mode):
                if lower is not None and (
                    not lower.is_dir
                    or (about.st_mode, about.st_uid, about.st_gid)
                    != (lower.about.st_mode, lower.about.st_uid, lower.about.st_gid)
                    or _is_opaque(host)
                ):
                    return
                os.rmdir(host)
            elif depth == len(parts) and lower is None and stat.S_ISREG(about.st_mode) and about.st_size == 0:
                os.unlink(host)
            else:
                return
        except OSError:
            return  # not empty: the command put something there


def _is_opaque(path: str) -> bool:
    for name in ("user.overlay.opaque", "trusted.overlay.opaque"):
        with contextlib.suppress(OSError):
            if os.getxattr(path, name) == b"y":
                return True
    return False
