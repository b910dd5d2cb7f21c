"""The layer store's housekeeping: nothing that somebody still uses is cleared."""

import asyncio
import fcntl
import os
import time
from pathlib import Path

import pytest

from cais.build import layers, machine
from cais.build.layers import Layers


async def empty(scratch: str) -> None:
    Path(scratch, "fs", "file").write_text("made")


def make(home: Path, key: str = "one", *, again: bool = False) -> str:
    return asyncio.run(Layers(home).make(key, empty, again=again))


def test_a_lock_that_somebody_holds_stays_when_its_layer_is_there(tmp_path: Path) -> None:
    home = tmp_path / "layers"
    make(home)
    make(home, "two")
    with open(home / ".locks/one", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (home / ".locks/two").touch()
        make(home, "three")
        assert (home / ".locks/one").exists()
        assert not (home / ".locks/two").exists()


def test_a_lock_whose_file_was_swept_meanwhile_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lock"

    class Fcntl:
        LOCK_EX, LOCK_NB = fcntl.LOCK_EX, fcntl.LOCK_NB

        @staticmethod
        def flock(fd: int, how: int) -> None:
            path.unlink()
            fcntl.flock(fd, how)

    monkeypatch.setattr(layers, "fcntl", Fcntl)
    assert layers._locked(path) is None
    monkeypatch.undo()
    fd = layers._locked(path)
    assert fd is not None and layers._locked(path) is None
    os.close(fd)


def test_a_replaced_layer_goes_when_it_is_old_and_no_stack_can_stand_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "layers"
    make(home)
    make(home, again=True)

    def replaced() -> int:
        make(home, "two", again=True)  # a sweep each time; adds one that it replaced
        return len(list(home.glob(".old-one-*")))

    now = time.time()
    assert replaced() == 1  # it is young
    monkeypatch.setattr(layers, "REPLACED", -60.0)
    monkeypatch.setattr(layers, "_oldest_supervisor", lambda: now - 60)
    assert replaced() == 1  # a stack is older
    monkeypatch.setattr(layers, "_oldest_supervisor", lambda: float("inf"))
    assert replaced() == 0


def test_a_password_of_this_machines_mirror_is_in_apts_own_file_for_it(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text(
        "deb http://user:p%40ss@mirror.test/debian bookworm main\n"
        "deb https://mirror.test/debian-security bookworm-security main\n"
    )
    assert machine._apt_auth(tmp_path) == "machine http://mirror.test/debian login user password p@ss\n"
