"""Plain values as YAML text, in the style Docker Compose prints: block form, two spaces, quotes where needed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cais.source.scalars import resolve

_PLAIN = re.compile(r"[A-Za-z0-9_/.$~<(+=;^-][A-Za-z0-9_/.$@%+=,:;()\[\]{}<>!?'\"^~|&* -]*\Z")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufeff\ufffe\uffff]")
# Words that YAML 1.1 readers take for something else than text; Go's writer quotes them for their sake.
_OLD_WORDS = frozenset(
    ["y", "Y", "yes", "Yes", "YES", "n", "N", "no", "No", "NO", "on", "On", "ON", "off", "Off", "OFF"]
)
_OLD_NUMBER = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?\Z|\d{4}-\d\d?-\d\d?")


def dump(value: Any, *, sort: bool = True) -> str:
    lines: list[str] = []
    _write(value, "", lines, sort)
    return "\n".join(lines) + "\n"


def _write(value: Any, indent: str, lines: list[str], sort: bool) -> None:
    if isinstance(value, Mapping):
        if not value:
            lines.append(indent + "{}")
        for key in sorted(value) if sort else value:
            _entry(f"{indent}{scalar(key)}:", value[key], indent + "  ", lines, sort)
    elif isinstance(value, list):
        if not value:
            lines.append(indent + "[]")
        for item in value:
            _item(item, indent, lines, sort)
    else:
        lines.append(indent + scalar(value, indent))


def _entry(head: str, value: Any, inner: str, lines: list[str], sort: bool) -> None:
    kind = value.__class__
    if kind is str:
        lines.append(f"{head} {scalar(value, inner)}")
    elif isinstance(value, (Mapping, list)):
        if value:
            lines.append(head)
            _write(value, inner, lines, sort)
        else:
            lines.append(head + (" {}" if isinstance(value, Mapping) else " []"))
    else:
        lines.append(f"{head} {scalar(value, inner)}")


def _item(item: Any, indent: str, lines: list[str], sort: bool) -> None:
    if isinstance(item, (Mapping, list)) and item:
        start = len(lines)
        _write(item, indent + "  ", lines, sort)
        lines[start] = f"{indent}- {lines[start][len(indent) + 2 :]}"
    elif isinstance(item, (Mapping, list)):
        lines.append(indent + ("- {}" if isinstance(item, Mapping) else "- []"))
    else:
        lines.append(f"{indent}- {scalar(item, indent + '  ')}")


_known: dict[str, str] = {}


def scalar(value: Any, indent: str = "") -> str:
    if value.__class__ is str:
        found = _known.get(value)
        if found is None:
            found = _text(value, indent)
            if "\n" not in found:
                _known[value] = found
        return found
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, float):
        if value != value:
            return ".nan"
        if value in (float("inf"), float("-inf")):
            return ".inf" if value > 0 else "-.inf"
        return repr(value)
    return str(value)


def _text(value: str, indent: str) -> str:
    if (
        _PLAIN.match(value)
        and ": " not in value
        and " #" not in value
        and value[-1] not in " :"
        and not value.startswith(("- ", "---", "...", "= "))
        and value not in ("-", "=", "<<")
        and value not in _OLD_WORDS
        and resolve(value) is value
        and not _OLD_NUMBER.match(value)
    ):
        return value
    if "\n" in value and not _CONTROL.search(value) and "\r" not in value and "\x85" not in value:
        return _block(value, indent)
    if _CONTROL.search(value) or any(char in value for char in "\t\r\n\x85\u2028\u2029"):
        import json

        return json.dumps(value, ensure_ascii=True)
    if "'" in value or resolve(value) is not value or value in _OLD_WORDS:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"'{value}'"


def _block(value: str, indent: str) -> str:
    lines = value.split("\n")
    if lines[0][:1] in (" ", "\t") or not lines[0] or any(line and not line.strip() for line in lines):
        import json

        return json.dumps(value, ensure_ascii=False)
    mark = "|-"
    if value.endswith("\n"):
        mark = "|"
        lines.pop()
        if value.endswith("\n\n"):
            mark = "|+"
    return "\n".join([mark, *((indent + line) if line else "" for line in lines)])
