"""Which card answers for an image: references taken apart (distribution/reference), cards discovered.

A folder of this package with a `card.py` is a card. The folder called like the image is asked first, so that a
stack of known images imports the cards it needs and no other.
"""

from __future__ import annotations

import functools
import re
from importlib import import_module
from pathlib import Path
from typing import cast

from cais.catalog.api import CardModule, ImageRef
from cais.diag.api import CaisError
from cais.source.api import Span

_HOME = Path(__file__).parent
# distribution/reference: path components, tag, digest.
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[\w][\w.-]{0,127}")
_DIGEST = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}")


def parse(text: str, span: Span | None = None) -> ImageRef:
    """Take an image reference apart; `docker.io` and `library/` are left out, as nobody writes them."""
    rest, _, digest = text.partition("@")
    first, slash, after = rest.partition("/")
    registry = ""
    if slash and ("." in first or ":" in first or first == "localhost"):
        registry, rest = first, after
    if registry in ("docker.io", "index.docker.io", "registry-1.docker.io"):
        registry = ""
    name, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        name, tag = rest, ""
    if (
        text.endswith(":")
        or not _NAME.fullmatch(name)
        or (tag and not _TAG.fullmatch(tag))
        or (digest and not _DIGEST.fullmatch(digest))
    ):
        why = "names are lower case" if name != name.lower() else "write name:tag or registry/name:tag"
        raise CaisError(f"cannot read the image reference {text!r}: {why}", span=span)
    # Official images keep their `library/` in mirrors: mirror.example/docker/library/python.
    name = re.sub(r"^(?:docker/)?library/", "", name)
    return ImageRef(text, registry, name, tag or ("" if digest else "latest"), digest, span)


def find(text: str, span: Span | None = None, *, service: str = "") -> tuple[CardModule, ImageRef]:
    """The card that answers for an image; CaisError with the ways out when there is none."""
    ref = parse(text, span)
    module = card_for(ref)
    if module is not None:
        return module, ref
    who = f"service {service}" if service else "this"
    near = _similar(ref.name)
    meant = f"; did you mean {near}?" if near else ""
    raise CaisError(
        f"cannot run {who} natively: no card knows the image {text}{meant}",
        hint=(
            "build it from a Dockerfile (build:), give the command that runs it "
            "(x-cais: {native: {command: …}}), or run the stack with Docker Compose"
        ),
        span=span,
    )


def card_for(ref: ImageRef) -> CardModule | None:
    """The card that names this image, or None."""
    last = ref.name.rpartition("/")[2].replace("-", "_")
    first = [last] if last in _folders() else []
    for name in [*first, *(f for f in _folders() if f != last)]:
        module = card(name)
        if any(_matches(pattern, ref.name) for pattern in module.CARD.images):
            return module
    return None


@functools.cache
def card(folder: str) -> CardModule:
    """The module of one card's folder."""
    return cast(CardModule, import_module(f"cais.catalog.{folder}.card"))


def cards() -> list[CardModule]:
    """Every card, by name."""
    return [card(name) for name in _folders()]


@functools.cache
def _folders() -> tuple[str, ...]:
    return tuple(sorted(p.parent.name for p in _HOME.glob("*/card.py")))


def _matches(pattern: str, name: str) -> bool:
    if "*" not in pattern:
        return pattern == name
    return re.fullmatch(re.escape(pattern).replace(r"\*", "[^/]*"), name) is not None


def _similar(name: str) -> str:
    import difflib

    known = sorted({i for module in cards() for i in module.CARD.images if "*" not in i})
    last = name.rpartition("/")[2]
    close = difflib.get_close_matches(name, known, 1, 0.8) or difflib.get_close_matches(last, known, 1, 0.85)
    # bitnami/redis is another image than redis, with other paths: naming it is a hint, taking it would be wrong.
    return close[0] if close else ""
