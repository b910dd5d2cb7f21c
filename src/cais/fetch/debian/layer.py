"""Debian packages as a program layer: unpacked over nothing, with what their maintainer scripts would leave behind
as far as a program needs it. The layer lies below the userland of its suite, whose packages it does not repeat.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec

from cais.fetch import names, store, tar
from cais.fetch.api import DebianPackages
from cais.fetch.debian import download, dpkg, index, resolve, userland
from cais.paths import cache_folder

Progress = Callable[[str, int, int], None]
STATUS = "cais.d"  # beside dpkg's status: the stanzas a program's layer adds to it


def place(
    source: DebianPackages, root: Path, tree: str, note: Callable[[int, int], None], progress: Progress | None
) -> None:
    """Unpack the packages of a source below `root`, and write down what was taken."""
    target = root / source.prefix.strip("/")
    target.mkdir(parents=True, exist_ok=True)
    for attempt in (False, True):
        found = index.load(source.suite, refresh=attempt, progress=progress)
        if source.alone:
            chosen = [p for p in resolve.closure(found, source.packages) if p.name in _names(source.packages)]
        else:
            chosen = resolve.closure(found, source.packages, userland.contents(source.suite, progress))
        try:
            # A program's files belong to root whoever reads them: the layer is only read, and shared.
            unpacked = download.unpack_all(chosen, tar.Writer(str(target), merged_usr=True), userland.wanted, note)
            break
        except download.Gone:
            if attempt:
                raise
            store.remove(target)  # the index was old: once more with a new one
            target.mkdir(parents=True)
    for one in unpacked:
        script = one.control.files.get("postinst", b"").decode(errors="replace")
        _alternatives(target, script)
    # An interpreter that a card brings is the image's own, pip's and uv's to install into (PEP 668).
    for marker in target.glob("usr/lib/python3.*/EXTERNALLY-MANAGED"):
        marker.unlink()
    _bytecode(target, source.suite)
    if not source.alone and target == root:
        # What apt in an image of this program must know, else `purge --auto-remove` takes the program's libraries
        # away. Those taken without their dependencies are kept from it: it would want to mend them.
        status = root / "var/lib/dpkg" / STATUS
        status.mkdir(parents=True, exist_ok=True)
        stanzas = dpkg.describe(root, sorted(unpacked, key=lambda u: u.package.name))
        (status / names.key_of(source)).write_text(stanzas)
    taken = {u.package.name: u.package.version for u in sorted(unpacked, key=lambda u: u.package.name)}
    lock = cache_folder("programs") / f"{tree}.lock.json"
    before: dict[str, str] = msgspec.json.decode(lock.read_bytes()) if lock.exists() else {}
    store.write_text(lock, msgspec.json.format(msgspec.json.encode(before | taken), indent=1).decode() + "\n")


def _names(packages: tuple[str, ...]) -> set[str]:
    return {index.relations(p)[0][0].name for p in packages}


def _alternatives(root: Path, script: str) -> None:
    """`update-alternatives --install` with plain words, as postinst scripts have it; the first one stays."""
    for line in re.sub(r"\\\n", " ", script).splitlines():
        if "update-alternatives" not in line or "--install" not in line or "$" in line:
            continue
        try:
            words = shlex.split(line.partition("#")[0])
        except ValueError:
            continue
        if "--install" not in words:  # spoken of, not asked for
            continue
        at = words.index("--install")
        found = [words[at + 1 : at + 4]]
        found += [words[n + 1 : n + 4] for n, word in enumerate(words) if word == "--slave"]
        for entry in found:
            if len(entry) < 3 or "/man/" in entry[0]:
                continue
            link, name, path = entry
            if not (root / path.lstrip("/")).exists() or (root / "etc/alternatives" / name).is_symlink():
                continue
            (root / "etc/alternatives").mkdir(parents=True, exist_ok=True)
            (root / "etc/alternatives" / name).symlink_to(path)
            where = root / tar.usr_merged(link.lstrip("/"))
            where.parent.mkdir(parents=True, exist_ok=True)
            if not where.exists() and not where.is_symlink():
                where.symlink_to(f"/etc/alternatives/{name}")


def _bytecode(root: Path, suite: str) -> None:
    """python3.x-minimal.postinst byte-compiles the library; without it every start compiles what it imports.

    The interpreter just unpacked does it, through the userland's own dynamic linker, so no sandbox is needed.
    """
    for library in (root / "usr/lib").glob("python3.*"):
        binary = root / "usr/bin" / library.name
        if not binary.exists() or not (library / "compileall.py").exists():
            continue
        base = userland.userland(suite)
        linker = next(base.glob("usr/lib64/ld-linux-*"), None) or next(base.glob("usr/lib/ld-linux-*"))
        paths = [str(p) for r in (root, base) for p in (r / "usr/lib").glob("*-linux-gnu")]
        subprocess.run(
            [str(linker), "--library-path", ":".join(paths), str(binary), "-S", "-E", "-m", "compileall", "-q",
             "-j", "2", "-s", str(root), "-p", "/", "-x", "/(?:tests?|idlelib|turtledemo)/", str(library)],
            env={"PYTHONHOME": str(root / "usr"), "PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, timeout=300,
        )  # fmt: skip
