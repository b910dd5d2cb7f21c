"""The fuzzer of bytes for a bounded time and with one seed; `make fuzz` goes on from there."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this Python")
def test_invented_bytes_are_read_or_refused(tmp_path: Path) -> None:
    fuzzer = Path(__file__).with_name("bytes.py")
    done = subprocess.run(
        [sys.executable, str(fuzzer), "-seed=1", "-runs=4000", "-max_total_time=30", "-verbosity=0"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    kept = [f"{path.name}: {path.read_bytes()!r}" for path in tmp_path.iterdir()]
    assert done.returncode == 0 and not kept, "\n".join([*kept, done.stderr[-4000:]])
