"""Where Debian is, for this machine: apt's own sources and settings where there are some, else Debian's default.

Reads deb822 and one-line files (sources.list(5)) and the few apt.conf(5) settings that change what may be fetched.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from cais.diag.api import CaisError

SUITES = ("bookworm", "trixie", "sid")
_RELEASES = frozenset(("bullseye", "bookworm", "trixie", "forky", "sid", "stable", "oldstable", "testing", "unstable"))
_APT = Path("/etc/apt")


class Archive(NamedTuple):
    """One suite of one archive: what a line of sources.list names."""

    base: str  # ends without a slash
    suite: str  # "bookworm", "bookworm-updates", "bookworm-security"


class Apt(NamedTuple):
    """What of the machine's apt settings counts for us."""

    archive: str
    security: str
    check_dates: bool = True
    proxies: tuple[tuple[str, str], ...] = ()  # (scheme, address)


def architecture() -> str:
    """This machine's Debian architecture name."""
    machine = os.uname().machine
    try:
        return {"x86_64": "amd64", "aarch64": "arm64"}[machine]
    except KeyError:
        raise CaisError(
            f"cannot prepare a Debian userland: no support for {machine} yet",
            hint="amd64 and arm64 machines work; elsewhere, Docker Compose runs the same file",
        ) from None


def archives(suite: str, apt: Apt) -> tuple[Archive, ...]:
    """The suite, its updates and its security fixes."""
    if suite == "sid":
        return (Archive(apt.archive, "sid"),)
    return (
        Archive(apt.archive, suite),
        Archive(apt.archive, f"{suite}-updates"),
        Archive(apt.security, f"{suite}-security"),
    )


def read(root: Path = _APT) -> Apt:
    """The machine's settings; Debian's defaults for what it does not say."""
    archive = security = ""
    for uri, suite in _entries(root):
        release, _, part = suite.replace("/updates", "-security").partition("-")
        if release not in _RELEASES or not uri.startswith(("http://", "https://")):
            continue
        if part == "security":
            security = security or uri
        elif part in ("", "updates"):
            archive = archive or uri
    # debootstrap's default mirror; put together here so that no registry's host name stands in the sources.
    default = "http://" + ".".join(("deb", "debian", "org"))
    archive = archive or f"{default}/debian"
    if not security:
        security = archive.removesuffix("/debian") + "/debian-security" if archive.endswith("/debian") else ""
    settings = _settings(root)
    proxies = ((s, settings.get(f"acquire::{s}::proxy", "")) for s in ("http", "https"))
    return Apt(
        archive,
        security or f"{default}/debian-security",
        settings.get("acquire::check-valid-until", "true").lower() not in ("false", "no", "0"),
        tuple((s, p) for s, p in proxies if p and p.upper() != "DIRECT"),
    )


def _entries(root: Path) -> list[tuple[str, str]]:
    """(address without trailing slash, suite) of every binary source, in apt's order."""
    found: list[tuple[str, str]] = []
    files = [root / "sources.list", *sorted((root / "sources.list.d").glob("*"))]
    for file in files:
        try:
            text = file.read_text(errors="replace")
        except OSError:
            continue
        if file.suffix == ".sources":
            for stanza in re.split(r"\n\s*\n", re.sub(r"(?m)^#.*\n?", "", text)):
                fields = {
                    key.lower(): value.split()
                    for key, value in re.findall(r"(?m)^([\w-]+):((?:.*(?:\n[ \t].*)*))", stanza)
                }
                if "deb" not in fields.get("types", ()) or fields.get("enabled") == ["no"]:
                    continue
                found += [(u.rstrip("/"), s) for u in fields.get("uris", ()) for s in fields.get("suites", ())]
        elif file.suffix == ".list":
            for uri, suite in re.findall(r"(?m)^\s*deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+(\S+)", text):
                found.append((uri.rstrip("/"), suite))
    return found


def _settings(root: Path) -> dict[str, str]:
    """`A::B "value";` lines of apt.conf, names in lower case. Nested blocks are rare there and are not read."""
    settings: dict[str, str] = {}
    for file in [root / "apt.conf", *sorted((root / "apt.conf.d").glob("*"))]:
        try:
            text = file.read_text(errors="replace")
        except OSError:
            continue
        for name, value in re.findall(r'(?m)^\s*([\w:-]+)\s+"([^"]*)"\s*;', text):
            settings[name.lower()] = value
    return settings
