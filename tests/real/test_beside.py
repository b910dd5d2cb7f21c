"""Two commands at the same time on one project: each means what is there when it is its turn."""

import time

BOX = "image: 'debian:bookworm-slim'"
STUBBORN = "[sh, -c, \"trap '' TERM; while :; do sleep 0.2; done\"]"


def eventually(true, seconds=20.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.05)


def stack(label: str, grace: str) -> str:
    return f"""
    services:
      a: {{{BOX}, command: {STUBBORN}, stop_grace_period: {grace}, labels: {{v: "{label}"}}}}
    """


def recreating(project, grace="2s"):
    """An `up` that has just told the old instance to stop."""
    project.compose(stack("one", grace))
    project.up()
    project.compose(stack("two", grace))
    up = project.popen("up", "-d")
    state = project.folder.parent / "state" / "projects" / project.folder.name / "state.json"
    eventually(lambda: '"phase":"stopping"' in state.read_text())
    return up


def test_down_while_up_makes_a_service_anew_leaves_nothing(project):
    up = recreating(project)
    try:
        assert "left running" not in project.run("down").stderr
    finally:
        up.wait(60)
    assert project.ps() == {}


def test_stop_while_up_makes_a_service_anew_stops_the_new_one(project):
    up = recreating(project)
    try:
        project.run("stop", "-t", "0")
    finally:
        up.wait(60)
    assert [row["State"] for row in project.ps().values()] == ["exited"]


def test_a_down_with_less_time_does_not_wait_out_a_stop_with_more(project):
    project.compose(stack("one", "1000s"))
    project.up()
    stop = project.popen("stop")
    try:
        state = project.folder.parent / "state" / "projects" / project.folder.name / "state.json"
        eventually(lambda: '"phase":"stopping"' in state.read_text())
        project.run("down", "-t", "0")
        assert stop.wait(60) == 0
    finally:
        stop.kill()
        stop.wait(60)
    assert project.ps() == {}
