"""The top layer of a card's image: its files, folders, links and users, and the linker's cache of the whole root."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from cais.catalog.api import DirIn, FileIn, Recipe, User
from cais.fetch.debian import ldcache
from cais.fetch.tar import usr_merged


def lay(root: Path, recipe: Recipe, below: Sequence[str]) -> None:
    """Fill an empty directory with what the recipe lays over `below` (layers, top first).

    A folder that exists below keeps the owner and mode it has there: overlayfs shows those of the topmost layer.
    """
    for one in sorted(recipe.files, key=lambda f: f.path.count("/")):
        path = _place(root, one.path, below)
        if isinstance(one, DirIn):
            path.mkdir(exist_ok=True)
        else:
            path.write_text(one.content, encoding="utf-8")
        _own(path, one)
    for at, target in recipe.links:
        path = _place(root, at, below)
        path.unlink(missing_ok=True)
        path.symlink_to(target)
    if recipe.users:
        _add_users(root, recipe.users, below)
    _add_packages(root, below)
    if recipe.programs:
        etc = _place(root, "/etc/ld.so.cache", below)
        etc.write_bytes(ldcache.build(below))


def _place(root: Path, path: str, below: Sequence[str]) -> Path:
    """The host path of one of ours, its parents made as they are below."""
    inside = usr_merged(path.strip("/"))
    parent = root
    done = ""
    for part in inside.split("/")[:-1]:
        done += f"/{part}"
        parent = parent / part
        if parent.exists():
            continue
        parent.mkdir(mode=0o755)
        parent.chmod(0o755)
        for layer in below:
            try:
                there = os.stat(layer + done, follow_symlinks=False)
            except OSError:
                continue
            parent.chmod(there.st_mode & 0o7777)
            if os.geteuid() == 0:
                os.chown(parent, there.st_uid, there.st_gid)
            break
    return parent / inside.rpartition("/")[2]


def _own(path: Path, one: FileIn | DirIn) -> None:
    if os.geteuid() == 0:  # an ordinary user's namespace has one user; who looks from inside owns all
        os.chown(path, one.uid, one.gid)
    path.chmod(one.mode)


def _add_users(root: Path, users: Sequence[User], below: Sequence[str]) -> None:
    """The image's users in passwd(5), group(5), shadow(5); one of the same name or number gives way."""
    passwd, group = _lines("etc/passwd", below), _lines("etc/group", below)
    shadow, gshadow = _lines("etc/shadow", below), _lines("etc/gshadow", below)
    for user in users:
        passwd = [line for line in passwd if line.split(":")[0] != user.name]
        passwd.append(f"{user.name}:x:{user.uid}:{user.gid}::{user.home}:{user.shell}")
        shadow = [line for line in shadow if line.split(":")[0] != user.name]
        shadow.append(f"{user.name}:!:19000:0:99999:7:::")
        if not any(line.split(":")[2:3] == [str(user.gid)] for line in group):
            group = [line for line in group if line.split(":")[0] != user.name]
            group.append(f"{user.name}:x:{user.gid}:")
            gshadow = [line for line in gshadow if line.split(":")[0] != user.name]
            gshadow.append(f"{user.name}:!::")
    for name, lines, mode in (
        ("passwd", passwd, 0o644),
        ("group", group, 0o644),
        ("shadow", shadow, 0o640),
        ("gshadow", gshadow, 0o640),
    ):
        path = _place(root, f"/etc/{name}", below)
        path.write_text("".join(f"{line}\n" for line in lines))
        path.chmod(mode)
        if mode == 0o640 and os.geteuid() == 0:
            os.chown(path, 0, 42)


def _add_packages(root: Path, below: Sequence[str]) -> None:
    """dpkg's status with the packages of the programs in it, each once."""
    import re

    known: dict[str, str] = {}
    for layer in below:
        for file in sorted(Path(layer).glob("var/lib/dpkg/cais.d/*")):
            for stanza in file.read_text().split("\n\n"):
                if name := re.match(r"Package: (\S+)", stanza):
                    known.setdefault(name[1], stanza)
    if not known:
        return
    status = "\n".join(_lines("var/lib/dpkg/status", below))
    there = set(re.findall(r"(?m)^Package: (\S+)$", status))
    added = [stanza for name, stanza in sorted(known.items()) if name not in there]
    path = _place(root, "/var/lib/dpkg/status", below)
    path.write_text("\n\n".join([status.strip("\n"), *(a.strip("\n") for a in added)]) + "\n\n")


def _lines(path: str, below: Sequence[str]) -> list[str]:
    for layer in below:
        try:
            return (Path(layer) / path).read_text().splitlines()
        except FileNotFoundError:
            continue
    return []
