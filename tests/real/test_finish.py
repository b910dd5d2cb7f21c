"""Finishing steps in idle time: whole or not at all, one at a time, a failure kept where one can look."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cais.catalog import find, make

COMMAND = [sys.executable, "-m", "cais.catalog.finish", "--idle"]


@pytest.fixture
def layers() -> tuple[str, ...]:
    return make.image_for(find.parse("debian:bookworm")).layers


def job(layers: tuple[str, ...], script: str) -> str:
    return json.dumps({"name": "p-1+s-1", "argv": ["/bin/sh", "-ec", script], "outputs": ["/out"], "layers": layers})


def finish(cache: Path, text: str) -> int:
    env = {**os.environ, "CAIS_CACHE": str(cache)}
    return subprocess.run(COMMAND, input=text, text=True, env=env, timeout=100, check=False).returncode


def test_a_step_leaves_its_output_as_a_tree_and_is_done_once(tmp_path, layers):
    script = "mkdir /out; grep -i ^speed /dev/null || :; cut -d' ' -f41 /proc/self/stat >/out/policy"
    assert finish(tmp_path, job(layers, script)) == 0
    tree = tmp_path / "programs" / "p-1+s-1" / "out" / "policy"
    assert tree.read_text() == "5\n"  # SCHED_IDLE, proc(5)
    assert finish(tmp_path, job(layers, "exit 9")) == 0
    assert list((tmp_path / "logs").iterdir()) == [] == list((tmp_path / "tmp").iterdir())


def test_a_failure_says_nothing_and_leaves_its_log_alone(tmp_path, layers):
    assert finish(tmp_path, job(layers, "echo no luck; exit 9")) == 1
    assert "no luck" in (tmp_path / "logs" / "p-1+s-1.log").read_text()
    assert list((tmp_path / "tmp").iterdir()) == []


def test_asked_to_end_it_ends_and_leaves_nothing(tmp_path, layers):
    env = {**os.environ, "CAIS_CACHE": str(tmp_path)}
    one = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, text=True, env=env)
    assert one.stdin is not None
    one.stdin.write(job(layers, "mkdir /out; echo at work; exec sleep 1000"))
    one.stdin.close()
    log = tmp_path / "logs" / "p-1+s-1.log.part"
    end = time.monotonic() + 60
    while not (log.exists() and "at work" in log.read_text()):
        assert time.monotonic() < end and one.poll() is None
        time.sleep(0.05)
    one.send_signal(signal.SIGTERM)
    assert one.wait(timeout=20) == 128 + signal.SIGTERM
    assert list((tmp_path / "logs").iterdir()) == [] == list((tmp_path / "tmp").iterdir())


def test_a_second_one_on_the_same_machine_comes_again_later(tmp_path, layers):
    (tmp_path / "locks").mkdir()
    with open(tmp_path / "locks" / "idle.lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert finish(tmp_path, job(layers, "exit 9")) == 75
