"""What an image's tag says: a version in front, flavours behind (`16.4-alpine3.20`, `latest`, `3.2-bookworm-perl`)."""

import re
from typing import NamedTuple

from cais.catalog.api import ImageRef

_VERSION = re.compile(r"v?(\d+(?:\.\d+)*)")


class Tag(NamedTuple):
    """`version` is () for `latest`, `alpine`, `bookworm` and other tags that name no number."""

    version: tuple[int, ...]
    flavours: tuple[str, ...]

    @property
    def alpine(self) -> bool:
        return any(f.startswith("alpine") for f in self.flavours)

    @property
    def said(self) -> str:
        """The version as text: `16.4`."""
        return ".".join(map(str, self.version))


def read_tag(tag: str) -> Tag:
    """The version a tag begins with and what follows it, split at the dashes."""
    first, *rest = tag.split("-")
    match = _VERSION.fullmatch(first)
    if not match:
        return Tag((), (first, *rest))
    return Tag(tuple(int(n) for n in match[1].split(".")), tuple(rest))


def alpine_differs(ref: ImageRef) -> str:
    return f"{ref.text} is Alpine (musl, busybox): here the same server runs on Debian"
