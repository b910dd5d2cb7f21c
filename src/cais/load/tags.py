"""`!reset` and `!override`: what a document takes away from the ones before it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cais.source.tree import List, Map, Tagged


def untag(value: Any, path: tuple[str, ...], resets: list[tuple[str, ...]]) -> None:
    """Take `!reset` values out and unwrap `!override` ones; note the paths of both."""
    if value.__class__ is Map:
        for key in list(value):
            item = value[key]
            if item.__class__ is Tagged:
                if item.tag != "!broken":
                    resets.append((*path, key))
                if item.tag != "!override":
                    value.drop(key)
                    continue
                value[key] = item = item.value
            untag(item, (*path, key), resets)
    elif value.__class__ is List:
        keep = []
        for index, item in enumerate(value):
            if item.__class__ is Tagged:
                if item.tag != "!override":
                    continue
                value[index] = item = item.value
            untag(item, (*path, str(index)), resets)
            keep.append(index)
        if len(keep) < len(value):
            value.at = [value.at[index] for index in keep]
            value[:] = [value[index] for index in keep]


def forget(tree: Any, path: tuple[str, ...]) -> None:
    """Remove what stands at `path`, when something does."""
    for step in path[:-1]:
        if tree.__class__ is not Map or step not in tree:
            return
        tree = tree[step]
    if tree.__class__ is Map:
        tree.drop(path[-1])


# Attributes that were extensions before the specification had them: (path of the mapping, old name, name).
_PROMOTED = (
    (("services", "*"), "x-develop", "develop"),
    (("services", "*", "develop", "watch", "*"), "x-initialSync", "initial_sync"),
)


def promoted(tree: Map) -> Iterator[tuple[Map, str, str]]:
    """Where an attribute still goes by its old name, as (mapping, old name, name): the inner ones after the outer."""
    for path, old, name in _PROMOTED:
        for holder in _at(tree, path):
            if holder.__class__ is Map and old in holder:
                yield holder, old, name


def _at(value: Any, path: tuple[str, ...]) -> list[Any]:
    if not path:
        return [value]
    if value.__class__ is List and path[0] == "*":
        return [found for item in value for found in _at(item, path[1:])]
    if value.__class__ is not Map:
        return []
    steps = value if path[0] == "*" else [path[0]] if path[0] in value else []
    return [found for step in steps for found in _at(value[step], path[1:])]
