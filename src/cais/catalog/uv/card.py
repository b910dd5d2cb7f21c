"""uv's own images: the two programs at / for `COPY --from`, or on a Python of ours."""

import re

from cais.catalog.api import RUNS, Card, ImageRef, Program, Recipe, Service, Wheel
from cais.catalog.suites import PATH
from cais.diag.api import CaisError
from cais.fetch.debian.sources import architecture
from cais.model.image import REAL, ImageConfig

CARD = Card(
    name="uv",
    title="uv",
    images=("astral-sh/uv", "astral/uv"),
    level=RUNS,
    versions="any, with uv 0.13: for `COPY --from`; an image with a Python in it is written FROM python and COPY",
)
_VERSION = "0.13.9"
_FILES = {
    "amd64": (
        "manylinux_2_17_x86_64.manylinux2014_x86_64",
        "d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19",
    ),
    "arm64": (
        "manylinux_2_28_aarch64",
        "ecb6028d79dc96fbeafffe5c8af62a7099487ebc05a701e76714eebcffd06375",
    ),
}


def recipe(ref: ImageRef, service: Service | None) -> Recipe:
    if found := re.search(r"python(3\.\d+)", ref.tag):
        raise CaisError(
            f"cannot run {ref.text} natively: uv images with a Python in them are not made here",
            hint=f"write FROM python:{found[1]}-slim and COPY --from=ghcr.io/astral-sh/uv:latest /uv /uvx /bin/",
            span=ref.span,
        )
    platform, sha256 = _FILES[architecture()]
    wheel = Wheel(
        "uv",
        _VERSION,
        f"uv-{_VERSION}-py3-none-{platform}.whl",
        sha256,
        "/",
        f"uv-{_VERSION}.data/scripts",
        ("uv", "uvx"),
    )
    return Recipe(
        programs=(Program("uv", _VERSION, (wheel,)),),
        config=ImageConfig(env=(("PATH", PATH),), entrypoint=("/uv",), working_dir="/io"),
        fidelity=REAL,
    )
