"""Ubuntu: Debian of about the same age stands for it. Package names are mostly the same, versions are Debian's."""

from cais.catalog.api import RUNS, Card, ImageRef, Recipe, Service, User
from cais.catalog.suites import PATH
from cais.catalog.tags import read_tag
from cais.model.image import NEAR, ImageConfig

CARD = Card(
    name="ubuntu",
    title="Ubuntu",
    images=("ubuntu",),
    level=RUNS,
    versions="any, on Debian: up to 24.04 and its names bookworm, later ones trixie",
)
_LATER = ("plucky", "questing", "resolute", "rolling", "latest", "devel")


def recipe(ref: ImageRef, service: Service | None) -> Recipe:
    tag = read_tag(ref.tag or "latest")
    later = tag.version >= (24, 10) if tag.version else tag.flavours[0] in _LATER
    suite = "trixie" if later else "bookworm"
    return Recipe(
        programs=(),
        config=ImageConfig(env=(("PATH", PATH),), cmd=("/bin/bash",)),
        suite=suite,
        users=(User("ubuntu", 1000, 1000, "/home/ubuntu", "/bin/bash"),) if later or tag.version >= (24,) else (),
        fidelity=NEAR,
        differs=(f"Debian {suite} stands for Ubuntu {ref.tag}: package versions are Debian's",),
    )
