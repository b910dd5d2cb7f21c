"""Names of Debian's releases, and which of them a tag asks for."""

from __future__ import annotations

from cais.catalog.api import ImageRef
from cais.diag.api import CaisError

DEBIAN = {
    "bookworm": "bookworm", "12": "bookworm", "oldstable": "bookworm",
    "trixie": "trixie", "13": "trixie", "stable": "trixie", "latest": "trixie",
    "sid": "sid", "unstable": "sid",
}  # fmt: skip
# Releases that the mirrors or this version do not have: the nearest, said.
NEAREST = {
    "bullseye": "bookworm",
    "11": "bookworm",
    "buster": "bookworm",
    "10": "bookworm",
    "forky": "sid",
    "testing": "sid",
}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def asked(words: tuple[str, ...]) -> str:
    """The Debian suite that one of a tag's words names, or ""."""
    return next((w for w in words if w in DEBIAN or w in NEAREST), "")


def suite_of(tag: str, ref: ImageRef) -> tuple[str, str]:
    """(suite, what differs or "") for a Debian tag: `bookworm-slim`, `12.8`, `stable-20250520`, `latest`."""
    first = tag.removesuffix("-slim").removesuffix("-backports").partition("-")[0]
    first = first if first in DEBIAN or first in NEAREST else first.partition(".")[0]
    if first in DEBIAN:
        return DEBIAN[first], ""
    if first in NEAREST:
        return NEAREST[first], f"Debian {NEAREST[first]} stands for {first}"
    raise CaisError(
        f"cannot run {ref.text}: no Debian release is called {tag}",
        hint="use bookworm, trixie or sid, such as debian:bookworm-slim",
        span=ref.span,
    )
