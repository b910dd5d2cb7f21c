"""Plain values as YAML text, in the style Docker Compose prints: block form, two spaces, quotes where needed."""

from __future__ import annotations

import re
import sys
from functools import lru_cache
from typing import Any

from cais.source.scalars import go_float, resolve

_LETTER = "\u00a0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd"
_PLAIN = re.compile(
    rf"[A-Za-z0-9_/.$~<(+=;^:?\\{_LETTER}-][A-Za-z0-9_/.$@%+=,:;()\[\]{{}}<>!?'\"^~|&*`#\\{_LETTER} -]*\Z"
)
_SPECIAL = re.compile("[^\t\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd]")
_ESCAPED = re.compile('["\\\\\t\n]|' + _SPECIAL.pattern)
_ESCAPES = {
    **dict(zip("\0\a\b\t\n\v\f\r\x1b\x85", "0abtnvfreN", strict=True)),
    **{char: char for char in '"\\'},
    "\u2028": "L",
    "\u2029": "P",
}
# Words that YAML 1.1 readers take for something else than text; Go's writer quotes them for their sake.
_OLD_WORDS = frozenset(
    ["y", "Y", "yes", "Yes", "YES", "n", "N", "no", "No", "NO", "on", "On", "ON", "off", "Off", "OFF"]
)
_OLD_NUMBER = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?\Z")
_DATE = re.compile(r"\d{4}-\d\d?-\d\d?")
_WIDTH = 80  # behind this column a long line is broken
_SIMPLE = 128  # the bytes a key may have that stands before its colon (libyaml, and Go's writer after it)

Shape = dict[str, Any]  # names in their order, each with the shape of what is in it, or None; "*" for every other name

_DIGIT = re.compile("[0-9]")
_PART = re.compile(r"0*([0-9]+)([^\W\d_]?)|.", re.S)
_SIGN, _NUMBER, _LETTER_FROM = 0x30000, 0x60000, 0x61000  # where each kind of sign begins in a name's sorted form
_ASCII = {code: code + (_LETTER_FROM if chr(code).isalpha() else _SIGN) for code in range(0x80)}


def dump(
    value: Any, *, sort: bool = True, dollars: bool = False, shape: Shape | None = None, fold: bool = False
) -> str:
    """`dollars` doubles each dollar sign, so that a compose file loaded again means the same. Keys are sorted, those
    that `shape` names are before the others and in its order. `fold` breaks long lines, as Docker Compose does."""
    writer = _Writer(sort, _WIDTH if fold else sys.maxsize)
    if isinstance(value, dict) and value:
        writer.mapping(value, "", shape)
    elif isinstance(value, list) and value:
        writer.sequence(value, "", shape)
    else:
        writer.lines.append(_empty(value) if isinstance(value, (dict, list)) else writer.scalar(value, ""))
    text = "\n".join(writer.lines) + "\n"
    return text.replace("$", "$$") if dollars else text


def _folded(line: str, begin: int, indent: str) -> str:
    """A line with its scalar at `begin`, broken as libyaml and Go's writer do: at single spaces behind column 80."""
    if "\n" in line:
        return line  # the lines of a block are the text's own
    quote = line[begin] if line[begin] in "'\"" else ""
    first, last = begin + len(quote), len(line) - 1 - len(quote)
    parts: list[str] = []
    done = 0
    at = line.find(" ", _WIDTH + 1)
    while at >= 0:
        if line[at - 1] == " " or not first < at < last or (line[at + 1] == " " and quote != '"'):
            at = line.find(" ", at + 1)
            continue
        parts.append(line[done:at])
        done = at + 1
        if line[done] == " ":  # in double quotes: it would be lost at the beginning of a line
            line, last = f"{line[:done]}\\{line[done:]}", last + 1
        at = line.find(" ", done + _WIDTH + 1 - len(indent))
    parts.append(line[done:])
    return f"\n{indent}".join(parts)


def _empty(value: Any) -> str:
    return "{}" if isinstance(value, dict) else "[]"


@lru_cache(10_000)
def _natural(name: str) -> str:
    """Sorts as Go's YAML writer does: signs before numbers, these by their value, before letters; a letter right
    behind a number comes before all of them."""
    if name.isascii() and not _DIGIT.search(name):
        return name.translate(_ASCII)
    return "".join(map(_part, _PART.finditer(name)))


def _part(found: re.Match[str]) -> str:
    digits = found[1]
    if digits is None:
        code = ord(found[0])
        return chr(code + _LETTER_FROM if found[0].isalpha() else min(code + _SIGN, _NUMBER))
    zeros = found.end(1) - found.start() - len(digits)
    return f"{chr(_NUMBER + min(len(digits), 100))}{digits}{chr(zeros + 1)}{found[2]}"


class _Rank(dict[str, int]):
    def __missing__(self, key: str) -> int:
        return 1000


class _Writer:
    def __init__(self, sort: bool, width: int) -> None:
        self.lines: list[str] = []
        self.sort, self.width = sort, width
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
            found = scalar(value, indent)
            if len(value) <= _SIMPLE // 4 and "\n" not in found:
                self.known[value] = found
            return found
        return scalar(value, indent)

    def long(self, name: str, item: Any, indent: str, shape: Shape | None) -> None:
        """A key of several lines, or longer than a key on one line may be: `? key`, below it `: value`."""
        line = f"{indent}? {name}"
        self.lines.append(line if len(line) <= self.width else _folded(line, len(indent) + 2, indent + "  "))
        start = len(self.lines)
        self.sequence([item], indent, shape)
        self.lines[start] = f"{indent}:{self.lines[start][len(indent) + 1 :]}"

    def mapping(self, value: dict[str, Any], indent: str, shape: Shape | None = None) -> None:
        lines, known, width = self.lines, self.known, self.width
        inner = indent + "  "
        every = shape.get("*") if shape else None
        for key in self.keys(value, shape):
            item = value[key]
            name = known.get(key)
            if name is None:
                name = self.scalar(key, inner)
                if is_long(key, name):
                    self.long(name, item, indent, every or (shape.get(key) if shape else None))
                    continue
            if item.__class__ is str:
                line = f"{indent}{name}: {known.get(item) or self.scalar(item, inner)}"
                lines.append(line if len(line) <= width else _folded(line, len(indent) + len(name) + 2, inner))
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
        lines, known, width = self.lines, self.known, self.width
        inner = indent + "  "
        for item in value:
            if item.__class__ is str:
                line = f"{indent}- {known.get(item) or self.scalar(item, inner)}"
                lines.append(line if len(line) <= width else _folded(line, len(inner), inner))
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


def is_long(key: str, name: str) -> bool:
    """Whether a key, written as `name`, takes several lines or more of one than stands before a colon."""
    return (len(key) > _SIMPLE // 4 and len(key.encode()) > _SIMPLE) or name[0] == "|"


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
        return go_float(value)
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
    if _SPECIAL.search(value):
        return _double(value)
    if "\n" in value:
        return _block(value, indent)
    if "\t" in value or resolve(value) is not value or _DATE.match(value):
        return _double(value)
    doubled = value.replace("'", "''")
    return f"'{doubled}'"


def _double(value: str) -> str:
    return '"' + _ESCAPED.sub(_escape, value) + '"'


def _escape(found: re.Match[str]) -> str:
    char = found[0]
    if char in _ESCAPES:
        return f"\\{_ESCAPES[char]}"
    code = ord(char)
    return f"\\x{code:02X}" if code < 0x100 else f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"


def _block(value: str, indent: str) -> str:
    lines = value.split("\n")
    first = next(filter(None, lines), "\t")[0]
    if not value.strip() or first == "\t" or (first == " " and not lines[0]) or any(one[-1:] == " " for one in lines):
        return _double(value)  # nothing to see, or what a reader would take for indentation or lose
    mark = "|2" if value[0] == " " else "|"  # the indentation is said where the text begins with some of its own
    if not value.endswith("\n"):
        mark += "-"
    else:
        lines.pop()
        if value.endswith("\n\n"):
            mark += "+"
    return "\n".join([mark, *((indent + line) if line else "" for line in lines)])
