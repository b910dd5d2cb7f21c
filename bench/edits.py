"""Change one value in each YAML file below a folder, and hold that nothing else changes.

    python bench/edits.py FOLDER

For each file that parses: one scalar, chosen by the file's name, gets a new value. Read again, exactly that value
differs, and the two texts differ in one stretch. Then a key is added and deleted again, which must give back the text.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

from cais.source import edit
from cais.source.libyaml import MarkedYAMLError, ReaderError


def leaves(node: edit.Node, text: str, path: edit.Path = ()) -> Iterator[tuple[edit.Path, str, str]]:
    """(path, style, text as written) of every scalar that can be reached by its path alone."""
    seen: set[str] = set()
    for index, entry in enumerate(node.entries):
        if node.kind == "map" and entry.key in seen:
            continue
        seen.add(entry.key or "")
        step = (entry.key or "") if node.kind == "map" else index
        if entry.kind == "scalar":
            yield (*path, step), entry.style, text[entry.start : entry.tail]
        else:
            yield from leaves(entry, text, (*path, step))


def one(text: str, name: str) -> str:
    """What went wrong with this file; empty when nothing did."""
    before = list(leaves(edit.parse(text), text))
    free = [path for path, style, _ in before if style != "*"]
    if not free:
        return ""
    path = free[zlib.crc32(name.encode()) % len(free)]
    after_text = edit.apply(text, [edit.set_value(text, path, "changed value")])
    after = list(leaves(edit.parse(after_text), after_text))
    if [one[0] for one in before] != [one[0] for one in after]:
        return f"{path}: other keys than before"
    different = [a[0] for a, b in zip(before, after, strict=True) if a[2] != b[2]]
    if different != [path]:
        return f"{path}: {different} differ"
    start = 0
    while start < min(len(text), len(after_text)) and text[start] == after_text[start]:
        start += 1
    if "changed value" not in after_text[max(0, start - 20) : start + 40]:
        return f"{path}: the change stands elsewhere"
    root = edit.parse(text)
    if root.kind == "map":
        added = edit.apply(text, [edit.add_key(text, (), "x-added-here", {"a": [1, "b"]})])
        if edit.find(added, ("x-added-here", "a", 1)) is None:
            return "the added key is not found again"
        if edit.apply(added, [edit.delete_key(added, ("x-added-here",))]).rstrip("\n") != text.rstrip("\n"):
            return "add and delete do not give back the text"
    return ""


def main() -> int:
    parsed = unread = 0
    wrong: list[str] = []
    for path in sorted(Path(sys.argv[1]).rglob("*")):
        if path.suffix not in (".yml", ".yaml") or not path.is_file():
            continue
        try:
            text = path.read_bytes().decode("utf-8")
            edit.parse(text)
        except (UnicodeDecodeError, MarkedYAMLError, ReaderError, edit.CannotEdit):
            unread += 1
            continue
        parsed += 1
        try:
            fault = one(text, path.name)
        except (edit.CannotEdit, MarkedYAMLError, ValueError) as error:
            fault = f"{type(error).__name__}: {error}"
        if fault:
            wrong.append(f"{path}: {fault}")
    print("\n".join(wrong))
    print(f"{parsed} files changed, {len(wrong)} wrong; {unread} are not YAML")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
