"""Python as the official image has it: an interpreter that owns /usr/local, pip beside it.

The interpreter is Debian's of the suite that has that version. /usr/local is a virtual environment over it: there
`pip install` goes to /usr/local/lib/python3.x/site-packages and nothing is "externally managed", while `python -m
venv`, `pip install --user` and console scripts in /usr/local/bin are what they are in the official image.

`uv pip install --system` passes over virtual environments and takes Debian's interpreter itself: that one has no
EXTERNALLY-MANAGED marker (PEP 668) here, and its /usr/local/lib/python3.x/dist-packages is the same folder.
"""

from cais.catalog.api import (
    RUNS,
    Card,
    DebianPackages,
    DirIn,
    FileIn,
    ImageRef,
    Program,
    Recipe,
    Service,
    Source,
    Wheel,
)
from cais.catalog.suites import asked
from cais.catalog.tags import read_tag
from cais.diag.api import CaisError
from cais.model.image import NEAR, REAL, ImageConfig

CARD = Card(
    name="python",
    title="Python",
    images=("python",),
    level=RUNS,
    versions="3.11, 3.13, 3.14, 3.15 (also `-slim`, `-alpine`); 3.12 on 3.13 and 3.8 to 3.10 on 3.11, near",
)

# Which suite has which minor version, and the version it has (sid's moves, so its last number is not told).
_SUITES = {11: ("bookworm", "3.11.2"), 13: ("trixie", "3.13.5"), 14: ("sid", "3.14"), 15: ("sid", "3.15")}
_STANDS_FOR = {8: 11, 9: 11, 10: 11, 12: 13}
_LATEST = 15
_PIP = "26.3"
_WHEELS = (
    ("pip", _PIP, "pip-26.3-py3-none-any.whl", "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"),
    (
        "setuptools",
        "80.9.0",
        "setuptools-80.9.0-py3-none-any.whl",
        "062d34222ad13e0cc312a4c02d73f059e86a4acbfbdea8f8f76b28c99f306922",
    ),
    (
        "wheel",
        "0.45.1",
        "wheel-0.45.1-py3-none-any.whl",
        "708e7481cc80179af0e556bbf0cc00b8444c7321e2700b8d8580231d13017248",
    ),
)
_TOOLS = ("curl", "wget", "git", "openssh-client", "procps", "unzip", "xz-utils")


def recipe(ref: ImageRef, service: Service | None) -> Recipe:
    tag = read_tag(ref.tag)
    minor, taken = _minor(ref, tag.version)
    suite, version = _SUITES[taken]
    differs = []
    fidelity = REAL
    if minor != taken:
        fidelity = NEAR
        differs.append(f"Python {version} stands for 3.{minor}, which no package source has")
    wished = asked((*tag.flavours, "latest") if not tag.version else tag.flavours)
    if wished and wished != "latest" and wished != suite:
        fidelity = NEAR
        differs.append(f"Debian {suite} stands for {wished}: there is Python 3.{taken}")
    programs = [_interpreter(suite, taken)]
    if not tag.alpine and "slim" not in tag.flavours:
        fidelity = NEAR
        programs.append(Program(f"python-tools-{suite}", "1", (DebianPackages(suite, _TOOLS),)))
        differs.append("compilers and -dev packages of the full image are not there: apt-get install what a RUN needs")
    return Recipe(
        programs=tuple(programs),
        config=ImageConfig(
            env=(
                ("PATH", "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"),
                ("LANG", "C.UTF-8"),
                ("PYTHON_VERSION", version),
            ),
            cmd=("python3",),
        ),
        suite=suite,
        files=(*_scripts(taken, version), *_folders(taken)),
        links=_links(taken),
        fidelity=fidelity,
        differs=tuple(differs),
    )


def _minor(ref: ImageRef, version: tuple[int, ...]) -> tuple[int, int]:
    """(the minor version that is asked for, the one that is taken)."""
    if version[:1] in ((), (3,)):
        minor = version[1] if len(version) > 1 else _LATEST
        if minor in _SUITES or minor in _STANDS_FOR:
            return minor, _STANDS_FOR.get(minor, minor)
    known = ", ".join(f"3.{m}" for m in sorted({*_SUITES, *_STANDS_FOR}))
    raise CaisError(
        f"cannot run {ref.text}: no package source has anything near that version of Python",
        hint=f"use one of {known}, such as python:3.13-slim",
        span=ref.span,
    )


def _interpreter(suite: str, minor: int) -> Program:
    name = f"python3.{minor}"
    sources: list[Source] = [
        DebianPackages(suite, (name, f"{name}-venv")),
        DebianPackages(suite, (f"lib{name}-dev",), alone=True),  # Python.h, for wheels that are built
        *(Wheel(p, v, f, s, f"/usr/local/lib/{name}/site-packages") for p, v, f, s in _WHEELS),
    ]
    return Program(name, "2", tuple(sources))


def _scripts(minor: int, version: str) -> tuple[FileIn, ...]:
    pip = (
        f"#!/usr/local/bin/python3.{minor}\n"
        "import sys\n"
        "from pip._internal.cli.main import main\n"
        "if __name__ == '__main__':\n"
        "    sys.argv[0] = sys.argv[0].removesuffix('.exe')\n"
        "    sys.exit(main())\n"
    )
    environment = f"home = /usr/bin\ninclude-system-site-packages = true\nversion = {version}\n"
    return (
        FileIn("/usr/local/pyvenv.cfg", environment),
        *(FileIn(f"/usr/local/bin/{n}", pip, 0o755) for n in ("pip", "pip3", f"pip3.{minor}")),
    )


def _folders(minor: int) -> tuple[DirIn, ...]:
    """Programs may belong to another user of the machine; where pip writes must belong to this one."""
    return (DirIn("/usr/local/bin"), DirIn("/usr/local/lib"), DirIn(f"/usr/local/lib/python3.{minor}"),
            DirIn(f"/usr/local/lib/python3.{minor}/site-packages"), DirIn("/usr/local/include"),
            DirIn("/usr/local/share"))  # fmt: skip


def _links(minor: int) -> tuple[tuple[str, str], ...]:
    return (
        (f"/usr/local/bin/python3.{minor}", f"/usr/bin/python3.{minor}"),
        ("/usr/local/bin/python3", f"python3.{minor}"),
        ("/usr/local/bin/python", "python3"),
        (f"/usr/local/lib/python3.{minor}/dist-packages", "site-packages"),
    )
