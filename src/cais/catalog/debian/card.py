"""Debian: the userland itself. bookworm, trixie and sid are real; older releases stand on bookworm."""

from cais.catalog.api import RUNS, Card, ImageRef, Recipe, Service
from cais.catalog.suites import PATH, suite_of
from cais.model.image import NEAR, REAL, ImageConfig

CARD = Card(
    name="debian",
    title="Debian",
    images=("debian", "bitnami/minideb"),
    level=RUNS,
    versions="bookworm (12), trixie (13), sid, each also `-slim`; older releases on bookworm, near",
)


def recipe(ref: ImageRef, service: Service | None) -> Recipe:
    suite, differs = suite_of(ref.tag or "latest", ref)
    return Recipe(
        programs=(),
        config=ImageConfig(env=(("PATH", PATH),), cmd=("bash",)),
        suite=suite,
        fidelity=NEAR if differs else REAL,
        differs=(differs,) if differs else (),
    )
