"""`up` and what follows it: what is kept, what is made anew, who ends whom. Real processes in a Debian root."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from cais.supervise.connect import supervisor_alive

BOX = "image: 'debian:bookworm-slim', init: true"
SLEEPS = f"{{{BOX}, command: [sleep, '1000']}}"


def home(project):
    return next((project.folder.parent / "state" / "projects").glob(project.folder.name))


def eventually(true, seconds=20.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.05)


def pid(project, name):
    state = json.loads((home(project) / "state.json").read_text())
    return next(i["state"]["pid"] for i in state["instances"] if i["state"]["service"] == name)


def test_dependencies_start_in_order_and_a_one_shot_lets_others_begin(project):
    project.compose(
        f"""
    services:
      api:
        {{{BOX}, command: [sh, -c, "cat /shared/migrated; exec sleep 1000"], volumes: [shared:/shared],
          depends_on: {{migrate: {{condition: service_completed_successfully}}}}}}
      migrate:
        {{image: "debian:bookworm-slim", command: [sh, -c, "cat /shared/ready > /shared/migrated"],
          volumes: [shared:/shared], depends_on: {{db: {{condition: service_healthy}}}}}}
      db:
        {{{BOX}, command: [sh, -c, "sleep 0.3; echo yes > /shared/ready; exec sleep 1000"], volumes: [shared:/shared],
          healthcheck: {{test: [CMD, test, -s, /shared/ready], interval: 100ms, retries: 100}}}}
    volumes: {{shared: {{}}}}
    """
    )
    project.up()
    assert "yes" in project.run("logs", "api").stdout
    states = {row["Service"]: (row["State"], row["ExitCode"]) for row in project.ps().values()}
    assert states == {"api": ("running", 0), "db": ("running", 0), "migrate": ("exited", 0)}


def test_a_failing_one_shot_keeps_those_who_need_it_from_starting(project):
    project.compose(
        f"""
    services:
      migrate: {{image: "debian:bookworm-slim", command: [sh, -c, "echo no such table; exit 3"]}}
      api: {{{BOX}, command: [sleep, "1000"], depends_on: {{migrate: {{condition: service_completed_successfully}}}}}}
    """
    )
    done = project.run("up", "-d", check=False)
    assert done.returncode == 1
    for words in ("migrate", "exited (3)", "no such table"):
        assert words in done.stderr, done.stderr
    assert all(row["State"] != "running" for row in project.ps().values())


def test_an_optional_dependency_may_fail(project):
    project.compose(
        f"""
    services:
      extra: {{image: "debian:bookworm-slim", command: [sh, -c, "exit 3"]}}
      api: {{{BOX}, command: [sleep, "1000"],
        depends_on: {{extra: {{condition: service_completed_successfully, required: false}}}}}}
    """
    )
    project.run("up", "-d")
    assert project.ps()[f"{project.folder.name}-api-1"]["State"] == "running"


def test_up_again_changes_only_what_changed(project):
    project.compose(f"services: {{a: {SLEEPS}, b: {SLEEPS}}}\n")
    project.up()
    a, b = pid(project, "a"), pid(project, "b")
    project.up()
    assert (pid(project, "a"), pid(project, "b")) == (a, b)
    project.compose(f"services: {{a: {SLEEPS}, b: {{{BOX}, command: [sleep, '999']}}}}\n")
    plan = project.run("up", "--dry-run").stdout
    assert "keep" in plan and "recreate" in plan and "its configuration changed" in plan
    project.up()
    assert pid(project, "a") == a
    assert pid(project, "b") != b


def test_an_anonymous_volume_outlives_a_recreation_but_not_renewal_or_down(project):
    text = "services: {{a: {{{box}, command: [sleep, '{n}'], volumes: [/keep]}}}}\n"

    def content():
        return project.exec("a", "cat", "/keep/it", check=False).stdout

    project.compose(text.format(box=BOX, n=1000))
    project.up()
    project.exec("a", "sh", "-c", "echo here > /keep/it; echo here > /own")
    project.compose(text.format(box=BOX, n=1001))
    project.up()
    assert content() == "here\n"
    assert project.exec("a", "test", "-e", "/own", check=False).returncode == 1
    project.up("-V")
    assert content() == ""
    project.exec("a", "sh", "-c", "echo here > /keep/it")
    project.run("down")
    project.up()
    assert content() == ""


def test_stop_and_start_keep_what_was_written_into_the_root(project):
    project.compose(f"services: {{a: {SLEEPS}}}\n")
    project.up()
    project.exec("a", "sh", "-c", "echo here > /own")
    project.run("stop")
    assert project.ps()[f"{project.folder.name}-a-1"]["State"] == "exited"
    eventually(lambda: not supervisor_alive(home(project)))  # nothing runs: nobody has to watch
    project.run("start")
    assert project.exec("a", "cat", "/own").stdout == "here\n"


def test_restart_true_follows_a_restart_of_what_it_depends_on(project):
    project.compose(
        f"""
    services:
      db: {SLEEPS}
      api: {{{BOX}, command: [sleep, "1000"], depends_on: {{db: {{condition: service_started, restart: true}}}}}}
      job: {{{BOX}, command: [sleep, "1000"], depends_on: [db]}}
    """
    )
    project.up()
    before = {name: pid(project, name) for name in ("db", "api", "job")}
    project.run("restart", "db")
    eventually(lambda: pid(project, "api") not in (0, before["api"]))
    assert pid(project, "db") != before["db"]
    assert pid(project, "job") == before["job"]


def test_restart_policies(project):
    project.compose(
        """
    services:
      never: {image: "debian:bookworm-slim", command: [sh, -c, "echo x; exit 1"]}
      twice: {image: "debian:bookworm-slim", command: [sh, -c, "echo x; exit 1"], restart: "on-failure:2"}
      well: {image: "debian:bookworm-slim", command: [sh, -c, "echo x"], restart: on-failure}
    """
    )
    project.run("up", "-d")

    def counts():
        lines = project.run("logs", "--no-log-prefix").stdout
        return lines.count("x")

    eventually(lambda: counts() == 5)
    eventually(lambda: all(row["State"] == "exited" for row in project.ps().values()))
    assert counts() == 5


def test_scale_up_and_down_touches_nobody_else(project):
    project.compose(f"services: {{web: {SLEEPS}, db: {SLEEPS}}}\n")
    project.up("--scale", "web=3")
    db = pid(project, "db")
    assert len(project.ps()) == 4
    project.up("--scale", "web=1")
    assert sorted(row["Service"] for row in project.ps().values()) == ["db", "web"]
    assert pid(project, "db") == db


def test_orphans_stay_until_they_are_asked_to_go(project):
    project.compose(f"services: {{a: {SLEEPS}, old: {SLEEPS}}}\n")
    project.up()
    project.compose(f"services: {{a: {SLEEPS}}}\n")
    project.up()
    assert len(project.ps()) == 2
    project.up("--remove-orphans")
    assert [row["Service"] for row in project.ps().values()] == ["a"]


def test_no_start_makes_and_starts_nothing(project):
    project.compose(f"services: {{a: {SLEEPS}}}\n")
    project.run("up", "--no-start")
    assert [row["State"] for row in project.ps().values()] == ["created"]


def test_wait_timeout_ends_the_waiting_with_who_was_late(project):
    project.compose(
        f"services: {{a: {{{BOX}, command: [sleep, '1000'], "
        "healthcheck: {test: [CMD, 'false'], interval: 100ms, retries: 1000}}}\n"
    )
    done = project.run("up", "-d", "--wait", "--wait-timeout", "1", check=False)
    assert done.returncode == 1
    assert "a" in done.stderr and "not healthy after 1 s" in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("flags", "code"),
    [(["--abort-on-container-exit"], 7), (["--exit-code-from", "b"], 143), (["--abort-on-container-failure"], 7)],
)
def test_the_exit_code_of_a_foreground_up_is_the_service_s(project, flags, code):
    project.compose(
        f"""
    services:
      a: {{image: "debian:bookworm-slim", command: [sh, -c, "echo bye; sleep 0.5; exit 7"]}}
      b: {SLEEPS}
    """
    )
    done = project.run("up", *flags, check=False)
    assert done.returncode == code, done.stderr
    assert "a-1  | bye" in done.stdout
    assert all(row["State"] == "exited" for row in project.ps().values())


def test_what_a_foreground_up_makes_anew_has_not_ended(project):
    """The end of the old one was told to who came to wait for the new one's."""
    text = "services: {{a: {{image: 'debian:bookworm-slim', command: [sh, -c, 'sleep {n}; exit 5'], init: true}}}}\n"
    project.compose(text.format(n=1000))
    project.up()
    project.compose(text.format(n=1))
    done = project.run("up", "--exit-code-from", "a", "-t", "0", check=False)
    assert (done.returncode, done.stdout) == (5, "a-1 exited with code 5\n")


def test_an_up_tells_of_what_it_is_about(project):
    """Not of what else happens in the project meanwhile."""
    project.compose(
        f"""
    services:
      other: {{image: "debian:bookworm-slim", command: [sh, -c, "until [ -e /go ]; do sleep 0.1; done; exit 3"]}}
      a: {{{BOX}, command: [sleep, "1000"], healthcheck: {{test: [CMD, test, -e, /ready], interval: 100ms,
        start_period: 60s, start_interval: 100ms}}}}
    """
    )
    project.run("up", "-d", "other")
    up = project.popen("up", "-d", "--wait", "a", stderr=subprocess.PIPE)
    name = project.folder.name
    eventually(lambda: project.ps().get(f"{name}-a-1", {"State": ""})["State"] == "running")
    project.exec("other", "touch", "/go")
    eventually(lambda: project.ps()[f"{name}-other-1"]["State"] == "exited")
    project.exec("a", "touch", "/ready")
    _, err = up.communicate(timeout=60)
    assert up.returncode == 0
    assert "other" not in err and "up: 1 of 1 done" in err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--exit-code-from", "b2"], "no such service: b2"),
        (["--attach", "c"], "cannot attach to services not included in up: c"),
        (["--attach", "b", "a"], "cannot attach to services not included in up: b"),
    ],
)
def test_who_is_to_be_watched_has_to_be_there(project, words, why):
    project.compose(f"services: {{a: {SLEEPS}, b: {SLEEPS}}}\n")
    done = project.run("up", *words, check=False)
    assert done.returncode != 0 and why in done.stderr
    assert project.ps() == {}


def test_a_foreground_up_ends_when_all_have_ended(project):
    project.compose("services: {a: {image: 'debian:bookworm-slim', command: [sh, -c, 'echo one; echo two >&2']}}\n")
    done = project.run("up")
    assert "a-1  | one\n" in done.stdout and "a-1  | two\n" in done.stdout
    assert "a-1 exited with code 0" in done.stdout


def test_interrupt_stops_gracefully_and_a_second_one_kills(project):
    project.compose(
        """
    services:
      polite:
        image: "debian:bookworm-slim"
        command: [sh, -c, "trap 'echo bye; exit 0' TERM; echo ready; sleep 1000 & wait"]
      stubborn:
        image: "debian:bookworm-slim"
        command: [sh, -c, "trap 'echo never' TERM; echo ready; while :; do sleep 0.1; done"]
        stop_grace_period: 60s
    """
    )
    up = project.popen("up", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    seen = ""
    while seen.count("ready") < 2:  # shown by `up`, so it is done with starting, and both have their traps
        line = up.stdout.readline()
        assert line, "it ended"
        seen += line
    up.send_signal(signal.SIGINT)
    eventually(lambda: project.ps()[f"{project.folder.name}-polite-1"]["State"] == "exited", 30)
    assert project.ps()[f"{project.folder.name}-stubborn-1"]["State"] == "running"
    up.send_signal(signal.SIGINT)
    out, _ = up.communicate(timeout=30)
    assert up.returncode == 130
    assert "polite-1" in seen + out and "bye" in out
    assert all(row["State"] == "exited" for row in project.ps().values())


def test_up_d_outlives_its_terminal_and_a_hangup(project):
    project.compose(f"services: {{a: {SLEEPS}}}\n")
    script = f"{' '.join(__import__('shlex').quote(w) for w in _cais())} up -d --wait; kill -HUP -$$"
    subprocess.run(["setsid", "sh", "-c", script], cwd=project.folder, env=project.env, capture_output=True, timeout=60)
    supervisor = project.supervisor()
    assert supervisor
    os.kill(supervisor, signal.SIGHUP)
    time.sleep(0.2)
    assert project.ps()[f"{project.folder.name}-a-1"]["State"] == "running"


def _cais():
    import sys

    return [sys.executable, "-m", "cais"]


def test_two_ups_at_once_make_one_stack(project):
    project.compose(f"services: {{a: {SLEEPS}, b: {SLEEPS}}}\n")
    ups = [project.popen("up", "-d", stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)]
    for up in ups:
        _, err = up.communicate(timeout=60)
        assert up.returncode == 0, err
    assert [row["State"] for row in project.ps().values()] == ["running", "running"]
    supervisor = project.supervisor()
    title = Path(f"/proc/{supervisor}/cmdline").read_bytes()
    assert [int(p.parent.name) for p in Path("/proc").glob("[0-9]*/cmdline") if _read(p) == title] == [supervisor]


def _read(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_state_folder_deeper_than_a_socket_name_may_be_long(project, tmp_path):
    project.env["CAIS_STATE"] = str(tmp_path / ("deep-" * 12) / ("deeper-" * 12) / "state")
    project.compose(f"services: {{a: {SLEEPS}}}\n")
    project.up()
    assert project.exec("a", "echo", "hi").stdout == "hi\n"
    project.run("down")


def test_the_control_socket_and_the_state_are_the_owners_alone(project):
    project.compose(f"services: {{a: {{{BOX}, command: [sleep, '1000'], environment: {{SECRET: s3cret}}}}}}\n")
    project.up()
    for path in home(project).rglob("*"):
        if path.is_symlink() or "uppers" in path.parts or "run" in path.parts:
            continue
        assert path.stat().st_mode & 0o077 == 0, path


def runs(pid):
    """A zombie does not: who waits for it is not ours to choose."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_nothing_is_left_after_down(project):
    project.compose(f"services: {{a: {SLEEPS}}}\nvolumes: {{}}\n")
    project.up()
    supervisor = project.supervisor()
    project.run("down", "-v")
    eventually(lambda: not runs(supervisor), 5)
    assert list((project.folder.parent / "state" / "projects").iterdir()) == []


def test_after_a_killed_supervisor_up_resumes_with_what_was_there(project):
    project.compose(
        f"services: {{a: {{{BOX}, command: [sleep, '1000'], volumes: [data:/data]}}}}\nvolumes: {{data: {{}}}}\n"
    )
    project.up()
    project.exec("a", "sh", "-c", "echo kept > /data/it; echo kept > /own")
    one = pid(project, "a")
    os.kill(project.supervisor(), signal.SIGKILL)
    eventually(lambda: not os.path.exists(f"/proc/{one}"))
    done = project.run("ps", "-a")
    assert "supervisor gone" in done.stderr and "Exited (137)" in done.stdout
    project.up()
    assert project.exec("a", "cat", "/data/it", "/own").stdout == "kept\nkept\n"


@pytest.mark.parametrize("verb", [["up"], ["logs", "-f"]], ids=["up", "logs"])
def test_who_watches_is_told_that_the_supervisor_was_killed(project, verb):
    project.compose(f"services: {{a: {{{BOX}, command: [sh, -c, 'echo ready; exec sleep 1000']}}}}\n")
    if verb != ["up"]:
        project.up()
    watching = project.popen(*verb, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert "ready" in watching.stdout.readline()
    os.kill(project.supervisor(), signal.SIGKILL)
    _, err = watching.communicate(timeout=30)
    assert watching.returncode == 1
    assert "the supervisor is gone" in err


@pytest.mark.parametrize("verb", [["up"], ["logs", "-f"]], ids=["up", "logs"])
def test_who_watches_ends_well_when_another_takes_it_all_down(project, verb):
    project.compose(f"services: {{a: {{{BOX}, command: [sh, -c, 'echo ready; exec sleep 1000']}}}}\n")
    if verb != ["up"]:
        project.up()
    watching = project.popen(*verb, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert "ready" in watching.stdout.readline()
    project.run("down", "--timeout", "1")
    _, err = watching.communicate(timeout=30)
    assert watching.returncode == 0
    assert "gone" not in err


def test_nothing_is_left_after_down_of_what_had_nameless_volumes(project):
    """Also of one that could not start, and of one-offs."""
    project.compose(
        f"""
    services:
      a: {{image: 'debian:bookworm-slim', command: [sleep, '1000'], stop_signal: SIGKILL, volumes: [/keep, data:/data]}}
      b: {{{BOX}, command: [no-such-program], volumes: [/keep]}}
    volumes: {{data: {{}}}}
    """
    )
    project.up(check=False)
    project.run("run", "--rm", "-T", "a", "true")
    project.run("run", "--rm", "-T", "b", check=False)
    project.run("run", "-T", "b", check=False)
    project.run("down", "-v")
    state = project.folder.parent / "state"
    assert [list((state / kind).iterdir()) for kind in ("projects", "volumes")] == [[], []]


@pytest.mark.parametrize("why", ["a missing file", "an unknown image"])
def test_an_up_that_is_refused_leaves_no_trace(project, why):
    image = "debian:bookworm-slim" if why == "a missing file" else "example.org/nobody/knows:1"
    volume = "{type: bind, source: ./none, target: /x, bind: {create_host_path: false}}"
    project.compose(f"services: {{a: {{image: '{image}', volumes: [{volume}]}}}}\n")
    assert project.run("up", "-d", check=False).returncode == 1
    folder = project.folder.parent / "state" / "projects"
    eventually(lambda: list(folder.iterdir()) == [])


def test_down_of_what_never_was_says_so_as_compose_does(project):
    project.compose(f"services: {{a: {SLEEPS}}}\n")
    words = f'Warning: No resource found to remove for project "{project.folder.name}".'
    assert project.run("down").stderr == words + "\n"
    project.up()
    assert words not in project.run("down").stderr


def test_many_who_come_and_go_always_find_or_make_a_supervisor(project):
    """Each `run --rm` leaves an empty project, whose folder the supervisor takes away as it ends: meanwhile the next
    has come for it."""
    project.compose("services: {a: {image: 'debian:bookworm-slim'}}\n")
    running = [project.popen("run", "--rm", "-T", "a", "echo", str(n), stdout=subprocess.PIPE) for n in range(3)]
    for n in range(3, 24):
        out, _ = running[0].communicate(timeout=60)
        assert (running.pop(0).returncode, out) == (0, f"{n - 3}\n")
        running.append(project.popen("run", "--rm", "-T", "a", "echo", str(n), stdout=subprocess.PIPE))
    for each in running:
        each.communicate(timeout=60)
        assert each.returncode == 0
    folder = project.folder.parent / "state" / "projects"
    eventually(lambda: list(folder.iterdir()) == [])


def test_two_ups_that_want_different_things_leave_what_the_last_one_wants(project):
    """One takes away what the other waits for; that other fails, and does not undo what it has not lost."""
    slow = "healthcheck: {test: [CMD, test, -e, /ready], interval: 100ms, start_period: 60s, start_interval: 100ms}"
    project.compose(f"services: {{a: {{{BOX}, command: [sleep, '1000'], {slow}}}}}\n")
    one = project.popen("up", "-d", "--wait", "--scale", "a=2", stderr=subprocess.PIPE)
    name = project.folder.name
    eventually(lambda: [row["State"] for row in project.ps().values()] == ["running", "running"])
    two = project.popen("up", "-d", "--wait", stderr=subprocess.PIPE)
    _, err = one.communicate(timeout=60)
    assert (one.returncode, "another command removed it" in err) == (1, True), err
    project.exec("a", "touch", "/ready")
    _, err = two.communicate(timeout=60)
    assert two.returncode == 0, err
    assert {row["Name"]: row["State"] for row in project.ps().values()} == {f"{name}-a-1": "running"}


def test_an_up_interrupted_while_one_waits_says_not_that_it_is_done_and_the_next_tells_of_the_waiting(project):
    project.compose(
        f"""
    services:
      db: {{{BOX}, command: [sleep, "1000"], healthcheck: {{test: [CMD, "false"], interval: 100ms, retries: 1000}}}}
      api: {{{BOX}, command: [sleep, "1000"], depends_on: {{db: {{condition: service_healthy}}}}}}
    """
    )
    for flags in (["-d"], ["-d"], []):
        up = project.popen("up", *flags, stderr=subprocess.PIPE)
        err = ""
        while "api  waiting for db to be healthy" not in err:
            line = up.stderr.readline()
            assert line, err
            err += line
        up.send_signal(signal.SIGINT)
        out = up.communicate(timeout=60)[1]
        assert up.returncode == 130
        assert "up: ended after" in out and "Gracefully stopping" in out.partition("up: ended after")[2]
        assert all(row["State"] in ("exited", "created") for row in project.ps().values())


def test_the_build_of_a_service_with_replicas_is_not_counted_beside_them(project):
    """`up` and `up --no-start`; and warnings have the form that errors have, a place from here and the line."""
    project.compose(
        f"""
    services:
      app:
        build: {{dockerfile_inline: "FROM debian:bookworm-slim\\nRUN echo {time.time_ns()} > /made\\n"}}
        command: [sleep, "1000"]
        init: true
        cpuset: "0"
        deploy: {{replicas: 2}}
    """
    )
    made = project.run("up", "--no-start").stderr
    assert "building" in made and "up: 2 of 2 done in" in made
    assert "\ncompose.yaml:6:13: warning: " in made
    assert "  6 |     cpuset: " in made
    assert "up: 2 of 2 done in" in project.run("up", "-d", "--force-recreate").stderr
