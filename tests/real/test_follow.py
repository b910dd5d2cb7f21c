"""Who follows logs as fast as he can loses nothing; who does not read holds nobody up for long, and is told."""

import re
import signal
import time

SMALL = "logging: {options: {max-size: 100k}}"


def eventually(true, seconds=60.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.05)


def counts(lines: int, then: str = "") -> str:
    return f"""
    services:
      a: {{image: "debian:bookworm-slim", command: [sh, -c, "seq 1 {lines}; {then}"], {SMALL}}}
    """


def numbers(text: str) -> list[int]:
    return [int(line.partition("| ")[2]) for line in text.splitlines() if re.match(r"a-1 +\| \d", line)]


def followed(project):
    """`logs -f`, as soon as it shows something."""
    shown = project.folder / "shown"
    with open(shown, "w") as out:
        logs = project.popen("logs", "-f", stdout=out)
    eventually(lambda: numbers(shown.read_text()))
    return shown, logs


def test_an_attached_up_shows_all_that_a_fast_service_writes(project):
    project.compose(counts(300_000))
    done = project.run("up")
    assert numbers(done.stdout) == list(range(1, 300_001))
    assert "rotated away" not in done.stdout


def test_logs_follow_shows_all_from_where_it_began(project):
    project.compose(counts(10, "while ! test -e /go; do sleep 0.05; done; seq 11 200000"))
    project.up()
    shown, logs = followed(project)
    project.exec("a", "touch", "/go")
    assert logs.wait(100) == 0
    assert numbers(shown.read_text()) == list(range(1, 200_001))


def test_a_stopped_terminal_does_not_hold_the_service_for_ever_and_what_it_missed_is_said(project):
    project.compose(counts(10, "while ! test -e /go; do sleep 0.05; done; seq 11 200000"))
    project.up()
    shown, logs = followed(project)
    logs.send_signal(signal.SIGSTOP)
    try:
        project.exec("a", "touch", "/go")
        eventually(lambda: [row["State"] for row in project.ps().values()] == ["exited"])
    finally:
        logs.send_signal(signal.SIGCONT)
    assert logs.wait(100) == 0
    seen = numbers(shown.read_text())
    (missed,) = re.findall(r"cais: (\d+) bytes were rotated away", shown.read_text())
    assert seen[-1] == 200_000
    assert int(missed) == sum(len(f"{n}\n") for n in range(1, 200_001)) - sum(len(f"{n}\n") for n in seen)
