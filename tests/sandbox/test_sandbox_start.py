"""A process that ends at once: its exit comes after the answer to its start, whatever the loop does in between."""

import asyncio
import os
import subprocess

import msgspec

from cais.sandbox import wire
from cais.sandbox.api import Process
from cais.sandbox.messages import Done, Enter, Exited, Ready
from cais.sandbox.stack import StackSandbox


def test_an_exit_in_the_same_breath_as_the_start_is_told_after_it() -> None:
    told: list[str] = []
    init = subprocess.Popen(["sleep", "1000"])
    ours, theirs = wire.pair()
    ours.setblocking(False)
    theirs.setblocking(False)

    async def run() -> None:
        loop = asyncio.get_running_loop()

        def on_exit(name: str, status: int) -> None:
            told.append(f"{name} exited {status}")

        sandbox = StackSandbox("s", init.pid, ours, Ready(), None, on_exit=on_exit, on_lost=lambda: None, resolver=None)

        def answer() -> None:
            packet = wire.receive(theirs)
            assert packet is not None
            request = msgspec.json.decode(packet[0], type=Enter)
            for fd in packet[1]:
                os.close(fd)
            pidfd = os.pidfd_open(os.getpid())
            wire.send(theirs, msgspec.json.encode(Done(number=request.number, fds=("pidfd",))), [pidfd])
            os.close(pidfd)
            wire.send(theirs, msgspec.json.encode(Exited(id=request.token, status=7)))

        loop.add_reader(theirs.fileno(), answer)
        for turn in range(3):
            told.clear()
            token = f"a/exec/{turn}"
            await sandbox.enter("a", Process(argv=("true",)), (-1, -1, -1), token)
            told.append("started")
            while len(told) < 2:
                await asyncio.sleep(0)
            assert told == ["started", f"{token} exited 7"]
            assert not sandbox.running and not sandbox.early and not sandbox.starting
        loop.remove_reader(theirs.fileno())
        await sandbox.close()

    try:
        asyncio.run(asyncio.wait_for(run(), 30))
    finally:
        init.kill()
        init.wait()
        theirs.close()
