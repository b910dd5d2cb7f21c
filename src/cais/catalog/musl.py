"""Alpine's tags on the Debian userland: `apk`, BusyBox's `adduser` and `addgroup`, its shell, and the small programs
that Alpine has and Debian's minimal system lacks. `make` lays this over the recipe of any card whose tag says alpine.
"""

from __future__ import annotations

import functools
from pathlib import Path

from cais.catalog.api import DebianPackages, FileIn, ImageRef, Program, Recipe
from cais.model.image import FIDELITY_ORDER, NEAR

_HOME = Path(__file__).with_name("alpine")
# BusyBox applets that scripts and healthchecks in Alpine images call. Its shell first: `set -o pipefail`, `[[`,
# `source`, `${x:0:3}` and `echo -e` work in every Alpine script and in no dash.
_APPLETS = (
    "sh ash free ftpget fuser httpd ifconfig ip killall less lsof netstat nslookup pgrep ping pkill ps route "
    "telnet top traceroute unzip uptime vi watch xxd"
)


def is_alpine(ref: ImageRef) -> bool:
    """`3.12-alpine`, `alpine3.20`, `16.4-alpine3.20`."""
    return any(word.startswith("alpine") for word in ref.tag.split("-"))


def on_debian(recipe: Recipe, ref: ImageRef) -> Recipe:
    """The recipe with Alpine's commands laid over it; near at best, which is said."""
    differs = recipe.differs
    if not any("Alpine" in sentence for sentence in differs):
        differs = (*differs, f"{ref.text} is Alpine (musl, busybox): here the same programs run on Debian")
    return recipe._replace(
        programs=(*recipe.programs, tools(recipe.suite)),
        files=(*files(), *recipe.files),
        links=(*links(), *recipe.links),
        fidelity=max(recipe.fidelity, NEAR, key=FIDELITY_ORDER.index),
        differs=differs,
    )


def tools(suite: str) -> Program:
    return Program(f"busybox-{suite}", "2", (DebianPackages(suite, ("busybox", "wget", "netcat-openbsd")),))


@functools.cache
def files() -> tuple[FileIn, ...]:
    apk, accounts = (_HOME / "apk.sh").read_text(), (_HOME / "adduser.sh").read_text()
    return (
        FileIn("/sbin/apk", apk, 0o755),
        FileIn("/usr/share/cais/apk-packages", (_HOME / "packages.txt").read_text()),
        FileIn("/usr/bin/nc", (_HOME / "nc.sh").read_text(), 0o755),
        *(FileIn(f"/usr/local/sbin/{n}", accounts, 0o755) for n in ("adduser", "addgroup", "deluser", "delgroup")),
    )


def links() -> tuple[tuple[str, str], ...]:
    return tuple((f"/usr/bin/{name}", "busybox") for name in _APPLETS.split())
