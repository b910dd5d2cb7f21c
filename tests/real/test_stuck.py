"""A start that does not go on, as from a network drive that is gone: `down` ends it."""

import os
import signal
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.real


def below(pid: int, name: str) -> list[int]:
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if Path(f"/proc/{child}/comm").read_text().strip() == name:
            found.append(int(child))
        found += below(int(child), name)
    return found


def test_down_ends_a_start_that_is_stuck(project):
    project.compose(
        """
        services:
          a: {image: "debian:bookworm-slim", command: sleep 100, init: true}
          stuck: {image: "debian:bookworm-slim", command: sleep 100, profiles: [late]}
        """
    )
    project.up()
    supervisor = project.supervisor()
    (init,) = below(supervisor, "cais-init")
    project.run("up", "-d", "stuck")
    project.run("kill", "stuck")
    (starter,) = below(init, "cais-starter")  # it goes home when it has been idle for a while
    os.kill(starter, signal.SIGSTOP)
    command = project.popen("up", "-d", "stuck")
    time.sleep(0.5)
    started = time.monotonic()
    project.run("down", "--timeout", "1", timeout=30)
    assert time.monotonic() - started < 20
    assert command.wait(20) != 0
    assert project.supervisor() is None
