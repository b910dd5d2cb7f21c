"""^C while something is fetched: the command ends at once, and nothing half-made stays under a name."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

COMPOSE = """
services:
  api: {build: .}
  db: {image: "redis:7"}
"""


@pytest.mark.parametrize("words", [["build"], ["run", "--rm", "-T", "db", "true"], ["up", "-d"]])
def test_an_interrupt_ends_a_command_that_waits_for_a_silent_registry(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "compose.yaml").write_text(COMPOSE)
    (tmp_path / "Dockerfile").write_text("FROM redis:7\nRUN true\n")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        silent.settimeout(60)
        proxy = f"http://127.0.0.1:{silent.getsockname()[1]}"
        keep = {k: v for k, v in os.environ.items() if "proxy" not in k.lower() and not k.startswith("CAIS_")}
        places = {"CAIS_CACHE": str(tmp_path / "cache"), "CAIS_STATE": str(tmp_path / "state")}
        command = subprocess.Popen(
            [sys.executable, "-m", "cais", *words],
            cwd=tmp_path,
            env={**keep, **places, "http_proxy": proxy, "https_proxy": proxy},
            stderr=subprocess.PIPE,
        )
        try:
            connection, _ = silent.accept()  # it asks, and nobody will answer
            command.send_signal(signal.SIGINT)
            assert command.wait(timeout=60) == 130  # 1 if it were the registry that ended it
            connection.close()
        finally:
            command.kill()
            said = command.communicate()[1]
    assert b"interrupted" in said and b"Traceback" not in said
    for kind in ("programs", "userlands", "images"):
        folder = tmp_path / "cache" / kind
        assert not folder.is_dir() or list(folder.iterdir()) == []
