"""Debian version numbers: the order of deb-version(7)."""

from __future__ import annotations

import re
from functools import total_ordering

_PIECES = re.compile(r"(\D*)(\d*)")


@total_ordering
class Version:
    """`[epoch:]upstream[-revision]`, compared as dpkg does: letters before others, `~` before the end."""

    __slots__ = ("_key", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        epoch, colon, rest = text.partition(":")
        if not colon:
            epoch, rest = "0", text
        upstream, dash, revision = rest.rpartition("-")
        if not dash:
            upstream, revision = rest, ""
        self._key = (int(epoch) if epoch.isdigit() else 0, _key(upstream), _key(revision))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self._key == other._key

    def __lt__(self, other: Version) -> bool:
        return self._key < other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return f"Version({self.text!r})"

    def meets(self, relation: str, other: str) -> bool:
        """Is this `>= other`, `<< other`…; an empty relation is met by all."""
        if not relation:
            return True
        than = Version(other)
        match relation:
            case "<<":
                return self < than
            case "<=" | "<":
                return self <= than
            case "=":
                return self == than
            case ">=" | ">":
                return self >= than
            case ">>":
                return self > than
        raise ValueError(f"no such relation: {relation}")


def _key(part: str) -> tuple[tuple[tuple[int, ...], int], ...]:
    # The end of the text sorts after `~` and before everything else: rank 0, with `~` at -1.
    pieces = [((*(_rank(c) for c in text), 0), int(digits or 0)) for text, digits in _PIECES.findall(part)]
    while pieces and pieces[-1] == ((0,), 0):
        pieces.pop()
    return (*pieces, ((0,), 0))


def _rank(char: str) -> int:
    if char == "~":
        return -1
    return ord(char) if char.isalpha() else ord(char) + 256
