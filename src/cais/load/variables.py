"""`config --variables`: which variables the files use, and what stands for them when they are missing."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

_NAMED = re.compile(r"\$(?:\$|([_a-zA-Z][_a-zA-Z0-9]*)|\{([_a-zA-Z][_a-zA-Z0-9]*)(?:(:?[-+?])|\}))")


class Variable(NamedTuple):
    name: str
    required: bool = False
    default: str = ""
    alternative: str = ""


def find(value: Any, found: dict[str, Variable]) -> None:
    """Every variable in the texts of `value`, those in defaults included, but not those in messages (`:?`)."""
    if isinstance(value, dict):
        for item in value.values():
            find(item, found)
    elif isinstance(value, list):
        for item in value:
            find(item, found)
    elif isinstance(value, str) and "$" in value:
        message_end = 0
        for match in _NAMED.finditer(value):
            name = match[1] or match[2]
            if not name or match.start() < message_end:
                continue
            end = _end(value, match.start()) if match[3] else match.end()
            word = value[match.end() : end]
            kind = (match[3] or " ")[-1]
            if kind == "?":
                message_end = end
            known = found.get(name, Variable(name))
            found[name] = Variable(
                name,
                known.required or kind == "?",
                word if kind == "-" else known.default,
                word if kind == "+" else known.alternative,
            )


def _end(text: str, start: int) -> int:
    """The index of the brace that closes the one behind `start`; every brace counts, as in Docker Compose's list."""
    depth = 0
    for index in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if depth == 0 and text[index] == "}":
            return index
    return len(text)


def table(tree: Any, form: str) -> str:
    found: dict[str, Variable] = {}
    find(tree, found)
    ordered = [found[name] for name in sorted(found)]
    if form == "json":
        import json

        return (
            json.dumps(
                {
                    one.name: {
                        "Name": one.name,
                        "DefaultValue": one.default,
                        "PresenceValue": one.alternative,
                        "Required": one.required,
                    }
                    for one in ordered
                },
                indent=4,
                ensure_ascii=False,
            )
            + "\n"
        )
    rows = [("NAME", "REQUIRED", "DEFAULT VALUE", "ALTERNATE VALUE")]
    rows += [(one.name, str(one.required).lower(), one.default, one.alternative) for one in ordered]
    widths = [max(20, *(len(row[column]) + 3 for row in rows)) for column in range(3)]
    return "".join(
        "".join(text.ljust(width) for text, width in zip(row, [*widths, 0], strict=True)) + "\n" for row in rows
    )
