"""The building blocks of the schema table, and the check that walks a tree along it.

A shape says which scalars may stand at a place, and what a list or a mapping there must look like. The Compose
schema never asks for more than that: each of its `oneOf` tells its branches apart by the kind of value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from cais.source.tree import List, Map, where

NULL = type(None)
_WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", NULL: "nothing"}

Report = Callable[..., None]


class Shape:
    """`scalars`: allowed scalar types. `items`: what a list holds. `fields`: known keys of a mapping;
    `rest`: the shape under every other key (that `key` matches); `open`: unknown keys are fine."""

    __slots__ = (
        "choices",
        "fields",
        "high",
        "items",
        "key",
        "low",
        "maps",
        "needs",
        "open",
        "pattern",
        "rest",
        "scalars",
        "unique",
        "what",
    )  # fmt: skip

    def __init__(
        self,
        *scalars: type,
        items: Shape | None = None,
        unique: bool = False,
        fields: Mapping[str, Shape] | None = None,
        rest: Shape | None = None,
        key: str = "",
        open: bool = False,
        needs: tuple[str, ...] = (),
        choices: tuple[str, ...] = (),
        pattern: str = "",
        low: int | None = None,
        high: int | None = None,
        what: str = "key",
    ) -> None:
        self.scalars = frozenset(scalars)
        self.items, self.unique = items, unique
        self.fields: Mapping[str, Shape] = fields or {}
        self.maps = fields is not None or rest is not None or open
        self.rest, self.key, self.open = rest, key, open
        self.needs, self.choices, self.pattern = needs, choices, pattern
        self.low, self.high, self.what = low, high, what

    def or_(self, other: Shape) -> Shape:
        """Both: one of the two gives the scalars, one the list, one the mapping."""
        fresh = Shape()
        for name in Shape.__slots__:
            mine, theirs = getattr(self, name), getattr(other, name)
            setattr(fresh, name, mine | theirs if name == "scalars" else mine or theirs)
        return fresh

    def expected(self) -> str:
        words = [_WORDS[kind] for kind in (str, int, float, bool, NULL) if kind in self.scalars]
        if int in self.scalars and float in self.scalars:
            words.remove(_WORDS[int])
        if self.items is not None:
            words.append("a list")
        if self.maps:
            words.append("a mapping")
        return " or ".join(words) if len(words) < 3 else ", ".join(words[:-1]) + " or " + words[-1]


def check(value: Any, shape: Shape, holder: Any, key: Any, path: str, report: Report) -> None:
    """Report everything in `value` that `shape` does not allow."""
    kind = value.__class__
    if kind is Map:
        if not shape.maps:
            _wrong_kind(value, shape, holder, key, path, report)
            return
        fields = shape.fields
        for name, item in value.items():
            inner = fields.get(name)
            if inner is not None:
                if item.__class__ is str and str in inner.scalars and not inner.choices and not inner.pattern:
                    continue  # by far the most frequent case
                check(item, inner, value, name, f"{path}.{name}" if path else name, report)
            elif shape.rest is not None and (re.match(shape.key, name) if shape.key else name):
                if item.__class__ is str and str in shape.rest.scalars and not shape.rest.choices:
                    continue
                check(item, shape.rest, value, name, f"{path}.{name}" if path else name, report)
            elif not shape.open and not (name.startswith("x-") and shape.what == "key"):
                _unknown(name, shape, value, path, report)
                if shape.rest is not None:  # the name is wrong; what is under it is looked at all the same
                    check(item, shape.rest, value, name, f"{path}.{name}" if path else name, report)
        for name in shape.needs:
            if name not in value:
                report("missing-key", f'{_place(path)} lacks "{name}"', where(holder, key), key=True)
    elif kind is List:
        if shape.items is None:
            _wrong_kind(value, shape, holder, key, path, report)
            return
        inner = shape.items
        plain = str in inner.scalars and not inner.choices and not inner.pattern
        for index, item in enumerate(value):
            if plain and item.__class__ is str:
                continue
            check(item, inner, value, index, f"{path}[{index}]", report)
        if shape.unique and len(value) > 1:
            _unique(value, path, report)
    elif (
        kind in shape.scalars
        or (kind is int and float in shape.scalars)
        or (kind is float and int in shape.scalars and value.is_integer())
    ):
        _scalar(value, shape, holder, key, path, report)
    else:
        _wrong_kind(value, shape, holder, key, path, report)


def _scalar(value: Any, shape: Shape, holder: Any, key: Any, path: str, report: Report) -> None:
    if value.__class__ is str:
        if shape.choices and value not in shape.choices:
            from cais.load.job import nearest

            report(
                "wrong-value",
                f'{_place(path)} cannot be "{value}": it is one of {", ".join(shape.choices)}',
                where(holder, key),
                hint=nearest(value, shape.choices),
            )
        elif shape.pattern and not re.search(shape.pattern, value):
            report("wrong-value", f'{_place(path)} cannot be "{value}"', where(holder, key))
    elif value != value or value in (float("inf"), float("-inf")):
        report("wrong-value", f"{_place(path)} is not a finite number", where(holder, key))
    elif (shape.low is not None and value < shape.low) or (shape.high is not None and value > shape.high):
        report(
            "wrong-value",
            f"{_place(path)} is {value}: at least {shape.low}"
            + (f", at most {shape.high}" if shape.high is not None else ""),
            where(holder, key),
        )


def _wrong_kind(value: Any, shape: Shape, holder: Any, key: Any, path: str, report: Report) -> None:
    from cais.load.job import shown

    hint = ""
    if str in shape.scalars and value.__class__ in (int, float, bool):
        hint = f'put it in quotes: "{shown(value)}"'
    found = "nothing" if value is None else shown(value)
    report(
        "wrong-type", f"{_place(path)} must be {shape.expected()}, not {found}", where(holder, key), hint=hint,
        key=value.__class__ in (Map, List) or value is None,
        drop=None if holder is None else (holder, key, NULL in shape.scalars),
    )  # fmt: skip


def _unknown(name: str, shape: Shape, holder: Map, path: str, report: Report) -> None:
    from cais.load.job import nearest

    if shape.fields:
        hint = nearest(name, shape.fields) or _known(shape)
        report("unknown-key", f'unknown key "{name}"' + (f" in {path}" if path else ""), holder.where(name), key=True,
               hint=hint)  # fmt: skip
    else:
        report(
            "wrong-name",
            f'"{name}" cannot be the name of a {shape.what}: letters, digits, ".", "_" and "-" only',
            holder.where(name),
            key=True,
        )


def _known(shape: Shape) -> str:
    names = sorted(shape.fields)
    return f"known here: {', '.join(names)}" if 0 < len(names) <= 8 else ""


def _unique(items: List, path: str, report: Report) -> None:
    seen: dict[Any, int] = {}
    for index, item in enumerate(items):
        mark = identity(item)
        if mark in seen:
            from cais.load.job import shown

            report(
                "repeated-item",
                f"{shown(item)} stands twice in {_place(path)}",
                items.where(index),
                notes=[("first given here", items.where(seen[mark]))],
            )
        else:
            seen[mark] = index


def identity(value: Any) -> Any:
    """Something hashable that is equal exactly when two values are."""
    if value.__class__ is Map:
        return ("map", frozenset((key, identity(item)) for key, item in value.items()))
    if value.__class__ is List:
        return ("list", tuple(map(identity, value)))
    return (bool, value) if value.__class__ is bool else value


def _place(path: str) -> str:
    return path or "the file"
