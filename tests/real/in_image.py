"""Run commands inside the image a card gives: `python in_image.py IMAGE COMMAND…`, or `run(image, *command)`.

A process of its own for each run, as the sandbox wants a main thread without others beside it.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path


def run(
    image: str, *command: str, user: str = "", check: bool = True, timeout: float = 300, upper: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """The command's output (stdout and stderr as one) in a fresh root; with `upper`, in one that is kept."""
    job = json.dumps({"image": image, "command": command, "user": user, "upper": str(upper or "")})
    done = subprocess.run(
        [sys.executable, __file__], input=job, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace", timeout=timeout,
    )  # fmt: skip
    if check:
        assert done.returncode == 0, f"{image}: {' '.join(command)}: {done.returncode}\n{done.stdout}"
    return done


def main() -> int:
    from cais.build import machine
    from cais.build.view import View
    from cais.catalog import find, make
    from cais.paths import cache_home, private_dir
    from cais.sandbox.api import Attachment, Net, NetworkSpec, Process, Root
    from cais.sandbox.stack import StackSandbox

    job = json.load(sys.stdin)
    _, ref = find.find(job["image"])
    image = make.image_for(ref)
    command = (*image.config.entrypoint, *(job["command"] or image.config.cmd))
    with tempfile.TemporaryDirectory(dir=private_dir(cache_home() / "tmp"), ignore_cleanup_errors=True) as scratch:
        upper = Path(job["upper"] or f"{scratch}/upper")
        upper.mkdir(exist_ok=True)
        exited: list[int] = []
        done = asyncio.Event()

        def on_exit(_: str, status: int) -> None:
            exited.append(status)
            done.set()

        sandbox = StackSandbox.boot("test", Path(scratch) / "run", on_exit=on_exit, on_lost=done.set)

        async def inside() -> int:
            try:
                await sandbox.add_network(NetworkSpec(name="default"))
                await sandbox.spawn(
                    "test",
                    # What a RUN gets of the machine: its mirrors and certificate authorities.
                    Root(
                        layers=image.layers,
                        upper=str(upper),
                        mounts=machine.mounts(machine.read(), View(image.layers), os.geteuid()),
                    ),
                    Process(argv=command, env=dict(image.config.env), cwd=image.config.working_dir, user=job["user"]),
                    Net(mode="bridge", attachments=(Attachment(network="default"),)),
                    (-1, 1, 2),
                )
                await done.wait()
                return exited[0] if exited else 255
            finally:
                await sandbox.close()

        return asyncio.run(inside())


if __name__ == "__main__":
    sys.exit(main())
