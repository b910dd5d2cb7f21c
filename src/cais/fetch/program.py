"""A program: what a card's sources become, one read-only tree that every project shares.

Made once per key (name, version, sources), side by side where it has several; looked for first in `CAIS_PROGRAMS`,
a cache that another user of this machine has filled and this one only reads.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cais.fetch import maven, names, npm, pypi, store
from cais.fetch.api import DebianPackages, MavenArchive, MavenJars, NpmPackage, Source, Wheel
from cais.paths import cache_folder, private_dir

Progress = Callable[[str, int, int], None]


def program(
    name: str,
    version: str,
    sources: Sequence[Source],
    *,
    links: Sequence[tuple[str, str]] = (),
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """The tree of a program, fetched when neither cache has it. `folder` is the card's: its lock files are there."""
    tree = names.program_name(name, version, sources, links, folder)
    known = names.ready_program(tree)
    if known is not None:
        return known
    what = f"{name} {version}"

    def make(root: Path) -> None:
        sums = _Sum(what, progress)
        with ThreadPoolExecutor(max(1, len(sources))) as pool:
            futures = [pool.submit(_place, s, root, tree, folder, sums.part(), progress) for s in sources]
            errors = [e for f in futures if (e := f.exception()) is not None]
        if errors:
            raise errors[0]
        for path, target in links:
            link = root / path.lstrip("/")
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(target)

    return store.tree("programs", tree, make, what=what)


class _Sum:
    """One progress line for a program whose sources come side by side."""

    def __init__(self, what: str, progress: Progress | None) -> None:
        self._what, self._progress, self._lock = what, progress, threading.Lock()
        self._parts: list[tuple[int, int]] = []

    def part(self) -> Callable[[int, int], None]:
        number = len(self._parts)
        self._parts.append((0, 0))

        def note(done: int, total: int) -> None:
            with self._lock:
                self._parts[number] = (done, total)
                if self._progress is not None:
                    self._progress(self._what, sum(d for d, _ in self._parts), sum(t for _, t in self._parts))

        return note


def _place(
    source: Source, root: Path, tree: str, folder: Path | None, note: Callable[[int, int], None],
    progress: Progress | None,
) -> None:  # fmt: skip
    """Fetch one source and unpack it below `root`."""
    match source:
        case DebianPackages():
            from cais.fetch.debian import layer

            layer.place(source, root, tree, note, progress)
        case MavenJars():
            maven.fetch_jars(maven.read_lock(names.lock_file(source, folder)), root / source.prefix.strip("/"), note)
        case Wheel():
            _file(source.sha256, lambda at: pypi.fetch(source, at, note), lambda at: pypi.unpack(at, source, root))
        case NpmPackage():
            name = names.key_of(source.integrity)
            _file(name, lambda at: npm.fetch(source, at, note), lambda at: npm.unpack(at, source, root))
        case MavenArchive():
            jar = maven.Jar(source.path, 0, source.sha256)
            _file(
                source.sha256,
                lambda at: maven.fetch(jar, at, lambda done: note(done, done)),
                lambda at: maven.unpack_archive(at, source, root),
            )


def _file(name: str, fetch: Callable[[Path], None], unpack: Callable[[Path], None]) -> None:
    """Fetch to a file of this process, unpack it, remove it."""
    file = private_dir(cache_folder("tmp")) / f"download-{name}.{os.getpid()}.{threading.get_ident()}"
    try:
        fetch(file)
        unpack(file)
    finally:
        file.unlink(missing_ok=True)
