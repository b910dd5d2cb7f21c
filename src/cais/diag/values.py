"""Diagnostics as plain values, for `--format json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cais.diag.api import Diagnostic
from cais.source.api import Span


def as_values(found: Sequence[Diagnostic]) -> list[dict[str, Any]]:
    return [
        {
            "severity": one.severity,
            "code": one.code,
            "message": one.message,
            "span": _span(one.span),
            "hint": one.hint,
            "notes": [{"message": note.message, "span": _span(note.span)} for note in one.notes],
        }
        for one in found
    ]


def _span(span: Span | None) -> dict[str, Any] | None:
    return None if span is None else span._asdict()
