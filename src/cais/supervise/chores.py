"""Work for when nothing else is to be done: one command at a time, in time nobody wants, ended with the supervisor.

A chore makes itself idle (sched(7), SCHED_IDLE), asks for its death with ours (prctl(2), PR_SET_PDEATHSIG) and keeps
its own log; its failure is nobody's matter here. One that finds another at work on this machine says so by ending
with `LATER`, and is asked again.
"""

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Callable, Iterable

from cais.supervise.api import Chore

LOOK = 5.0  # seconds between two looks whether there is time
SETTLED = 20.0  # seconds that all must have been up
ROOM = 2 << 30  # bytes that must be free: a chore may be a server of its own
PATIENCE = 1.0  # seconds it gets to clear up
LATER = 75  # EX_TEMPFAIL, sysexits.h


class Chores:
    def __init__(self, settled: Callable[[float], bool]) -> None:
        """`settled(seconds)`: whether all that is to run has run for so long."""
        self._settled = settled
        self._queue: dict[str, Chore] = {}
        self._task: asyncio.Task[None] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def take(self, chores: Iterable[Chore]) -> None:
        self._queue.update((chore.name, chore) for chore in chores)
        if self._queue and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work())

    def drop(self) -> None:
        """Nothing is to be done any more; what is at work is told, and may take its moment to end."""
        self._queue.clear()
        if self._process is not None:
            self._process.terminate()

    async def end(self) -> None:
        self.drop()
        task = self._task
        if task is None:
            return
        if self._process is not None:
            await asyncio.wait((task,), timeout=PATIENCE)
        task.cancel()  # what has not ended is killed on the way out
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def _work(self) -> None:
        try:
            while self._queue:
                await asyncio.sleep(LOOK)
                if not self._queue or not self._settled(SETTLED) or not is_quiet():
                    continue
                name, chore = next(iter(self._queue.items()))
                if await self._run(chore) != LATER:
                    self._queue.pop(name, None)
        finally:
            self._task = None

    async def _run(self, chore: Chore) -> int:
        loop = asyncio.get_running_loop()
        try:
            process = subprocess.Popen(
                chore.argv,
                env=chore.env,
                cwd="/",
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError:  # Cais itself is gone from its place
            return 1
        self._process = process
        ended = loop.create_future()
        pidfd = os.pidfd_open(process.pid)
        loop.add_reader(pidfd, lambda: None if ended.done() else ended.set_result(None))
        try:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(chore.input.encode())  # less than a pipe holds
                process.stdin.close()
            await ended
        finally:
            loop.remove_reader(pidfd)
            os.close(pidfd)
            if process.poll() is None:
                process.kill()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(PATIENCE)
            self._process = None
        return process.wait()


def is_quiet() -> bool:
    """Whether the processors have time and the memory has room."""
    if os.getloadavg()[0] >= (os.cpu_count() or 1):
        return False
    with contextlib.suppress(OSError, ValueError), open("/proc/meminfo") as file:
        for line in file:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024 >= ROOM
    return False
