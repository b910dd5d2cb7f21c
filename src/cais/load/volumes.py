"""`volumes` in the short form: `[source:]target[:options]`."""

from __future__ import annotations

import posixpath
from typing import Any

_PROPAGATIONS = frozenset(("rprivate", "private", "rshared", "shared", "rslave", "slave"))


def parse(text: str) -> dict[str, Any]:
    """The long form of `text`; ValueError says what is wrong."""
    if not text:
        raise ValueError("a volume cannot be an empty text")
    if len(text) <= 2:
        return {"type": "volume", "target": text}
    source, target, options = split(text)
    volume: dict[str, Any] = {"type": "bind" if is_path(source) else "volume"}
    if source:
        volume["source"] = source
    volume["target"] = target
    bind: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for option in options.split(",") if options else ():
        if option == "ro":
            volume["read_only"] = True
        elif option == "rw":
            volume.pop("read_only", None)
        elif option == "nocopy":
            extra["nocopy"] = True
        elif option in _PROPAGATIONS:
            bind["propagation"] = option
        elif option in ("z", "Z"):
            bind["selinux"] = option
    if volume["type"] == "bind":
        volume["bind"] = {"create_host_path": True, **bind}
        if extra:
            volume["volume"] = extra
    else:
        if bind:
            volume["bind"] = bind
        volume["volume"] = extra
    return volume


def split(text: str) -> tuple[str, str, str]:
    """Source, target and options. A letter before a colon is a Windows drive, `${a:-b}` is one word."""
    parts: list[str] = []
    start = depth = 0
    for index, char in enumerate(text):
        if text.startswith("${", index):
            depth += 1
        elif char == "}" and depth:
            depth -= 1
        elif char == ":" and not depth and not (index - start == 1 and text[start].isalpha()):
            parts.append(text[start:index])
            start = index + 1
    parts.append(text[start:])
    if "" in parts:
        raise ValueError(f'a part between colons of "{text}" is empty')
    if len(parts) > 3:
        raise ValueError(f'"{text}" has too many colons')
    if len(parts) == 1:
        return "", parts[0], ""
    return parts[0], parts[1], parts[2] if len(parts) == 3 else ""


def is_path(source: str) -> bool:
    if not source:
        return False
    return source[0] in "./~" or source.startswith("\\\\") or (source[0].isalpha() and source[1:2] == ":")


def clean(path: str) -> str:
    """A container path without `.`, `..` and doubled slashes; Windows paths stay."""
    if "\\" in path or not path:
        return path
    cleaned = posixpath.normpath(path)
    return cleaned[1:] if cleaned.startswith("//") else cleaned
