"""Tarballs of the npm registry, or of the one that npm is set up for here: pinned by integrity, unpacked.

Registry, tokens and certificates come from npm's own settings (npm-config(1): npm_config_* variables, then the .npmrc
of the user, then the machine's).
"""

from __future__ import annotations

import base64
import fnmatch
import functools
import gzip
import hashlib
import io
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from cais.diag.api import CaisError
from cais.fetch import http, tar
from cais.fetch.api import NpmPackage


class Npm(NamedTuple):
    registry: str  # ends without a slash
    token: str
    cafile: str


@functools.cache
def settings() -> Npm:
    """npm's settings on this machine."""
    found: dict[str, str] = {}
    files = [_variable("userconfig") or os.path.expanduser("~/.npmrc"), "/etc/npmrc",
             "/usr/etc/npmrc", "/usr/local/etc/npmrc", f"{sys.prefix}/etc/npmrc"]  # fmt: skip
    for file in files:
        try:
            text = Path(file).read_text(errors="replace")
        except OSError:
            continue
        for line in text.splitlines():
            key, equals, value = line.partition("=")
            if equals and not line.lstrip().startswith(("#", ";")):
                value = re.sub(r"\$\{(\w+)\}", lambda m: os.environ.get(m[1], ""), value.strip().strip('"'))
                found.setdefault(key.strip(), value)
    for name in ("registry", "cafile"):
        if said := _variable(name):
            found[name] = said
    # npm's default registry; put together here so that no registry's host name stands in the sources.
    registry = (found.get("registry") or "https://" + ".".join(("registry", "npmjs", "org"))).rstrip("/")
    cafile = found.get("cafile", "")
    token = found.get(registry.partition(":")[2] + "/:_authToken", "")
    return Npm(registry, token, cafile if os.path.isfile(cafile) else "")


def _variable(name: str) -> str:
    """npm reads its variables in either case."""
    return os.environ.get(f"npm_config_{name}") or os.environ.get(f"NPM_CONFIG_{name.upper()}") or ""


def fetch(package: NpmPackage, into: Path, progress: Callable[[int, int], None] | None = None) -> None:
    """Write the package's tarball to `into`, checked."""
    npm = settings()
    what = f"{package.package} {package.version} from npm"
    base = package.package.rpartition("/")[2]
    url = f"{npm.registry}/{package.package}/-/{base}-{package.version}.tgz"
    headers = {"Authorization": f"Bearer {npm.token}"} if npm.token else {}
    for _ in range(2):
        with into.open("wb") as out:
            try:
                http.get_into(
                    url, out, what=what, headers=headers, cafile=npm.cafile,
                    progress=None if progress is None else lambda done: progress(done, done),
                )  # fmt: skip
            except http.Missing:
                raise CaisError(f"cannot fetch {what}: the registry does not have it") from None
        if _matches(into, package.integrity):
            return
    into.unlink()
    raise CaisError(f"cannot use {what}: its checksum is not the one this version of Cais was tested with")


def _matches(file: Path, integrity: str) -> bool:
    """Subresource Integrity: `sha512-<base64>`."""
    algorithm, _, wanted = integrity.partition("-")
    if algorithm not in ("sha512", "sha384", "sha256"):
        raise CaisError(f"cannot check a file by {algorithm}: the recipe must name a sha512 integrity")
    with file.open("rb") as data:
        return base64.b64encode(hashlib.file_digest(data, algorithm).digest()).decode() == wanted


def unpack(file: Path, package: NpmPackage, root: Path) -> None:
    target, below = package.prefix.strip("/"), package.members.strip("/")
    unpack_tar(gzip.decompress(file.read_bytes()), root, target, below, package.executable, str(package.package))


def unpack_tar(
    data: bytes, root: Path, prefix: str, below: str, executable: tuple[str, ...] = (), what: str = "the archive"
) -> None:
    """Unpack a plain tar that belongs to nobody in particular: all owned by root, 0644 and 0755."""
    writer = tar.Writer(str(root), owners=False)
    try:
        for member, content in tar.members(cast(BinaryIO, io.BytesIO(data))):
            path = member.path
            if below:
                if not path.startswith(below + "/"):
                    continue
                path = path[len(below) + 1 :]
            runs = member.mode & 0o111 or any(fnmatch.fnmatch(path, pattern) for pattern in executable)
            mode = 0o755 if runs or member.kind == tar.DIRECTORY else 0o644
            link = (
                f"{prefix}/{tar.clean(member.link)[len(below) + 1 if below else 0 :]}"
                if member.kind == tar.HARDLINK
                else member.link
            )
            writer.write(
                member._replace(
                    path=f"{prefix}/{path}".strip("/"),
                    mode=mode,
                    link=link.lstrip("/") if member.kind == tar.HARDLINK else link,
                ),
                content,
            )
    except tar.BadArchive as err:
        raise CaisError(f"cannot unpack {what}: {err}") from err
