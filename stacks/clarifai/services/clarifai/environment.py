"""Settings come from the environment; a value that must not be seen may come from a file (`NAME_FILE`) instead."""

import os
from collections.abc import Mapping
from pathlib import Path


def setting(name: str, default: str | None = None, environ: Mapping[str, str] = os.environ) -> str:
    """The value of NAME, or the content of the file NAME_FILE names (a Compose secret), or the default.

    An empty value counts as none: `NAME=` in `.env` means "not set".
    """
    if value := environ.get(name):
        return value
    if path := environ.get(f"{name}_FILE"):
        return Path(path).read_text(encoding="utf-8").strip()
    if default is None:
        raise SystemExit(f"{name} is not set: give it in .env, or a file in {name}_FILE")
    return default


def number(name: str, default: float, environ: Mapping[str, str] = os.environ) -> float:
    text = setting(name, str(default), environ)
    try:
        return float(text)
    except ValueError:
        raise SystemExit(f"{name} must be a number, not {text!r}") from None
