"""What a plain scalar is: Docker Compose's YAML reader knows null, bools, ints, floats and strings.

`yes`, `on` and sexagesimals are strings (YAML 1.2), a leading zero still means octal (YAML 1.1), so that
`mode: 0440` is what everyone expects.
"""

from __future__ import annotations

import re
from typing import Any

_FIXED: dict[str, Any] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
    ".nan": float("nan"),
    ".NaN": float("nan"),
    ".NAN": float("nan"),
    ".inf": float("inf"),
    ".Inf": float("inf"),
    ".INF": float("inf"),
    "+.inf": float("inf"),
    "+.Inf": float("inf"),
    "+.INF": float("inf"),
    "-.inf": float("-inf"),
    "-.Inf": float("-inf"),
    "-.INF": float("-inf"),
}
_MAYBE_NUMBER = frozenset("0123456789+-.")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INT = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|0[oO]?[0-7]+|0[bB][01]+|[1-9][0-9]*|0)")


def resolve(text: str) -> Any:
    """The value of a plain scalar."""
    if text in _FIXED:
        return _FIXED[text]
    if text[0] not in _MAYBE_NUMBER:
        return text
    return number(text)


def number(text: str) -> Any:
    """`text` as an int or a float, or `text` itself."""
    plain = text if text[0] == "." else text.replace("_", "")  # Go's reader knows no underscores behind a point
    if _INT.fullmatch(plain):
        if len(plain) < 19:
            return _int(plain)
        value = _int(plain) if len(plain) < 100 else 1 << 64
        if -(1 << 63) <= value < 1 << 64:
            return value
        return float(plain) if plain.lstrip("+-").isdigit() and len(plain) < 300 else text
    if _FLOAT.fullmatch(plain):
        decimal = float(plain)
        return text if decimal in (float("inf"), float("-inf")) else decimal
    return text


def _int(plain: str) -> int:
    sign = -1 if plain[0] == "-" else 1
    digits = plain.lstrip("+-")
    if len(digits) > 1 and digits[0] == "0" and digits[1] in "01234567":
        return sign * int(digits, 8)
    return sign * int(digits, 0)


def go_float(value: float) -> str:
    """Go's `%v` of a float64: shortest digits, an exponent below 1e-4 and from a million on."""
    if value != value or value in (float("inf"), float("-inf")):
        return {"inf": "+Inf", "-inf": "-Inf"}.get(repr(value), "NaN")
    if value == 0 or 1e-4 <= abs(value) < 1e6:
        return repr(value).removesuffix(".0")
    for digits in range(17):
        text = f"{value:.{digits}e}"
        if float(text) == value:
            break
    return text
