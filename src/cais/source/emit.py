"""Plain values as YAML text, in the style Docker Compose prints: block form, two spaces, quotes where needed."""

from __future__ import annotations

import re
from typing import Any

from cais.source.scalars import resolve

_PLAIN = re.compile(r"[A-Za-z0-9_/.$~<(+=;^-][A-Za-z0-9_/.$@%+=,:;()\[\]{}<>!?'\"^~|&* -]*\Z")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufeff\ufffe\uffff]")
# Words that YAML 1.1 readers take for something else than text; Go's writer quotes them for their sake.
_OLD_WORDS = frozenset(
    ["y", "Y", "yes", "Yes", "YES", "n", "N", "no", "No", "NO", "on", "On", "ON", "off", "Off", "OFF"]
)
_OLD_NUMBER = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?\Z|\d{4}-\d\d?-\d\d?")


def dump(value: Any, *, sort: bool = True, dollars: bool = False) -> str:
    """`dollars` doubles each dollar sign, so that a compose file loaded again means the same."""
    writer = _Writer(sort, dollars)
    if isinstance(value, dict) and value:
        writer.mapping(value, "")
    elif isinstance(value, list) and value:
        writer.sequence(value, "")
    else:
        writer.lines.append(_empty(value) if isinstance(value, (dict, list)) else writer.scalar(value, ""))
    return "\n".join(writer.lines) + "\n"


def _empty(value: Any) -> str:
    return "{}" if isinstance(value, dict) else "[]"


class _Writer:
    def __init__(self, sort: bool, dollars: bool) -> None:
        self.lines: list[str] = []
        self.sort, self.dollars = sort, dollars
        self.known: dict[str, str] = {}

    def scalar(self, value: Any, indent: str) -> str:
        if value.__class__ is str:
            found = self.known.get(value)
            if found is not None:
                return found
            text = value.replace("$", "$$") if self.dollars and "$" in value else value
            found = scalar(text, indent)
            if "\n" not in found:
                self.known[value] = found
            return found
        return scalar(value, indent)

    def mapping(self, value: dict[str, Any], indent: str) -> None:
        lines, known = self.lines, self.known
        inner = indent + "  "
        for key in sorted(value) if self.sort else value:
            item = value[key]
            name = known.get(key) or self.scalar(key, indent)
            if item.__class__ is str:
                lines.append(f"{indent}{name}: {known.get(item) or self.scalar(item, inner)}")
            elif isinstance(item, dict):
                if item:
                    lines.append(f"{indent}{name}:")
                    self.mapping(item, inner)
                else:
                    lines.append(f"{indent}{name}: {{}}")
            elif isinstance(item, list):
                if item:
                    lines.append(f"{indent}{name}:")
                    self.sequence(item, inner)
                else:
                    lines.append(f"{indent}{name}: []")
            else:
                lines.append(f"{indent}{name}: {scalar(item, inner)}")

    def sequence(self, value: list[Any], indent: str) -> None:
        lines, known = self.lines, self.known
        inner = indent + "  "
        for item in value:
            if item.__class__ is str:
                lines.append(f"{indent}- {known.get(item) or self.scalar(item, inner)}")
            elif isinstance(item, (dict, list)):
                if not item:
                    lines.append(f"{indent}- {_empty(item)}")
                    continue
                start = len(lines)
                if isinstance(item, dict):
                    self.mapping(item, inner)
                else:
                    self.sequence(item, inner)
                lines[start] = f"{indent}- {lines[start][len(inner) :]}"
            else:
                lines.append(f"{indent}- {scalar(item, inner)}")


def scalar(value: Any, indent: str = "") -> str:
    if value.__class__ is str:
        return _text(value, indent)
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
