"""Dockerfile -> Image: a reader with spans lives in source/formats/dockerfile.py, what it means here.

builder.py   `build`, `build_all`: requests -> images          stages.py    which stages are needed, their bases
plan.py      one request: read, resolved, walked               walker.py    one stage's walk, its layers and key
texts.py     Dockerfile, .dockerignore, secrets                transfer.py, command.py   COPY and ADD, RUN as steps
expand.py    `$NAME`, `${NAME:-word}`                          config.py    ENV, CMD, USER …: what an image carries
context.py   the files of a context, .dockerignore, hashes     view.py      layers looked at as one tree
copy.py      COPY and ADD                                      run.py       RUN, in the sandbox
layers.py    the layer store: keys, locks, atomic              machine.py   this machine's mirrors and certificates
"""

from collections.abc import Callable
from typing import NamedTuple

from cais.model.image import Image
from cais.source.api import Span


class BuildRequest(NamedTuple):
    """One `build:` of a service, resolved. Two services with equal requests share one build.

    `context` is an absolute directory; `dockerfile` a path below it or absolute, or "" with `inline` its text.
    `secrets` are (id, host path or None, value or None); `contexts` are `additional_contexts`: a name and a
    directory, `docker-image://ref`, or `service:name`, whose own request is then in `services`.
    `name` is whom progress speaks of: the service. `span` is where its `build:` stands, `inline_span` its `inline`.
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
    inline_span: Span | None = None
    name: str = ""
    services: "tuple[tuple[str, BuildRequest], ...]" = ()


class BuildEvent(NamedTuple):
    """What a build does. `kind`: step (at work), cached, done, output (a line of a RUN, in `text`), warning.

    `step` of `steps` counts the instructions of all needed stages but FROM, as people count them.
    """

    name: str
    kind: str
    step: int
    steps: int
    text: str
    span: Span | None = None

    @property
    def line(self) -> str:
        """`building 3/7 RUN pip install …`."""
        return f"building {self.step}/{self.steps} {self.text}"


Report = Callable[[BuildEvent], None]
ResolveBase = Callable[[str, Span | None], Image]
FindBase = Callable[[str, Span | None], object]  # raises when there is no such image; fetches none
