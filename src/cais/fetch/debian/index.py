"""What a suite has: the signed Release file, checked with the keys this package ships, and the Packages files it
names by hash (Debian wiki, DebianRepository/Format). Later suites of one release (updates, security) win by version.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import re
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from cais.diag.api import CaisError
from cais.fetch import http, store
from cais.fetch.debian import sources
from cais.fetch.debian.version import Version
from cais.paths import cache_folder, private_dir

FRESH = 12 * 3600.0  # an index younger than this is used without asking the network


class Package(NamedTuple):
    """One stanza of a Packages file, as far as it counts here."""

    name: str
    version: str
    architecture: str
    url: str
    size: int
    sha256: str
    depends: str
    provides: str
    priority: str
    essential: bool


class Relation(NamedTuple):
    name: str
    relation: str = ""
    version: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.relation} {self.version})" if self.relation else self.name


_RELATION = re.compile(r"^\s*([a-z0-9][a-z0-9+.-]*)(?::\w+)?\s*(?:\(\s*([<>=]+)\s*([^\s)]+)\s*\))?\s*$")


def relations(text: str) -> list[list[Relation]]:
    """`a (>= 1), b | c` as a list of alternatives."""
    found = []
    for group in text.split(","):
        alternatives = []
        for one in group.split("|"):
            if match := _RELATION.match(one):
                alternatives.append(Relation(match[1], match[2] or "", match[3] or ""))
        if alternatives:
            found.append(alternatives)
    return found


class Index:
    """The packages of one suite, its updates and its security fixes, read lazily out of the Packages files."""

    def __init__(self, suite: str, files: Iterable[tuple[str, bytes]]) -> None:
        self.suite = suite
        self._files = list(files)  # (base address, content)
        self._at: dict[str, list[tuple[int, int]]] = {}
        self._provided: dict[str, list[str]] = {}
        self._read: dict[str, Package] = {}
        for number, (_, text) in enumerate(self._files):
            for match in re.finditer(rb"(?:\A|\n\n)Package: ([^\n]+)\n", text):
                self._at.setdefault(match[1].decode(), []).append((number, match.start()))
            for match in re.finditer(rb"\nProvides: ([^\n]+)\n", text):
                start = text.rfind(b"\nPackage: ", 0, match.start()) + 10
                owner = text[start : text.index(b"\n", start)].decode()
                for alternatives in relations(match[1].decode()):
                    self._provided.setdefault(alternatives[0].name, []).append(owner)

    def package(self, name: str) -> Package | None:
        """The newest version of a package, or None when the suite has none of that name."""
        known = self._read.get(name)
        if known is None and name in self._at:
            known = max((self._stanza(*at) for at in self._at[name]), key=lambda p: Version(p.version))
            self._read[name] = known
        return known

    def providers(self, name: str) -> list[Package]:
        """Packages that say `Provides: name`, the important ones first."""
        found = {p.name: p for n in self._provided.get(name, ()) if (p := self.package(n))}
        return sorted(found.values(), key=lambda p: (_PRIORITY.get(p.priority, 9), p.name))

    def every(self, wanted: Callable[[Package], bool], marks: Iterable[bytes]) -> list[Package]:
        """Packages with one of `marks` as a line (`Priority: required`) for which `wanted` holds."""
        names: set[str] = set()
        for _, text in self._files:
            for mark in marks:
                for match in re.finditer(rb"\n" + re.escape(mark) + rb"\n", text):
                    start = text.rfind(b"\nPackage: ", 0, match.start()) + 10
                    if start == 9:  # the first stanza of the file
                        start = 9
                    names.add(text[start : text.index(b"\n", start)].decode())
        return [p for n in sorted(names) if (p := self.package(n)) and wanted(p)]

    def _stanza(self, number: int, start: int) -> Package:
        base, text = self._files[number]
        end = text.find(b"\n\n", start + 2)
        fields = dict(re.findall(r"(?m)^([A-Za-z0-9-]+): (.*)$", text[start : end if end >= 0 else None].decode()))
        both = [fields.get("Pre-Depends", ""), fields.get("Depends", "")]
        return Package(
            name=fields["Package"],
            version=fields["Version"],
            architecture=fields["Architecture"],
            url=f"{base}/{fields['Filename']}",
            size=int(fields["Size"]),
            sha256=fields["SHA256"],
            depends=", ".join(filter(None, both)),
            provides=fields.get("Provides", ""),
            priority=fields.get("Priority", ""),
            essential=fields.get("Essential") == "yes",
        )


_PRIORITY = {"required": 0, "important": 1, "standard": 2, "optional": 3}

_loaded: dict[str, Index] = {}
_silent: dict[str, http.Silent] = {}
_locks: dict[str, threading.Lock] = {}
_guard = threading.Lock()


def load(suite: str, *, refresh: bool = False, progress: Callable[[str, int, int], None] | None = None) -> Index:
    """The index of a suite: from this process, from the cache when it is young, else from Debian.

    `refresh` asks Debian again, as when a package it named is gone.
    """
    with _guard:
        lock = _locks.setdefault(suite, threading.Lock())
    with lock:
        if not refresh and suite in _loaded:
            return _loaded[suite]
        if suite in _silent:  # who waited for the lock meanwhile need not find out once more
            raise _silent[suite]
        with store.explained(f"the index of Debian {suite}"), store.locked(f"debian-{suite}"):
            apt = sources.read()
            for scheme, proxy in apt.proxies:
                for base in (apt.archive, apt.security):
                    http.use_proxy(scheme, http.host_of(base), proxy)
            archives = sources.archives(suite, apt)
            try:
                with ThreadPoolExecutor(len(archives)) as pool:
                    files = list(pool.map(lambda a: (a.base, _packages(a, apt, refresh, progress)), archives))
            except http.Silent as err:
                _silent[suite] = err
                raise
            index = Index(suite, files)
        _loaded[suite] = index
        return index


def forget() -> None:
    """Give back the memory the indexes take (about 90 MB each); call it when everything is fetched."""
    _loaded.clear()
    _silent.clear()


def _packages(
    archive: sources.Archive, apt: sources.Apt, refresh: bool, progress: Callable[[str, int, int], None] | None
) -> bytes:
    home = private_dir(cache_folder("debian") / archive.suite)
    release = _release(archive, apt, home, refresh)
    path = f"main/binary-{sources.architecture()}/Packages.xz"
    match = re.search(rf"(?m)^ ([0-9a-f]{{64}}) +(\d+) {re.escape(path)}$", release)
    if match is None:
        raise CaisError(f"cannot use Debian {archive.suite}: its Release file names no {path}")
    sha256, size = match[1], int(match[2])
    what = f"the index of Debian {archive.suite}"
    kept = home / f"Packages-{sha256[:16]}.xz"
    try:
        data = kept.read_bytes()
        if hashlib.sha256(data).hexdigest() == sha256:
            return lzma.decompress(data)
    except FileNotFoundError:
        pass
    folder = f"{archive.base}/dists/{archive.suite}/main/binary-{sources.architecture()}"
    # by-hash names stay right while a mirror is being updated (Acquire-By-Hash).
    url = f"{folder}/by-hash/SHA256/{sha256}" if "\nAcquire-By-Hash: yes" in release else f"{folder}/Packages.xz"
    if progress is not None:
        progress(what, 0, size)
    try:
        data = http.get(url, what=what)
    except http.Missing:
        raise CaisError(
            f"cannot fetch {what}: the mirror lacks {http.bare(url)}", hint="try again when its update is done"
        ) from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise CaisError(f"cannot use {what}: it does not have the checksum that Debian signed")
    if progress is not None:
        progress(what, size, size)
    for old in home.glob("Packages-*.xz"):
        old.unlink(missing_ok=True)
    scratch = home / f".{kept.name}.{os.getpid()}"
    scratch.write_bytes(data)
    scratch.replace(kept)
    return lzma.decompress(data)


def _release(archive: sources.Archive, apt: sources.Apt, home: Path, refresh: bool) -> str:
    """The verified text of InRelease."""
    kept = home / "InRelease"
    what = f"the Release file of Debian {archive.suite}"
    if not refresh and kept.exists() and time.time() - kept.stat().st_mtime < FRESH:
        return verified(kept.read_bytes(), archive.suite, check_dates=False)
    try:
        data = http.get(f"{archive.base}/dists/{archive.suite}/InRelease", what=what, limit=4 << 20)
    except http.Missing:
        raise CaisError(f"cannot use Debian {archive.suite}: {http.bare(archive.base)} has no such suite") from None
    text = verified(data, archive.suite, check_dates=apt.check_dates)
    scratch = home / f".InRelease.{os.getpid()}"
    scratch.write_bytes(data)
    scratch.replace(kept)
    return text


def verified(signed: bytes, suite: str, *, check_dates: bool) -> str:
    """The signed text of an InRelease file; raises CaisError unless one of our keys signed it for this suite."""
    import pysequoia

    certs = certificates()
    try:
        result = pysequoia.verify(bytes=signed, store=lambda _: certs)
    except Exception:  # the wheel raises its own errors as RuntimeError and friends
        raise CaisError(
            f"cannot use Debian {suite}: the signature of its Release file is not one of Debian's",
            hint="is something between this machine and the mirror changing files? "
            "a newer Cais may know a newer key of Debian",
        ) from None
    text = (result.bytes or b"").decode()
    head = text.partition("SHA256:")[0]
    names = re.findall(r"(?m)^(?:Suite|Codename): (\S+)$", head)
    # An attacker may not give us another suite's file, however well signed: that of trixie names no security fixes.
    if suite not in names:
        raise CaisError(f"cannot use Debian {suite}: the mirror sent the Release file of {' / '.join(names)}")
    if check_dates and (match := re.search(r"(?m)^Valid-Until: (.+)$", head)):
        from email.utils import parsedate_to_datetime

        until = parsedate_to_datetime(match[1])
        if until.timestamp() < time.time():
            raise CaisError(
                f"cannot use Debian {suite}: its Release file was valid until {match[1]}, the mirror is out of date",
                hint='use another mirror, or allow it as for apt: Acquire::Check-Valid-Until "false" in apt.conf',
            )
    return text


_keys: list[object] = []


def certificates() -> list[object]:
    """The certificates this package ships (keys/README.md)."""
    if not _keys:
        import pysequoia

        data = resources.files("cais.fetch").joinpath("keys/debian-archive.pgp").read_bytes()
        _keys.extend(pysequoia.Cert.split_bytes(data))
    return _keys
