"""Tags held fast by a real container registry, which Cais itself runs: Debian's docker-registry."""

import base64
import hashlib
import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
# crypt(3), bcrypt, of "sesame"
HTPASSWD = "cais:$2b$04$abcdefghijklmnopqrstuuinwY/tkBVrn3xrxQI/TgnMHhkvl85RW\n"

STACK = """
    services:
      open:
        build: .
        ports: ["127.0.0.1:{open}:5000"]
      closed:
        build: .
        ports: ["127.0.0.1:{closed}:5000"]
        volumes: ["./htpasswd:/htpasswd:ro"]
        environment:
          REGISTRY_AUTH_HTPASSWD_REALM: cais
          REGISTRY_AUTH_HTPASSWD_PATH: /htpasswd
"""

DOCKERFILE = """
    FROM debian:bookworm-slim
    RUN apt-get update && apt-get install -y --no-install-recommends docker-registry curl
    COPY config.yml /config.yml
    CMD ["docker-registry", "serve", "/config.yml"]
    HEALTHCHECK --interval=200ms CMD curl -s http://127.0.0.1:5000/v2/
"""

CONFIG = """
    version: 0.1
    storage: {filesystem: {rootdirectory: /var/lib/registry}}
    http: {addr: ":5000"}
"""


def push(registry: str, login: str = "") -> str:
    """An image without layers, as a client pushes it; its digest."""

    def send(method: str, url: str, body: bytes, kind: str = "application/octet-stream") -> Any:
        request = urllib.request.Request(url, body, {"Content-Type": kind}, method=method)
        if login:
            request.add_header("Authorization", "Basic " + base64.b64encode(login.encode()).decode())
        return urllib.request.urlopen(request, timeout=20)

    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}).encode()
    digest = "sha256:" + hashlib.sha256(config).hexdigest()
    place = send("POST", f"http://{registry}/v2/team/app/blobs/uploads/", b"").headers["Location"]
    send("PUT", f"{place}&digest={digest}", config)
    kind = "application/vnd.docker.container.image.v1+json"
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "layers": []}
    manifest["config"] = {"mediaType": kind, "size": len(config), "digest": digest}
    body = json.dumps(manifest).encode()
    send("PUT", f"http://{registry}/v2/team/app/manifests/1.0", body, MANIFEST)
    return "sha256:" + hashlib.sha256(body).hexdigest()


@pytest.fixture
def registries(project, free_port):
    """Two registries that hold team/app:1.0, the second behind a password; their addresses, the digest."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        other = probe.getsockname()[1]
    project.compose(STACK.format(open=free_port, closed=other))
    project.write("Dockerfile", DOCKERFILE)
    project.write("config.yml", CONFIG)
    project.write("htpasswd", HTPASSWD)
    project.up(timeout=300)
    first, second = f"127.0.0.1:{free_port}", f"127.0.0.1:{other}"
    digest = push(first)
    assert push(second, "cais:sesame") == digest
    return first, second, digest


def test_tags_are_held_fast_by_the_digest_their_registry_gives(project, registries, tmp_path: Path) -> None:
    first, second, digest = registries
    file = project.write("app.yaml", f"services: {{a: {{image: '{first}/team/app:1.0'}}, b: {{build: .}}}}\n")
    shown = json.loads(project.run("-f", str(file), "config", "--resolve-image-digests", "--format", "json").stdout)
    assert shown["services"]["a"]["image"] == f"{first}/team/app:1.0@{digest}"
    assert "image" not in shown["services"]["b"]
    locked = project.run("-f", str(file), "config", "--lock-image-digests").stdout
    project.write("lock.yaml", locked)
    both = json.loads(project.run("-f", str(file), "-f", "lock.yaml", "config", "--format", "json").stdout)
    assert both["services"]["a"]["image"] == f"{first}/team/app:1.0@{digest}"

    # Behind a password: what `docker login` has left is used, and told to nobody.
    two = f"services:\n  a: {{image: '{second}/team/app:1.0'}}\n  b: {{image: '{first}/no'}}\n"
    file = project.write("closed.yaml", two)
    options = ("-f", str(file), "config", "--resolve-image-digests", "--format", "json")
    refused = project.run(*options, check=False)
    assert refused.returncode == 1 and refused.stdout.count('"message"') == 2
    assert f"closed.yaml:2:14: error: service a: cannot fetch the digest of {second}/team/app:1.0" in refused.stderr
    assert "wants credentials" in refused.stderr
    assert f"closed.yaml:3:14: error: service b: cannot find {first}/no:latest" in refused.stderr
    auth = base64.b64encode(b"cais:sesame").decode()
    project.write("docker/config.json", json.dumps({"auths": {second: {"auth": auth}}}), mode=0o600)
    project.env["DOCKER_CONFIG"] = str(project.folder / "docker")
    file.write_text(file.read_text().replace(f"{first}/no", f"{first}/team/app:1.0"))
    shown = json.loads(project.run(*options).stdout)
    assert {one["image"].partition("@")[2] for one in shown["services"].values()} == {digest}
