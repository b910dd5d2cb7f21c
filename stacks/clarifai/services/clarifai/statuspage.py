"""The small HTTP side of a service that is not a web application: /health, /ready, /metrics and its own pages.

The watcher and the scheduler use it; a web framework there would cost half a second of every start.
"""

import json
import logging
import threading
from collections.abc import Callable, Mapping
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

log = logging.getLogger(__name__)


class Answer(NamedTuple):
    status: int
    body: Any  # a value that becomes JSON, or bytes with `content_type`
    content_type: str = "application/json"


class Request(NamedTuple):
    method: str
    path: str
    token: str  # the bearer token, or ""


Page = Callable[[Request], Answer]


def ready_answer(checks: Mapping[str, str | None]) -> Answer:
    """`{"postgres": None, "core": "connection refused"}`: None is well, a text is what is wrong."""
    waiting = {name: reason for name, reason in checks.items() if reason}
    body = {"ready": not waiting, "checks": {name: reason or "ok" for name, reason in checks.items()}}
    return Answer(503 if waiting else 200, body)


def metrics_page(_: Request) -> Answer:
    return Answer(200, generate_latest(), CONTENT_TYPE_LATEST)


def health_page(_: Request) -> Answer:
    return Answer(200, {"alive": True})


def plain(value: object) -> str:
    """What JSON has no word for: times as ISO 8601."""
    return value.isoformat() if isinstance(value, date) else str(value)


def serve(port: int, pages: Mapping[str, Page], fallback: Page | None = None) -> ThreadingHTTPServer:
    """Starts answering in a thread of its own and returns at once. `pages` is asked by path, then `fallback`."""
    known = {"/health": health_page, "/metrics": metrics_page, **pages}

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            path = self.path.partition("?")[0]
            page = known.get(path, fallback)
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            try:
                answer = page(Request(self.command, path, token)) if page else Answer(404, {"error": "no such page"})
            except Exception as error:
                log.exception("page failed", extra={"path": path})
                answer = Answer(500, {"error": f"{type(error).__name__}: {error}"})
            body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body, default=plain).encode()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer

        def log_message(self, format: str, *args: Any) -> None:
            """Probes come ten times a second; the log is for what happens."""

    server = ThreadingHTTPServer(("0.0.0.0", port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server
