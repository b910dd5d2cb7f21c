"""dpkg's database for an unpacked tree, so that apt and dpkg inside it know what is installed (dpkg(1), FILES)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from cais.fetch.debian.download import Unpacked

_SCRIPTS = ("preinst", "postinst", "prerm", "postrm", "config")


def write(root: Path, packages: Iterable[Unpacked], *, architecture: str) -> None:
    """Everything installed and configured: status, info, triggers, empty diversions."""
    home = root / "var/lib/dpkg"
    for folder in ("info", "updates", "triggers", "alternatives", "parts"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    (home / "info/format").write_text("1\n")
    (home / "arch").write_text(f"{architecture}\n")
    for empty in (
        "available",
        "diversions",
        "statoverride",
        "lock",
        "lock-frontend",
        "triggers/Lock",
        "triggers/Unincorp",
    ):
        (home / empty).touch()
    packages = sorted(packages, key=lambda u: u.package.name)
    by_path: list[str] = []
    by_name: dict[str, list[str]] = {}
    for one in packages:
        for line in one.control.files.get("triggers", b"").decode().splitlines():
            directive, _, trigger = line.partition("#")[0].strip().partition(" ")
            if not directive.startswith("interest"):
                continue
            mode = "/noawait" if directive == "interest-noawait" else ""
            if trigger.startswith("/"):
                by_path.append(f"{trigger} {_stem(one)}{mode}\n")
            else:
                by_name.setdefault(trigger.strip(), []).append(f"{_stem(one)}{mode}\n")
    (home / "status").write_text(describe(root, packages))
    (home / "triggers/File").write_text("".join(by_path))
    for trigger, interested in by_name.items():
        (home / "triggers" / trigger).write_text("".join(interested))


def describe(root: Path, packages: Iterable[Unpacked]) -> str:
    """Write what info/ holds of the packages; returns their stanzas for the status file, an empty line after each."""
    info = root / "var/lib/dpkg/info"
    info.mkdir(parents=True, exist_ok=True)
    stanzas = []
    for one in packages:
        (info / f"{_stem(one)}.list").write_text("".join(f"{p}\n" for p in one.paths))
        for name, content in one.control.files.items():
            file = info / f"{_stem(one)}.{name}"
            file.write_bytes(content)
            if name in _SCRIPTS:
                file.chmod(0o755)
        stanzas.append(_stanza(root, one) + "\n")
    return "".join(stanzas)


def _stem(one: Unpacked) -> str:
    """How dpkg calls the files of a package: several architectures of one may be there at once."""
    fields = one.control.fields
    return f"{fields['Package']}:{fields['Architecture']}" if fields.get("Multi-Arch") == "same" else fields["Package"]


def _stanza(root: Path, one: Unpacked) -> str:
    """The package's own control text with its state, and the checksums of its configuration files."""
    lines = one.control.text.rstrip("\n").split("\n")
    lines.insert(1, "Status: install ok installed")
    conffiles = one.control.files.get("conffiles", b"").decode().split("\n")
    sums = _md5(root, [c for c in conffiles if c.startswith("/")])
    if sums:
        lines.append("Conffiles:")
        lines += [f" {path} {md5}" for path, md5 in sums]
    return "\n".join(lines) + "\n"


def _md5(root: Path, paths: Iterable[str]) -> list[tuple[str, str]]:
    import hashlib

    found = []
    for path in paths:
        try:
            content = (root / path[1:]).read_bytes()
        except OSError:
            continue
        found.append((path, hashlib.md5(content, usedforsecurity=False).hexdigest()))
    return found


def alternative(
    root: Path, name: str, link: str, path: str, priority: int, slaves: Iterable[tuple[str, str, str]] = ()
) -> None:
    """`update-alternatives --install link name path priority`; slaves are (name, link, path)."""
    both = [(name, link, path), *slaves]
    (root / "etc/alternatives").mkdir(parents=True, exist_ok=True)
    for this, at, target in both:
        _link(root / "etc/alternatives" / this, target)
        _link(root / at[1:], f"/etc/alternatives/{this}")
    admin = root / "var/lib/dpkg/alternatives"
    admin.mkdir(parents=True, exist_ok=True)
    lines = ["auto", link]
    for this, at, _ in slaves:
        lines += [this, at]
    lines += ["", path, str(priority), *(target for _, _, target in slaves), "", ""]
    (admin / name).write_text("\n".join(lines))


def _link(path: Path, target: str) -> None:
    if path.is_symlink() or path.exists():
        path.unlink()
    os.symlink(target, path)
