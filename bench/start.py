"""`cais --version` and `--help` against a bare Python start."""

import subprocess
import sys
import time
from pathlib import Path

from common import machine, median_of, ratio, say

CONSOLE = str(Path(sys.executable).with_name("cais"))


def once(argv: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(argv, capture_output=True, check=True)
    return time.perf_counter() - start


def main(runs: int = 30) -> None:
    print(f"starting ({machine()})")
    bare = median_of(runs, lambda: once([sys.executable, "-c", "pass"]))
    say("python -c pass", bare)
    for flag in ("--version", "--help"):
        ours = median_of(runs, lambda flag=flag: once([CONSOLE, flag]))
        say(f"cais {flag}", ours)
        ratio(f"cais {flag} to a bare start", ours[0], bare[0], "<= 2")


if __name__ == "__main__":
    main()
