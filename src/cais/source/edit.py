"""Changes to a YAML file that leave every other byte as it was: comments, quotes, blank lines, order.

    text = apply(text, [set_value(text, ("services", "db", "image"), "postgres:17")])

A change is an `Edit`: a stretch of the text and what comes in its place. Where something stands is asked of
libyaml; nothing is dumped again but the value that changes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from cais.source.emit import dump, scalar
from cais.source.libyaml import CParser

Path = tuple[str | int, ...]

_PROPERTIES = re.compile(r"(?:[&!]\S*[ \t]*)+")


class Edit(NamedTuple):
    start: int  # offsets in characters
    end: int
    text: str


class CannotEdit(Exception):
    """The text cannot be changed this way; says why."""


class Node:
    """A value in the text. `start` and `end` are its offsets, `entries` the nodes in it, in order."""

    __slots__ = ("end", "entries", "flow", "key", "key_end", "key_start", "kind", "start", "style", "tail")

    def __init__(self, kind: str, start: int, end: int, flow: bool = False, style: str = "") -> None:
        self.kind, self.start, self.end, self.flow, self.style = kind, start, end, flow, style
        self.entries: list[Node] = []
        self.key: str | None = None
        self.key_start = self.key_end = -1
        self.tail = end  # where its last visible character ends: block collections claim blank lines behind them


def apply(text: str, edits: Sequence[Edit]) -> str:
    """All edits at once; they may not overlap."""
    done = len(text)
    for edit in sorted(edits, key=lambda one: one.start, reverse=True):
        if edit.end > done:
            raise CannotEdit("two edits overlap")
        text = text[: edit.start] + edit.text + text[edit.end :]
        done = edit.start
    return text


def set_value(text: str, path: Path, value: Any) -> Edit:
    """Put `value` in the place of the one at `path`; scalars keep the kind of quotes they had."""
    node = find(text, path)
    if node.kind in ("map", "list") and not node.flow:
        return _set_block(text, node, value)
    if isinstance(value, (dict, list)):
        shown = flow(value)
    else:
        shown = quoted(value, node.style)
    end = node.end
    if node.style in "|>" and node.style:
        end = node.start + len(text[node.start : node.end].rstrip())
    if node.start == node.end:  # nothing stands there: `key:`
        colon = text.rindex(":", 0, node.start + 1) + 1 if node.key is not None else node.start
        return Edit(colon, colon, f" {shown}")
    return Edit(node.start, end, shown)


def _set_block(text: str, node: Node, value: Any) -> Edit:
    if node.key is None:
        return Edit(node.start, node.tail, flow(value) if isinstance(value, (dict, list)) else scalar(value))
    colon = text.index(":", node.key_end) + 1
    shown = flow(value) if isinstance(value, (dict, list)) else scalar(value)
    return Edit(colon, node.tail, f" {shown}")


def add_key(text: str, path: Path, key: str, value: Any) -> Edit:
    """A new last entry of the mapping at `path`."""
    node = find(text, path)
    if node.kind != "map":
        if node.start == node.end:  # `key:` with nothing behind it
            return set_value(text, path, {key: value})
        raise CannotEdit(f"{_shown(path)} is not a mapping")
    if any(entry.key == key for entry in node.entries):
        raise CannotEdit(f"{_shown(path)} has {key} already")
    if node.flow or not node.entries:
        comma = ", " if node.entries else ""
        at = node.entries[-1].tail if node.entries else text.index("{", node.start) + 1
        return Edit(at, at, f"{comma}{_one_line(key)}: {flow(value)}")
    last = node.entries[-1]
    at = _line_end(text, last.tail)
    begin = _line_start(text, node.entries[0].key_start)
    if "?" in text[begin : node.entries[0].key_start]:
        raise CannotEdit(f"{_shown(path)} writes its keys with a question mark")
    indent = " " * (node.entries[0].key_start - begin)
    lines = dump({key: value}, sort=False).rstrip("\n").split("\n")
    block = newline(text) + newline(text).join(indent + line if line else line for line in lines)
    return Edit(at, at, block)


def delete_key(text: str, path: Path) -> Edit:
    """Remove the entry (of a mapping or a list) at `path`, with its line and the comment behind it."""
    if not path:
        raise CannotEdit("the whole file cannot be deleted")
    parent, node = find(text, path[:-1]), find(text, path)
    if len(parent.entries) == 1:
        empty = "{}" if parent.kind == "map" else "[]"
        if parent.flow:
            return Edit(parent.start, parent.end, empty)
        if parent.key is None:
            return Edit(parent.start, parent.tail, empty)
        colon = text.index(":", parent.key_end) + 1
        return Edit(colon, parent.tail, f" {empty}")
    index = parent.entries.index(node) if node in parent.entries else _position(parent, path[-1])
    begin = node.key_start if node.key is not None else node.start
    if parent.flow:
        if index + 1 < len(parent.entries):
            after = parent.entries[index + 1]
            return Edit(begin, after.key_start if after.key is not None else after.start, "")
        before = parent.entries[index - 1]
        return Edit(before.tail, node.tail, "")
    if parent.kind == "list":
        begin = text.rindex("-", 0, begin)
    start, end = _line_start(text, begin), _line_end(text, node.tail)
    if text[start:begin].strip():  # `- a: 1` where `a` goes: what stands before it on the line stays
        after = parent.entries[index + 1]
        return Edit(begin, after.key_start if after.key is not None else after.start, "")
    if end < len(text):
        end += len(newline(text)) if text.startswith(newline(text), end) else 1
    elif start:
        start -= len(newline(text))
    return Edit(start, end, "")


def find(text: str, path: Path) -> Node:
    """The node at `path` of the first document."""
    node = parse(text)
    for depth, step in enumerate(path):
        found = None
        if node.kind == "map":
            found = next((entry for entry in node.entries if entry.key == str(step)), None)
        elif node.kind == "list" and isinstance(step, int) and -len(node.entries) <= step < len(node.entries):
            found = node.entries[step]
        if found is None:
            raise CannotEdit(f"there is nothing at {_shown(path[: depth + 1])}")
        node = found
    return node


def parse(text: str) -> Node:
    """The nodes of the first document; YAML faults are libyaml's exceptions."""
    parser = CParser(text)
    stack: list[Node] = []
    pending: list[tuple[str, int, int] | None] = []  # the key read last, for each open mapping
    while (event := parser.get_event()) is not None:
        kind = event.__class__.__name__
        if kind in ("MappingStartEvent", "SequenceStartEvent"):
            node = Node(
                "map" if kind[0] == "M" else "list",
                event.start_mark.index,
                event.end_mark.index,
                bool(event.flow_style),
            )
            stack.append(node)
            pending.append(None)
            continue
        if kind in ("ScalarEvent", "AliasEvent"):
            style = (event.style or "") if kind == "ScalarEvent" else "*"
            start = event.start_mark.index
            if kind == "ScalarEvent" and (event.anchor or event.tag):  # the anchor stays
                properties = _PROPERTIES.match(text, start, event.end_mark.index)
                start = properties.end() if properties else start
            node = Node("scalar", start, event.end_mark.index, style=style)
            if style in "|>" and style:
                node.tail = node.start + len(text[node.start : node.end].rstrip())
            if stack and stack[-1].kind == "map" and pending[-1] is None:
                name = event.value if kind == "ScalarEvent" else text[node.start : node.end]
                pending[-1] = (name, node.start, node.end)
                continue
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            node = stack.pop()
            pending.pop()
            node.end = event.end_mark.index
            node.tail = node.end if node.flow else max((one.tail for one in node.entries), default=node.end)
        else:
            continue
        if not stack:
            return node
        parent = stack[-1]
        if parent.kind == "map":
            key = pending[-1]
            pending[-1] = None
            if key is None:
                raise CannotEdit("a key is not a text")
            node.key, node.key_start, node.key_end = key
            if node.start == node.end:  # nothing there: libyaml puts the mark wherever the next token is
                colon = text.find(":", node.key_end)
                node.start = node.end = node.tail = colon + 1 if colon >= 0 else node.key_end
        parent.entries.append(node)
    raise CannotEdit("there is nothing in the text")


def quoted(value: Any, style: str) -> str:
    """A scalar in the quotes its predecessor had."""
    if not isinstance(value, str) or style not in ("'", '"'):
        return _one_line(value)
    if style == "'" and value.isprintable():
        return "'" + value.replace("'", "''") + "'"
    import json

    return json.dumps(value, ensure_ascii=False)


def _one_line(value: Any) -> str:
    if isinstance(value, str) and "\n" in value:
        import json

        return json.dumps(value, ensure_ascii=False)
    shown = scalar(value)
    if isinstance(value, str) and shown == value and (any(char in value for char in ",[]{}") or value[0] in ":?"):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'  # it may stand in a flow collection
    return shown


def flow(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_one_line(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return _one_line(value)


def newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _line_start(text: str, at: int) -> int:
    return text.rfind("\n", 0, at) + 1


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    if end < 0:
        return len(text)
    return end - 1 if end and text[end - 1] == "\r" else end


def _position(parent: Node, step: str | int) -> int:
    if isinstance(step, int):
        return step % len(parent.entries)
    return next(index for index, entry in enumerate(parent.entries) if entry.key == step)


def _shown(path: Path) -> str:
    return ".".join(map(str, path)) or "the file"
