"""Numbers, durations, sizes and command lines in Docker's own notations."""

from __future__ import annotations

import re

_DURATION = re.compile(r"([0-9]*\.?[0-9]+|[0-9]+\.)(ns|us|µs|μs|ms|s|m|h|d|w)")
_UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
    "w": 604_800_000_000_000,
}
_SIZE = re.compile(r"(.*?[0-9.]) ?(?:([kKmMgGtTpP])(?:[iI]?[bB])?|[bB]?)")
_WHOLE = re.compile(r"[-+]?[0-9]+")
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}

_DECIMAL = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_HEXADECIMAL = re.compile(r"[-+]?0[xX]([0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)[pP][-+]?[0-9]+")
_STRAY_UNDERSCORE = re.compile(r"(?<![0-9a-fA-FxX])_|_(?![0-9a-fA-F])")
_NO_NUMBERS = frozenset(("inf", "infinity", "nan"))
_BOOLEANS = {
    **dict.fromkeys(("true", "y", "yes", "on"), True),
    **dict.fromkeys(("false", "n", "no", "off"), False),
}


def to_bool(text: str) -> bool:
    found = _BOOLEANS.get(text.lower())
    if found is None:
        raise ValueError(f'"{text}" is neither true nor false')
    return found


def to_int(text: str) -> int:
    if len(text) > 30 or not _WHOLE.fullmatch(text):
        raise ValueError(f'"{text[:60]}" is not a whole number')
    return int(text)


def to_float(text: str) -> float:
    """A number in any of Go's spellings (strconv.ParseFloat): `1_000`, `+1.5e3`, `0x1.8p1`, `inf`."""
    plain = text.replace("_", "")
    if len(text) <= 60 and not (plain != text and _STRAY_UNDERSCORE.search(text)):
        if _DECIMAL.fullmatch(plain) or plain.lstrip("+-").lower() in _NO_NUMBERS:
            return float(plain)
        if _HEXADECIMAL.fullmatch(plain):
            return float.fromhex(plain)
    raise ValueError(f'"{text[:60]}" is not a number')


def nanoseconds(text: str) -> int:
    """`1m30s` in nanoseconds; ValueError says what is wrong."""
    rest = text
    sign = 1
    if rest[:1] in ("-", "+"):
        sign = -1 if rest[0] == "-" else 1
        rest = rest[1:]
    if rest == "0":
        return 0
    total = 0
    position = 0
    if len(rest) > 100:
        raise ValueError(f'"{text[:60]}…" is not a duration')
    while position < len(rest):
        match = _DURATION.match(rest, position)
        if not match:
            raise ValueError(f'"{text}" is not a duration')
        total += round(float(match[1]) * _UNITS[match[2]])
        position = match.end()
    if not rest:
        raise ValueError(f'"{text}" is not a duration')
    return sign * total


def duration_text(total: int) -> str:
    """Nanoseconds as Go writes them: `1m30s`, `500ms`, `1h0m0s`."""
    if total == 0:
        return "0s"
    sign = "-" if total < 0 else ""
    total = abs(total)
    if total < 1_000_000_000:
        for unit, size in (("ms", 1_000_000), ("µs", 1_000), ("ns", 1)):
            if total >= size:
                return f"{sign}{_decimal(total, size)}{unit}"
    hours, rest = divmod(total, 3_600_000_000_000)
    minutes, rest = divmod(rest, 60_000_000_000)
    text = f"{_decimal(rest, 1_000_000_000)}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return sign + (f"{hours}h{text}" if hours else text)


def _decimal(amount: int, unit: int) -> str:
    whole, rest = divmod(amount, unit)
    if not rest:
        return str(whole)
    return f"{whole}.{str(rest).rjust(len(str(unit)) - 1, '0').rstrip('0')}"


def size_of(text: str) -> int:
    """`1.5g` in bytes, units of 1024; a plain number, negative or not, is one of bytes."""
    if _WHOLE.fullmatch(text) and len(text) < 20:
        return int(text)
    match = _SIZE.fullmatch(text)
    try:
        if not match or len(text) > 60:
            raise ValueError
        amount = to_float(match[1]) * 1024 ** _POWERS[(match[2] or "").lower()]
        if amount < 0:
            raise ValueError
        return int(amount)
    except (ValueError, OverflowError):
        raise ValueError(f'"{text[:60]}" is not a size') from None


def shell_words(line: str) -> list[str]:
    """A command line in words, as Docker Compose splits it: quotes and backslashes as in a shell, nothing
    expanded, and everything from the first unquoted `;`, `&`, `|`, `<` or `>` on left out.
    """
    words: list[str] = []
    word: list[str] = []
    quote = ""  # one of ' " ` ( while open
    begun = False
    escaped = False
    for index, char in enumerate(line):
        if escaped:
            word.append({"t": "\t", "n": "\n"}.get(char, char))
            escaped, begun = False, True
        elif char == "\\":
            if quote == "'":
                word.append(char)
            else:
                escaped = True
        elif char in " \t\r\n":
            if quote:
                word.append(char)
            elif begun:
                words.append("".join(word))
                word, begun = [], False
        elif char in "\"'" and quote in ("", char, "`"):
            begun = begun or quote == char
            quote = "" if quote == char else char
        elif char == "`" and quote in ("", "`"):
            quote = "" if quote else "`"
            word.append(char)
            begun = True
        elif char == ")" and quote in ("", "("):
            quote = "" if quote else "("
            word.append(char)
            begun = True
        elif char == "(" and quote in ("", "("):
            if quote or not word or word[-1] != "$":
                raise ValueError(f"the command line cannot be split at character {index + 1}: {line}")
            quote = "("
            word.append(char)
        elif char in ";&|<>" and not quote:
            if char == ">" and word and word[0] in "0123456789":
                begun = False
            break
        else:
            word.append(char)
            begun = True
    if quote or escaped:
        raise ValueError(f"a quote stays open in the command line: {line}")
    if begun:
        words.append("".join(word))
    return words
