"""`ps`, `ls`, `port`, `logs` and the display of `up`, on a stack that runs."""

import json
import os
import signal
import subprocess
import time

import pytest
from tests.real.conftest import CAIS, Project
from tests.real.test_cli_session import Session

pytestmark = pytest.mark.real


@pytest.fixture
def stack(project: Project, free_port: int) -> Project:
    project.compose(f"""
        services:
          db:
            image: debian:bookworm
            command: ["sh", "-c", "echo 'db says hello'; exec sleep 1000"]
            healthcheck: {{test: ["CMD", "true"], interval: 100ms, start_interval: 100ms}}
            volumes: ["data:/data", "./:/here:ro"]
            init: true
          job:
            image: debian:bookworm
            command: ["sh", "-c", "echo 'job out'; echo 'job err' >&2; exit 3"]
          web:
            image: debian:bookworm
            command: ["sleep", "1000"]
            init: true
            depends_on: {{db: {{condition: service_healthy}}}}
            ports: ["127.0.0.1:{free_port}:80", "81"]
        volumes: {{data: {{}}}}
    """)
    project.env["TEST_PORT"] = str(free_port)
    project.run("up", "-d")
    return project


def test_ps_tells_state_health_and_ports(stack: Project) -> None:
    name = stack.folder.name
    rows = stack.ps()
    assert set(rows) == {f"{name}-db-1", f"{name}-job-1", f"{name}-web-1"}
    db, job, web = (rows[f"{name}-{service}-1"] for service in ("db", "job", "web"))
    assert (db["State"], db["Health"], db["Project"]) == ("running", "healthy", name)
    assert "(healthy)" in db["Status"]
    assert db["LocalVolumes"] == "1"
    assert (job["State"], job["ExitCode"]) == ("exited", 3)
    assert web["Networks"] == f"{name}_default"
    ports = {one["TargetPort"]: one for one in web["Publishers"]}
    assert ports[80]["URL"] == "127.0.0.1"
    assert ports[80]["PublishedPort"] == int(stack.env["TEST_PORT"])
    assert ports[81]["PublishedPort"] > 0
    assert stack.run("port", "web", "80").stdout == f"127.0.0.1:{stack.env['TEST_PORT']}\n"
    assert stack.run("port", "web", "81").stdout == f"0.0.0.0:{ports[81]['PublishedPort']}\n"
    assert stack.run("ps", "--services").stdout.split() == ["db", "web"]
    assert stack.run("ps", "--status", "exited", "--services").stdout.split() == ["job"]


def test_ls_counts_states_and_names_the_supervisor(stack: Project) -> None:
    rows = json.loads(stack.run("ls", "--format", "json").stdout)
    assert len(rows) == 1
    assert rows[0]["Name"] == stack.folder.name
    assert rows[0]["Status"] == "exited(1), running(2)"
    assert rows[0]["ConfigFiles"] == str(stack.folder / "compose.yaml")
    assert os.path.exists(f"/proc/{rows[0]['SupervisorPid']}")


def test_when_the_supervisor_is_killed_ps_and_ls_say_so(stack: Project) -> None:
    pid = stack.supervisor()
    assert pid
    os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 10
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < end:
        time.sleep(0.02)
    done = stack.run("ps")
    assert "supervisor gone, last seen" in done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert {row["State"] for row in stack.ps().values()} == {"exited"}
    assert "db says hello" in stack.run("logs", "db").stdout
    assert "supervisor gone, last seen" in stack.run("ls").stderr
    stack.run("up", "-d")
    assert stack.ps()[f"{stack.folder.name}-db-1"]["State"] == "running"


def test_logs_are_aligned_per_service_and_can_be_cut(stack: Project) -> None:
    lines = stack.run("logs").stdout.splitlines()
    assert "db-1   | db says hello" in lines
    assert {"job-1  | job out", "job-1  | job err"} <= set(lines)
    assert stack.run("logs", "--no-log-prefix", "--tail", "1", "db").stdout == "db says hello\n"
    stamped = stack.run("logs", "-t", "--no-log-prefix", "db").stdout
    assert stamped.endswith("Z db says hello\n")
    assert stack.run("logs", "--since", "1h", "db").stdout.endswith("hello\n")
    assert stack.run("logs", "--until", "1h", "db").stdout == ""


def test_follow_ends_when_the_service_has_ended(stack: Project) -> None:
    assert stack.run("logs", "-f", "--no-log-prefix", "job", timeout=20).stdout == "job out\njob err\n"


def test_follow_shows_what_comes_and_ends_with_stop(stack: Project) -> None:
    following = stack.popen("logs", "-f", "--no-log-prefix", "db", stdout=subprocess.PIPE)
    assert following.stdout is not None
    assert following.stdout.readline() == "db says hello\n"
    stack.run("stop", "-t", "1", "db")
    following.communicate(timeout=20)
    assert following.returncode == 0


def test_a_megabyte_line_and_binary_output_survive(project: Project) -> None:
    project.compose("""
        services:
          big:
            image: debian:bookworm
            command:
              - sh
              - -c
              - "head -c 1048576 /dev/zero | tr '\\\\0' x; echo; printf '\\\\000\\\\377\\\\033[2J\\\\n'"
    """)
    project.run("up", "-d")
    got = subprocess.run(
        [*CAIS, "logs", "-f", "--no-log-prefix"], cwd=project.folder, env=project.env, capture_output=True, timeout=60
    )
    assert got.stdout == b"x" * 1048576 + b"\n" + b"\x00\xff\x1b[2J\n"


def test_a_terminal_shows_up_as_one_line_a_service(stack: Project) -> None:
    stack.run("down", "-t", "1")
    stack.env.pop("NO_COLOR")
    session = Session(stack, "up", "-d", columns=100)
    assert session.end(60) == 0
    seen = session.seen.decode()
    assert "waiting for db to be healthy" in seen
    last = seen.rpartition("[+] up")[2]
    for service in ("db", "web"):
        assert sum(f" {service} " in row and "✔" in row for row in last.split("\n")) == 1, last
    assert seen.count("\x1b[?25l") == seen.count("\x1b[?25h")


def test_a_pipe_gets_plain_lines(stack: Project) -> None:
    stack.run("down", "-t", "1")
    done = stack.run("up", "-d")
    assert "\x1b" not in done.stderr
    assert "web  waiting for db to be healthy\n" in done.stderr
    assert done.stderr.count("web  started\n") == 1
