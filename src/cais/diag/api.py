"""What Cais says is wrong: values, collected and sorted (`Diagnostic`), or raised (`CaisError`).

A fault in someone's file is a `Diagnostic`; a thing that cannot be done is a `CaisError`. Only cli/main.py
catches `CaisError`; exit codes: 0 fine, 1 found or failed, 2 usage, 3 our fault, 130 interrupted.
"""

from collections.abc import Sequence
from typing import NamedTuple

from cais.source.api import Span

ERROR, WARNING, INFO = "error", "warning", "info"


class Note(NamedTuple):
    """One more place that explains a diagnostic, such as `included from` or `first defined here`."""

    message: str
    span: Span | None = None


class Diagnostic(NamedTuple):
    """One fault. `code` names the fault in kebab-case; `hint` says what to do, without a full stop."""

    severity: str
    code: str
    message: str
    span: Span | None = None
    hint: str = ""
    notes: tuple[Note, ...] = ()


class CaisError(Exception):
    """Something cannot be done: `cannot <what>: <why>`, and in `hint` the next step.

    `exit_code` is 1 unless the way the command was called is at fault (2).
    """

    def __init__(self, message: str, *, hint: str = "", span: Span | None = None, exit_code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.span = span
        self.exit_code = exit_code

    def diagnostics(self) -> Sequence[Diagnostic]:
        return (Diagnostic(ERROR, "cannot", self.message, self.span, self.hint),)


class Faults(CaisError):
    """Several diagnostics at once, at least one an error: what a loader or a planner raises when it is done."""

    def __init__(self, found: Sequence[Diagnostic]) -> None:
        errors = [d for d in found if d.severity == ERROR]
        super().__init__(f"{len(errors)} error{'s' if len(errors) != 1 else ''}")
        self.found = tuple(found)

    def diagnostics(self) -> Sequence[Diagnostic]:
        return self.found
