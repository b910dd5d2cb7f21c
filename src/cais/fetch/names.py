"""How trees in the cache are called, and where they are looked for. Cheap to import: `up` with nothing to fetch needs
no more of this package.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from cais.diag.api import CaisError
from cais.fetch.api import MavenJars, Source
from cais.fetch.debian import sources as debian
from cais.paths import cache_folder, shared_programs, trusted

USERLAND_LAYOUT = 3  # raise it when what userland.py lays out changes: every userland is then made anew
PROGRAM_LAYOUT = 3

# A userland is Essential, Priority: required, and these. usr-is-merged first: else `usrmerge` comes, with all of perl.
SEEDS = ("usr-is-merged", "apt", "adduser", "ca-certificates", "netbase", "tzdata")
# What Python, Node and the wheels of PyPI link against (manylinux leaves some of these to the system).
COMMON = (
    "libatomic1", "libbz2-1.0", "libcrypt1", "libexpat1", "libffi8", "libgcc-s1", "libgomp1", "liblzma5",
    "libncursesw6", "libsqlite3-0", "libstdc++6", "libuuid1", "zlib1g",
)  # fmt: skip
LIBRARIES: dict[str, tuple[str, ...]] = {
    "bookworm": ("libssl3", "libreadline8", "libgdbm6"),
    "trixie": ("libssl3t64", "libreadline8t64", "libgdbm6t64"),
    "sid": ("libssl3t64", "libreadline8t64", "libgdbm6t64"),
}


def key_of(*parts: object) -> str:
    """A short name for content: the same parts give the same one, on every machine and version of Python."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def userland_name(suite: str) -> str:
    """`<suite>-<key>` of a userland as this version of Cais lays it."""
    key = key_of(USERLAND_LAYOUT, suite, debian.architecture(), SEEDS, COMMON, LIBRARIES[suite])
    return f"{suite}-{key}"


def program_name(
    name: str, version: str, sources: Sequence[Source], links: Sequence[tuple[str, str]], folder: Path | None
) -> str:
    """`<name>-<key>`. Lock files enter by their content, so that a changed lock is another program."""
    locks = []
    for source in sources:
        if isinstance(source, MavenJars):
            locks.append(hashlib.sha256(lock_file(source, folder).read_bytes()).hexdigest())
    shown = [(type(s).__name__, *s) for s in sources]
    return f"{name}-{key_of(PROGRAM_LAYOUT, name, version, shown, links, locks, debian.architecture())}"


def lock_file(source: MavenJars, folder: Path | None) -> Path:
    if folder is None:
        raise CaisError(f"cannot read {source.lock}: the recipe has no card folder", exit_code=3)
    return folder / source.lock


def ready_program(tree: str) -> Path | None:
    """A program's tree when one of the two caches has it."""
    shared = shared_programs()
    homes = [shared / "programs", shared] if shared else []
    for home in (*homes, cache_folder("programs")):
        path: Path = home / tree
        if path.is_dir():
            return trusted(path, "CAIS_PROGRAMS" if home in homes else "CAIS_CACHE")
    return None


def ready_userland(suite: str) -> Path | None:
    path = cache_folder("userlands") / userland_name(suite)
    return trusted(path, "CAIS_CACHE") if path.is_dir() else None
