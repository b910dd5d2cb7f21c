"""clarifai-core as the watcher and the scheduler call it: one small request at a time, on the standard library."""

import http.client
import json
import urllib.parse
from typing import Any, NamedTuple

from clarifai.environment import setting


class CoreAway(Exception):
    """No answer, or an answer that says "later" (5xx): the same request may be made again."""


class CoreRefused(Exception):
    """The request itself is wrong (4xx): making it again would not help."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class Core(NamedTuple):
    host: str
    port: int
    token: str
    timeout: float = 30.0

    def call(self, method: str, path: str, body: bytes | dict[str, Any] | None = None) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"}
        if isinstance(body, dict):
            body = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        connection = http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise CoreAway(f"{self.host}:{self.port}: {error or type(error).__name__}") from error
        finally:
            connection.close()
        if answer.status >= 500:
            raise CoreAway(f"{method} {path}: {answer.status} {text[:200]}")
        value = json.loads(text)
        if answer.status >= 400:
            raise CoreRefused(answer.status, str(value.get("detail", text[:200])))
        return value

    def state(self) -> str | None:
        """None when core is ready, else what is wrong: one line of a /ready page."""
        try:
            self._replace(timeout=2.0).call("GET", "/ready")
        except (CoreAway, CoreRefused) as error:
            return str(error)
        return None


def note_path(path: str) -> str:
    return "/notes/" + urllib.parse.quote(path)


def from_environment() -> Core:
    address = urllib.parse.urlsplit(setting("CORE_URL", "http://clarifai-core:8000"))
    return Core(address.hostname or "clarifai-core", address.port or 80, setting("CORE_TOKEN"))
