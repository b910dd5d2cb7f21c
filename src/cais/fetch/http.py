"""Get files over HTTP(S): connections kept open, proxies of the environment, retries, and one clear sentence
when a registry does not answer. The standard library alone, so that it works wherever Cais does.

A connection belongs to a thread (http.client is not thread-safe) and is used again for the next file of the same
host: 213 jars over eight connections take 1.5 s, over 213 connections 20.
"""

from __future__ import annotations

import base64
import http.client
import os
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping
from typing import BinaryIO, NamedTuple, TypeVar

from cais import __version__
from cais.diag.api import CaisError

CONNECT_TIMEOUT = 6.0
READ_TIMEOUT = 30.0
PAUSES = (0.3, 1.0, 2.5)  # between the four tries
CHUNK = 256 * 1024
REDIRECTS = 8
_BUSY = frozenset((408, 425, 429, 500, 502, 503, 504))

T = TypeVar("T")
_local = threading.local()


class Missing(Exception):
    """The server says 404 or 410: there is no such file."""


class Silent(CaisError):
    """No answer from a host after every try. One such message is enough: who sees it stops asking."""


class _Again(Exception):
    """This try failed in a way that the next may not."""

    def __init__(self, why: str, pause: float = 0.0) -> None:
        super().__init__(why)
        self.pause = pause


def get(
    url: str, *, what: str, headers: Mapping[str, str] | None = None, cafile: str = "", limit: int = 1 << 28
) -> bytes:
    """The whole body, at most `limit` bytes. `what` names it in messages: "the index of bookworm"."""

    def once() -> bytes:
        response = _open(url, headers or {}, cafile)
        parts, size = [], 0
        while chunk := response.read(CHUNK):
            parts.append(chunk)
            size += len(chunk)
            if size > limit:
                _drop(url)
                raise CaisError(f"cannot fetch {what}: it is larger than {limit} bytes")
        _check_whole(response)
        return b"".join(parts)

    return _retry(url, what, once)


def get_into(
    url: str,
    out: BinaryIO,
    *,
    what: str,
    size: int = 0,
    headers: Mapping[str, str] | None = None,
    cafile: str = "",
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write the body to `out`, going on where a broken connection stopped when the server can do that.

    `progress` gets the number of bytes that are there so far; `size` is what they must become, 0 when not known.
    """
    done = 0

    def once() -> None:
        nonlocal done
        asked = dict(headers or {})
        if done:
            asked["Range"] = f"bytes={done}-"
        response = _open(url, asked, cafile)
        if done and response.status != 206:  # the server starts again from the beginning
            done = 0
            out.seek(0)
            out.truncate()
        while chunk := response.read(CHUNK):
            out.write(chunk)
            done += len(chunk)
            if size and done > size:
                _drop(url)
                raise CaisError(f"cannot fetch {what}: the server sent more than the {size} bytes it should have")
            if progress is not None:
                progress(done)
        _check_whole(response)
        if size and done < size:
            raise _Again(f"the connection ended after {done} of {size} bytes")

    _retry(url, what, once)


class Answer(NamedTuple):
    """What a server said, whatever it is. Names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


def ask(url: str, *, what: str, headers: Mapping[str, str] | None = None, limit: int = 1 << 22) -> Answer:
    """One answer, its status left to the caller to judge; no redirect is followed. A busy server is asked again."""

    def once() -> Answer:
        response = _once(url, headers or {}, "")
        body = response.read(limit)
        if response.status in _BUSY:
            raise _Again(f"it answers {response.status} {response.reason}")
        if response.length:  # more than anybody needs: this connection cannot be used again
            _drop(url)
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)

    return _retry(url, what, once)


def answers(url: str, *, headers: Mapping[str, str] | None = None, cafile: str = "") -> str:
    """One try, for `doctor`: "" when the registry answers (that it has no such file is an answer), else why not."""
    try:
        _open(url, headers or {}, cafile)
    except Missing:
        return ""
    except CaisError as err:
        return (
            "it answers" + err.message.rpartition(" answers")[2] if " answers" in err.message else "it redirects badly"
        )
    except _Again as err:
        return str(err)
    except socket.gaierror:
        return "the name cannot be resolved"
    except ssl.SSLCertVerificationError:
        return "its certificate is not trusted"
    except (http.client.HTTPException, OSError, ValueError) as err:
        return _words(err)
    finally:
        _drop(url)
    return ""


def _retry(url: str, what: str, once: Callable[[], T]) -> T:
    why, answered = "", False
    for pause in (*PAUSES, -1.0):
        try:
            return once()
        except _Again as err:
            why, wait, answered = str(err), err.pause, True
        except socket.gaierror as err:
            why, wait = f"the name cannot be resolved ({err.strerror or err})", 0.0
        except ssl.SSLCertVerificationError as err:
            raise CaisError(
                f"cannot fetch {what}: the certificate of {host_of(url)} is not trusted ({err.verify_message})",
                hint="if your network has a certificate authority of its own, name its file in SSL_CERT_FILE",
            ) from err
        except (TimeoutError, http.client.HTTPException, OSError) as err:
            why, wait = _words(err), 0.0
        _drop(url)
        if pause >= 0:
            time.sleep(min(max(wait, pause), 20.0))
    verb = "kept failing" if answered else "does not answer"
    proxy = proxy_for(urllib.parse.urlsplit(url).scheme, host_of(url))
    through = f" through the proxy {bare(proxy)}" if proxy else ""
    raise Silent(
        f"cannot fetch {what}: {host_of(url)} {verb}{through} ({why}; tried {len(PAUSES) + 1} times)",
        hint="check the network and the proxy settings; what is already in the cache needs neither",
    )


def _words(err: Exception) -> str:
    if isinstance(err, TimeoutError):
        return "nothing came within the time limit"
    if isinstance(err, http.client.RemoteDisconnected):
        return "the connection was closed without an answer"
    if isinstance(err, http.client.IncompleteRead):
        return "the connection ended in the middle of the file"
    if isinstance(err, OSError) and err.strerror:
        return err.strerror.lower()
    return str(err) or type(err).__name__


def _check_whole(response: http.client.HTTPResponse) -> None:
    # read(n) does not raise when the peer closes early (CPython gh-90535); `length` is what is still due.
    if response.length:
        raise _Again(f"the connection ended {response.length} bytes before the end of the file")


def _open(url: str, headers: Mapping[str, str], cafile: str) -> http.client.HTTPResponse:
    """The response with its body unread, after redirects; raises Missing, CaisError or _Again."""
    first_host = host_of(url)
    for _ in range(REDIRECTS):
        response = _once(url, headers, cafile)
        if response.status not in (301, 302, 303, 307, 308):
            break
        response.read()
        target = urllib.parse.urljoin(url, response.getheader("Location") or "")
        if urllib.parse.urlsplit(url).scheme == "https" and not target.startswith("https:"):
            raise CaisError(f"cannot fetch {bare(url)}: it redirects to {bare(target)}, which is not HTTPS")
        if host_of(target) != first_host:  # credentials are for the host they were written for
            headers = {k: v for k, v in headers.items() if k.lower() != "authorization"}
        url = target
    else:
        raise CaisError(f"cannot fetch {bare(url)}: more than {REDIRECTS} redirects")
    if response.status in (200, 206):
        return response
    _drop(url)
    if response.status in (404, 410):
        raise Missing(url)
    if response.status in _BUSY:
        pause = response.getheader("Retry-After") or ""
        raise _Again(f"it answers {response.status} {response.reason}", float(pause) if pause.isdigit() else 0.0)
    hint = "give the credentials where the client of that registry has them" if response.status in (401, 403) else ""
    raise CaisError(f"cannot fetch {bare(url)}: {host_of(url)} answers {response.status} {response.reason}", hint=hint)


def _once(url: str, headers: Mapping[str, str], cafile: str) -> http.client.HTTPResponse:
    parts = urllib.parse.urlsplit(url)
    proxy = proxy_for(parts.scheme, parts.hostname or "")
    path = urllib.parse.quote(parts.path or "/", safe="/%:@!$&'()*+,;=~") + (f"?{parts.query}" if parts.query else "")
    sent = {"User-Agent": f"cais/{__version__}", "Accept-Encoding": "identity", **headers}
    if parts.username and "Authorization" not in sent:
        sent["Authorization"] = _basic(parts.username, parts.password or "")
    if proxy and parts.scheme == "http":
        path = f"{parts.scheme}://{_netloc(parts)}{path}"
        where = urllib.parse.urlsplit(proxy)
        if where.username:
            sent["Proxy-Authorization"] = _basic(where.username, where.password or "")
    connection, used = _connection(parts, proxy, cafile)
    try:
        connection.request("GET", path, headers=sent)
        return connection.getresponse()
    except (http.client.RemoteDisconnected, ConnectionError, BrokenPipeError):
        if not used:
            raise
    # A connection that was kept open may have been closed by the other side meanwhile: that is no failure.
    _drop(url)
    connection, _ = _connection(parts, proxy, cafile)
    connection.request("GET", path, headers=sent)
    return connection.getresponse()


def _connection(parts: urllib.parse.SplitResult, proxy: str, cafile: str) -> tuple[http.client.HTTPConnection, bool]:
    pool: dict[tuple[str, str], http.client.HTTPConnection] = _local.__dict__.setdefault("pool", {})
    key = (parts.scheme, _netloc(parts))
    kept = pool.get(key)
    if kept is not None and kept.sock is not None:
        return kept, True
    host, port = parts.hostname or "", parts.port
    through = urllib.parse.urlsplit(proxy) if proxy else None
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = _context(cafile)
        if through:
            connection = http.client.HTTPSConnection(
                through.hostname or "", through.port or 8080, timeout=CONNECT_TIMEOUT, context=context
            )
            auth = {"Proxy-Authorization": _basic(through.username, through.password or "")} if through.username else {}
            connection.set_tunnel(host, port or 443, headers=auth)
        else:
            connection = http.client.HTTPSConnection(host, port or 443, timeout=CONNECT_TIMEOUT, context=context)
    elif parts.scheme == "http":
        connection = http.client.HTTPConnection(
            (through.hostname if through else host) or "",
            (through.port or 8080) if through else (port or 80),
            timeout=CONNECT_TIMEOUT,
        )
    else:
        raise CaisError(f"cannot fetch {bare(urllib.parse.urlunsplit(parts))}: only http and https addresses are read")
    connection.connect()
    if connection.sock is not None:
        connection.sock.settimeout(READ_TIMEOUT)
    pool[key] = connection
    return connection, False


def _drop(url: str) -> None:
    parts = urllib.parse.urlsplit(url)
    connection = _local.__dict__.get("pool", {}).pop((parts.scheme, _netloc(parts)), None)
    if connection is not None:
        connection.close()


_contexts: dict[str, ssl.SSLContext] = {}


def _context(cafile: str) -> ssl.SSLContext:
    """The machine's trust store (SSL_CERT_FILE moves it, as OpenSSL has it), or the file a client's settings name."""
    context = _contexts.get(cafile)
    if context is None:
        try:
            context = _contexts[cafile] = ssl.create_default_context(cafile=cafile or None)
        except OSError as err:
            raise CaisError(f"cannot read the certificates in {cafile}: {err.strerror}") from err
    return context


_proxies: dict[tuple[str, str], str] = {}


def use_proxy(scheme: str, host: str, proxy: str) -> None:
    """A proxy that a registry's client has in its own settings, for that host; the environment's goes first."""
    _proxies[scheme, host] = proxy


def proxy_for(scheme: str, host: str) -> str:
    """The proxy's address for a host, or "": http_proxy, https_proxy, all_proxy, no_proxy, as curl reads them."""
    env = os.environ
    proxy = env.get(f"{scheme}_proxy") or (env.get("HTTPS_PROXY") if scheme == "https" else None)
    proxy = proxy or env.get("all_proxy") or env.get("ALL_PROXY") or ""
    if not proxy:
        return _proxies.get((scheme, host), "")
    for name in (env.get("no_proxy") or env.get("NO_PROXY") or "").split(","):
        name = name.strip().lstrip(".").lower()
        if name == "*" or (name and (host.lower() == name or host.lower().endswith("." + name))):
            return ""
    return proxy if "://" in proxy else f"http://{proxy}"


def host_of(url: str) -> str:
    return urllib.parse.urlsplit(url).hostname or url


def _netloc(parts: urllib.parse.SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]


def bare(url: str) -> str:
    """The address without the user and password it may carry."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(parts._replace(netloc=_netloc(parts)))


def _basic(user: str, password: str) -> str:
    both = f"{urllib.parse.unquote(user)}:{urllib.parse.unquote(password)}"
    return "Basic " + base64.b64encode(both.encode()).decode()
