"""Postgres, Redis, nginx, Prometheus and a Python service: `up -d --wait` as typed, against Docker Compose.

Both sides: the same five servers, health asked every 100 ms, the same Postgres major and initdb arguments; the
Python service ends on SIGTERM. The peer is Docker Engine (Debian's docker.io, started here by hand on a data folder of
its own, root only) driven by Docker Compose 5.6.1, on one image that mmdebstrap makes of Debian's packages.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from common import CAIS, PEERS, machine, median_of, peer_venv, ratio, say, timed

SERVER = """\
import http.server, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
http.server.ThreadingHTTPServer(("", 8000), http.server.SimpleHTTPRequestHandler).serve_forever()
"""

# What `curl -sf` does on the other side; the image has no curl.
PROBE = """\
import socket, sys
s = socket.create_connection(("127.0.0.1", 8000), 1)
s.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
sys.exit(b" 200 " not in s.recv(64))
"""

HEALTH = "interval: 100ms, start_interval: 100ms, timeout: 5s, retries: 100"
PLAIN = HEALTH.replace("start_interval: 100ms, ", "")  # Docker 20.10 has no start_interval

CAIS_FILE = f"""\
name: five
services:
  postgres:
    image: postgres:15
    environment: {{POSTGRES_PASSWORD: bench, POSTGRES_INITDB_ARGS: "--no-sync", LANG: C.UTF-8}}
    volumes: [pg:/var/lib/postgresql/data]
    healthcheck: {{test: [CMD, pg_isready, -q, -h, 127.0.0.1, -U, postgres], start_period: 30s, {HEALTH}}}
  redis:
    image: redis:7
    healthcheck: {{test: [CMD, redis-cli, ping], start_period: 30s, {HEALTH}}}
  nginx:
    image: nginx:1
    healthcheck: {{test: [CMD, curl, -sf, "http://127.0.0.1/"], start_period: 30s, {HEALTH}}}
  prometheus:
    image: prom/prometheus:v2.42.0
    healthcheck: {{test: [CMD, wget, -q, -O, /dev/null, "http://127.0.0.1:9090/-/ready"], start_period: 30s, {HEALTH}}}
  python:
    image: python:3.11-slim
    command: [python3, /server.py]
    volumes: ["./server.py:/server.py:ro", "./probe.py:/probe.py:ro"]
    healthcheck: {{test: [CMD, python3, -SE, /probe.py], start_period: 30s, {HEALTH}}}
volumes: {{pg: {{}}}}
"""

DOCKER_FILE = f"""\
name: five
services:
  postgres:
    image: cais-bench-five:2
    command:
      - sh
      - -c
      - |
        set -e
        bin=/usr/lib/postgresql/15/bin
        if [ ! -s /data/PG_VERSION ]; then
          chown postgres /data; echo bench >/tmp/pw; chmod 644 /tmp/pw
          setpriv --reuid postgres --regid postgres --init-groups $$bin/initdb --no-sync -U postgres -D /data \\
            --auth-host=scram-sha-256 --auth-local=trust --pwfile=/tmp/pw >/dev/null
        fi
        mkdir -p /var/run/postgresql; chown postgres /var/run/postgresql
        exec setpriv --reuid postgres --regid postgres --init-groups $$bin/postgres -D /data
    stop_signal: SIGINT
    volumes: [pg:/data]
    healthcheck: {{test: [CMD, pg_isready, -q, -h, 127.0.0.1, -U, postgres], {PLAIN}}}
  redis:
    image: cais-bench-five:2
    command: [redis-server, --protected-mode, "no"]
    healthcheck: {{test: [CMD, redis-cli, ping], {PLAIN}}}
  nginx:
    image: cais-bench-five:2
    command: [nginx, -g, "daemon off;"]
    healthcheck: {{test: [CMD, curl, -sf, "http://127.0.0.1/"], {PLAIN}}}
  prometheus:
    image: cais-bench-five:2
    command: [prometheus, --config.file=/etc/prometheus/prometheus.yml, --storage.tsdb.path=/tmp/prometheus]
    healthcheck: {{test: [CMD, curl, -sf, "http://127.0.0.1:9090/-/ready"], {PLAIN}}}
  python:
    image: cais-bench-five:2
    command: [python3, /server.py]
    volumes: ["./server.py:/server.py:ro"]
    healthcheck: {{test: [CMD, curl, -sf, "http://127.0.0.1:8000/"], {PLAIN}}}
volumes: {{pg: {{}}}}
"""


@contextlib.contextmanager
def docker_engine() -> Iterator[dict[str, str]]:
    """Docker Engine on a data folder and socket of its own, the image loaded; yields its environment."""
    PEERS.mkdir(parents=True, exist_ok=True)
    tar = PEERS / "five.tar"
    if not tar.exists() or not tar.stat().st_size:
        subprocess.run(
            [
                "mmdebstrap",
                "--variant=minbase",
                "--include=postgresql-15,redis-server,nginx-light,prometheus,python3,curl",
                "bookworm",
                str(tar),
            ],
            check=True,
        )
    socket = PEERS / "docker.sock"
    env = {**os.environ, "DOCKER_HOST": f"unix://{socket}"}
    log = open(PEERS / "dockerd.log", "wb")
    daemon = subprocess.Popen(
        [
            "dockerd",
            "--data-root",
            str(PEERS / "docker"),
            "--exec-root",
            str(PEERS / "docker-exec"),
            "--pidfile",
            str(PEERS / "docker.pid"),
            "-H",
            f"unix://{socket}",
        ],
        stdout=log,
        stderr=log,
    )
    try:
        for _ in range(150):
            if subprocess.run(["docker", "version"], env=env, capture_output=True).returncode == 0:
                break
            time.sleep(0.2)
        known = subprocess.run(["docker", "image", "inspect", "cais-bench-five:2"], env=env, capture_output=True)
        if known.returncode:
            subprocess.run(
                ["docker", "import", str(tar), "cais-bench-five:2"], env=env, check=True, capture_output=True
            )
        yield env
    finally:
        daemon.terminate()
        daemon.wait(30)
        log.close()


def measure(compose: list[str], folder: Path, env: dict[str, str], runs: int) -> dict[str, tuple[float, float, float]]:
    """Cold (no data), warm (data kept) and `down`, in seconds."""
    down = [*compose, "down", "-v"]
    subprocess.run(down, cwd=folder, env=env, capture_output=True)
    timed([*compose, "up", "-d", "--wait"], cwd=folder, env=env)  # programs fetched, caches warm

    def cold() -> float:
        timed(down, cwd=folder, env=env)
        return timed([*compose, "up", "-d", "--wait"], cwd=folder, env=env)

    stops: list[float] = []

    def warm() -> float:
        stops.append(timed([*compose, "down"], cwd=folder, env=env))
        return timed([*compose, "up", "-d", "--wait"], cwd=folder, env=env)

    result = {"cold": median_of(runs, cold), "warm": median_of(runs, warm)}
    result["down"] = (sorted(stops)[len(stops) // 2], min(stops), max(stops))
    result["again"] = median_of(runs, lambda: timed([*compose, "up", "-d"], cwd=folder, env=env))
    timed(down, cwd=folder, env=env)
    return result


def main(runs: int = 5) -> None:
    print(f"five servers, `up -d --wait` ({machine()})")
    with tempfile.TemporaryDirectory() as top:
        ours, theirs = Path(top, "cais"), Path(top, "docker")
        for folder, text in ((ours, CAIS_FILE), (theirs, DOCKER_FILE)):
            folder.mkdir()
            (folder / "compose.yaml").write_text(text)
            (folder / "server.py").write_text(SERVER)
            (folder / "probe.py").write_text(PROBE)
        env = {**os.environ, "CAIS_STATE": str(Path(top, "state"))}
        mine = measure(CAIS, ours, env, runs)
        say("Cais, cold", mine["cold"])
        say("Cais, warm", mine["warm"])
        say("Cais, down", mine["down"])
        say("Cais, up with nothing to do", mine["again"])
        if os.geteuid() or not shutil.which("dockerd") or not shutil.which("mmdebstrap"):
            print("  peer not measured: needs root, and Debian's docker.io and mmdebstrap")
            return
        with docker_engine() as docker:
            peer = measure([str(peer_venv() / "docker-compose")], theirs, docker, runs)
        say("Docker Compose 5.6.1 on Docker Engine, cold", peer["cold"])
        say("Docker Compose, warm", peer["warm"])
        say("Docker Compose, down", peer["down"])
        ratio("cold", mine["cold"][0], peer["cold"][0], "<= 0.4")
        ratio("warm", mine["warm"][0], peer["warm"][0], "<= 0.2")
        print(f"  down {mine['down'][0]:.2f} s, goal <= 0.5; nothing to do {mine['again'][0]:.2f} s, goal <= 0.25")


if __name__ == "__main__":
    main()
