"""What a RUN uses to reach a registry trusts whom this machine trusts; nothing of it stays."""

import os
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cais.build.machine import TRUST

pytestmark = pytest.mark.real


class Registry(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "7")
        self.end_headers()
        self.wfile.write(b"welcome")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def company(tmp_path: Path, project) -> Iterator[str]:  # type: ignore[no-untyped-def]
    """The address of a registry on this machine that an authority of this machine alone vouches for."""
    pem, key = tmp_path / "company.pem", tmp_path / "company.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=company",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(pem)],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    bundle = tmp_path / "bundle.pem"  # beside those that vouch for the registries programs come from
    usual = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile or ""
    bundle.write_bytes(pem.read_bytes() + (Path(usual).read_bytes() if usual else b""))
    project.env["SSL_CERT_FILE"] = str(bundle)
    yield f"https://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    thread.join()
    server.server_close()


def build(project, base, *lines):
    project.write("Dockerfile", "\n".join((f"FROM {base}", *lines)) + "\n")
    project.compose("services: {a: {build: {context: ., network: host}, command: [env]}}\n")
    return project.run("--progress", "plain", "build", "--no-cache").stderr


@pytest.mark.parametrize(
    "base, command",
    [
        ("python:3.11-slim", "python -c \"from urllib.request import urlopen as u; print(u('{at}').read().decode())\""),
        ("python:3.11-slim", "python -c \"from pip._vendor.requests import get as g; print(g('{at}').text)\""),
        ("node:24-slim", "node -e \"fetch('{at}').then(r => r.text()).then(console.log)\""),
        ("node:24", "curl -sS {at}"),
    ],
    ids=("openssl", "requests", "node", "curl"),
)
def test_a_client_trusts_whom_this_machine_trusts_in_a_run_and_nowhere_else(project, company, base, command):
    assert "welcome" in build(project, base, "RUN " + command.format(at=company))
    assert not [line for line in project.run("run", "--rm", "-T", "a").stdout.splitlines() if line.startswith(TRUST)]
    bundle = project.run("run", "--rm", "-T", "a", "cat", "/etc/ssl/certs/ca-certificates.crt").stdout
    assert "".join(Path(project.env["SSL_CERT_FILE"]).read_text().split()[4:8]) not in "".join(bundle.split())


def test_what_a_dockerfile_says_of_trust_stays(project, company):
    said = build(
        project, "debian:bookworm-slim", "ENV SSL_CERT_FILE=/mine.pem", "RUN echo $SSL_CERT_FILE $REQUESTS_CA_BUNDLE"
    )
    assert "/mine.pem /etc/ssl/certs/ca-certificates.crt" in said
