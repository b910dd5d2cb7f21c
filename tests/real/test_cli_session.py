"""`exec` and `run` on real instances: bytes, exit codes, terminals."""

import fcntl
import hashlib
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import urllib.request

import pytest
from tests.real.conftest import CAIS, Project

pytestmark = pytest.mark.real

STACK = """
    services:
      shell:
        image: debian:bookworm
        command: ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
        environment: {FROM_FILE: "yes"}
        working_dir: /srv
        volumes: [data:/data]
        stop_grace_period: 2s
    volumes: {data: {}}
"""


@pytest.fixture
def shell(project: Project) -> Project:
    project.compose(STACK)
    project.up()
    return project


class Session:
    """`cais ARGS` on a terminal of its own, as a person has it."""

    def __init__(self, project: Project, *args: str, rows: int = 33, columns: int = 101) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(project.folder)
            os.execve(sys.executable, [*CAIS, *args], {**project.env, "TERM": "xterm"})
        self.resize(rows, columns)
        self.seen = b""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, data: bytes, expect: bytes, seconds: float = 20) -> bytes:
        """Type, then read until `expect` is on the screen."""
        os.write(self.fd, data)
        return self.until(expect, seconds)

    def until(self, expect: bytes, seconds: float = 20) -> bytes:
        end = time.monotonic() + seconds
        while expect not in self.seen:
            assert time.monotonic() < end, f"no {expect!r} in {self.seen!r}"
            if select.select([self.fd], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self.fd, 65536)
                except OSError:
                    break
        assert expect in self.seen, f"no {expect!r} in {self.seen!r}"
        before, _, self.seen = self.seen.partition(expect)
        return before + expect

    def end(self, seconds: float = 20) -> int:
        """The exit code."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.fd)
                return os.waitstatus_to_exitcode(status)
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.fd, 65536)
                except OSError:
                    pass
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        pytest.fail(f"the session did not end: {self.seen!r}")


def test_bytes_pass_exec_unchanged_both_ways(shell: Project) -> None:
    data = os.urandom(20_000_000)
    done = subprocess.run(
        [*CAIS, "exec", "-T", "shell", "sh", "-c", "tee /tmp/copy; echo ended >&2"],
        input=data,
        cwd=shell.folder,
        env=shell.env,
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0
    assert done.stderr == b"ended\n"
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()
    assert shell.exec("shell", "sha256sum", "/tmp/copy").stdout.split()[0] == hashlib.sha256(data).hexdigest()


def test_exec_returns_the_commands_exit_code(shell: Project) -> None:
    for code in (0, 1, 7, 255):
        assert shell.exec("shell", "sh", "-c", f"exit {code}", check=False).returncode == code
    assert shell.exec("shell", "sh", "-c", "kill -9 $$", check=False).returncode == 137


@pytest.mark.parametrize(
    ("program", "code"),
    [("absent", 127), ("/absent", 127), ("/tmp/script", 127), ("/etc/hostname", 126)],
    ids=["in PATH", "path", "interpreter", "not to be run"],
)
def test_exec_of_what_cannot_be_run_ends_as_in_a_shell(shell: Project, program: str, code: int) -> None:
    shell.exec("shell", "sh", "-c", "echo '#!/absent' >/tmp/script; chmod +x /tmp/script")
    done = shell.exec("shell", program, check=False)
    assert done.returncode == code and "cannot run" in done.stderr, done.stderr


def test_exec_takes_the_services_settings_and_its_own_over_them(shell: Project) -> None:
    say = 'echo "$FROM_FILE $MINE $(pwd) $(id -un)"'
    assert shell.exec("shell", "sh", "-c", say).stdout == "yes  /srv root\n"
    own = ("exec", "-T", "-e", "MINE=1", "-e", "FROM_FILE=no", "-w", "/tmp", "-u", "nobody", "shell", "sh", "-c", say)
    assert shell.run(*own).stdout == "no 1 /tmp nobody\n"


def test_exec_sees_nothing_of_the_callers_environment(shell: Project) -> None:
    shell.env["PLANTED_SECRET"] = "planted-secret-value"
    assert "planted-secret-value" not in shell.exec("shell", "env").stdout
    assert "planted-secret-value" in shell.run("exec", "-T", "-e", "PLANTED_SECRET", "shell", "env").stdout


def test_detached_exec_returns_at_once_and_goes_on(shell: Project) -> None:
    script = "until [ -e /data/go ]; do sleep 0.1; done; echo later > /data/later"
    shell.run("exec", "-d", "shell", "sh", "-c", script)
    assert shell.exec("shell", "cat", "/data/later", check=False).returncode == 1
    shell.exec("shell", "touch", "/data/go")
    end = time.monotonic() + 20
    while shell.exec("shell", "cat", "/data/later", check=False).stdout != "later\n":
        assert time.monotonic() < end
        time.sleep(0.2)


def test_interrupt_reaches_a_command_without_a_terminal(shell: Project) -> None:
    script = "trap 'echo interrupted; exit 3' INT; echo ready; while :; do sleep 0.1; done"
    running = shell.popen("exec", "-T", "shell", "sh", "-c", script, stdout=subprocess.PIPE)
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    running.send_signal(signal.SIGINT)
    assert running.communicate(timeout=20)[0] == "interrupted\n"
    assert running.returncode == 3


def test_a_terminal_has_size_job_control_colours_and_an_exit_code(shell: Project) -> None:
    session = Session(shell, "exec", "shell", "bash", "--norc", "-i")
    session.type(b"stty size; echo TERM=$TERM\n", b"33 101")
    session.until(b"TERM=xterm")
    session.resize(20, 60)
    session.type(b"sleep 0.5; stty size\n", b"20 60")
    # What is interrupted says itself that it is there: then it is the terminal's foreground process.
    session.type(b"sh -c \"echo go''ing; exec sleep 100\"\n", b"going\r\n")
    session.type(b"\x03", b"^C")
    session.type(b"sh -c \"echo ali''ve; exec sleep 100\"\n", b"alive\r\n")
    session.type(b"\x1a", b"Stopped")
    session.type(b"kill -9 %1; fg; echo go''ne\n", b"gone")
    session.type(b"printf '\\033[31m%s\\n' red\n", b"\x1b[31mred")
    os.write(session.fd, b"exit 9\n")
    assert session.end() == 9


def test_run_on_a_terminal_has_one_too_and_gives_the_persons_back(shell: Project) -> None:
    session = Session(shell, "run", "--rm", "shell", "bash", "--norc", "-i")
    before = None
    session.type(b"tty; stty size\n", b"33 101")
    before = termios.tcgetattr(session.fd)
    assert not before[3] & termios.ICANON
    os.write(session.fd, b"exit 4\n")
    end = time.monotonic() + 20
    while not (restored := termios.tcgetattr(session.fd)[3] & termios.ICANON) and time.monotonic() < end:
        time.sleep(0.02)
    assert restored
    assert session.end() == 4


def test_run_returns_the_code_and_leaves_nothing_with_rm(shell: Project) -> None:
    done = shell.run(
        "run", "--rm", "-T", "shell", "sh", "-c", "cat; echo $FROM_FILE; exit 5", input="in\n", check=False
    )
    assert (done.returncode, done.stdout) == (5, "in\nyes\n")
    assert list(shell.ps()) == [f"{shell.folder.name}-shell-1"]


def test_run_without_rm_stays_to_be_looked_at(shell: Project) -> None:
    shell.run("run", "-T", "--name", "once", "shell", "true")
    assert shell.ps()["once"]["State"] == "exited"
    assert "once" not in shell.run("ps").stdout
    again = shell.run("run", "-T", "--name", "once", "shell", "true", check=False)
    assert again.returncode == 1
    assert "once is taken" in again.stderr


def test_run_detached_prints_its_name_and_logs(shell: Project) -> None:
    name = shell.run("run", "-d", "shell", "sh", "-c", "echo from the one-off; sleep 60").stdout.strip()
    assert name.startswith(f"{shell.folder.name}-shell-run-")
    assert shell.ps()[name]["State"] == "running"
    end = time.monotonic() + 20
    while "from the one-off" not in shell.run("logs", "shell").stdout:
        assert time.monotonic() < end
        time.sleep(0.1)


def test_run_starts_what_the_service_depends_on(project: Project) -> None:
    project.compose("""
        services:
          db:
            image: debian:bookworm
            command: ["sh", "-c", "sleep 0.5; touch /tmp/ready; exec sleep 1000"]
            healthcheck: {test: ["CMD", "test", "-e", "/tmp/ready"], interval: 100ms, start_period: 20s,
                          start_interval: 100ms}
            init: true
          job:
            image: debian:bookworm
            command: ["getent", "hosts", "db"]
            depends_on: {db: {condition: service_healthy}}
            restart: always
    """)
    assert project.run("run", "--rm", "-T", "--no-deps", "job", "echo", "alone").stdout == "alone\n"
    assert project.ps() == {}
    assert project.run("run", "--rm", "-T", "job").stdout.split()[1] == "db"
    assert {row["Service"]: row["Health"] for row in project.ps().values()} == {"db": "healthy"}


def test_run_takes_entrypoint_volume_user_and_ports(shell: Project, free_port: int) -> None:
    shell.write("given/note", "hello\n")
    shell.run("run", "--rm", "-T", "-v", "./made/here:/mnt", "shell", "touch", "/mnt/it")
    assert (shell.folder / "made/here/it").exists()
    words = ("--entrypoint", "cat -n", "-v", "./given:/mnt:ro", "-w", "/mnt", "-u", "nobody", "-e", "X=1")
    assert shell.run("run", "--rm", "-T", *words, "shell", "note").stdout.split() == ["1", "hello"]
    web = '  web: {image: "python:3.11", command: ["python3", "-m", "http.server", "80"], init: true}'
    shell.compose(STACK.replace("    volumes: {data", f"    {web}\n    volumes: {{data"))
    shell.run("run", "-d", "-p", f"127.0.0.1:{free_port}:80", "web")
    end = time.monotonic() + 30
    while True:
        try:
            assert urllib.request.urlopen(f"http://127.0.0.1:{free_port}/", timeout=5).status == 200
            break
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.2)


def test_index_chooses_the_replica(project: Project) -> None:
    project.compose("""
        services:
          web: {image: "debian:bookworm", command: ["sleep", "1000"], init: true, scale: 2}
    """)
    project.up()
    names = {project.run("exec", "-T", "--index", str(n), "web", "hostname").stdout for n in (1, 2)}
    assert len(names) == 2
    third = project.run("exec", "-T", "--index", "3", "web", "true", check=False)
    assert third.returncode == 1
    assert 'service "web" (index 3) is not running' in third.stderr


def test_a_run_whose_dependency_fails_lets_go_of_our_pipes(project: Project) -> None:
    project.compose("""
        services:
          db:
            image: debian:bookworm
            command: ["sleep", "1000"]
            healthcheck: {test: ["CMD", "false"], interval: 100ms, retries: 1}
            init: true
          job: {image: "debian:bookworm", depends_on: {db: {condition: service_healthy}}}
    """)
    done = project.run("run", "--rm", "-T", "job", "true", check=False, timeout=60)
    assert done.returncode == 1
    assert "db is unhealthy" in done.stderr


def test_a_closed_terminal_ends_the_session_and_what_ran_in_it_without_a_report(shell: Project) -> None:
    """pty(7): when the master closes, reads of the other side end and its modes can no longer be set."""
    for verb in (["exec"], ["run", "--rm"]):
        session = Session(shell, *verb, "shell", "sh")
        session.type(b"echo $((40+2))\n", b"42\r\n")
        os.close(session.fd)
        end = time.monotonic() + 20
        while not (ended := os.waitpid(session.pid, os.WNOHANG))[0]:
            assert time.monotonic() < end, f"{verb} did not end"
            time.sleep(0.05)
        assert os.waitstatus_to_exitcode(ended[1]) in (128 + signal.SIGHUP, 141), verb
    assert list((shell.folder.parent / "state").glob("reports/*")) == []


def test_exec_on_a_terminal_ends_when_asked_to_whatever_its_shell_ignores(shell: Project) -> None:
    session = Session(shell, "exec", "shell", "bash")
    session.type(b"echo $((40+2))\n", b"42\r\n")
    os.kill(session.pid, signal.SIGTERM)
    assert session.end() == 128 + signal.SIGTERM


@pytest.mark.parametrize("flags", [["-T"], ["-d"]])
def test_run_with_rm_leaves_nothing_when_it_cannot_start(shell: Project, flags: list[str]) -> None:
    done = shell.run("run", "--rm", *flags, "shell", "no-such-program", check=False)
    assert done.returncode == 1
    assert "no-such-program: not found" in done.stderr
    end = time.monotonic() + 20
    while list(shell.ps()) != [f"{shell.folder.name}-shell-1"]:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_run_takes_variables_from_files_under_its_own(shell: Project) -> None:
    shell.write("one", "A=file\nB='a b'\nexport C=${A}-${D}\nFROM_FILE=no\n")
    shell.write("two", "B=late\nE=5\nALONE\n")
    shell.write(".env", "ALONE=set\nOWN=dotenv\n")
    words = ("-e", "D=4", "-e", "A=own", "-e", "OWN", "--env-from-file", "one", "--env-from-file", "./two")
    done = shell.run("run", "--rm", "-T", *words, "shell", "sh", "-c", "echo $A,$B,$C,$D,$E,$FROM_FILE,$ALONE,$OWN")
    assert done.stdout == "own,a b,own-4,4,5,no,set,dotenv\n"
    missing = shell.run("run", "--rm", "--env-from-file", "none", "shell", "true", check=False)
    assert missing.returncode == 2 and "none" in missing.stderr
    shell.write("bad", "A=1\nB&C=2\n")
    assert "bad:2:2:" in shell.run("run", "--rm", "--env-from-file", "bad", "shell", "true", check=False).stderr


def test_run_can_take_orphans_away(shell: Project) -> None:
    shell.write("compose.yaml", STACK.replace("shell:", "other:"))
    shell.run("run", "--rm", "-T", "other", "true")
    assert list(shell.ps()) == [f"{shell.folder.name}-shell-1"]
    shell.run("run", "--rm", "-T", "--remove-orphans", "other", "true")
    assert list(shell.ps()) == []


@pytest.mark.parametrize("flags", [["--rm", "-T"], ["--rm"], ["-T"]])
def test_an_interrupt_before_a_run_has_begun_ends_it(project: Project, flags: list[str]) -> None:
    """It waits for `db`; nobody would know later that it goes on waiting, and then runs."""
    project.compose("""
        services:
          db:
            image: debian:bookworm
            command: ["sleep", "1000"]
            healthcheck: {test: ["CMD", "test", "-e", "/ready"], interval: 100ms, retries: 1000}
            init: true
          job: {image: "debian:bookworm", depends_on: {db: {condition: service_healthy}}}
    """)
    project.run("up", "-d", "db")
    job = project.popen("run", *flags, "job", "sleep", "1000", stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    end = time.monotonic() + 20
    while not any(row["Service"] == "job" for row in project.ps().values()):
        assert time.monotonic() < end
        time.sleep(0.05)
    job.send_signal(signal.SIGINT)
    assert job.wait(timeout=20) == 130
    project.exec("db", "touch", "/ready")
    states = [row["State"] for row in project.ps().values() if row["Service"] == "job"]
    assert states == ([] if "--rm" in flags else ["created"])


def test_only_what_makes_instances_reads_env_files(project):
    """As Docker Compose 5.6.1: `up` warns of what is in them, `ps` and `down` do not; nor do they need them."""
    project.compose("services: {a: {image: 'debian:bookworm-slim', command: [sleep, '100'], env_file: [a.env]}}\n")
    file = project.write("a.env", "A=1$nothing\n")
    told = "a.env:1:4: warning: variable nothing is not set"
    assert project.up("--remove-orphans").stderr.count(told) == 1
    assert told not in project.run("ps").stderr
    file.unlink()
    assert "a.env" in project.run("up", "-d", check=False).stderr
    assert "a-1" in project.run("ps").stdout
    assert project.run("down", "-t", "0").returncode == 0


def test_what_run_cannot_begin_is_told_at_once_and_before_anything_is_built(project: Project) -> None:
    project.compose(
        """
        services:
          job:
            build: {dockerfile_inline: "FROM debian:bookworm-slim\\nRUN echo made"}
            restart: allways
            working_dir: relative
        """
    )
    done = project.run("run", "--rm", "job", "true", check=False)
    assert done.returncode == 1
    assert "compose.yaml:4:" in done.stderr and "compose.yaml:5:" in done.stderr and "made" not in done.stderr
