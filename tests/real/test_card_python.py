"""`python:…`: the interpreter of that version, with pip in charge of /usr/local, as in the official image."""

import in_image
import pytest

from conftest import Project

pytestmark = pytest.mark.real

_CHECK = """
import asyncio, bz2, ctypes, ctypes.util, curses, dbm, lzma, readline, sqlite3, ssl, sys, sysconfig, uuid, zlib
assert sys.executable == "/usr/local/bin/python", sys.executable
assert sys.prefix == "/usr/local"
assert sysconfig.get_path("purelib") == f"/usr/local/lib/python3.{sys.version_info.minor}/site-packages"
assert ctypes.util.find_library("c") == "libc.so.6"
assert asyncio.__cached__ and __import__("os").path.exists(asyncio.__cached__)
print(f"{sys.version_info.major}.{sys.version_info.minor}")
"""


@pytest.mark.parametrize(
    ("tag", "version"),
    [
        ("3.11-slim", "3.11"),
        ("3.12-slim", "3.13"),
        ("3.13-slim", "3.13"),
        ("3.14-slim", "3.14"),
        ("3.13-alpine", "3.13"),
    ],
)
def test_the_interpreter_of_a_tag_runs_with_its_library(tag: str, version: str) -> None:
    assert in_image.run(f"python:{tag}", "python", "-c", _CHECK).stdout.strip() == version


@pytest.mark.parametrize("tag", ["3.11-slim"])
def test_pip_installs_where_the_official_image_has_it(tag: str) -> None:
    said = in_image.run(
        f"python:{tag}",
        "sh",
        "-ec",
        "pip install -q flask; which flask; python -c 'import flask; print(flask.__file__)'; "
        "pip install -q --user six; python -c 'import six; print(six.__file__)'; "
        "python -m venv /opt/v; /opt/v/bin/pip install -q colorama; "
        "/opt/v/bin/python -c 'import colorama; print(colorama.__file__)'; "
        "/opt/v/bin/python -c 'import flask' 2>/dev/null || echo apart; pip uninstall -q -y flask wheel; "
        "python -c 'import flask' 2>/dev/null || echo gone",
    ).stdout.splitlines()
    minor = tag.partition("-")[0]
    assert [line for line in said if "WARNING" not in line and "notice" not in line and line] == [
        "/usr/local/bin/flask",
        f"/usr/local/lib/python{minor}/site-packages/flask/__init__.py",
        f"/root/.local/lib/python{minor}/site-packages/six.py",
        f"/opt/v/lib/python{minor}/site-packages/colorama/__init__.py",
        "apart",
        "gone",
    ]


def test_uv_installs_into_the_system_as_in_the_official_image(project: Project) -> None:
    tag = "3.13-slim"
    project.write(
        "Dockerfile",
        f"""
        FROM python:{tag}
        RUN pip install uv && uv pip install --system flask
        RUN test -z "$(find / -xdev -name EXTERNALLY-MANAGED)"
        """,
    )
    project.compose("""
        services:
          app:
            build: .
            init: true
            command: [sleep, infinity]
    """)
    project.up(timeout=300)
    minor = tag.partition("-")[0]
    script = "import flask, sys; print(flask.__file__, sys.executable)"
    said = project.exec("app", "python", "-c", script).stdout
    assert said.split() == [f"/usr/local/lib/python{minor}/site-packages/flask/__init__.py", "/usr/local/bin/python"]
    assert "Flask" in project.exec("app", "flask", "--version").stdout
    assert project.exec("app", "which", "flask").stdout == "/usr/local/bin/flask\n"
    assert project.exec("app", "pip", "list").stdout.count("Flask ") == 1
    project.exec("app", "pip", "uninstall", "-q", "-y", "flask")
    assert project.exec("app", "python", "-c", "import flask", check=False).returncode == 1


def test_an_extension_is_built_against_the_images_headers() -> None:
    said = in_image.run(
        "python:3.11-slim",
        "sh",
        "-ec",
        "apt-get update -q; apt-get install -y -q --no-install-recommends gcc libc6-dev; "
        "pip install -q --no-binary :all: markupsafe; "
        "python -c 'import markupsafe._speedups as s; print(s.__file__)'",
        timeout=500,
    ).stdout
    assert said.splitlines()[-1].endswith("-x86_64-linux-gnu.so")


def test_the_full_image_has_git_curl_and_wget() -> None:
    said = in_image.run("python:3.13", "sh", "-ec", "git --version; curl --version; wget --version").stdout
    assert "git version" in said and "GNU Wget" in said
