"""Bytes of a Markdown file -> a Note: its title and blocks. What cannot be a note says why (NoteError)."""

import re
from typing import NamedTuple

LARGEST = 1_000_000  # bytes; a note longer than this is an export, not a note

FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")
HEADING = re.compile(r"^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$")
ITEM = re.compile(r"^\s*([-*+]|\d+[.)])\s+")


class NoteError(ValueError):
    """The file is not a whole Markdown note: half written, not UTF-8, too large."""


class Block(NamedTuple):
    """A paragraph, list, heading or piece of code. `section` is the heading it stands under; it is not embedded,
    so that renaming a heading re-embeds the heading alone."""

    kind: str
    section: str
    text: str


class Note(NamedTuple):
    title: str
    generated: bool  # written by a program (the daily summary): searchable, states nothing of its own
    blocks: tuple[Block, ...]


def read_note(raw: bytes, path: str) -> Note:
    text = decode(raw)
    lines = text.split("\n")
    front, start = read_front_matter(lines)
    blocks = tuple(split_blocks(lines[start:]))
    first_heading = next((block.text for block in blocks if block.kind == "heading"), None)
    title = front.get("title") or first_heading or path.rsplit("/", 1)[-1].removesuffix(".md")
    generated = front.get("generated", "").lower() in ("true", "yes")
    return Note(title, generated, blocks)


def decode(raw: bytes) -> str:
    if len(raw) > LARGEST:
        raise NoteError(f"the file has {len(raw)} bytes, more than the {LARGEST} a note may have")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise NoteError(f"line {line}: not UTF-8 (byte 0x{raw[error.start]:02x} at offset {error.start})") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise NoteError(f"line {line}: a NUL byte: the file is half written or not text")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_front_matter(lines: list[str]) -> tuple[dict[str, str], int]:
    """The `key: value` lines between the two `---` at the top, and the line after them."""
    if not lines or lines[0].rstrip() != "---":
        return {}, 0
    found: dict[str, str] = {}
    for number, line in enumerate(lines[1:], start=1):
        if line.rstrip() in ("---", "..."):
            return found, number + 1
        if pair := re.match(r"^([\w-]+):\s*(.*?)\s*$", line):
            found[pair[1].lower()] = pair[2].strip("\"'").strip()
    raise NoteError("line 1: the front matter opened here is not closed: the file is half written")


def split_blocks(lines: list[str]) -> list[Block]:
    blocks: list[Block] = []
    section, kind = "", "paragraph"
    pending: list[str] = []
    fence, opened = "", 0

    def close() -> None:
        nonlocal pending, kind
        if text := "\n".join(pending).strip("\n"):
            blocks.append(Block(kind, section, text))
        pending, kind = [], "paragraph"

    for number, line in enumerate(lines, start=1):
        line = line.rstrip()
        mark = FENCE.match(line)
        if fence:
            pending.append(line)
            if mark and mark[1].startswith(fence) and line.strip() == mark[1]:
                fence = ""
                close()
        elif mark:
            close()
            fence, opened, kind, pending = mark[1], number, "code", [line]
        elif heading := HEADING.match(line):
            close()
            section = heading[2]
            blocks.append(Block("heading", section, section))
        elif not line.strip():
            close()
        else:
            if not pending and ITEM.match(line):
                kind = "list"
            pending.append(line)
    if fence:
        raise NoteError(f"a code fence opened at line {opened} of the text is not closed: the file is half written")
    close()
    return [block for block in blocks if block.text.strip()]
