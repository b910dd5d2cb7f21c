"""Moments as `logs --since` takes them: RFC 3339, a Unix time, or a span before now."""

import time

from cais.diag.api import CaisError

UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def span(text: str) -> float | None:
    """Seconds of a Go duration (`1h30m`, `1.5s`, `300ms`), or None when it is none."""
    rest, total = text, 0.0
    while rest:
        digits = 0
        while digits < len(rest) and (rest[digits].isdecimal() or rest[digits] == "."):
            digits += 1
        letters = digits
        while letters < len(rest) and not (rest[letters].isdecimal() or rest[letters] == "."):
            letters += 1
        try:
            total += float(rest[:digits]) * UNITS[rest[digits:letters]]
        except (ValueError, KeyError):
            return None
        rest = rest[letters:]
    return total if text else None


def moment(text: str, flag: str, now: float | None = None) -> int:
    """Nanoseconds since the epoch. A time without a zone is local, as in Docker."""
    now = time.time() if now is None else now
    seconds = span(text)
    if seconds is not None and not text.replace(".", "").isdecimal():
        return int((now - seconds) * 1e9)
    if text.replace(".", "", 1).isdecimal():
        whole, _, rest = text.partition(".")
        return int(whole) * 10**9 + int((rest + "0" * 9)[:9])
    from datetime import datetime

    try:
        return int(datetime.fromisoformat(text).timestamp() * 1e9)
    except ValueError:
        raise CaisError(
            f'invalid value for "--{flag}": {text}',
            hint="it takes a time such as 2026-01-02T13:23:37Z, or a span before now such as 42m",
            exit_code=2,
        ) from None
