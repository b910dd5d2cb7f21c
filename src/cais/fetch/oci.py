"""What digest a tag has, asked of the container registry that holds it: nothing but the manifest's name is fetched.

References are taken apart and made full as distribution/reference does it (`ParseDockerRef`), the questions are those
of the OCI distribution specification 1.1 ("Pulling manifests") and of its token authentication.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import urllib.parse
from pathlib import Path
from typing import Any, NamedTuple

from cais.diag.api import CaisError
from cais.fetch import http

DEFAULT_REGISTRY = ".".join(("docker", "io"))  # what a reference without a registry means
# Both forms of Docker and of OCI, a list of platforms first: a tag's digest is the list's where there is one.
MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_DIGEST = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[0-9a-fA-F]{32,}")  # OCI image specification, "Digests"


class Reference(NamedTuple):
    """`registry/name:tag@digest`, with what is left out in writing filled in. A digest needs no tag."""

    registry: str
    name: str
    tag: str
    digest: str

    def __str__(self) -> str:
        at = f"@{self.digest}" if self.digest else ""
        return f"{self.registry}/{self.name}" + (f":{self.tag}" if self.tag else "") + at


def reference(image: str) -> Reference:
    """The full reference. Raises CaisError for a digest that is none."""
    rest, at, digest = image.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise CaisError(f"cannot read the image reference {image!r}: {digest!r} is no digest")
    first, slash, after = rest.partition("/")
    registry = DEFAULT_REGISTRY
    if slash and ("." in first or ":" in first or first == "localhost"):
        registry, rest = first, after
    name, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        name, tag = rest, ""
    if registry == DEFAULT_REGISTRY and "/" not in name:
        name = f"library/{name}"
    return Reference(registry, name, "" if digest else tag or "latest", digest)


def pin(image: str) -> str:
    """The image's full reference with its digest; a registry is asked only where the digest is not written.

    Raises CaisError: the registry does not answer, has no such image or wants credentials.
    """
    ref = reference(image)
    return str(ref if ref.digest else ref._replace(digest=_digest(ref)))


def _digest(ref: Reference) -> str:
    what = f"the digest of {ref}"
    url = f"{_base(ref.registry)}/v2/{ref.name}/manifests/{ref.tag}"
    headers = {"Accept": MANIFESTS}
    answer = http.ask(url, what=what, headers=headers)
    if answer.status == 401:
        headers["Authorization"] = _authorization(ref, answer.headers.get("www-authenticate", ""), what)
        answer = http.ask(url, what=what, headers=headers)
    if answer.status == 404:
        raise CaisError(f"cannot find {ref}: its registry knows no such image")
    if answer.status != 200:
        hint = "log in to the registry, or check the image's name" if answer.status in (401, 403) else ""
        raise CaisError(f"cannot fetch {what}: {ref.registry} answers {answer.status}", hint=hint)
    return answer.headers.get("docker-content-digest") or "sha256:" + hashlib.sha256(answer.body).hexdigest()


def _base(registry: str) -> str:
    """Docker's rule: plain HTTP only with this machine's loopback (daemon option `insecure-registries`)."""
    if registry == DEFAULT_REGISTRY:
        registry = f"registry-1.{registry}"
    host = urllib.parse.urlsplit(f"//{registry}").hostname or ""
    plain = host in ("localhost", "::1") or host.startswith("127.")
    return f"{'http' if plain else 'https'}://{registry}"


def _authorization(ref: Reference, challenge: str, what: str) -> str:
    """Basic credentials, or a token for them (or for nobody): RFC 6750 and distribution's "Token authentication"."""
    scheme, _, rest = challenge.partition(" ")
    said = dict(re.findall(r'(\w+)="([^"]*)"', rest))
    credentials = _credentials(ref.registry)
    if scheme.lower() == "basic" and credentials:
        return f"Basic {credentials}"
    realm = said.get("realm", "")
    if scheme.lower() != "bearer" or not realm.startswith(("https://", "http://")):
        raise CaisError(f"cannot fetch {what}: {ref.registry} wants credentials", hint="log in to the registry")
    if credentials and realm.startswith("http://") and not _base(ref.registry).startswith("http://"):
        raise CaisError(f"cannot fetch {what}: {ref.registry} wants credentials sent in the clear to {realm}")
    query = {"service": said.get("service", ""), "scope": said.get("scope") or f"repository:{ref.name}:pull"}
    headers = {"Authorization": f"Basic {credentials}"} if credentials else {}
    token = http.ask(f"{realm}?{urllib.parse.urlencode(query)}", what=what, headers=headers)
    try:
        given: Any = json.loads(token.body) if token.status == 200 else {}
        found = given.get("token") or given.get("access_token")
    except (ValueError, AttributeError):
        found = None
    if not isinstance(found, str):
        raise CaisError(
            f"cannot fetch {what}: {ref.registry} gives no token (it answers {token.status})",
            hint="log in to the registry, or check the image's name",
        )
    return f"Bearer {found}"


def _credentials(registry: str) -> str:
    """What `docker login` has left in the client's config.json; helpers that keep them elsewhere are not asked."""
    folder = os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker"
    try:
        auths = json.loads((Path(folder) / "config.json").read_bytes()).get("auths") or {}
    except (OSError, ValueError, AttributeError, RuntimeError):
        return ""
    names = [registry, f"https://{registry}", f"http://{registry}"]
    if registry == DEFAULT_REGISTRY:
        names.append(f"https://index.{registry}/v1/")
    for name in names:
        entry = auths.get(name) if isinstance(auths, dict) else None
        if isinstance(entry, dict) and isinstance(entry.get("auth"), str) and entry["auth"]:
            found: str = entry["auth"]
            return found
        if isinstance(entry, dict) and entry.get("username"):
            return base64.b64encode(f"{entry['username']}:{entry.get('password', '')}".encode()).decode()
    return ""
