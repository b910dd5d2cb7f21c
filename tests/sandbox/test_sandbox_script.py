"""A child of system calls: what it does, what it forgives, where it ends."""

import errno
import os
from pathlib import Path

import pytest

from cais.sandbox import script
from cais.sandbox.script import Calls, Failed

pytestmark = pytest.mark.skipif(not script.possible(), reason="the instructions are those of x86_64")


def _status(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_calls_are_made_in_order_and_the_program_gets_its_words_and_environment(tmp_path: Path) -> None:
    (tmp_path / "gone").touch()
    into = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    calls = Calls()
    calls.add("folder", "chdir", str(tmp_path))
    calls.add("remove", "unlink", "gone")
    calls.add("output", "dup2", into, 1)
    calls.exec(["/bin/sh"], ["sh", "-c", 'pwd; echo "$A $1"; env | wc -l', "sh", "word"], {"A": "b"}, forgive=0)
    pid, failed = calls.run(0)
    os.close(into)
    assert failed is None and _status(pid) == 0
    assert (tmp_path / "out").read_text().splitlines()[:2] == [str(tmp_path), "b word"]
    assert not (tmp_path / "gone").exists()
    assert Path.cwd() != tmp_path  # the child's folder is its own


def test_the_first_error_that_is_not_forgiven_ends_it(tmp_path: Path) -> None:
    (tmp_path / "kept").touch()
    calls = Calls()
    calls.add("one", "unlink", str(tmp_path / "absent"), forgive=errno.ENOENT)
    calls.add("two", "unlink", str(tmp_path), forgive=script.ANY)
    calls.add("three", "unlink", str(tmp_path / "absent"), forgive=errno.EPERM)
    calls.add("four", "unlink", str(tmp_path / "kept"))
    pid, failed = calls.run(0)
    assert _status(pid) == 1
    assert failed == Failed("three", errno.ENOENT, 2)
    assert (tmp_path / "kept").exists()


def test_a_program_that_may_not_be_run_gives_way_to_the_next(tmp_path: Path) -> None:
    (tmp_path / "plain").touch(0o644)
    places = [str(tmp_path / "plain"), "/bin/true"]
    calls = Calls()
    calls.exec(places, ["true"], {}, forgive=errno.EACCES)
    pid, failed = calls.run(0)
    assert failed is None and _status(pid) == 0
    calls = Calls()
    calls.exec(places[:1], ["true"], {}, forgive=errno.EACCES)
    pid, failed = calls.run(0)
    assert _status(pid) == 1
    assert failed == Failed(f"exec {places[0]}", errno.EACCES, 0)


def test_a_word_with_a_zero_byte_is_refused() -> None:
    with pytest.raises(ValueError, match="null"):
        Calls().exec(["/bin/true"], ["a\0b"], {}, forgive=0)
