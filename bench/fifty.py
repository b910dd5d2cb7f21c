"""Fifty small HTTP services until all answer, with full isolation, against an asyncio loop that only starts them.

honcho and circus start the same fifty in the same run. Every service answers on a port of its own (published, for
Cais). The memory is the proportional set size of all processes of the runner itself, services left out.
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from common import CAIS, machine, median_of, peer_venv, pss, ratio, say, timed

COUNT = 50
FIRST = 21000

# A static-like tiny server: what is measured is the runner, so the service itself starts as fast as Python can.
SERVER = """\
import socket, sys
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("", int(sys.argv[1]))); s.listen(64)
while True:
    c, _ = s.accept(); c.recv(4096)
    c.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nok"); c.close()
"""


async def answered(port: int, until: float) -> None:
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            if (await reader.read(12)).startswith(b"HTTP/1.1 200"):
                writer.close()
                return
            writer.close()
        except OSError:
            pass
        if time.monotonic() > until:
            raise SystemExit(f"port {port} did not answer")
        await asyncio.sleep(0.02)


async def all_answer() -> None:
    until = time.monotonic() + 60
    await asyncio.gather(*(answered(FIRST + n, until) for n in range(COUNT)))


def until_all_answer(start: float) -> float:
    asyncio.run(all_answer())
    return time.monotonic() - start


def children(pid: int) -> list[int]:
    """Every descendant of a process."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += [int(child), *children(int(child))]
    return found


def floor(server: Path) -> float:
    async def run() -> float:
        start = time.monotonic()
        running = [
            await asyncio.create_subprocess_exec("/usr/bin/python3", "-SE", str(server), str(FIRST + n))
            for n in range(COUNT)
        ]
        await all_answer()
        took = time.monotonic() - start
        for process in running:
            process.kill()
        await asyncio.gather(*(process.wait() for process in running))
        return took

    return asyncio.run(run())


def peer(argv: list[str], folder: Path) -> float:
    start = time.monotonic()
    runner = subprocess.Popen(
        argv, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        return until_all_answer(start)
    finally:
        rest = children(runner.pid)
        runner.send_signal(signal.SIGTERM)
        try:
            runner.wait(10)
        except subprocess.TimeoutExpired:
            runner.kill()
            runner.wait()
        for pid in rest:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


def cais(folder: Path, env: dict[str, str], memory: list[float]) -> float:
    start = time.monotonic()
    subprocess.run([*CAIS, "up", "-d"], cwd=folder, env=env, check=True, capture_output=True)
    took = until_all_answer(start)
    rows = json.loads(
        subprocess.run([*CAIS, "ls", "--format", "json"], cwd=folder, env=env, capture_output=True).stdout
    )
    supervisor = next(row["SupervisorPid"] for row in rows if row["Name"] == "fifty")
    # Cais's own: the supervisor and whatever below it still runs Cais's code (the services run /server.py).
    own = [supervisor] + [
        pid for pid in children(supervisor) if "/server.py" not in Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    ]
    memory.append(pss(own))
    timed([*CAIS, "down", "--timeout", "0"], cwd=folder, env=env)
    return took


def main(runs: int = 5) -> None:
    print(f"{COUNT} HTTP services until all answer ({machine()})")
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top)
        server = folder / "server.py"
        server.write_text(SERVER)
        services = {
            f"s{n}": {
                "image": "python:3.11-slim",
                "command": ["python3", "-SE", "/server.py", "8000"],
                "volumes": ["./server.py:/server.py:ro"],
                "ports": [f"127.0.0.1:{FIRST + n}:8000"],
            }
            for n in range(COUNT)
        }
        (folder / "compose.yaml").write_text(json.dumps({"name": "fifty", "services": services}))
        command = f"/usr/bin/python3 -SE {server}"
        (folder / "Procfile").write_text("".join(f"s{n}: {command} {FIRST + n}\n" for n in range(COUNT)))
        (folder / "circus.ini").write_text(
            "[circus]\ncheck_delay = 5\n"
            f"endpoint = ipc://{folder}/e\npubsub_endpoint = ipc://{folder}/p\nstats_endpoint = ipc://{folder}/s\n"
            + "".join(f"[watcher:s{n}]\ncmd = {command} {FIRST + n}\n" for n in range(COUNT))
        )
        env = {**os.environ, "CAIS_STATE": str(folder / "state")}
        memory: list[float] = []
        timed([*CAIS, "up", "-d"], cwd=folder, env=env)
        timed([*CAIS, "down", "--timeout", "0"], cwd=folder, env=env)
        # In turn, so that what else the machine does meanwhile meets both.
        pairs = [(floor(server), cais(folder, env, memory)) for _ in range(runs)]
        base, mine = ([pair[side] for pair in pairs] for side in (0, 1))
        say("asyncio loop that only starts them", (median(base), min(base), max(base)))
        say("Cais, every service in namespaces of its own", (median(mine), min(mine), max(mine)))
        bin = peer_venv()
        say("honcho", median_of(min(runs, 3), lambda: peer([str(bin / "honcho"), "start"], folder)))
        say("circus", median_of(min(runs, 3), lambda: peer([str(bin / "circusd"), "circus.ini"], folder)))
        ratio("Cais to the loop, median of the pairs", median([cais / loop for loop, cais in pairs]), 1, "<= 1.5")
        print(f"  PSS of Cais's own processes {max(memory):.1f} MB, goal <= 60")
        shutil.rmtree(folder / "state", ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
