"""Plain values as YAML text, in the style Docker Compose prints: block form, two spaces, quotes where needed."""

from __future__ import annotations

import re
from typing import Any

from cais.source.scalars import resolve

_LETTER = "\u00a1-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd"
_PLAIN = re.compile(
    rf"[A-Za-z0-9_/.$~<(+=;^:?\\{_LETTER}-][A-Za-z0-9_/.$@%+=,:;()\[\]{{}}<>!?'\"^~|&*`#\\{_LETTER} -]*\Z"
)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufeff\ufffe\uffff]")
# Words that YAML 1.1 readers take for something else than text; Go's writer quotes them for their sake.
_OLD_WORDS = frozenset(
    ["y", "Y", "yes", "Yes", "YES", "n", "N", "no", "No", "NO", "on", "On", "ON", "off", "Off", "OFF"]
)
_OLD_NUMBER = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?\Z")
_DATE = re.compile(r"\d{4}-\d\d?-\d\d?")


Shape = dict[str, Any]  # names in their order, each with the shape of what is in it, or None; "*" for every other name

_DIGIT, _DIGITS = re.compile("[0-9]"), re.compile("0*([0-9]+)")
_LETTERS = {ord(letter): ord(letter) + 0x100 for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"}


def dump(value: Any, *, sort: bool = True, dollars: bool = False, shape: Shape | None = None) -> str:
    """`dollars` doubles each dollar sign, so that a compose file loaded again means the same. Keys are sorted, those
    that `shape` names are before the others and in its order."""
    writer = _Writer(sort, dollars)
    if isinstance(value, dict) and value:
        writer.mapping(value, "", shape)
    elif isinstance(value, list) and value:
        writer.sequence(value, "", shape)
    else:
        writer.lines.append(_empty(value) if isinstance(value, (dict, list)) else writer.scalar(value, ""))
    return "\n".join(writer.lines) + "\n"


def _empty(value: Any) -> str:
    return "{}" if isinstance(value, dict) else "[]"


def _natural(name: str) -> str:
    """Sorts as Go's YAML writer does: signs before numbers, these by their value, before letters."""
    if _DIGIT.search(name):
        name = _DIGITS.sub(_by_value, name)
    return name.translate(_LETTERS)


def _by_value(number: re.Match[str]) -> str:
    digits = number[1]
    return f"{chr(0x80 + min(len(digits), 100))}{digits}"


class _Rank(dict[str, int]):
    def __missing__(self, key: str) -> int:
        return 1000


class _Writer:
    def __init__(self, sort: bool, dollars: bool) -> None:
        self.lines: list[str] = []
        self.sort, self.dollars = sort, dollars
        self.known: dict[str, str] = {}
        self.ranks: dict[int, _Rank] = {}  # by the id of the shape

    def keys(self, value: dict[str, Any], shape: Shape | None) -> list[str]:
        keys = sorted(value, key=_natural) if self.sort else list(value)
        if shape:
            rank = self.ranks.get(id(shape))
            if rank is None:
                rank = self.ranks[id(shape)] = _Rank(zip(shape, range(len(shape)), strict=True))
            keys.sort(key=rank.__getitem__)
        return keys

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

    def mapping(self, value: dict[str, Any], indent: str, shape: Shape | None = None) -> None:
        lines, known = self.lines, self.known
        inner = indent + "  "
        every = shape.get("*") if shape else None
        for key in self.keys(value, shape):
            item = value[key]
            name = known.get(key) or self.scalar(key, indent)
            if item.__class__ is str:
                lines.append(f"{indent}{name}: {known.get(item) or self.scalar(item, inner)}")
            elif isinstance(item, dict):
                if item:
                    lines.append(f"{indent}{name}:")
                    self.mapping(item, inner, every or (shape.get(key) if shape else None))
                else:
                    lines.append(f"{indent}{name}: {{}}")
            elif isinstance(item, list):
                if item:
                    lines.append(f"{indent}{name}:")
                    self.sequence(item, inner, every or (shape.get(key) if shape else None))
                else:
                    lines.append(f"{indent}{name}: []")
            else:
                lines.append(f"{indent}{name}: {scalar(item, inner)}")

    def sequence(self, value: list[Any], indent: str, shape: Shape | None = None) -> None:
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
                    self.mapping(item, inner, shape)
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
        and not value.startswith(("- ", ": ", "? ", "---", "...", "= "))
        and value not in ("-", "?", "<<")
        and value not in _OLD_WORDS
        and resolve(value) is value
        and not _OLD_NUMBER.match(value)
        and not _DATE.match(value)
    ):
        return value
    if "\n" in value and not _CONTROL.search(value) and "\r" not in value and "\x85" not in value:
        return _block(value, indent)
    if _CONTROL.search(value) or any(char in value for char in "\t\r\n\x85\u2028\u2029"):
        import json

        return json.dumps(value, ensure_ascii=True)
    if resolve(value) is not value or _DATE.match(value):
        return f'"{value}"'
    doubled = value.replace("'", "''")
    return f"'{doubled}'"


def _block(value: str, indent: str) -> str:
    lines = value.split("\n")
    first = next((line for line in lines if line), " ")
    if first[0] in " \t" or any(line and not line.strip() for line in lines):
        import json

        return json.dumps(value, ensure_ascii=False)
    mark = "|-"
    if value.endswith("\n"):
        mark = "|"
        lines.pop()
        if value.endswith("\n\n"):
            mark = "|+"
    return "\n".join([mark, *((indent + line) if line else "" for line in lines)])
