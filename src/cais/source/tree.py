"""What a YAML document becomes: plain Python values in containers that know where their parts stand.

A position is one int (file, line and column packed), because a project of a thousand services has a hundred
thousand of them. `Map.at[key]` is where the key stands, `List.at[index]` where the item does; the value's own
extent is found again from the file when somebody asks (`Sources.span`), which loading itself never does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

LINE_BITS, COLUMN_BITS = 28, 20
FILE_SHIFT = LINE_BITS + COLUMN_BITS
ITEM = 1 << (COLUMN_BITS - 1)  # set in a list item's position: a mapping's first key may stand at the same place
COLUMN_MASK = ITEM - 1
LINE_MASK = (1 << LINE_BITS) - 1

NOWHERE = -1
MAX_DEPTH = 100  # levels of nesting: what walks a tree may recurse


def pack(file: int, line: int, column: int) -> int:
    """`line` and `column` count from 0 here, as YAML readers count."""
    return file << FILE_SHIFT | min(line, LINE_MASK) << COLUMN_BITS | min(column, COLUMN_MASK)


def unpack(position: int) -> tuple[int, int, int]:
    return position >> FILE_SHIFT, position >> COLUMN_BITS & LINE_MASK, position & COLUMN_MASK


class Map(dict[str, Any]):
    """A mapping; `at` holds the position of each key, also of one that was `lose`d."""

    __slots__ = ("at",)

    if TYPE_CHECKING:
        # What stands in a file can be anything: `get` gives Any, not `Any | None`.
        def get(self, key: str, default: Any = None) -> Any: ...

    def __init__(self, items: Any = (), at: dict[str, int] | None = None) -> None:
        dict.__init__(self, items)
        self.at: dict[str, int] = {} if at is None else at

    def put(self, key: str, value: Any, position: int) -> None:
        self[key] = value
        self.at[key] = position

    def drop(self, key: str) -> None:
        if key in self:
            del self[key]
            self.at.pop(key, None)

    def lose(self, key: str) -> None:
        """Take out what was reported and nobody could bear."""
        self.pop(key, None)

    def lost(self, key: str) -> bool:
        """Whether `key` stood here with a value that was taken out: that it is not there now is no news."""
        return key in self.at and key not in self

    def where(self, key: str) -> int:
        return self.at.get(key, NOWHERE)


class List(list[Any]):
    """A sequence; `at` holds the position of each item."""

    __slots__ = ("at",)

    def __init__(self, items: Iterable[Any] = (), at: list[int] | None = None) -> None:
        list.__init__(self, items)
        self.at: list[int] = [] if at is None else at

    def add(self, value: Any, position: int) -> None:
        self.append(value)
        self.at.append(position)

    def where(self, index: int) -> int:
        return self.at[index] if 0 <= index < len(self.at) else NOWHERE


class Tagged:
    """A value under `!reset` or `!override`, until the loader has noted its path."""

    __slots__ = ("tag", "value")

    def __init__(self, tag: str, value: Any) -> None:
        self.tag = tag
        self.value = value


def where(container: Any, key: Any) -> int:
    """The position of `container[key]`, or NOWHERE."""
    if container.__class__ is Map or container.__class__ is List:
        return container.where(key)
    return NOWHERE


def copy(value: Any) -> Any:
    """A copy that shares no container; scalars are immutable and shared."""
    if value.__class__ is Map:
        fresh = Map()
        for key, item in value.items():
            kind = item.__class__
            fresh[key] = copy(item) if kind is Map or kind is List or kind is Tagged else item
        fresh.at = value.at.copy()
        return fresh
    if value.__class__ is List:
        return List([copy(item) for item in value], value.at.copy())
    if value.__class__ is Tagged:
        return Tagged(value.tag, copy(value.value))
    return value


def size(value: Any) -> int:
    """How many values stand in `value`, itself included."""
    if value.__class__ is Map:
        return 1 + sum(map(size, value.values()))
    if value.__class__ is List:
        return 1 + sum(map(size, value))
    if value.__class__ is Tagged:
        return size(value.value)
    return 1
