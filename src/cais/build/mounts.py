"""`RUN --mount=…`: what each asks for, read and checked."""

import os
from typing import NamedTuple

from cais.build.config import Scope, fault
from cais.source.formats.dockerfile import Flag, Instruction

_KEYS = {
    "bind": ["type", "target", "dst", "destination", "source", "src", "from", "rw", "readwrite", "ro", "readonly"],
    "cache": [
        "type",
        "id",
        "target",
        "dst",
        "destination",
        "ro",
        "readonly",
        "sharing",
        "from",
        "source",
        "src",
        "mode",
        "uid",
        "gid",
    ],
    "tmpfs": ["type", "target", "dst", "destination", "size"],
    "secret": ["type", "id", "src", "source", "target", "dst", "destination", "required", "mode", "uid", "gid", "env"],
}
_BARE = {"rw", "readwrite", "ro", "readonly", "required"}
_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


class Asked(NamedTuple):
    """One mount after expansion. `target` is absolute, "" for a secret that is only an environment variable."""

    kind: str
    target: str
    flag: Flag
    id: str = ""
    source: str = ""
    source_from: str = ""
    write: bool = False
    sharing: str = "shared"
    required: bool = False
    env: str = ""
    size: int = 0
    mode: int | None = None
    uid: int = 0
    gid: int = 0


def read(instruction: Instruction, scope: Scope) -> list[Asked]:
    return [_one(flag, scope) for flag in instruction.all_flags("mount")]


def _one(flag: Flag, scope: Scope) -> Asked:
    given: dict[str, str] = {}
    for part in scope.expand(flag.value or "", flag.span).split(","):
        key, equals, value = part.partition("=")
        key = key.strip().lower()
        if not equals and key not in _BARE:
            raise fault("dockerfile-mount", f"--mount cannot read {part!r}", flag.span, "write key=value pairs")
        given[key] = value if equals else "true"
    kind = given.get("type", "bind")
    if kind == "ssh":
        raise fault(
            "dockerfile-mount-ssh",
            "--mount=type=ssh is not carried out: a build does not get your ssh agent",
            flag.span,
            "pass a deploy token as a build secret, or build this service with Docker",
        )
    if kind not in _KEYS:
        raise fault("dockerfile-mount", f"there is no mount type {kind!r}", flag.span, "bind, cache, tmpfs or secret")
    for key in given:
        if key not in _KEYS[kind]:
            raise fault("dockerfile-mount", f"a {kind} mount has no option {key!r}", flag.span)
    target = given.get("target") or given.get("dst") or given.get("destination") or ""
    source = given.get("source") or given.get("src") or ""
    name = given.get("id", "")
    if kind == "secret":
        name = name or os.path.basename(source or target)
        if not name:
            raise fault("dockerfile-mount", "a secret mount needs an id", flag.span)
        if not target and "env" not in given:
            target = f"/run/secrets/{name}"
    elif not target:
        raise fault("dockerfile-mount", f"a {kind} mount needs a target", flag.span)
    if target:
        target = scope.path(target).rstrip("/") or "/"
        if target == "/":
            raise fault("dockerfile-mount", "a mount cannot be the whole root", flag.span)
    return Asked(
        kind,
        target,
        flag,
        name or target,
        source,
        given.get("from", ""),
        (kind == "cache" and not _yes(given, "ro", "readonly")) or _yes(given, "rw", "readwrite"),
        given.get("sharing", "shared"),
        _yes(given, "required"),
        given.get("env", ""),
        _size(given.get("size", "0"), flag),
        _octal(given["mode"], flag) if "mode" in given else None,
        _number(given.get("uid", "0"), flag),
        _number(given.get("gid", "0"), flag),
    )


def _yes(given: dict[str, str], *names: str) -> bool:
    return any(given.get(name, "false").lower() in {"true", "1", ""} for name in names)


def _number(text: str, flag: Flag) -> int:
    if not text.isdigit():
        raise fault("dockerfile-mount", f"{text!r} is not a number", flag.span)
    return int(text)


def _octal(text: str, flag: Flag) -> int:
    try:
        return int(text, 8)
    except ValueError as err:
        raise fault("dockerfile-mount", f"mode {text!r} is not octal", flag.span) from err


def _size(text: str, flag: Flag) -> int:
    number = text.lower().removesuffix("b").removesuffix("i")
    unit = _UNITS.get(number[-1:], 1)
    digits = number.rstrip("kmg")
    if not digits.isdigit():
        raise fault("dockerfile-mount", f"{text!r} is not a size", flag.span)
    return int(digits) * unit
