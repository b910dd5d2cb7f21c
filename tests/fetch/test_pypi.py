"""Wheels come from where pip is set up to take them."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from cais.fetch import http, pypi
from cais.fetch.api import Wheel


@pytest.fixture
def links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setattr(http, "PAUSES", ())
    pypi.settings.cache_clear()
    yield folder
    pypi.settings.cache_clear()


def wheel(content: bytes) -> Wheel:
    return Wheel("x", "1", "x-1-py3-none-any.whl", hashlib.sha256(content).hexdigest(), "/usr/local")


def test_a_folder_of_find_links_is_taken_before_any_index_is_asked(links: Path, tmp_path: Path) -> None:
    (links / "x-1-py3-none-any.whl").write_bytes(b"pinned")
    pypi.fetch(wheel(b"pinned"), tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == b"pinned"


def test_a_file_there_that_is_not_the_pinned_one_is_passed_over(links: Path, tmp_path: Path) -> None:
    (links / "x-1-py3-none-any.whl").write_bytes(b"another")
    with pytest.raises(http.Silent):
        pypi.fetch(wheel(b"pinned"), tmp_path / "got")
    assert not (tmp_path / "got").exists()
