"""A database that is killed under write load (from outside, as the kernel's OOM killer would) comes back by its restart
policy, and every acknowledged write is there."""

import os
import signal
import time
from typing import Any

import pytest

NEO4J = """
services:
  db:
    image: neo4j:5
    environment: {NEO4J_AUTH: none, NEO4J_server_memory_pagecache_size: 32m}
    volumes: [data:/data]
    restart: always
    healthcheck: {test: [CMD, wget, -qO-, "http://127.0.0.1:7474/"], interval: 500ms, timeout: 20s, retries: 600}
  writer:
    image: python:3.11-slim
    command: [python3, /writer.py]
    volumes: ["./writer.py:/writer.py:ro", "acks:/acks"]
    depends_on: {db: {condition: service_healthy}}
    restart: always
    init: true
volumes: {data: {}, acks: {}}
"""

# One node a turn, over HTTP; its number goes to the volume `acks` only after the server has committed it.
WRITER = """
import json, os, time, urllib.request

def run(statement, **parameters):
    body = json.dumps({"statements": [{"statement": statement, "parameters": parameters}]}).encode()
    request = urllib.request.Request("http://db:7474/db/neo4j/tx/commit", body, {"Content-Type": "application/json"})
    answer = json.load(urllib.request.urlopen(request, timeout=20))
    if answer["errors"]:
        raise OSError(answer["errors"])
    return answer["results"][0]["data"]

n = int(time.time() * 1000)
while True:
    try:
        run("create (:Ack {n: $n})", n=n)
    except OSError:
        time.sleep(0.2)
        n += 1
        continue
    with open("/acks/list", "a") as file:
        file.write(f"{n}\\n")
        file.flush()
        os.fsync(file.fileno())
    n += 1
"""

KEPT = """
import json, urllib.request
body = json.dumps({"statements": [{"statement": "match (a:Ack) return collect(a.n)"}]}).encode()
request = urllib.request.Request("http://db:7474/db/neo4j/tx/commit", body, {"Content-Type": "application/json"})
print(*json.load(urllib.request.urlopen(request, timeout=60))["results"][0]["data"][0]["row"][0])
"""


def host_pid(project: Any, service: str, monkeypatch: pytest.MonkeyPatch) -> int:
    from cais.supervise.client import snapshot

    monkeypatch.setenv("CAIS_STATE", project.env["CAIS_STATE"])
    there = snapshot(project.folder.name)
    assert there is not None
    return next(state.pid for state in there.states if state.service == service)


def acknowledged(project: Any) -> set[int]:
    """The file is there from the first acknowledged write on."""
    listed = project.exec("writer", "sh", "-c", "if [ -e /acks/list ]; then cat /acks/list; fi")
    return {int(n) for n in listed.stdout.split()}


def test_a_neo4j_killed_under_write_load_is_restarted_and_keeps_every_acknowledged_write(
    project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.compose(NEO4J)
    project.write("writer.py", WRITER)
    project.up(timeout=400)
    until = time.monotonic() + 120
    while len(acknowledged(project)) < 20:
        assert time.monotonic() < until, "the writer gets nothing acknowledged"
        time.sleep(0.3)
    before = host_pid(project, "db", monkeypatch)
    os.kill(before, signal.SIGKILL)
    while host_pid(project, "db", monkeypatch) == before:  # the kernel takes its time to take a gigabyte apart
        assert time.monotonic() < until, "its end is not noticed"
        time.sleep(0.01)
    project.up(timeout=400)  # waits until it is healthy again; the policy, not this command, starts it
    assert host_pid(project, "db", monkeypatch) not in (0, before)
    name = f"{project.folder.name}-db-1"
    assert project.ps()[name]["Health"] == "healthy"
    written = acknowledged(project)
    kept = {int(n) for n in project.exec("writer", "python3", "-c", KEPT).stdout.split()}
    assert len(written) >= 20
    assert written - kept == set()
