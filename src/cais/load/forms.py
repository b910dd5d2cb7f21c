"""The forms values are printed in, one function each; `decode.py` says which attribute has which.

Go's types decide them: a duration is `1m30s`, a size a text of bytes, a variable always a text. What such a type
cannot hold is a fault, as it is for Docker Compose.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cais.load.canonical import canonical_hosts, go_text
from cais.load.job import Job, shown
from cais.load.measures import duration_text, nanoseconds, shell_words, size_of, to_bool, to_float, to_int
from cais.source.tree import List, Map

OMIT: Any = object()
Form = Callable[[Job, Any, int], Any]


def keep(job: Job, value: Any, at: int) -> Any:
    return value


def text(job: Job, value: Any, at: int) -> Any:
    if value is None or value == "":
        return OMIT
    return value if value.__class__ is str else go_text(value)


def flag(job: Job, value: Any, at: int) -> Any:
    return value or OMIT if value.__class__ is bool else _flag(job, value, at) or OMIT


def flag_or_false(job: Job, value: Any, at: int) -> Any:
    return OMIT if value is None else _flag(job, value, at)


def opt_out(job: Job, value: Any, at: int) -> Any:
    """True is what it is when nothing is said."""
    return OMIT if value is None or _flag(job, value, at) else False


def _flag(job: Job, value: Any, at: int) -> Any:
    if value.__class__ is str:
        try:
            return to_bool(value)
        except ValueError as error:
            job.error("cast", str(error), at)
            return False
    return bool(value)


def count(job: Job, value: Any, at: int) -> Any:
    return count_or_zero(job, value, at) or OMIT


def count_or_zero(job: Job, value: Any, at: int) -> Any:
    if value is None:
        return OMIT
    if value.__class__ is str:
        try:
            return to_int(value)
        except ValueError as error:
            job.error("cast", str(error), at)
            return OMIT
    return int(value)


def plain_count(job: Job, value: Any, at: int) -> Any:
    """One of Go's unsigned numbers that Docker Compose reads from no text, however it looks."""
    found = plain_count_or_zero(job, value, at)
    return found or OMIT


def plain_count_or_zero(job: Job, value: Any, at: int) -> Any:
    if value.__class__ is str:
        job.error("cast", f'"{value}" is a text: a whole number is wanted', at, hint="leave the quotes out")
        return OMIT
    return natural(job, value, at)


def device_count(job: Job, value: Any, at: int) -> Any:
    """How many devices: a whole number, or `all` of them, which is -1."""
    if value.__class__ is str and value.lower() == "all":
        return -1
    if value.__class__ is float:
        job.error("cast", f"{value} is not a whole number", at)
        return OMIT
    return count(job, value, at)


def ids(job: Job, value: Any, at: int) -> Any:
    """Names or whole numbers."""
    for index, item in enumerate(value or ()):
        if item.__class__ is float:
            job.error("wrong-type", f"{go_text(item)} is neither a name nor a whole number", value.at[index])
    return texts(job, value, at)


def expose(job: Job, value: Any, at: int) -> Any:
    for index, item in enumerate(value or ()):
        if item.__class__ is float:
            job.error("port", f"{item} is not a port", value.at[index])
    return texts(job, value, at)


def natural(job: Job, value: Any, at: int) -> Any:
    found = count_or_zero(job, value, at)
    if found is not OMIT and found < 0:
        job.error("cast", f"{found} is less than 0", at)
    return found


def natural_or_none(job: Job, value: Any, at: int) -> Any:
    return natural(job, value, at) or OMIT


def decimal(job: Job, value: Any, at: int) -> Any:
    """A share of processors, a ratio: in Go a float32, of which the shortest digits are printed."""
    found = _number(job, value, at)
    if found.__class__ is not float and not (found.__class__ is int and abs(found) > 1 << 24):
        return found or OMIT
    import struct

    try:
        packed = struct.pack("f", found)
    except OverflowError:
        job.error("cast", f"{found} is too large", at)
        return OMIT
    (found,) = struct.unpack("f", packed)
    for digits in range(1, 10):
        short = float(f"{found:.{digits}g}")
        if struct.pack("f", short) == packed:
            return int(short) if short.is_integer() else short
    return found


def _number(job: Job, value: Any, at: int) -> Any:
    if value is None:
        return OMIT
    if value.__class__ is str:
        try:
            value = to_float(value)
        except ValueError as error:
            job.error("cast", str(error), at)
            return OMIT
    return int(value) if value.__class__ is float and value.is_integer() else value


def size(job: Job, value: Any, at: int) -> Any:
    if value is None or value.__class__ is float:  # Docker Compose takes a fraction of bytes for nothing said
        return OMIT
    try:
        amount = size_of(value) if value.__class__ is str else int(value)
    except ValueError as error:
        job.error("size", str(error), at, hint="a number and b, k, m, g or t")
        return OMIT
    return str(amount) if amount else OMIT


def size_or_zero(job: Job, value: Any, at: int) -> Any:
    found = size(job, value, at)
    return "0" if found is OMIT else found


def duration(job: Job, value: Any, at: int) -> Any:
    if value is None:
        return OMIT
    try:
        total = nanoseconds(value) if value.__class__ is str else int(value)
        if abs(total) >= 2**63:
            raise ValueError(f'"{value}" is longer than the longest duration, 292 years')
        return duration_text(total)
    except ValueError as error:
        job.error("duration", str(error), at, hint="write 1m30s, 500ms, 2h")
        return OMIT


def mode(job: Job, value: Any, at: int) -> Any:
    """A file mode in octal; a text is read as octal too."""
    if value is None:
        return OMIT
    if value.__class__ is str:
        try:
            if value.lstrip("+-").strip("01234567"):
                raise ValueError
            value = int(value, 8)
        except ValueError:
            job.error("mode", f'"{value}" is not an octal file mode', at)
            return OMIT
    if value.__class__ is float:
        job.error("mode", f"{value} is not an octal file mode", at, hint='write "0440"')
        return OMIT
    return f"0{int(value):o}"


def texts(job: Job, value: Any, at: int) -> Any:
    if not value:
        return OMIT
    if value.__class__ is str:
        return List([value], [at])
    for index, item in enumerate(value):
        if item.__class__ is not str:
            value[index] = go_text(item)
    return value


def filled_texts(job: Job, value: Any, at: int) -> Any:
    """Texts that are not empty."""
    value = texts(job, value, at)
    if value is not OMIT and "" in value:
        value = List([one for one in value if one], [p for one, p in zip(value, value.at, strict=True) if one])
    return value or OMIT


def pairs(job: Job, value: Any, at: int) -> Any:
    """Variables: texts, or null for a name without a value."""
    if not value:
        return OMIT
    for key, item in value.items():
        if item.__class__ is not str and item is not None:
            value[key] = go_text(item)
        if key[-1:] == " ":
            job.error("variable-name", f'variable "{key}" ends with a space', value.where(key), key=True)
    return value


def labels(job: Job, value: Any, at: int) -> Any:
    if not value:
        return OMIT
    for key, item in value.items():
        if item.__class__ is not str:
            value[key] = go_text(item)
    return value


def plain_texts(job: Job, value: Any, at: int) -> Any:
    """A mapping to texts that Docker Compose makes of nothing but texts and whole numbers."""
    if not value:
        return OMIT
    for key, item in value.items():
        if item.__class__ in (bool, float, Map, List):
            hint = f'put it in quotes: "{go_text(item)}"' if item.__class__ in (bool, float) else ""
            job.error("wrong-type", f"{key} must be a text, not {shown(item)}", value.where(key), hint=hint)
    return labels(job, value, at)


def command(job: Job, value: Any, at: int) -> Any:
    if value is None:
        return None
    if value.__class__ is str:
        try:
            words = shell_words(value)
        except ValueError as error:
            job.error("command", str(error), at)
            return None
        return List(words, [at] * len(words))
    return texts(job, value, at) if value else List()


def health_test(job: Job, value: Any, at: int) -> Any:
    if value is None or value == []:
        return OMIT
    if value.__class__ is str:
        return List(["CMD-SHELL", value], [at, at])
    return texts(job, value, at)


def hosts(job: Job, value: Any, at: int) -> Any:
    """`name=address`, sorted."""
    value = canonical_hosts(job, value)
    if not value:
        return OMIT
    found = [
        (f"{name}={address}", place)
        for name, addresses in value.items()
        for address, place in zip(addresses, addresses.at, strict=True)
    ]
    found.sort()
    return List([one for one, _ in found], [place for _, place in found])


def ulimits(job: Job, value: Any, at: int) -> Any:
    if not value:
        return OMIT
    for name, limit in value.items():
        if limit.__class__ is Map:
            job.extended.add(id(limit))
            for key in ("soft", "hard"):
                amount = count(job, limit.get(key), limit.where(key))
                limit.drop(key)
                if amount is not OMIT:
                    limit.put(key, amount, value.where(name))
        elif limit.__class__ is float or limit.__class__ is List:
            job.error("cast", f"{shown(limit)} is not a whole number", value.where(name))
        else:
            value[name] = count_or_zero(job, limit, value.where(name)) or Map()
    return value


def ssh(job: Job, value: Any, at: int) -> Any:
    if not value:
        return OMIT
    return List([name if path is None else f"{name}={path}" for name, path in value.items()], [at] * len(value))


def options_list(job: Job, value: Any, at: int) -> Any:
    """A provider's options: each a list of texts."""
    if not value:
        return OMIT
    for key, item in value.items():
        items = item if item.__class__ is List else List([item], [value.where(key)])
        value[key] = List([go_text(one) for one in items], items.at)
    return value


def record(**fields: Form) -> Form:
    """A mapping that is printed even when empty."""

    def form(job: Job, value: Any, at: int) -> Any:
        if value is None:
            return OMIT
        if value.__class__ is not Map:
            return value
        drop = None
        for key, item in value.items():
            decode = fields.get(key)
            if decode is None:
                if key[:2] == "x-":
                    job.extended.add(id(value))  # Docker Compose's JSON leaves it out
                else:
                    drop = [key] if drop is None else [*drop, key]  # where the schema is open, Go's types are not
                continue
            fresh = decode(job, item, value.at.get(key, at))
            if fresh is OMIT:
                drop = [key] if drop is None else [*drop, key]
            elif fresh is not item:
                value[key] = fresh
        for key in drop or ():
            value.drop(key)
        return value

    return form


def always(form: Form, **required: Form) -> Form:
    """`form`, with fields that are printed even when nobody gave them."""

    def wrapped(job: Job, value: Any, at: int) -> Any:
        value = form(job, value, at)
        if value.__class__ is Map:
            for key, default in required.items():
                if key not in value:
                    value.put(key, default(job, None, at), at)
        return value

    return wrapped


def each(form: Form) -> Form:
    def items(job: Job, value: Any, at: int) -> Any:
        if not value:
            return OMIT
        for index, item in enumerate(value):
            fresh = form(job, item, value.at[index] if index < len(value.at) else at)
            value[index] = None if fresh is OMIT else fresh
        return value

    return items


def values(form: Form) -> Form:
    def entries(job: Job, value: Any, at: int) -> Any:
        if not value:
            return OMIT
        for key, item in value.items():
            fresh = form(job, item, value.at.get(key, at))
            value[key] = None if fresh is OMIT else fresh
        return value

    return entries


def nothing(job: Job, value: Any, at: int) -> Any:
    return None


def blank(job: Job, value: Any, at: int) -> Any:
    return ""


def zero(job: Job, value: Any, at: int) -> Any:
    return 0


def zero_text(job: Job, value: Any, at: int) -> Any:
    return "0"


def empty(job: Job, value: Any, at: int) -> Any:
    return Map()


def number_of(attribute: str, value: Any) -> float | None:
    """A limit as a number, to compare two spellings of it."""
    if value is None:
        return None
    try:
        if attribute.startswith("mem") and value.__class__ is str:
            return float(size_of(value))
        return float(value)
    except (ValueError, TypeError):
        return None
