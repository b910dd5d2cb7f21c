"""Dockerfile -> Image: a reader with spans lives in source/formats/dockerfile.py, what it means here."""

from typing import NamedTuple

from cais.source.api import Span


class BuildRequest(NamedTuple):
    """One `build:` of a service, resolved. Two services with equal requests share one build.

    `context` is an absolute directory; `dockerfile` a path below it or absolute, or "" with `inline` its text.
    `secrets` are (id, host path or None, value or None); `contexts` are `additional_contexts`.
    """

    context: str
    dockerfile: str = "Dockerfile"
    inline: str = ""
    args: tuple[tuple[str, str], ...] = ()
    target: str = ""
    secrets: tuple[tuple[str, str | None, str | None], ...] = ()
    contexts: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    network: str = ""
    shm_size: int = 0
    extra_hosts: tuple[tuple[str, str], ...] = ()
    no_cache: bool = False
    span: Span | None = None
