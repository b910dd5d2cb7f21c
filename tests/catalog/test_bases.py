"""What tags of the base systems, Python and Node become."""

import re
import subprocess
from pathlib import Path

import pytest

from cais.catalog import find, make, musl
from cais.catalog.api import DebianPackages, FileIn, Program, Recipe, Wheel
from cais.diag.api import CaisError


def recipe(image: str) -> Recipe:
    return make._want(make.Request(find.parse(image))).recipe


@pytest.mark.parametrize(
    ("image", "suite", "fidelity"),
    [
        ("debian", "trixie", "real"),
        ("debian:bookworm", "bookworm", "real"),
        ("debian:bookworm-slim", "bookworm", "real"),
        ("debian:12.8-slim", "bookworm", "real"),
        ("debian:stable-20260101-slim", "trixie", "real"),
        ("debian:sid", "sid", "real"),
        ("debian:bullseye", "bookworm", "near"),
        ("ubuntu:22.04", "bookworm", "near"),
        ("ubuntu:noble", "bookworm", "near"),
        ("ubuntu", "trixie", "near"),
        ("busybox:1.36", "bookworm", "near"),
        ("alpine:3.20", "bookworm", "near"),
        ("python:3.11-slim", "bookworm", "real"),
        ("python:3.11-slim-bookworm", "bookworm", "real"),
        ("python:3.11-slim-trixie", "bookworm", "near"),
        ("python:3.12-slim", "trixie", "near"),
        ("python:3.13.1-slim", "trixie", "real"),
        ("python:3.14-slim", "sid", "real"),
        ("python:3.10-alpine", "bookworm", "near"),
        ("python:slim", "sid", "real"),
        ("node:22-slim", "bookworm", "real"),
        ("node:20-alpine", "bookworm", "near"),
        ("node:22-trixie-slim", "trixie", "real"),
        ("node:lts-slim", "bookworm", "real"),
    ],
)
def test_a_tag_gets_its_suite_and_says_how_near_it_is(image: str, suite: str, fidelity: str) -> None:
    made = recipe(image)
    assert (made.suite, made.fidelity) == (suite, fidelity)
    if fidelity != "real":
        assert made.differs
    for program in made.programs:
        for source in program.sources:
            if isinstance(source, DebianPackages):
                assert source.suite == suite, "a program must be linked against the libraries it will find"


@pytest.mark.parametrize(
    ("image", "version"),
    [("node:18", "18.20.8"), ("node:20.11.1-slim", "20.18.0"), ("node:22", "22.20.0"), ("node:lts", "24.19.0"),
     ("node:jod-alpine", "22.20.0"), ("node:23-slim", "24.19.0")],
)  # fmt: skip
def test_nodes_major_version_counts(image: str, version: str) -> None:
    assert dict(recipe(image).config.env)["NODE_VERSION"] == version


def test_a_python_that_stands_for_another_says_so() -> None:
    assert "Python 3.13.5 stands for 3.12, which no package source has" in recipe("python:3.12-slim").differs


@pytest.mark.parametrize("image", ["python:2.7", "python:3.7", "node:8", "debian:woody", "node:99"])
def test_a_version_with_nothing_near_is_an_error_with_a_way_out(image: str) -> None:
    with pytest.raises(CaisError, match=f"cannot run {image}") as caught:
        recipe(image)
    assert caught.value.hint


def test_the_full_images_have_what_scripts_fetch_with() -> None:
    packages = [s.packages for p in recipe("python:3.13").programs for s in p.sources if isinstance(s, DebianPackages)]
    assert {"curl", "wget", "git"} <= {name for names in packages for name in names}


def test_every_wheel_is_pinned_by_a_hash() -> None:
    for image in ("python:3.13", "node:20", "node:22", "node:24", "ghcr.io/astral-sh/uv"):
        for program in recipe(image).programs:
            for source in program.sources:
                if isinstance(source, Wheel):
                    assert re.fullmatch("[0-9a-f]{64}", source.sha256)
                    assert source.version in source.filename


def test_any_alpine_tag_has_apk() -> None:
    for image in ("python:3.13-alpine", "node:22-alpine3.20", "alpine", "postgres:16-alpine"):
        made = recipe(image)
        assert any(isinstance(f, FileIn) and f.path == "/sbin/apk" for f in made.files), image
        assert any("Alpine" in sentence for sentence in made.differs)
        assert made.fidelity == "near"


def test_the_table_of_apk_names_has_each_once_in_order() -> None:
    lines = (Path(musl.__file__).with_name("alpine") / "packages.txt").read_text().splitlines()
    names = [line.split()[0] for line in lines if not line.startswith("#")]
    assert len(names) > 100
    assert names == sorted(set(names))


@pytest.mark.parametrize("script", ["apk.sh", "adduser.sh"])
def test_the_scripts_are_plain_sh(script: str) -> None:
    subprocess.run(["/bin/sh", "-n", str(Path(musl.__file__).with_name("alpine") / script)], check=True)


def test_keys_do_not_depend_on_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make._want(make.Request(find.parse("node:22"))).programs
    assert first == make._want(make.Request(find.parse("node:22"))).programs
    assert all(re.fullmatch(r"[\w.-]+-[0-9a-f]{16}", name) for name in first)


def test_a_shared_cache_is_looked_into_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cais.fetch import names

    monkeypatch.setenv("CAIS_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("CAIS_PROGRAMS", str(tmp_path / "shared"))
    (tmp_path / "shared/programs/x-1").mkdir(parents=True)
    (tmp_path / "own/programs/x-1").mkdir(parents=True)
    assert names.ready_program("x-1") == tmp_path / "shared/programs/x-1"
    assert names.ready_program("y-1") is None


def test_what_moved_is_told() -> None:
    before = {"redis-server": "7.0.1", "gone": "1", "same": "2"}
    assert make.moved(before, {"redis-server": "7.0.2", "same": "2", "new": "1"}) == [
        "redis-server is now 7.0.2 (it was 7.0.1)"
    ]


def test_an_image_that_is_there_costs_no_heavy_import(tmp_path: Path) -> None:
    import os
    import sys

    code = (
        "import sys\nfrom cais.catalog import find, make\n"
        "make.missing([make.Request(find.parse('python:3.11-slim'))])\n"
        "heavy = {'asyncio', 'ssl', 'http.client', 'msgspec', 'lzma', 'zipfile', 'xml.etree', 'concurrent.futures'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    env = {**os.environ, "CAIS_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert done.stdout.strip() == "[]"


def test_programs_are_values() -> None:
    assert all(isinstance(p, Program) for p in recipe("node:22").programs)
