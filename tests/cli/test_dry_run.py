"""`up --dry-run` with nothing in the cache: what would be done is said, and nothing is done."""

import os
import subprocess
import sys
from pathlib import Path

COMPOSE = """
services:
  db: {image: "postgres:16"}
  api:
    build: ./api
    depends_on: {db: {condition: service_started}}
  worker:
    image: "debian:bookworm"
    command: [sleep, "9"]
    depends_on: {api: {condition: service_healthy}}
"""


def up(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "CAIS_CACHE": f"{folder}/cache", "CAIS_STATE": f"{folder}/state", "HOME": str(folder)}
    env |= {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}  # nobody answers there
    env.pop("CAIS_PROGRAMS", None)
    return subprocess.run(
        [sys.executable, "-m", "cais", *words], cwd=folder / "app", env=env, capture_output=True, text=True, timeout=60
    )


def test_a_dry_run_fetches_builds_makes_and_starts_nothing(tmp_path: Path) -> None:
    (tmp_path / "app" / "api").mkdir(parents=True)
    (tmp_path / "app" / "compose.yaml").write_text(COMPOSE)
    (tmp_path / "app" / "api" / "Dockerfile").write_text(
        "FROM redis:7\nCOPY --chown=redis Dockerfile /srv/\nRUN touch /done\nHEALTHCHECK CMD true\n"
    )
    done = up(tmp_path, "up", "--dry-run")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "fetch Debian bookworm" in lines
    assert any(line.startswith("fetch postgres ") for line in lines)
    assert any(line.startswith("fetch redis ") for line in lines)
    assert f"build api from {tmp_path}/app/api" in lines
    assert lines[-3:] == [
        "start app-db-1",
        "start app-api-1 when db has started",
        "start app-worker-1 when api is healthy",
    ]
    assert not (tmp_path / "state").exists()
    assert not any(path.is_file() for path in (tmp_path / "cache").rglob("*"))
    refused = up(tmp_path, "up", "--dry-run", "--no-build")
    assert refused.returncode == 1 and "api" in refused.stderr
