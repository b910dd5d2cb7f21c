"""One stack for a test: boots it, runs commands in it and gives their output, and ends it."""

import asyncio
import os
from pathlib import Path

from sandbox_root import make_root

from cais.sandbox.api import Attachment, Net, Process, Root, Spawned
from cais.sandbox.stack import StackSandbox

NONE = Net(mode="none")


def on(*networks: str, names: tuple[str, ...] = (), **fields: object) -> Net:
    return Net(attachments=tuple(Attachment(network=name, names=names) for name in networks), **fields)  # type: ignore[arg-type]


class Stack:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.exits: dict[str, int] = {}
        self.lost = 0
        self.told = asyncio.Event()
        self.count = 0
        self.box = StackSandbox.boot("test", folder / "run dir", on_exit=self.on_exit, on_lost=self.on_lost)

    async def __aenter__(self) -> "Stack":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.box.close()

    def on_exit(self, name: str, status: int) -> None:
        self.exits[name] = status
        self.told.set()

    def on_lost(self) -> None:
        self.lost += 1

    def root(self, name: str, *mounts: object, **fields: object) -> Root:
        return make_root(self.folder, name, *mounts, **fields)  # type: ignore[arg-type]

    async def start(
        self, name: str, *argv: str, net: Net = NONE, root: Root | None = None, **fields: object
    ) -> Spawned:
        process = Process(argv=argv, **{"env": {"PATH": "/usr/bin:/bin"}, **fields})  # type: ignore[arg-type]
        return await self.box.spawn(name, root or self.root(name), process, net, (-1, -1, -1))

    async def ended(self, name: str) -> int:
        async with asyncio.timeout(20):
            while name not in self.exits:
                self.told.clear()
                await self.told.wait()
        return self.exits[name]

    async def output(
        self, script: str, *, inside: str = "", net: Net = NONE, root: Root | None = None, **fields: object
    ) -> str:
        """What `sh -c script` writes, in an instance of its own or `inside` one."""
        self.count += 1
        name = f"command-{self.count}"
        process = Process(argv=("sh", "-c", script), **{"env": {"PATH": "/usr/bin:/bin:/usr/sbin"}, **fields})  # type: ignore[arg-type]
        out, into = os.pipe()
        try:
            if inside:
                await self.box.enter(inside, process, (-1, into, into), name)
            else:
                await self.box.spawn(name, root or self.root(name), process, net, (-1, into, into))
        finally:
            os.close(into)
        with open(out, "rb") as file:
            text = await asyncio.to_thread(file.read)
        await self.ended(name)
        return text.decode()
