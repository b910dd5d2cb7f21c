"""A card: all that Cais knows of one technology. Read this first; then copy `catalog/redis/`.

A folder here with a `card.py` that holds one value, `CARD`, is a card; `find.py` discovers them. Where data is
not enough, the card module has functions with the names in `CardModule`. They return values and start nothing.
A card gives an `Image` (model/image.py): layers to fetch and the official image's configuration. What the official
image's entrypoint does (environment, init scripts, `*_FILE`), the card's own `entrypoint.sh` does, inside the root:
so `exec`, `run`, `FROM postgres:16` and logs are what they are in Docker.
"""

from typing import NamedTuple, Protocol

from cais.fetch.api import DebianPackages, MavenArchive, MavenJars, NpmPackage, Source, Wheel
from cais.model.image import REAL, ImageConfig
from cais.source.api import Span

__all__ = [  # the types of fetch/api.py, re-exported for cards
    "DebianPackages",
    "MavenArchive",
    "MavenJars",
    "NpmPackage",
    "Source",
    "Wheel",
]

KNOWN, RUNS, OBSERVED, RESTORABLE = "known", "runs", "observed", "restorable"


class ImageRef(NamedTuple):
    """`registry.example/team/name:tag@sha256:…` taken apart. `name` is without registry and `library/`."""

    text: str
    registry: str
    name: str  # "postgres", "pgvector/pgvector", "bitnami/redis"
    tag: str  # "latest" when none is said
    digest: str = ""
    span: Span | None = None


class Finish(NamedTuple):
    """A step after unpacking that runs inside the sandbox, over the layers below: train a CDS archive, index fonts.

    `argv` runs as root with `outputs` writable; `name` and `version` enter the layer's key. `background`: the
    program is complete without it, so it may be made later, once, and never delays a start.
    """

    name: str
    version: str
    argv: tuple[str, ...]
    outputs: tuple[str, ...]
    background: bool = False


class Program(NamedTuple):
    """What is fetched and unpacked into one read-only layer, shared by every project: `programs/<name>-<key>`."""

    name: str
    version: str
    sources: tuple[Source, ...]
    finish: tuple[Finish, ...] = ()
    links: tuple[tuple[str, str], ...] = ()  # (path in layer, target)


class FileIn(NamedTuple):
    """A file a card lays over its programs (entrypoint, default configuration)."""

    path: str
    content: str
    mode: int = 0o644
    uid: int = 0
    gid: int = 0


class DirIn(NamedTuple):
    path: str
    mode: int = 0o755
    uid: int = 0
    gid: int = 0


class User(NamedTuple):
    """A user and group of that name the official image has (`postgres` 999:999)."""

    name: str
    uid: int
    gid: int
    home: str = "/nonexistent"
    shell: str = "/usr/sbin/nologin"


class Recipe(NamedTuple):
    """What a card answers for one image reference: enough to make an `Image`.

    `suite` is the Debian userland below it. `fidelity` other than real needs a sentence in `differs`.
    """

    programs: tuple[Program, ...]
    config: ImageConfig
    suite: str = "bookworm"
    files: tuple[FileIn | DirIn, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    users: tuple[User, ...] = ()
    fidelity: str = REAL
    differs: tuple[str, ...] = ()


class Service(NamedTuple):
    """What of a Compose service a card may look at: its effective environment and command, after the image's."""

    environment: dict[str, str]
    command: tuple[str, ...]


class Card(NamedTuple):
    """`images` are names without tag, registry and `library/`; a `*` matches within one path segment."""

    name: str
    title: str
    images: tuple[str, ...]
    level: str
    ports: tuple[tuple[int, str], ...] = ()  # (5432, "postgresql")
    web_ports: tuple[int, ...] = ()  # ports a person opens in a browser; `up` ends with their addresses
    data: tuple[str, ...] = ()
    secret_variables: tuple[str, ...] = ()
    versions: str = ""  # what tags it answers, for docs


class CardModule(Protocol):
    """`catalog/<name>/card.py`."""

    CARD: Card

    def recipe(self, ref: ImageRef, service: Service | None) -> Recipe:
        """The recipe for a tag; raises CaisError with a hint when no source has anything near it."""
