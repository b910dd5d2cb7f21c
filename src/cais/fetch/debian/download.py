"""Fetch packages side by side and unpack each as it arrives: the network and the two halves of unpacking overlap."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from typing import NamedTuple

from cais.diag.api import CaisError
from cais.fetch import http, tar
from cais.fetch.debian import deb
from cais.fetch.debian.index import Package

THREADS = 6


class Unpacked(NamedTuple):
    package: Package
    control: deb.Control
    paths: list[str]


class Gone(Exception):
    """The mirror no longer has a package that the index names: the index is old."""


def unpack_all(
    packages: Iterable[Package],
    writer: tar.Writer,
    keep: Callable[[tar.Member], bool],
    progress: Callable[[int, int], None] | None = None,
) -> list[Unpacked]:
    """Fetch, verify and unpack. The first failure stops the others and is raised; Gone when a file is missing."""
    packages = sorted(packages, key=lambda p: -p.size)  # the large ones first, so that no large one comes last
    total = sum(p.size for p in packages)
    stop, guard = threading.Event(), threading.Lock()
    fetched = dict.fromkeys((p.name for p in packages), 0)

    def one(package: Package) -> Unpacked:
        if stop.is_set():
            raise _Stopped
        try:
            data = fetch(package, lambda done: note(package, done))
            control, content = deb.parts(data)
            return Unpacked(package, deb.control(control), deb.unpack(content, writer, keep))
        except tar.BadArchive as err:
            stop.set()
            raise CaisError(f"cannot unpack {package.name} {package.version} of Debian: {err}") from err
        except BaseException:
            stop.set()
            raise

    def note(package: Package, done: int) -> None:
        if stop.is_set():
            raise _Stopped
        with guard:
            fetched[package.name] = done
            if progress is not None:
                progress(sum(fetched.values()), total)

    with ThreadPoolExecutor(THREADS) as pool:
        futures = [pool.submit(one, p) for p in packages]
        try:
            wait_for(futures)
        except BaseException:  # ^C: let the threads end soon
            stop.set()
            raise
    failures = [e for f in futures if (e := f.exception()) is not None and not isinstance(e, _Stopped)]
    if failures:
        raise next((e for e in failures if not isinstance(e, Gone)), failures[0])
    return [f.result() for f in futures]


def fetch(package: Package, progress: Callable[[int], None] | None = None) -> bytes:
    """One package's file, with the checksum the signed index gives. A damaged one is fetched once more."""
    what = f"{package.name} {package.version} from Debian"
    for _ in range(2):
        out = io.BytesIO()
        try:
            http.get_into(package.url, out, what=what, size=package.size, progress=progress)
        except http.Missing:
            raise Gone(package.name) from None
        data = out.getvalue()
        if hashlib.sha256(data).hexdigest() == package.sha256:
            return data
    raise CaisError(f"cannot use {what}: the mirror's file does not have the checksum that Debian signed")


class _Stopped(Exception):
    """Another package failed; this one was given up."""
