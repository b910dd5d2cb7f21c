"""Real stacks for tests: `project` writes files to a folder of its own, runs `cais` there as a user would, and
takes everything down again, also when the test failed.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CAIS = [sys.executable, "-m", "cais"]


class Project:
    """One compose project in a folder. State is the test's own; the cache is the machine's."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder / name
        self.folder.mkdir(parents=True)
        self.env = {**os.environ, "CAIS_STATE": str(folder / "state"), "NO_COLOR": "1"}

    def write(self, path: str, text: str, mode: int = 0o644) -> Path:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text).lstrip("\n"))
        file.chmod(mode)
        return file

    def compose(self, text: str) -> None:
        self.write("compose.yaml", text)

    def run(
        self, *args: str, check: bool = True, timeout: float = 120, input: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """`cais ARGS` in the folder; with `check`, a non-zero exit fails the test with all that was printed."""
        done = subprocess.run(
            [*CAIS, *args],
            cwd=self.folder,
            env=self.env,
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
        )
        if args[0] not in ("exec", "run"):  # a program of the service may print one
            assert "Traceback" not in done.stderr, done.stderr
        if check:
            assert done.returncode == 0, f"cais {' '.join(args)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def popen(self, *args: str, **options: Any) -> "subprocess.Popen[str]":
        """`cais ARGS` in the background. ^C reaches it also where these tests run with SIGINT ignored (`nohup … &`)."""

        def heed_interrupts() -> None:
            signal.signal(signal.SIGINT, signal.SIG_DFL)

        return subprocess.Popen(
            [*CAIS, *args], cwd=self.folder, env=self.env, text=True, preexec_fn=heed_interrupts, **options
        )

    def up(self, *args: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return self.run("up", "-d", "--wait", *args, **options)

    def exec(self, service: str, *argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return self.run("exec", "-T", service, *argv, **options)

    def ps(self) -> dict[str, dict[str, Any]]:
        """`ps -a --format json` by instance name."""
        lines = self.run("ps", "-a", "--format", "json").stdout.splitlines()
        return {row["Name"]: row for row in map(json.loads, lines)}

    def supervisor(self) -> int | None:
        """The supervisor's pid, None when the project is down."""
        rows = json.loads(self.run("ls", "--format", "json").stdout or "[]")
        return next((r["SupervisorPid"] for r in rows if r["Name"] == self.folder.name), None)


@pytest.fixture
def project(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Project]:
    made = Project(tmp_path, "t" + str(abs(hash(request.node.nodeid)) % 10**8))
    yield made
    made.run("down", "-v", "--timeout", "0", check=False, timeout=60)
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.fixture
def free_port() -> int:
    """A TCP port nobody listens on now."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
