"""Diagnostics for people: where, what, the line with the found text underlined, what to do."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from cais.diag.api import ERROR, WARNING, Diagnostic, Note
from cais.source.api import Span

MAX_LINE = 160


def render(
    found: Sequence[Diagnostic],
    *,
    color: bool = False,
    read: Callable[[str], Sequence[str]] | None = None,
    folder: str | None = None,
) -> str:
    """All of `found`, one under the other. `read` gives the lines of a file (default: from disk)."""
    page = _Page(color, read or _lines, folder if folder is not None else os.getcwd())
    return "\n".join(page.one(diagnostic) for diagnostic in found)


def summary(found: Sequence[Diagnostic]) -> str:
    """`2 errors, 1 warning`; empty when there is nothing."""
    parts = []
    for severity in (ERROR, WARNING):
        count = sum(one.severity == severity for one in found)
        if count:
            parts.append(f"{count} {severity}{'s' if count > 1 else ''}")
    return ", ".join(parts)


class _Page:
    def __init__(self, color: bool, read: Callable[[str], Sequence[str]], folder: str) -> None:
        self.color, self.read, self.folder = color, read, folder
        self.texts: dict[str, Sequence[str]] = {}

    def paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.color else text

    def one(self, diagnostic: Diagnostic) -> str:
        shade = "31;1" if diagnostic.severity == ERROR else "33;1" if diagnostic.severity == WARNING else "36;1"
        head = self.paint(diagnostic.severity, shade) + f": {clean(diagnostic.message)}"
        if diagnostic.span:
            head = f"{self.paint(self.place(diagnostic.span), '1')}: {head}"
        lines = [head]
        if diagnostic.span:
            lines += self.quote(diagnostic.span, shade)
        lines += [self.note(note) for note in diagnostic.notes]
        if diagnostic.hint:
            lines.append(f"  {self.paint('=', '36')} {clean(diagnostic.hint)}")
        return "\n".join(lines)

    def note(self, note: Note) -> str:
        text = clean(note.message)
        if note.span:  # "included from" reads on to the place by itself
            text += f"{'' if text.endswith(' from') else ' at'} {self.place(note.span)}"
        return f"  {self.paint('-', '36')} {text}"

    def place(self, span: Span) -> str:
        name = span.file
        if name.startswith(self.folder + os.sep):
            name = name[len(self.folder) + 1 :]
        return f"{clean(name)}:{span.line}:{span.column}"

    def quote(self, span: Span, shade: str) -> list[str]:
        """The line, and marks under what was found."""
        if span.file not in self.texts:
            self.texts[span.file] = self.read(span.file)
        lines = self.texts[span.file]
        if not 0 < span.line <= len(lines):
            return []
        line = lines[span.line - 1].rstrip("\r\n")
        begin = min(span.column - 1, len(line))
        end = span.end_column - 1 if span.end_line == span.line else len(line.rstrip())
        start = max(0, begin - MAX_LINE // 2) if len(line) > MAX_LINE else 0
        shown = line[start : start + MAX_LINE]
        width = max(1, min(end, start + MAX_LINE) - begin)
        number = str(span.line)
        pad = "".join("\t" if char == "\t" else " " for char in shown[: begin - start])
        bar = self.paint("|", "36")
        return [
            f"  {number} {bar} {clean(shown, tabs=True)}",
            f"  {' ' * len(number)} {bar} {pad}{self.paint('^' * width, shade)}",
        ]


def clean(text: str, *, tabs: bool = False) -> str:
    """`text` without control characters: what a file says cannot move the reader's cursor."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or (tabs and c == "\t") or c == "\n" else repr(c)[1:-1] for c in text)


def _lines(path: str) -> Sequence[str]:
    from cais.source.files import Unreadable, read_text

    if path.startswith("<"):
        return ()
    try:
        return read_text(path).split("\n")
    except (Unreadable, OSError):
        return ()
