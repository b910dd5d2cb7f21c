"""What `up` says of the events it sees."""

import io

from cais.cli.bring import Shower
from cais.cli.progress import Progress
from cais.supervise.api import Event


def test_what_no_service_of_a_stack_can_have_is_one_line():
    stream = io.StringIO()
    why = "not enforced, this user may make no cgroup for it here"
    events = [
        Event(at=0.0, id=f"p-{service}-1", service=service, kind="noted", detail=f"{what}: {why}")
        for service, what in [("api", "memory limit"), ("api", "CPU limit"), ("db", "memory limit")]
    ]
    with Progress(stream, mode="plain") as progress:
        Shower(progress, {"p-api-1": "api", "p-db-1": "db"}).show(events)
    assert [line for line in stream.getvalue().splitlines() if "not enforced" in line] == [
        f"api, db: memory limit, CPU limit: {why}"
    ]


def test_what_an_up_has_stopped_again_is_not_done():
    stream = io.StringIO()
    events = [
        Event(at=0.0, id=f"p-{service}-1", service=service, kind=kind, detail=detail, exit_code=0)
        for service, kind, detail in [
            ("api", "started", ""),
            ("db", "failed", "exec nothing: not found in PATH"),
            ("api", "stopping", ""),
            ("api", "exited", ""),
            ("api", "stopped", ""),
        ]
    ]
    with Progress(stream, mode="plain", title="up") as progress:
        Shower(progress, {"p-api-1": "api", "p-db-1": "db"}, up=True).show(events)
    assert "up: 0 of 2 done, 1 failed" in stream.getvalue().splitlines()[-1]


def test_what_is_made_and_not_to_start_is_done():
    stream = io.StringIO()
    events = [Event(at=0.0, id=f"p-{service}-1", service=service, kind="created") for service in ("api", "db")]
    with Progress(stream, mode="plain", title="up") as progress:
        shower = Shower(progress, {"p-api-1": "api", "p-db-1": "db"}, up=True)
        shower.starts = False
        shower.show(events)
    assert "up: 2 of 2 done" in stream.getvalue().splitlines()[-1]
