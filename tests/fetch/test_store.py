"""A tree in the cache is whole or not there."""

import errno
import os
import threading
import time
from pathlib import Path

import pytest

from cais.diag.api import CaisError
from cais.fetch import store


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CAIS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_two_at_once_make_a_tree_once(cache: Path) -> None:
    made = []

    def make(root: Path) -> None:
        made.append(root)
        time.sleep(0.05)
        (root / "file").write_text("whole")

    threads = [threading.Thread(target=store.tree, args=("programs", "x-1", make)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert (cache / "programs/x-1/file").read_text() == "whole"
    assert list((cache / "tmp").iterdir()) == []


def test_a_failure_leaves_nothing_and_the_next_one_succeeds(cache: Path) -> None:
    def fail(root: Path) -> None:
        (root / "half").write_text("")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.tree("programs", "x-1", fail)
    assert not (cache / "programs/x-1").exists()
    assert list((cache / "tmp").iterdir()) == []
    assert store.tree("programs", "x-1", lambda root: None).is_dir()


def test_what_a_killed_command_left_is_cleared(cache: Path) -> None:
    left = cache / "tmp/programs-x-1.99999"
    (left / "locked").mkdir(parents=True)
    (left / "locked/file").write_text("")
    (left / "locked").chmod(0o500)
    store.tree("programs", "x-1", lambda root: None)
    assert not left.exists()


def test_a_tree_is_readable_whatever_the_umask(cache: Path) -> None:
    before = os.umask(0o077)
    try:
        made = store.tree("programs", "x-1", lambda root: None)
    finally:
        os.umask(before)
    assert made.stat().st_mode & 0o777 == 0o755
    assert cache.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "cannot prepare Debian x: the disk is full"),
        (errno.EDQUOT, "cannot prepare Debian x: your disk quota is used up"),
        (errno.EROFS, "cannot prepare Debian x: /somewhere may not be written"),
        (errno.EACCES, "cannot prepare Debian x: /somewhere may not be written"),
    ],
)
def test_what_the_system_refuses_is_said_in_words(code: int, words: str) -> None:
    def refuse(root: Path) -> None:
        raise OSError(code, os.strerror(code), "/somewhere")

    with pytest.raises(CaisError) as caught:
        store.tree("userlands", "x", refuse, what="Debian x")
    assert caught.value.message.startswith(words)
    assert "CAIS_CACHE" in caught.value.hint
