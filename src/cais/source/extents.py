"""Where each key and value of a YAML text begins and ends: made only when a message or `--origin` needs it."""

from __future__ import annotations

from typing import Any

from cais.source.tree import ITEM, MAX_DEPTH


def measure(text: str) -> dict[int, tuple[int, ...]]:
    """(line << 32 | column) of each key and item -> its end and, for a key, its value's start and end.

    Counts from 0. Files that are not YAML (an env file) give what can be read up to the fault: maybe nothing.
    """
    from cais.source.libyaml import CParser, MarkedYAMLError, ReaderError

    found: dict[int, tuple[int, ...]] = {}
    try:
        _walk(CParser(text.replace("\0", " ")), found)
    except (MarkedYAMLError, ReaderError):
        pass
    return found


def _walk(parser: Any, found: dict[int, tuple[int, ...]]) -> None:
    # One entry for each open container: [is mapping, start mark, pending key mark or None]
    stack: list[list[Any]] = []
    while (event := parser.get_event()) is not None:
        kind = event.__class__.__name__
        if kind in ("MappingStartEvent", "SequenceStartEvent"):
            if len(stack) > MAX_DEPTH:
                return
            stack.append([kind == "MappingStartEvent", event.start_mark, event.end_mark, None])
            continue
        if kind in ("ScalarEvent", "AliasEvent"):
            start, end = event.start_mark, event.end_mark
            last = (end.line, end.column)
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            _, start, _, _ = stack.pop()
            last = (event.end_mark.line, event.end_mark.column)
        else:
            continue
        if not stack:
            continue
        top = stack[-1]
        if top[0] and top[3] is None:
            top[3] = (start, last)
            continue
        place = start.line << 32 | start.column
        if top[0]:
            key_start, key_end = top[3]
            top[3] = None
            found[key_start.line << 32 | key_start.column] = (*key_end, start.line, start.column, *last)
        else:
            found[place | ITEM << 32] = last
