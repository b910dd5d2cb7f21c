"""stacks/clarifai as its user meets it: up, the smoke flow, services killed, down and up again, production."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Project

STACK = Path(__file__).parents[2] / "stacks" / "clarifai"
PORTS = ("POSTGRES_PORT", "NEO4J_HTTP_PORT", "NEO4J_BOLT_PORT", "CORE_PORT", "SCHEDULER_PORT")
SOON = "15"  # C2 says 3 s; a test asserts no time of a busy machine, `make up` and the smoke flow itself do


def free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


@pytest.fixture
def clarifai(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path, f"clarifai{secrets.token_hex(3)}")
    shutil.rmtree(made.folder)
    shutil.copytree(STACK, made.folder, ignore=shutil.ignore_patterns(".env", "__pycache__", ".pytest_cache"))
    settings = (STACK / ".env.example").read_text()
    settings += f"COMPOSE_PROJECT_NAME={made.folder.name}\n"
    settings += "".join(f"{name}={port}\n" for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True))
    (made.folder / ".env").write_text(settings)
    made.env.pop("COMPOSE_PROJECT_NAME", None)
    yield made
    made.run("down", "-v", "--timeout", "1", check=False)
    shutil.rmtree(tmp_path, ignore_errors=True)


def smoke(stack: Project, *flags: str) -> str:
    done = subprocess.run(
        [sys.executable, "smoke.py", "--soon", SOON, *flags],
        cwd=stack.folder,
        env=stack.env,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, (
        f"{done.stdout}\n{done.stderr}\n{stack.run('logs', '--tail', '30', check=False).stdout}"
    )
    return done.stdout


def counted(stack: Project) -> dict[str, int]:
    """How many of each there are in Postgres (C5: nothing lost, nothing doubled)."""
    tables = "select json_build_object('notes', (select count(*) from note), 'blocks', (select count(*) from block))"
    done = stack.exec("postgres", "psql", "-U", "clarifai", "clarifai", "-qAt", "-c", tables)
    return json.loads(done.stdout)


def settled(stack: Project) -> dict[str, int]:
    """The counts once they have stayed the same for two seconds."""
    last, since = counted(stack), time.monotonic()
    until = since + 60
    while time.monotonic() - since < 2 and time.monotonic() < until:
        time.sleep(0.3)
        now = counted(stack)
        if now != last:
            last, since = now, time.monotonic()
    return last


def test_clarifai_works_and_survives_kills_and_a_down(clarifai: Project) -> None:
    clarifai.up(timeout=600)
    assert "all well" in smoke(clarifai)
    extension = clarifai.exec(
        "postgres", "psql", "-U", "clarifai", "clarifai", "-qAt", "-c", "select extname from pg_extension"
    )
    assert "vector" in extension.stdout.split()
    before = settled(clarifai)
    assert before["notes"] > 0

    for service in ("postgres", "neo4j", "clarifai-core", "vault-watcher", "scheduler"):
        clarifai.run("kill", "-s", "KILL", service)
        clarifai.up(timeout=300)
        assert settled(clarifai) == before, f"after {service} was killed"
    assert "all well" in smoke(clarifai)

    clarifai.run("down")
    clarifai.up(timeout=300)
    assert settled(clarifai) == before, "after down and up"
    clarifai.run("down", "-v")
    left = Path(clarifai.env["CAIS_STATE"]) / "projects" / clarifai.folder.name
    assert not list(left.glob("volumes/*/*"))


def test_clarifais_databases_are_reached_by_published_ports_only(clarifai: Project) -> None:
    """C6, on the one network that leads to them and the one that does not."""
    clarifai.up(timeout=600)
    reach = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)"
    for name, port in (("postgres", "5432"), ("neo4j", "7687")):
        assert clarifai.exec("clarifai-core", "python", "-c", reach, name, port).returncode == 0
        assert clarifai.exec("vault-watcher", "python", "-c", reach, name, port, check=False).returncode != 0


def test_clarifais_production_file_works(clarifai: Project) -> None:
    clarifai.env["COMPOSE_FILE"] = "compose.prod.yaml"
    clarifai.up(timeout=600)
    assert "all well" in smoke(clarifai, "--production")
    for service in ("clarifai-core", "vault-watcher", "scheduler"):
        seen = clarifai.exec(service, "env").stdout
        assert "dev-only" not in seen, f"{service} has a password in a variable"
        assert clarifai.exec(service, "touch", "/x", check=False).returncode != 0


def test_clarifais_services_pass_their_own_tests(tmp_path: Path) -> None:
    services = tmp_path / "services"
    shutil.copytree(STACK / "services", services, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "-q", "-r", "requirements/tests.txt"], cwd=services, check=True)
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run([python, "-m", "pytest", "-q"], cwd=services, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]


def test_a_new_clarifai_is_written_out_complete(tmp_path: Path) -> None:
    written = tmp_path / "mine"
    subprocess.run([sys.executable, "-m", "cais", "new", "clarifai", str(written)], check=True, capture_output=True)
    for name in ("compose.yaml", "compose.prod.yaml", "README.md", "smoke.py", "services/Dockerfile", ".env.example"):
        assert (written / name).is_file(), name
    done = subprocess.run([sys.executable, "-m", "cais", "config", "-q"], cwd=written, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
