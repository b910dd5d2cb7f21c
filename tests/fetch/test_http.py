"""Files come whole or not at all, over connections that break."""

import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from cais.diag.api import CaisError
from cais.fetch import http

BODY = bytes(range(256)) * 4096  # 1 MiB


class Server(ThreadingHTTPServer):
    """`/ok`, `/cut` (breaks off half way, twice), `/busy` (503 twice), `/down` (503 for ever), `/gone`, `/away`,
    `/round`."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def count(self, path: str) -> int:
        return sum(p == path for p, _ in self.asked)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((self.path, dict(self.headers)))
        count = self.server.count(self.path)
        start = int(self.headers["Range"][6:-1]) if "Range" in self.headers else 0
        match self.path:
            case "/busy" if count < 3:
                self.answer(503, b"")
            case "/down":
                self.answer(503, b"")
            case "/gone":
                self.answer(404, b"no")
            case "/away":
                self.send_response(302)
                self.send_header("Location", self.server.url.replace("127.0.0.1", "localhost") + "/ok")
                self.send_header("Content-Length", "0")
                self.end_headers()
            case "/round":
                self.send_response(302)
                self.send_header("Location", "/round")
                self.send_header("Content-Length", "0")
                self.end_headers()
            case "/cut" if count < 3:
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(BODY) - start))
                self.end_headers()
                self.wfile.write(BODY[start : start + 300_000])
                self.close_connection = True
            case _:
                self.answer(206 if start else 200, BODY[start:])

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(http, "PAUSES", (0.0, 0.0, 0.0))
    for name in ("http_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server() as made:
        threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
        yield made
        made.shutdown()


def test_a_cut_download_goes_on_where_it_stopped(server: Server) -> None:
    out, seen = io.BytesIO(), []
    http.get_into(f"{server.url}/cut", out, what="the file", size=len(BODY), progress=seen.append)
    assert out.getvalue() == BODY
    assert [headers.get("Range") for _, headers in server.asked] == [None, "bytes=300000-", "bytes=600000-"]
    assert seen == sorted(seen) and seen[-1] == len(BODY)


def test_a_busy_registry_is_asked_again(server: Server) -> None:
    assert http.get(f"{server.url}/busy", what="the file") == BODY
    assert server.count("/busy") == 3


def test_a_registry_that_stays_down_is_named_with_the_file(server: Server) -> None:
    with pytest.raises(http.Silent, match=r"cannot fetch the index of x: 127\.0\.0\.1 kept failing \(it answers 503"):
        http.get(f"{server.url}/down", what="the index of x")
    assert server.count("/down") == 4


def test_a_registry_that_is_not_there_is_named_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "PAUSES", (0.0, 0.0, 0.0))
    with pytest.raises(http.Silent, match=r"does not answer.*refused") as caught:
        http.get("http://127.0.0.1:9/x", what="x")
    assert "proxy" in caught.value.hint


def test_what_is_not_there_is_not_asked_for_twice(server: Server) -> None:
    with pytest.raises(http.Missing):
        http.get(f"{server.url}/gone", what="x")
    assert server.count("/gone") == 1


def test_more_than_was_promised_is_refused(server: Server) -> None:
    with pytest.raises(CaisError, match="more than the 1000 bytes"):
        http.get_into(f"{server.url}/ok", io.BytesIO(), what="x", size=1000)


def test_credentials_do_not_follow_a_redirect_to_another_host(server: Server) -> None:
    assert http.get(f"{server.url}/away", what="x", headers={"Authorization": "Bearer secret"}) == BODY
    (_, first), (_, second) = server.asked
    assert first["Authorization"] == "Bearer secret"
    assert "Authorization" not in second


def test_credentials_of_an_address_are_in_no_message(server: Server) -> None:
    with pytest.raises(CaisError) as error:
        http.get(server.url.replace("://", "://me:s3cret@") + "/round", what="a file")
    assert "redirects" in error.value.message and "s3cret" not in error.value.message


def test_a_connection_is_used_again(server: Server) -> None:
    for _ in range(3):
        http.get(f"{server.url}/ok", what="x")
    pool = http._local.pool
    assert len([key for key in pool if key[1].endswith(str(server.server_address[1]))]) == 1


@pytest.mark.parametrize(
    ("no_proxy", "host", "expected"),
    [
        ("", "mirror.test", "http://proxy:3128"),
        ("mirror.test", "mirror.test", ""),
        (".test", "mirror.test", ""),
        ("other.test,*", "mirror.test", ""),
        ("ror.test", "mirror.test", "http://proxy:3128"),
    ],
)
def test_no_proxy_means_the_host_and_what_is_below_it(
    monkeypatch: pytest.MonkeyPatch, no_proxy: str, host: str, expected: str
) -> None:
    monkeypatch.setenv("http_proxy", "proxy:3128")
    monkeypatch.setenv("no_proxy", no_proxy)
    assert http.proxy_for("http", host) == expected
