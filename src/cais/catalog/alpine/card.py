"""Alpine: Debian with Alpine's commands. `make` lays those over every tag that says alpine; here it is the name."""

from cais.catalog.api import RUNS, Card, ImageRef, Recipe, Service
from cais.catalog.musl import on_debian
from cais.catalog.suites import PATH
from cais.model.image import ImageConfig

CARD = Card(
    name="alpine",
    title="Alpine Linux",
    images=("alpine",),
    level=RUNS,
    versions="any, near: on Debian, `apk add` by a table of names",
)


def recipe(ref: ImageRef, service: Service | None) -> Recipe:
    plain = Recipe(programs=(), config=ImageConfig(env=(("PATH", PATH),), cmd=("/bin/sh",)))
    return on_debian(plain, ref)
