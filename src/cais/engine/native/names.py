"""Names of the file that become places on disk: those Docker would refuse never leave the folder they are kept in."""

import hashlib
import re
from pathlib import Path

from cais.diag.api import CaisError
from cais.source.api import Span

# moby daemon/names: RestrictedNameChars. No slash, and no name is `.` or `..`.
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")


def place_name(kind: str, name: str, span: Span | None = None) -> str:
    """`name` when it can be the last part of a path. `kind` is "container" or "volume"."""
    if _NAME.fullmatch(name) and len(name) <= 200:
        return name
    raise CaisError(
        f"cannot use {name[:80]!r} as the name of a {kind}",
        hint="letters, digits, '_', '.' and '-', a letter or digit first, at most 200 of them",
        span=span,
    )


def volume_folder(volumes: Path, name: str, span: Span | None = None) -> Path:
    """Where the named volume of this name lies."""
    return volumes / place_name("volume", name, span)


def short_id(project: str, id: str) -> str:
    """Twelve hexadecimal digits, as Docker's short container id: the host name of who has none, and an alias."""
    return hashlib.sha256(f"{project}/{id}".encode()).hexdigest()[:12]
