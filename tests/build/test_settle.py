"""What a RUN left is tidied in its own layer: links that it made do not lead the tidying to the host."""

from pathlib import Path

import pytest

from cais.build import machine
from cais.build.run import clear_mount_point
from cais.build.view import View

PEM = "-----BEGIN CERTIFICATE-----\nMADE\n-----END CERTIFICATE-----\n"


@pytest.fixture
def fs(tmp_path: Path) -> Path:
    for name in ("base/etc/ssl/certs", "fs", "host/certs"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "base/etc/ssl/certs/ca-certificates.crt").write_text("")
    return tmp_path / "fs"


def test_a_mount_point_below_a_link_is_left_alone(tmp_path: Path, fs: Path) -> None:
    (tmp_path / "host/empty").write_text("")
    (tmp_path / "host/folder").mkdir()
    (fs / "way").symlink_to(tmp_path / "host")
    view = View([str(tmp_path / "base")])
    clear_mount_point(str(fs), view, "/way/empty")
    clear_mount_point(str(fs), view, "/way/folder")
    assert (tmp_path / "host/empty").exists() and (tmp_path / "host/folder").exists()


def test_an_empty_mount_point_and_what_was_made_above_it_goes(tmp_path: Path, fs: Path) -> None:
    (fs / "a/b/c").mkdir(parents=True)
    clear_mount_point(str(fs), View([str(tmp_path / "base")]), "/a/b/c")
    assert list(fs.iterdir()) == []


def test_authorities_are_not_taken_out_of_what_a_link_leads_to(tmp_path: Path, fs: Path) -> None:
    bundle = tmp_path / "host/certs/ca-certificates.crt"
    bundle.write_text(PEM + "more\n")
    (fs / "etc").mkdir()
    (fs / "etc/ssl").symlink_to(tmp_path / "host")
    trusting = machine.Machine(certificates=(PEM,), pip=(), npm=(), proxies=())
    machine.take_certificates(str(fs), trusting, View([str(tmp_path / "base")]))
    assert bundle.read_text() == PEM + "more\n"
