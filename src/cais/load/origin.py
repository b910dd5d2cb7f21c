"""`config --origin`: the project, and beside each value the place that gave it."""

from __future__ import annotations

import os
from typing import Any

from cais.model.stack import Stack
from cais.source.emit import is_long, scalar
from cais.source.tree import where

COLUMN = 56


def with_origin(stack: Stack) -> str:
    """YAML with comments: `key: value  # file:line:col`, the variables of the value, and who named the file."""
    page = _Page(stack)
    page.mapping(stack.canonical, "")
    return "\n".join(page.lines) + "\n"


class _Page:
    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.lines: list[str] = []
        self.folder = os.getcwd() + os.sep

    def mapping(self, value: Any, indent: str) -> None:
        for key in sorted(value):
            name = scalar(key, indent + "  ")
            if is_long(key, name):  # as `config` writes it: `? key`, below it `: value`
                self.lines += f"{indent}? {name}".split("\n")
                name = ""
            self.entry(f"{indent}{name}:", value[key], where(value, key), indent + "  ")

    def sequence(self, value: Any, indent: str) -> None:
        for index, item in enumerate(value):
            if isinstance(item, (dict, list)) and item:
                start = len(self.lines)
                (self.mapping if isinstance(item, dict) else self.sequence)(item, indent + "  ")
                self.lines[start] = f"{indent}- {self.lines[start][len(indent) + 2 :]}"
            else:
                self.entry(f"{indent}-", item, where(value, index), indent + "  ")

    def entry(self, head: str, value: Any, at: int, inner: str) -> None:
        if isinstance(value, (dict, list)) and value:
            self.lines.append(self.beside(head, at))
            (self.mapping if isinstance(value, dict) else self.sequence)(value, inner)
            return
        if isinstance(value, (dict, list)):
            shown = "{}" if isinstance(value, dict) else "[]"
        else:
            shown = scalar(value.replace("$", "$$") if isinstance(value, str) else value, inner)
        first, *rest = f"{head} {shown}".split("\n")
        self.lines += [self.beside(first, at), *rest]

    def beside(self, text: str, at: int) -> str:
        note = self.note(at)
        return f"{text.ljust(COLUMN)} # {note}" if note else text

    def note(self, at: int) -> str:
        place = self.stack.place(at)
        if place is None:
            return "default"
        parts = [self.short(str(place))]
        for name, span in self.stack.variables_at(at):
            if span:
                parts.append(f"{name} from {self.short(str(span))}")
            else:
                parts.append(f"{name} {'from the environment' if name in self.stack.environment else 'not set'}")
        parts += [f"{relation} {self.short(str(span))}" for relation, span in self.stack.chain(at)]
        return ", ".join(parts)

    def short(self, place: str) -> str:
        return place.removeprefix(self.folder)
