"""What a kill at a bad moment may leave: nothing. For tests/real/test_kill.py (a few rounds) and bench/soak.py."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from orphans import running_after

STACK = """
services:
  db:
    image: postgres:16
    environment: {POSTGRES_PASSWORD: chaos, POSTGRES_HOST_AUTH_METHOD: trust}
    volumes: [data:/var/lib/postgresql/data]
    restart: always
    healthcheck: {test: [CMD, pg_isready, -h, 127.0.0.1, -U, postgres], interval: 100ms, timeout: 5s, retries: 600}
  writer:
    image: postgres:16
    entrypoint: [bash, /writer.sh]
    volumes: ["./writer.sh:/writer.sh:ro", "acks:/acks"]
    environment: {PGHOST: db, PGUSER: postgres}
    depends_on: {db: {condition: service_healthy}}
    restart: always
    init: true
  idle:
    image: debian:bookworm-slim
    command: [sleep, "100000"]
    init: true
    volumes: ["acks:/acks"]
volumes: {data: {}, acks: {}}
"""

# One row a turn; the number goes to the volume `acks` only after the server has acknowledged the commit.
WRITER = """\
psql -q -c 'create table if not exists t (n bigserial primary key)' || exit 1
while n=$(psql -qAt -c 'insert into t default values returning n'); do echo "$n" >>/acks/list; done
exit 1
"""


def write_stack(project: Any) -> None:
    project.write("compose.yaml", STACK)
    project.write("writer.sh", WRITER, 0o755)


def mounts(marker: str) -> list[str]:
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if marker in line]


def interfaces() -> set[str]:
    return set(os.listdir("/sys/class/net"))


def kill_supervisor(project: Any) -> None:
    """SIGKILL to the supervisor, if one runs now."""
    pid = project.supervisor()
    if pid:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def left_after_kill(project: Any, before: set[str]) -> list[str]:
    """What is still there of the project: processes, mounts, interfaces; [] is what must be. Within `adopted()`."""
    return running_after() + mounts(project.env["CAIS_STATE"]) + sorted(interfaces() - before)


def acknowledged_and_kept(project: Any) -> tuple[set[int], set[int]]:
    """Row numbers the writer saw acknowledged, and those in the table now (the stack is up)."""
    listed = project.exec("idle", "cat", "/acks/list").stdout  # first: the writer goes on meanwhile
    kept = project.exec("db", "psql", "-U", "postgres", "-qAt", "-c", "select n from t").stdout
    return {int(n) for n in listed.split("\n")[:-1] if n}, {int(n) for n in kept.split()}


def acknowledged(project: Any) -> int:
    """How many rows the writer saw acknowledged."""
    counted = project.exec("idle", "sh", "-c", "cat /acks/list 2>/dev/null | wc -l", check=False).stdout
    return int(counted or 0)


def wait_for_a_row(project: Any, seconds: float = 60) -> None:
    """Until the writer has seen one more row acknowledged: it writes."""
    before, until = acknowledged(project), time.monotonic() + seconds
    while acknowledged(project) <= before:
        assert time.monotonic() < until, "the writer writes nothing"
        time.sleep(0.05)


def run_and_kill(project: Any, verb: list[str], delay: float) -> None:
    """Start a verb, wait, SIGKILL the supervisor and the command together."""
    command = project.popen(*verb, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        command.wait(delay)
    except subprocess.TimeoutExpired:
        pass
    kill_supervisor(project)
    command.kill()
    command.wait()
    kill_supervisor(project)  # the command may have made one in between
