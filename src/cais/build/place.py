"""Where a Dockerfile's text stands: a file of its own, or a `dockerfile_inline` in the compose file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from cais.build.api import BuildRequest
from cais.diag.api import CaisError, Diagnostic, Faults
from cais.source.api import Span


class Place(NamedTuple):
    """`file` is its name for people; `below` and `indent` are the lines above the text and the columns before it.

    `service` is said with what is wrong in an inline one. `value`: the compose file does not have its lines as they
    are (`"FROM a\\nRUN b"`), so all of it is at this span, and `file` is a word for it.
    """

    file: str
    below: int = 0
    indent: int = 0
    service: str = ""
    value: Span | None = None

    def span(self, span: Span | None) -> Span | None:
        return self.value if self.value is not None and span is not None and span.file == self.file else span

    def told(self, found: Sequence[Diagnostic]) -> list[Diagnostic]:
        """As people can find it. A Dockerfile of its own is named by its path; an inline one by its service."""
        return [one._replace(message=self._message(one), span=self.span(one.span)) for one in found]

    def _message(self, one: Diagnostic) -> str:
        if not self.service or one.span is None or one.span.file != self.file or one.message.startswith("cannot build"):
            return one.message
        line = f"line {one.span.line} of its dockerfile_inline: " if self.value is not None else ""
        return f"cannot build {self.service}: {line}{one.message}"

    @contextmanager
    def telling(self) -> Iterator[None]:
        try:
            yield
        except Faults as err:
            raise Faults(self.told(err.found)) from err
        except CaisError as err:
            err.span = self.span(err.span)
            raise


def of_inline(request: BuildRequest) -> Place:
    """Only a block (`|`) keeps lines as they are; of any other they count from the text's beginning."""
    word = f"dockerfile_inline of {request.name}" if request.name else "dockerfile_inline"
    at = request.inline_span or request.span
    value = request.inline_span
    return (at and _block(request, at)) or Place(word, service=request.name if value else "", value=value)


def _block(request: BuildRequest, at: Span) -> Place | None:
    try:
        with open(at.file, encoding="utf-8", errors="replace") as file:
            lines = file.read(1 << 22).split("\n")
    except OSError:
        return None
    first = next((line for line in request.inline.split("\n") if line.strip()), "")
    for number in range(max(0, at.line - 2), len(lines)):
        key, colon, value = lines[number].partition(":")
        if key.strip() != "dockerfile_inline" or not colon or not value.strip().startswith("|"):
            continue
        above = number + 1
        while above < len(lines) and not lines[above].strip():
            above += 1
        if above == len(lines):
            return None
        text = lines[above]
        if text.strip() != first.strip() and "$" not in text:
            continue  # another service's, or a file over this one wrote another
        return Place(shown(at.file), number + 1, len(text) - len(text.lstrip()), request.name)
    return None


def shown(path: str) -> str:
    """Relative to where the user stands, when that is shorter to read."""
    try:
        relative = os.path.relpath(path)
    except (OSError, ValueError):
        return path
    return path if relative.startswith("../") else relative
