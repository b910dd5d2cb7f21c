"""Work for when nothing else is to be done: it waits for quiet, one at a time, and ends with its supervisor."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cais.supervise import chores
from cais.supervise.api import Chore


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chores, "LOOK", 0.01)
    monkeypatch.setattr(chores, "is_quiet", lambda: True)


def chore(name: str, script: str) -> Chore:
    return Chore(name=name, argv=("/bin/sh", "-c", script), env={"PATH": os.environ["PATH"]}, input=name)


async def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


def test_nothing_begins_while_something_has_still_to_come_up(tmp_path: Path) -> None:
    async def play() -> None:
        up: list[bool] = []
        looks: list[float] = []
        work = chores.Chores(lambda seconds: bool(looks.append(seconds)) or bool(up))
        work.take([chore("one", f"cat >{tmp_path}/said")])
        await until(lambda: len(looks) > 5)
        assert not (tmp_path / "said").exists()
        up.append(True)
        await until(lambda: (tmp_path / "said").exists() and (tmp_path / "said").read_text() == "one")
        await work.end()

    asyncio.run(play())


def test_one_after_the_other_and_again_when_another_one_was_at_work(tmp_path: Path) -> None:
    async def play() -> None:
        work = chores.Chores(lambda seconds: True)
        busy = f"echo $(cat) >>{tmp_path}/said; [ -e {tmp_path}/again ] || {{ touch {tmp_path}/again; exit 75; }}"
        work.take([chore("first", busy), chore("second", f"echo $(cat) >>{tmp_path}/said; exit 1")])
        await until(lambda: (tmp_path / "said").exists() and "second" in (tmp_path / "said").read_text())
        assert (tmp_path / "said").read_text() == "first\nfirst\nsecond\n"
        await work.end()

    asyncio.run(play())


def test_the_end_ends_what_is_at_work_even_if_it_will_not_hear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chores, "PATIENCE", 0.1)

    async def play() -> None:
        work = chores.Chores(lambda seconds: True)
        work.take([chore("deaf", f"trap '' TERM; echo $$ >{tmp_path}/pid; while :; do sleep 0.1; done")])
        await until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().endswith("\n"))
        await work.end()
        with contextlib.suppress(ProcessLookupError):
            os.kill(int((tmp_path / "pid").read_text()), 0)
            raise AssertionError("it lives")

    asyncio.run(play())


def test_a_finishing_step_dies_with_the_process_that_asked_for_it(tmp_path: Path) -> None:
    """The supervisor may be killed: what it asked for reads its job from a pipe here, and is gone all the same."""
    import subprocess

    inner = (
        "import sys, time, cais.catalog.finish as finish\n"
        "finish._carry_out = lambda job: print('at work', flush=True) or time.sleep(60)\n"
        "finish.main()\n"
    )
    script = (
        "import subprocess, sys, time\n"
        f"one = subprocess.Popen([sys.executable, '-c', {inner!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "one.stdin.write(b'{}'); one.stdin.close(); one.stdout.readline()\n"
        "print(one.pid, flush=True); time.sleep(60)\n"
    )
    asker = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert asker.stdout is not None
    pid = int(asker.stdout.readline())
    asker.kill()
    asker.communicate()
    end = time.monotonic() + 20
    while _lives(pid):
        assert time.monotonic() < end
        time.sleep(0.02)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
