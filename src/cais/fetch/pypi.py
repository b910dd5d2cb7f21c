"""Wheels of PyPI, or of the index that pip is set up for on this machine: pinned by sha256, unzipped.

The index's address, its credentials, mirrors and certificates are pip's own settings (pip's documentation,
"Configuration": PIP_* variables, then pip.conf of the environment, the user, the machine).
"""

from __future__ import annotations

import configparser
import fnmatch
import functools
import hashlib
import html
import json
import os
import re
import shutil
import sys
import urllib.parse
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from cais.diag.api import CaisError
from cais.fetch import http, tar
from cais.fetch.api import Wheel


class Pip(NamedTuple):
    """What of pip's settings counts: where wheels are."""

    indexes: tuple[str, ...]  # end without a slash
    links: tuple[str, ...]  # folders with files (--find-links; pages of links are not read)
    cafile: str


@functools.cache
def settings() -> Pip:
    """pip's settings on this machine."""
    # pip's default index; put together here so that no registry's host name stands in the sources.
    default = "https://" + ".".join(("pypi", "org")) + "/simple"
    index = _setting("index-url") or default
    extra = (_setting("extra-index-url") or "").split()
    cert = _setting("cert") or ""
    links = tuple((_setting("find-links") or "").split())
    return Pip(tuple(u.rstrip("/") for u in (index, *extra)), links, cert if os.path.isfile(cert) else "")


def _setting(name: str) -> str | None:
    if value := os.environ.get("PIP_" + name.upper().replace("-", "_")):
        return value
    for file in _files():
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (OSError, configparser.Error):
            continue
        for section in ("install", "global"):
            if parser.has_option(section, name):
                return parser.get(section, name)
    return None


def _files() -> list[str]:
    own = os.environ.get("PIP_CONFIG_FILE")
    if own == os.devnull:
        return []
    home = os.path.expanduser("~")
    base = os.environ.get("XDG_CONFIG_HOME") or f"{home}/.config"
    named = [own] if own else []
    return [*named, f"{sys.prefix}/pip.conf", f"{base}/pip/pip.conf", f"{home}/.pip/pip.conf", "/etc/xdg/pip/pip.conf",
            "/etc/pip.conf"]  # fmt: skip


def fetch(wheel: Wheel, into: Path, progress: Callable[[int, int], None] | None = None) -> None:
    """Write the wheel's file to `into`, checked."""
    what = f"{wheel.filename} from PyPI"
    if (here := in_links(wheel)) is not None:
        shutil.copyfile(here, into)
        return
    url, size = find(wheel)
    for _ in range(2):
        with into.open("wb") as out:
            try:
                http.get_into(
                    url, out, what=what, cafile=settings().cafile,
                    progress=None if progress is None else lambda done: progress(done, max(size, done)),
                )  # fmt: skip
            except http.Missing:
                raise CaisError(f"cannot fetch {what}: the index names it but does not have it") from None
        if sha256_of(into) == wheel.sha256:
            return
    into.unlink()
    raise CaisError(f"cannot use {what}: its checksum is not the one this version of Cais was tested with")


def in_links(wheel: Wheel) -> Path | None:
    """The wheel's file in a folder of --find-links, when it is the one that was pinned."""
    for folder in settings().links:
        file = Path(folder.removeprefix("file://")) / wheel.filename
        if file.is_file() and sha256_of(file) == wheel.sha256:
            return file
    return None


def find(wheel: Wheel) -> tuple[str, int]:
    """(address, size or 0) of the wheel's file, from the first index that has it."""
    pip, name = settings(), re.sub(r"[-_.]+", "-", wheel.project).lower()
    for index in pip.indexes:
        page = f"{index}/{name}/"
        # PEP 691: the JSON form where the index has it, HTML (PEP 503) where it has not.
        accept = "application/vnd.pypi.simple.v1+json, text/html;q=0.2"
        try:
            body = http.get(
                page, what=f"the list of {wheel.project}'s files", headers={"Accept": accept}, cafile=pip.cafile
            )
        except http.Missing:
            continue
        for filename, url, size in _listed(body):
            if filename == wheel.filename:
                return urllib.parse.urljoin(page, url), size
    raise CaisError(
        f"cannot fetch {wheel.filename}: no package index that pip is set up for has it",
        hint="a private index must mirror PyPI; see `pip config list`",
    )


def _listed(body: bytes) -> list[tuple[str, str, int]]:
    if body.lstrip()[:1] == b"{":
        return [(f["filename"], f["url"], f.get("size") or 0) for f in json.loads(body)["files"]]
    found = []
    for url, text in re.findall(r'<a\s[^>]*href="([^"]+)"[^>]*>([^<]+)</a>', body.decode("utf-8", "replace")):
        found.append((html.unescape(text).strip(), html.unescape(url).partition("#")[0], 0))
    return found


def unpack(file: Path, wheel: Wheel, root: Path) -> None:
    """Unzip what the recipe wants of the wheel to its prefix."""
    target = root / wheel.prefix.strip("/")
    below = wheel.members.strip("/")
    try:
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                name = tar.clean(info.filename)
                if info.is_dir() or (below and not name.startswith(below + "/")):
                    continue
                name = name[len(below) + 1 :] if below else name
                # zip.external_attr keeps Unix modes in its upper half (PKZIP APPNOTE 4.4.15).
                mode = (info.external_attr >> 16) & 0o777
                executable = mode & 0o111 or any(fnmatch.fnmatch(name, pattern) for pattern in wheel.executable)
                _extract(archive, info, target / name, 0o755 if executable else 0o644)
    except (zipfile.BadZipFile, tar.BadArchive) as err:
        raise CaisError(f"cannot unpack {wheel.filename}: {err}") from err


def _extract(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: Path, mode: int) -> None:
    where.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(info) as source, where.open("wb") as out:
        while chunk := source.read(1 << 20):
            out.write(chunk)
        os.fchmod(out.fileno(), mode)


def sha256_of(file: Path) -> str:
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()
