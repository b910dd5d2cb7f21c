"""Files and places in them. Read this first: every value Cais takes from a file knows its `Span`."""

from typing import NamedTuple


class Span(NamedTuple):
    """A place in a file. Lines and columns count from 1, columns in characters; `end_*` is exclusive."""

    file: str
    line: int
    column: int
    end_line: int = 0
    end_column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"
