"""SIGKILL at bad moments leaves nothing behind, loses no acknowledged row, and the next `up` works."""

import random
import signal
import time

import pytest
from chaos import acknowledged_and_kept, interfaces, left_after_kill, run_and_kill, wait_for_a_row, write_stack
from orphans import adopted, running


@pytest.mark.parametrize("verb", [["up", "-d", "--wait"], ["down", "--timeout", "2"]], ids=["up", "down"])
def test_a_killed_supervisor_leaves_nothing_and_loses_no_row(project, verb):
    write_stack(project)
    before = interfaces()
    with adopted():
        project.up()
        wait_for_a_row(project)
        chosen = random.Random(verb[0])
        for delay in (chosen.uniform(0.05, 0.4), chosen.uniform(0.4, 1.5)):
            assert any(name.endswith("cais-init") for name in running()), "what this test looks for is not seen"
            run_and_kill(project, verb, delay)
            assert left_after_kill(project, before) == []
            project.up()
            wait_for_a_row(project)
        seen, kept = acknowledged_and_kept(project)
        project.run("down", "--timeout", "0")
    assert seen, "the writer acknowledged nothing: the test shows nothing"
    assert seen - kept == set()


def test_a_killed_database_is_restarted_by_its_policy_and_loses_no_row(project):
    write_stack(project)
    project.up()
    wait_for_a_row(project)
    for _ in range(2):
        project.run("kill", "-s", "KILL", "db")
        assert project.ps()[f"{project.folder.name}-db-1"]["State"] == "exited"
        project.up()
        wait_for_a_row(project)
    seen, kept = acknowledged_and_kept(project)
    assert seen and seen - kept == set()


def test_a_crashed_database_comes_back_by_itself(project):
    """Killed from inside, as a crash is (`cais kill` is a person's wish, and no policy undoes it)."""
    write_stack(project)
    project.up()
    wait_for_a_row(project)
    name = f"{project.folder.name}-db-1"
    assert project.ps()[name]["State"] == "running"
    begun = ("db", "cut", "-d ", "-f22", "/proc/1/stat")  # proc(5): when the process started
    before = project.exec(*begun).stdout
    project.exec("db", "bash", "-c", "kill -QUIT 1; sleep 5", check=False)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        row = project.ps()[name]
        if row["State"] == "running" and row["Health"] == "healthy" and "second" in row["Status"]:
            break
        time.sleep(0.1)
    else:
        pytest.fail(f"it did not come back: {row}")
    assert project.exec(*begun).stdout not in ("", before)
    seen, kept = acknowledged_and_kept(project)
    assert seen and seen - kept == set()


def test_the_command_may_be_killed_and_the_stack_goes_on(project):
    write_stack(project)
    shown = project.popen("up")
    try:
        until = time.monotonic() + 60
        name = f"{project.folder.name}-db-1"
        while project.ps().get(name, {}).get("Health") != "healthy":
            assert time.monotonic() < until
            time.sleep(0.1)
        shown.send_signal(signal.SIGHUP)
        shown.send_signal(signal.SIGKILL)
        shown.wait(5)
    finally:
        shown.kill()
    assert project.ps()[name]["State"] == "running"
