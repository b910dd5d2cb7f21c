"""YAML text to `Map`, `List` and scalars, by libyaml's events (PyYAML's C parser).

Scalars are resolved as Docker Compose's reader does (the YAML 1.2 core schema with YAML 1.1 octals, no
`yes`/`no`, no sexagesimals). Aliases are copied, merge keys folded, and the number of values an alias may
bring in is bounded, so that a bomb ends at once.
"""

from __future__ import annotations

from typing import Any

from cais.source.libyaml import CParser, MarkedYAMLError, ReaderError
from cais.source.scalars import resolve
from cais.source.tree import COLUMN_BITS, FILE_SHIFT, ITEM, MAX_DEPTH, List, Map, Tagged, copy, size

MAX_VALUES = 500_000
MAX_ALIASED = 200_000

_CORE = "tag:yaml.org,2002:"
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    _CORE + "null": ((type(None),), "nothing"),
    _CORE + "bool": ((bool,), "true or false"),
    _CORE + "int": ((int,), "a whole number"),
    _CORE + "float": ((float, int), "a number"),
}


class YamlError(Exception):
    """One fault in the text. `position` is packed; `other` is a second place, `note` what it is."""

    def __init__(self, code: str, message: str, position: int, other: int = -1, note: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.position, self.other, self.note = code, message, position, other, note


class Document:
    """One document of a stream: its value, where it starts, and whether a `!reset` or `!override` is in it."""

    __slots__ = ("position", "tagged", "value")

    def __init__(self, value: Any, position: int, tagged: bool) -> None:
        self.value, self.position, self.tagged = value, position, tagged


def read(text: str, number: int, faults: list[YamlError] | None = None) -> list[Document]:
    """All documents of `text`. Faults that leave a usable tree (duplicate keys) go to `faults` when it is given."""
    nul = text.find("\0")
    if nul >= 0:
        line = text.count("\n", 0, nul)
        column = nul - (text.rfind("\n", 0, nul) + 1)
        raise YamlError("yaml", "a NUL character cannot stand in YAML", _at(number, line, column))
    if len(text) > MAX_VALUES and text.count("\n") + text.count(",") > MAX_VALUES:
        raise YamlError(
            "too-large", f"more than {MAX_VALUES:,} lines and items, the most a file may have", _at(number, 0, 0)
        )
    builder = _Builder(number, faults)
    try:
        return builder.run(CParser(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line, mark.column) if mark else (0, 0)
        message = _plain(error.problem or error.context or "not YAML")
        if error.context and error.problem:
            message += f", {error.context}"
        raise YamlError("yaml", message, _at(number, line, column)) from error
    except ReaderError as error:
        at = error.position if isinstance(error.position, int) else 0
        line = text.count("\n", 0, at)
        column = at - (text.rfind("\n", 0, at) + 1)
        raise YamlError("yaml", f"{error.reason}", _at(number, line, column)) from error


def _binary(text: str) -> str:
    import base64
    import binascii

    try:
        return base64.b64decode(text).decode("utf-8", "replace")
    except binascii.Error:
        return text


def _plain(problem: str) -> str:
    return (
        "a tab cannot indent or start a value" if problem == "found character that cannot start any token" else problem
    )


def _at(number: int, line: int, column: int) -> int:
    return number << FILE_SHIFT | line << COLUMN_BITS | column


class _Builder:
    def __init__(self, number: int, faults: list[YamlError] | None) -> None:
        self.number = number
        self.faults = faults
        self.aliased = 0

    def fault(self, code: str, message: str, position: int, other: int = -1, note: str = "") -> None:
        error = YamlError(code, message, position, other, note)
        if self.faults is None:
            raise error
        self.faults.append(error)

    def run(self, parser: Any) -> list[Document]:
        next_event = parser.get_event
        documents: list[Document] = []
        self.anchors: dict[str, Any] = {}  # YAML's end with their document, Docker Compose's with the file
        while (event := next_event()) is not None:
            if event.__class__.__name__ == "DocumentStartEvent":
                mark = event.start_mark
                self.open: set[str] = set()
                self.tagged = False
                self.start = _at(self.number, mark.line, mark.column)
                value = self.node(next_event)
                documents.append(Document(value, self.start, self.tagged))
        return documents

    def node(self, next_event: Any) -> Any:
        """The next node. One loop with a stack of its own: depth is bounded by us, not by the interpreter."""
        base = self.number << FILE_SHIFT
        anchors = self.anchors
        stack: list[tuple[Any, Any, int, int, str | None, str | None]] = []
        container: Any = None
        is_map = False
        key: Any = None
        key_at = 0
        begun = 0
        has_key = False
        name: str | None = None  # the anchor of the open container
        tag: str | None = None
        while True:
            event = next_event()
            kind = event.__class__.__name__
            if kind == "ScalarEvent":
                value = event.value
                own_tag = event.tag
                if own_tag is None:
                    if event.implicit[0]:
                        value = resolve(value)
                elif own_tag == _CORE + "merge" and is_map and not has_key:
                    value = _MERGE
                elif own_tag != "!":
                    value = self.tag_scalar(own_tag, value, event)
                if event.anchor is not None:
                    anchors[event.anchor] = value
                mark = event.start_mark
                at = base | mark.line << COLUMN_BITS | mark.column
                if is_map and not has_key and value == "<<" and event.implicit[0]:
                    value = _MERGE
            elif kind == "MappingStartEvent" or kind == "SequenceStartEvent":
                mark = event.start_mark
                at = base | mark.line << COLUMN_BITS | mark.column
                if len(stack) >= MAX_DEPTH:
                    raise YamlError("too-deep", f"nested deeper than {MAX_DEPTH} levels, the most a file may have", at)
                if is_map and not has_key:
                    raise YamlError("yaml-key", "a key must be a string, not a mapping or a list", at)
                stack.append((container, key, key_at, begun, name, tag))
                is_map = kind == "MappingStartEvent"
                container = Map() if is_map else List()
                has_key = False
                begun = at
                name, tag = event.anchor, event.tag
                if name is not None:
                    anchors.pop(name, None)
                    self.open.add(name)
                if len(stack) == 1:
                    self.start = at
                continue
            elif kind == "AliasEvent":
                mark = event.start_mark
                at = base | mark.line << COLUMN_BITS | mark.column
                value = self.alias(event.anchor, at)
            elif kind == "MappingEndEvent" or kind == "SequenceEndEvent":
                value = container
                sound = not is_map or _MERGE not in value or self.fold(value)
                closing, closing_tag = name, tag
                at = begun
                container, key, key_at, begun, name, tag = stack.pop()
                is_map = container.__class__ is Map
                has_key = is_map
                if closing_tag is not None:
                    value = self.tag_container(closing_tag, value)
                if not sound:
                    self.tagged = True
                    value = Tagged("!broken", value)
                if closing is not None:
                    self.open.discard(closing)
                    anchors[closing] = value
            else:  # DocumentEndEvent without content cannot come here: libyaml sends an empty scalar
                raise YamlError("yaml", f"unexpected {kind}", base)

            if container is None:
                return value
            if not is_map:
                container.append(value)
                container.at.append(at | ITEM)
            elif has_key:
                container[key] = value
                container.at[key] = key_at
                has_key = False
            else:
                if value.__class__ is not str and value is not _MERGE:
                    value = self.odd_key(value, at)
                if value in container:
                    label = "<<" if value is _MERGE else value
                    self.fault(
                        "duplicate-key", f'key "{label}" is given twice', at, container.at[value], "first given here"
                    )
                key, key_at, has_key = value, at, True

    def odd_key(self, value: Any, at: int) -> str:
        shown = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        self.fault("non-string-key", f"key {shown} is not a string: put it in quotes", at)
        return shown

    def alias(self, anchor: str, at: int) -> Any:
        if anchor in self.open:
            raise YamlError("alias-cycle", f"anchor &{anchor} contains itself", at)
        if anchor not in self.anchors:
            raise YamlError("unknown-anchor", f"there is no anchor &{anchor} above", at)
        value = self.anchors[anchor]
        if value.__class__ is Map or value.__class__ is List:
            self.aliased += size(value)
            if self.aliased > MAX_ALIASED:
                raise YamlError(
                    "alias-bomb", f"aliases bring in more than {MAX_ALIASED:,} values, the most a file may have", at
                )
            return copy(value)
        return value

    def fold(self, target: Map) -> bool:
        """Merge keys (yaml.org/type/merge): what the mapping says itself wins, then the first in a list.

        False when there is something else than mappings to merge; it was reported.
        """
        sound = True
        at = target.at.pop(_MERGE)
        given = target.pop(_MERGE)
        parts = given if given.__class__ is List else [given]
        for part in parts:
            if part.__class__ is not Map:
                self.fault("merge-key", "<< takes a mapping or a list of mappings", at)
                sound = False
                continue
            for key, value in part.items():
                if key not in target:
                    target[key] = copy(value)
                    target.at[key] = part.at[key]
        return sound

    def tag_container(self, tag: str, value: Any) -> Any:
        if tag in ("!reset", "!override"):
            self.tagged = True
            return Tagged(tag, value)
        return value

    def tag_scalar(self, tag: str, value: str, event: Any) -> Any:
        if tag in ("!reset", "!override"):
            self.tagged = True
            return Tagged(tag, value)
        if tag == _CORE + "binary":
            return _binary(value)
        kinds, what = _KINDS.get(tag, ((str,), ""))
        if str in kinds:
            return value  # a text too, whatever it looks like, under a tag that nobody knows
        found = resolve(value)
        if found.__class__ not in kinds:
            mark = event.start_mark
            self.fault("yaml-tag", f'"{value}" is not {what}', _at(self.number, mark.line, mark.column))
        return found


class _Merge(str):
    """The key `<<`, kept apart from a quoted "<<"."""

    __slots__ = ()

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


_MERGE = _Merge("<<")
