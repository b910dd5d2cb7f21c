"""Each way a stack can fail to start: one message with the service, the place in the file, what happened and what to
do; exit 1; nothing left running that was not there.
"""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest


def fails(project, *args, says, **options):
    """`cais up` (or ARGS) ends with 1, says all of `says`, and leaves nothing running."""
    done = project.run(*(args or ("up", "-d", "--wait")), check=False, **options)
    assert done.returncode == 1, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    text = done.stdout + done.stderr
    for words in says:
        assert words in text, f"{words!r} is not said:\n{text}"
    running = [name for name, row in project.ps().items() if row["State"] in ("running", "restarting")]
    assert running == [], text
    return text


def test_a_taken_port_is_named_with_who_holds_it_before_anything_starts(project):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        project.compose(
            f"""
        services:
          first: {{image: "debian:bookworm-slim", command: [sleep, "1000"], init: true}}
          api:
            image: debian:bookworm-slim
            command: [sleep, "1000"]
            ports: ["127.0.0.1:{port}:80"]
        """
        )
        fails(project, says=["api", str(port), str(os.getpid()), "compose.yaml:6"])
    assert project.ps() == {} or all(row["State"] != "running" for row in project.ps().values())


def test_an_image_without_a_card_is_an_error_with_the_ways_out(project):
    project.compose(
        """
    services:
      db: {image: "debian:bookworm-slim", command: [sleep, "1000"], init: true}
      odd:
        image: example.org/nobody/knows:1
    """
    )
    fails(project, says=["odd", "example.org/nobody/knows:1", "compose.yaml:4", "x-cais"])


def test_where_nothing_ran_nobody_is_sent_to_the_logs(project):
    project.compose("services: {db: {image: 'debian:bookworm-slim', command: [no-such-program]}}\n")
    assert "cais logs" not in fails(project, says=["no-such-program"])
    project.compose("services: {db: {image: 'debian:bookworm-slim', command: [sh, -c, 'echo why; exit 3']}}\n")
    fails(project, says=["db | why", "'cais logs db' shows all"])


def test_all_that_cannot_start_is_told_at_once(project):
    """Also where one has failed while the others are still being made."""
    project.compose(
        """
    services:
      early:
        image: debian:bookworm-slim
        command: [sleep, "9"]
        init: true
        volumes: [{type: volume, source: data, target: /data, volume: {subpath: nowhere}}]
      late: {image: "debian:bookworm-slim", command: [no-such-program]}
      later: {image: "debian:bookworm-slim", command: [nor-this]}
      waits: {image: "debian:bookworm-slim", command: [sleep, "9"], depends_on: [late]}
    volumes: {data: {}}
    """
    )
    text = fails(
        project, says=["cannot start early: mount /data", "late: exec no-such-program", "later: exec nor-this"]
    )
    assert "cannot start waits" not in text


def test_a_program_that_is_missing_in_the_image_is_named(project):
    project.compose(
        """
    services:
      api:
        image: debian:bookworm-slim
        command: [no-such-program, --flag]
    """
    )
    fails(project, says=["api", "no-such-program", "compose.yaml:"])


def test_an_unhealthy_service_shows_what_its_check_printed(project):
    project.compose(
        """
    services:
      api:
        image: debian:bookworm-slim
        command: [sh, -c, "echo the last line of the log; exec sleep 1000"]
        init: true
        healthcheck: {test: [CMD-SHELL, "echo database is away; exit 1"], interval: 100ms, retries: 2}
      after:
        image: debian:bookworm-slim
        command: [sleep, "1000"]
        init: true
        depends_on: {api: {condition: service_healthy}}
    """
    )
    done = project.run("up", "-d", "--wait", check=False)
    assert done.returncode == 1
    text = done.stdout + done.stderr
    for words in ("api", "unhealthy", "database is away", "compose.yaml:"):
        assert words in text, text
    assert project.ps().get(f"{project.folder.name}-after-1", {}).get("State") != "running"


def test_a_crash_loop_is_told_with_the_last_log_lines(project):
    project.compose(
        """
    services:
      api:
        image: debian:bookworm-slim
        command: [sh, -c, "echo cannot find the moon; exit 7"]
        restart: always
        healthcheck: {test: [CMD, "true"], interval: 10s}
    """
    )
    done = project.run("up", "-d", "--wait", "--wait-timeout", "30", check=False)
    assert done.returncode == 1
    text = done.stdout + done.stderr
    for words in ("api", "cannot find the moon", "7", "compose.yaml:"):
        assert words in text, text


def test_a_failing_init_script_fails_the_start_and_the_next_one(project):
    project.write("init/10-bad.sql", "create table t (id int);\nselect * from missing;\n")
    project.compose(
        """
    services:
      db:
        image: postgres:16
        environment: {POSTGRES_PASSWORD: secret-of-the-test}
        volumes:
          - ./init:/docker-entrypoint-initdb.d:ro
          - data:/var/lib/postgresql/data
        healthcheck: {test: [CMD, pg_isready, -h, 127.0.0.1, -U, postgres], interval: 200ms, retries: 100}
    volumes: {data: {}}
    """
    )
    for _ in range(2):
        text = fails(project, says=["db", "missing", "compose.yaml:"])
        assert "secret-of-the-test" not in text


def test_a_missing_bind_source_is_named_with_its_line(project):
    project.compose(
        """
    services:
      api:
        image: debian:bookworm-slim
        command: [sleep, "1000"]
        volumes:
          - type: bind
            source: ./not-here
            target: /data
            bind: {create_host_path: false}
    """
    )
    fails(project, says=["api", "not-here", "compose.yaml:6"])
    assert not (project.folder / "not-here").exists()


def test_a_bad_line_in_a_dockerfile_is_named_with_the_instruction_meant(project):
    project.write("app/Dockerfile", "FROM debian:bookworm-slim\nRUNN echo hi\nCOPPY . /app\n")
    project.compose("services: {api: {build: ./app}}\n")
    fails(project, says=["Dockerfile:2", "RUNN", "RUN", "Dockerfile:3", "COPY"])


def test_a_failing_run_shows_its_line_its_exit_code_and_its_last_output(project):
    project.write("app/Dockerfile", "FROM debian:bookworm-slim\nRUN echo looking for gold; exit 9\n")
    project.compose("services: {api: {build: ./app}}\n")
    fails(project, says=["api", "Dockerfile:2", "looking for gold", "9"])


def test_a_silent_registry_is_one_message(project, tmp_path):
    """Everything this machine has cached is hidden, and every way to the network leads to a closed port."""
    project.env["CAIS_CACHE"] = str(tmp_path / "empty-cache")
    project.env.pop("CAIS_PROGRAMS", None)
    dead = "http://127.0.0.1:9"
    project.env.update(dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"), dead))
    project.env["no_proxy"] = project.env["NO_PROXY"] = ""
    project.compose("services: {cache: {image: 'redis:7'}}\n")
    text = fails(project, says=["cache", "compose.yaml:1"], timeout=180)
    assert text.count("Connection refused") <= 3, text


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a file system of a chosen size needs root")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MB, which only root mounts."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


@needs_root
def test_a_full_disk_is_named_and_leaves_nothing_half_made(small_disk, project):
    project.env["CAIS_CACHE"] = str(small_disk / "cache")
    project.env.pop("CAIS_PROGRAMS", None)
    project.compose("services: {cache: {image: 'redis:7'}}\n")
    fails(project, says=["cache", "the disk is full", str(small_disk)], timeout=180)
    shutil.rmtree(small_disk / "cache", ignore_errors=True)
    assert list(small_disk.iterdir()) == []


def test_a_read_only_state_folder_is_named(project, tmp_path):
    blocked = tmp_path / "file-not-folder"
    blocked.write_text("")
    project.env["CAIS_STATE"] = str(blocked / "state")
    project.compose("services: {box: {image: 'debian:bookworm-slim', command: [sleep, '9']}}\n")
    done = project.run("up", "-d", check=False)
    assert done.returncode == 1
    assert str(blocked) in done.stderr
    project.env["CAIS_STATE"] = str(tmp_path / "state")


def test_nothing_of_a_failed_up_touches_what_ran_before(project):
    project.compose("services: {keeps: {image: 'debian:bookworm-slim', command: [sleep, '1000'], init: true}}\n")
    project.up()
    before = project.ps()
    project.compose(
        """
    services:
      keeps: {image: "debian:bookworm-slim", command: [sleep, "1000"], init: true}
      odd: {image: "example.org/nobody/knows:1"}
    """
    )
    assert project.run("up", "-d", check=False).returncode == 1
    after = project.ps()
    assert {n: r["ID"] for n, r in before.items()} == {n: r["ID"] for n, r in after.items()}
    assert all(row["State"] == "running" for row in after.values())


def test_compose_file_faults_are_all_told_at_once(project):
    project.compose(
        """
    services:
      api:
        image: debian:bookworm-slim
        prots: ["80:80"]
        depends_on: [nobody]
        volumes: [missing:/data]
    """
    )
    done = project.run("up", "-d", check=False)
    assert done.returncode == 1
    for words in ("compose.yaml:4", "prots", "ports"):
        assert words in done.stderr, done.stderr


def test_no_compose_file_is_one_sentence(project):
    Path(project.folder, "compose.yaml").unlink(missing_ok=True)
    done = project.run("up", "-d", check=False)
    assert done.returncode == 1
    assert "no configuration file provided" in done.stderr or "compose.yaml" in done.stderr


def test_a_port_that_another_project_publishes_names_that_project(project, tmp_path, free_port):
    other = type(project)(tmp_path / "other", f"{project.folder.name}b")
    other.env = project.env
    text = f"""
    services:
      one: {{image: "debian:bookworm-slim", command: [sleep, "1000"], init: true, ports: ["{free_port}:80"]}}
    """
    project.compose(text)
    other.compose(text)
    project.up()
    try:
        done = other.run("up", "-d", check=False)
    finally:
        other.run("down", "--timeout", "1", check=False)
    assert done.returncode == 1
    assert f"'{project.folder.name}'" in done.stderr and "cais-border" not in done.stderr


def fill(folder: Path) -> Path:
    """Until nothing more goes in."""
    filling = folder / "fill"
    with pytest.raises(OSError), open(filling, "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return filling


@needs_root
def test_a_state_folder_without_room_is_named_before_anything_starts(small_disk, project):
    """And not in supervisors that are started for ever because each ends at once."""
    project.env["CAIS_STATE"] = str(small_disk / "state")
    project.compose("services: {box: {image: 'debian:bookworm-slim', command: [sleep, '1000'], init: true}}\n")
    filling = fill(small_disk)
    fails(project, says=["the disk of", str(small_disk), "is full", "make room there", "CAIS_STATE"])
    detached = project.run("run", "-d", "box", check=False)
    assert detached.returncode == 1 and "cannot run box: the disk of" in detached.stderr
    assert project.ps() == {}
    filling.unlink()
    project.up()
    project.run("down", "--timeout", "0")
    assert list(small_disk.rglob("*")) == [small_disk / "state", small_disk / "state/projects"]


@needs_root
def test_a_disk_that_fills_up_later_is_told_of_and_what_it_cost(small_disk, project):
    project.env["CAIS_STATE"] = str(small_disk / "state")
    talks = "while :; do head -c 9000 /dev/zero | tr '\\\\0' x; echo; sleep 0.05; done"
    project.compose(
        f"""
    services:
      talks: {{image: "debian:bookworm-slim", command: [sh, -c, "{talks}"], init: true}}
      later: {{image: "debian:bookworm-slim", command: [sleep, "1000"], init: true}}
    """
    )
    project.up("talks")
    filling = fill(small_disk)
    for command in (["ps"], ["logs", "--tail", "1"]):
        said = eventually_says(project, command, "were lost")
        assert "bytes of the log of" in said and f"{small_disk}/state" in said and "was full" in said
    failing = project.run("up", "-d", check=False)
    assert failing.returncode == 1 and f"the disk of {small_disk}" in failing.stderr
    assert list(project.ps()) == [f"{project.folder.name}-talks-1"]
    filling.unlink()
    out = eventually_says(project, ["logs", "--no-log-prefix"], "bytes were lost here: the disk of")
    assert "was full" in out
    assert "lost" not in project.run("ps").stderr


@needs_root
def test_a_service_that_ends_because_the_disk_is_full_is_told_with_that(small_disk, project):
    project.env["CAIS_STATE"] = str(small_disk / "state")
    eats = "dd if=/dev/zero of=/data/much bs=4096; exit 3"
    project.compose(
        f"""
    services:
      db: {{image: "debian:bookworm-slim", command: [sh, -c, "{eats}"], volumes: ["data:/data"]}}
    volumes: {{data: }}
    """
    )
    done = project.run("up", "-d", "--wait", check=False)
    assert done.returncode == 1
    for words in ("it exited (3)", "the disk of", str(small_disk), "is full", "make room there"):
        assert words in done.stderr, done.stderr
    project.run("down", "-v", "--timeout", "0")


def eventually_says(project, command: list[str], words: str) -> str:
    end = time.monotonic() + 30
    while True:
        done = project.run(*command)
        if words in done.stdout + done.stderr:
            return done.stdout + done.stderr
        assert time.monotonic() < end, done.stderr[-2000:]


@pytest.mark.parametrize("more", ["", ", init: true"], ids=["starter", "stack init"])
def test_a_script_with_windows_lines_is_told_as_that(project, more):
    project.write("start.sh", "#!/bin/sh\r\necho hello\r\n", 0o755)
    service = f"image: 'debian:bookworm-slim', command: [/start.sh], volumes: ['./start.sh:/start.sh']{more}"
    project.compose(f"services: {{db: {{{service}}}}}\n")
    fails(project, says=["carriage return", r"sed -i 's/\r$//'", ".gitattributes"])
