"""A supervisor whose socket is gone or that has been stopped, and state files that say nothing: each has a message."""

import os
import signal
import time

import pytest

from cais.supervise.connect import supervisor_alive

ONE = """
services:
  one: {image: "debian:bookworm-slim", command: [sh, -c, "echo said; sleep 100000"], init: true}
"""


@pytest.fixture
def one(project):
    project.compose(ONE)
    project.up()
    project.home = project.folder.parent / "state" / "projects" / project.folder.name
    return project


def ended(project):
    until = time.monotonic() + 20
    while supervisor_alive(project.home) and time.monotonic() < until:
        time.sleep(0.05)
    assert not supervisor_alive(project.home)


def test_a_supervisor_whose_socket_was_removed_is_found_again(one):
    before = one.supervisor()
    (one.home / "control.sock").unlink()
    shown = one.run("ps")
    assert "Up" in shown.stdout and "gone" not in shown.stderr
    assert (one.home / "control.sock").is_socket()
    assert one.supervisor() == before


def test_of_a_stopped_supervisor_commands_say_its_pid_and_end(one):
    pid = one.supervisor()
    os.kill(pid, signal.SIGSTOP)
    try:
        for verb in ("ps", "ls"):
            done = one.run(verb, check=False, timeout=60)
            assert done.returncode == 1
            assert f"kill -CONT {pid}" in done.stderr
    finally:
        os.kill(pid, signal.SIGCONT)
    assert "Up" in one.run("ps").stdout


def test_state_that_cannot_be_read_is_named_and_logs_are_found_without_it(one):
    one.run("stop", "--timeout", "1")
    ended(one)
    (one.home / "state.json").write_text("{ nonsense")
    done = one.run("ps", "-a", check=False)
    assert done.returncode == 1
    assert f"{one.home / 'state.json'}" in done.stderr
    assert "said" in one.run("logs", "one").stdout
    assert one.run("ls", "-a", check=False).returncode == 1
    one.up()
    assert one.run("ps", "-a").stdout.count("Up") == 1


@pytest.mark.parametrize("name", ["state.json", "lock", "control.sock"])
def test_a_directory_in_the_place_of_a_file_is_named(one, name):
    one.run("stop", "--timeout", "1")
    ended(one)
    (one.home / name).unlink(missing_ok=True)
    (one.home / name / "within").mkdir(parents=True)
    done = one.run("up", "-d", check=False)
    assert done.returncode == 1
    assert f"{one.home / name}" in done.stderr
    (one.home / name / "within").rmdir()
    (one.home / name).rmdir()


TWO = """
services:
  one: {image: "debian:bookworm-slim", command: [sleep, "100000"], init: true}
  two: {image: "debian:bookworm-slim", command: [sleep, "100000"], init: true%s}
"""


def test_up_names_orphans_and_a_hidden_service_is_none(project):
    project.compose(TWO % "")
    project.up()
    project.compose(TWO % ", profiles: [more]")
    assert "orphan" not in project.run("up", "-d").stderr
    project.compose(TWO.replace("two", "three") % ", profiles: [more]")
    said = project.run("up", "-d").stderr
    assert f"Found orphan containers ([{project.folder.name}-two-1]) for this project." in said
    assert "orphan" not in project.run("up", "-d", "--remove-orphans").stderr
    assert f"{project.folder.name}-two-1" not in project.ps()


def test_down_leaves_nothing_of_a_project(one):
    one.run("down", "--timeout", "1")
    assert not one.home.exists()
    one.up()
    assert "Up" in one.run("ps").stdout
