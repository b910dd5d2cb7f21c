"""`.env` and `env_file` files: `NAME=value` lines with shell-like quotes, comments and variables.

Docker Compose's dialect: `export ` is allowed, `NAME: value` too, a name alone takes its value from the outside,
single quotes keep everything, double quotes know escapes and variables and may span lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple


class Variable(NamedTuple):
    name: str
    value: str | None  # None: a name alone
    line: int  # from 0
    column: int


class EnvFault(Exception):
    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.message, self.line, self.column = message, line, column


_SPACE = " \t\v\f\r\x85\xa0"
_ESCAPE = re.compile(r"\\([abcfnrtv$\"'\\]|0[0-7]{0,3})")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "c": "", "$": "$$"}


Expand = Callable[[str, dict[str, str], int], str]


def read(text: str, expand: Expand) -> list[Variable]:
    """Every variable in order. `expand(value, seen, at)` replaces variables in unquoted and double-quoted values; the
    value begins at the index `at` of `text`. Lines end with a newline (`lines`)."""
    found: list[Variable] = []
    seen: dict[str, str] = {}
    position = 0
    size = len(text)
    while position < size:
        char = text[position]
        if char.isspace():
            position += 1
            continue
        if char == "#":
            end = text.find("\n", position)
            position = size if end < 0 else end + 1
            continue
        position = _statement(text, position, found, seen, expand)
    return found


def _statement(
    text: str,
    position: int,
    found: list[Variable],
    seen: dict[str, str],
    expand: Expand,
) -> int:
    """One variable, from `position`; the index behind it."""
    if text.startswith("export", position) and text[position + 6 : position + 7] in _SPACE:
        position += 6
        while position < len(text) and text[position] in _SPACE:
            position += 1
    start = position
    while position < len(text) and text[position] not in "=:\n":
        char = text[position]
        if not (char in _SPACE or char.isalnum() or char in "_.-[]"):
            raise EnvFault(f'unexpected "{char}" in a variable name', *place(text, position))
        position += 1
    name = text[start:position].rstrip()
    if any(char in name for char in _SPACE):
        raise EnvFault(f'the variable name "{name}" holds a space', *place(text, start))
    line, column = place(text, start)
    if position >= len(text) or text[position] == "\n":
        found.append(Variable(name, None, line, column))
        return position + 1
    position += 1
    while position < len(text) and text[position] in _SPACE:
        position += 1
    begin = position
    quote = text[position : position + 1]
    if quote in ('"', "'") and quote:
        end = position + 1
        while True:
            end = text.find(quote, end)
            if end < 0:
                raise EnvFault(f"the value of {name} opens a quote that is not closed", *place(text, position))
            if text[end - 1] != "\\" or _even(text, position, end):
                break
            end += 1
        value = text[position + 1 : end]
        if quote == '"':
            value = expand(_unescape(value), seen, begin)
        else:
            value = value.replace("\\'", "'")
        position = end + 1
        # what follows on the line may only be a comment; more is read as the next statement
        while position < len(text) and text[position] in _SPACE:
            position += 1
    else:
        end = text.find("\n", position)
        end = len(text) if end < 0 else end
        raw = text[position:end]
        comment = re.search(r"\s#", raw)
        if comment:
            raw = raw[: comment.start()]
        value = expand(raw.rstrip(), seen, begin)
        position = end
    found.append(Variable(name, value, line, column))
    seen[name] = value
    return position


def _even(text: str, start: int, end: int) -> bool:
    """Whether the backslashes before `end` escape each other."""
    count = 0
    while end - 1 - count > start and text[end - 1 - count] == "\\":
        count += 1
    return count % 2 == 0


def _unescape(value: str) -> str:
    def one(match: re.Match[str]) -> str:
        char = match[1]
        if char[0] == "0":
            return chr(int(char, 8) & 0xFF) if len(char) > 1 else "\\"
        return _ESCAPES.get(char, char)

    return _ESCAPE.sub(one, value)


def lines(text: str) -> str:
    """`text` as the readers here take it: a carriage return before a newline is none."""
    return text.replace("\r\n", "\n")


def place(text: str, position: int) -> tuple[int, int]:
    """Line and column, from 0, of an index."""
    return text.count("\n", 0, position), position - (text.rfind("\n", 0, position) + 1)


def read_raw(text: str) -> list[Variable]:
    """`format: raw`: everything behind the first `=` is the value, quotes and dollars included."""
    found: list[Variable] = []
    for line, content in enumerate(text.split("\n")):
        stripped = content.lstrip()
        if not stripped or stripped.startswith("#"):
            continue
        name, equals, value = stripped.partition("=")
        if any(char in name for char in _SPACE):
            raise EnvFault(f'the variable name "{name}" holds a space', line, len(content) - len(stripped))
        if not name:
            raise EnvFault("there is no variable name before the =", line, len(content) - len(stripped))
        found.append(Variable(name.strip(), value if equals else None, line, len(content) - len(stripped)))
    return found
