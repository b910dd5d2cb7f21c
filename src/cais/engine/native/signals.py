"""Names of signals, as `stop_signal` and `kill -s` take them."""

import signal

from cais.diag.api import CaisError
from cais.model.api import Service


def signal_number(text: str, service: Service | None = None) -> int:
    """`SIGINT`, `INT`, `2`, `SIGRTMIN+3`."""
    word = text.upper().removeprefix("SIG")
    if word.isdigit() and 0 < int(word) < 65:
        return int(word)
    base, _, plus = word.partition("+")
    number = getattr(signal, f"SIG{base}", None)
    if number is None:
        raise CaisError(
            f"{text!r} is no signal", hint="write it as SIGTERM or as a number", span=service.span if service else None
        )
    return int(number) + (int(plus) if plus.isdigit() else 0)
