"""Archives are unpacked as they say, and never outside the root."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from cais.fetch import tar


def archive(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.GNU_FORMAT) -> io.BytesIO:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as file:
        for info, content in members:
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    out.seek(0)
    return out


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode, info.mtime = kind, link, mode, 1_700_000_000
    return info


def unpack(stream: io.BytesIO, root: Path, **options: bool) -> None:
    root.mkdir(exist_ok=True)
    writer = tar.Writer(str(root), owners=False, **options)
    for member, content in tar.members(stream):
        writer.write(member, content)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_files_links_modes_and_times_are_what_the_archive_says(tmp_path: Path, form: int) -> None:
    long = "d/" + "x" * 90 + "/" + "y" * 90
    stream = archive(
        (entry("./d", tarfile.DIRTYPE, mode=0o1777), b""),
        (entry("./d/run", mode=0o4755), b"#!/bin/sh\n"),
        (entry("./d/hard", tarfile.LNKTYPE, "./d/run"), b""),
        (entry("./d/soft", tarfile.SYMTYPE, "run"), b""),
        (entry(long), b"deep"),
        (entry("./ende"), "é".encode() * 3000),
        form=form,
    )
    before = os.umask(0o077)
    try:
        unpack(stream, tmp_path / "root")
    finally:
        os.umask(before)
    root = tmp_path / "root"
    assert (root / "d").stat().st_mode & 0o7777 == 0o1777
    assert (root / "d/run").stat().st_mode & 0o7777 == 0o4755
    assert (root / "d/run").stat().st_mtime == 1_700_000_000
    assert (root / "d/hard").samefile(root / "d/run")
    assert os.readlink(root / "d/soft") == "run"
    assert (root / long).read_text() == "deep"
    assert (root / "ende").stat().st_size == 6000


@pytest.mark.parametrize(
    "name",
    ["../escape", "a/../../escape", "/../escape"],
)
def test_a_member_above_the_root_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(tar.BadArchive, match="outside"):
        unpack(archive((entry(name), b"x")), tmp_path / "root")
    assert not (tmp_path / "escape").exists()


@pytest.mark.parametrize("target", ["/etc", "../../..", "../outside"])
def test_a_link_out_of_the_root_is_followed_inside_it(tmp_path: Path, target: str) -> None:
    (tmp_path / "outside").mkdir()
    stream = archive(
        (entry("etc", tarfile.DIRTYPE, mode=0o755), b""),
        (entry("outside", tarfile.DIRTYPE, mode=0o755), b""),
        (entry("d/way", tarfile.SYMTYPE, target), b""),
        (entry("d/way/file"), b"x"),
    )
    unpack(stream, tmp_path / "root")
    assert list((tmp_path / "outside").iterdir()) == []
    assert not Path("/etc/file").exists()
    assert len([p for p in (tmp_path / "root").rglob("file") if p.is_file()]) >= 1


def test_a_link_that_leads_through_another_stays_inside(tmp_path: Path) -> None:
    (tmp_path / "home/keys").mkdir(parents=True)
    stream = archive(
        (entry("out", tarfile.SYMTYPE, "../home"), b""),
        (entry("way", tarfile.SYMTYPE, "out/keys"), b""),
        (entry("way/file"), b"x"),
    )
    unpack(stream, tmp_path / "root")
    assert list((tmp_path / "home/keys").iterdir()) == []
    assert (tmp_path / "root/home/keys/file").read_text() == "x"


def test_links_that_go_round_are_refused(tmp_path: Path) -> None:
    stream = archive(
        (entry("a", tarfile.SYMTYPE, "b/x"), b""), (entry("b", tarfile.SYMTYPE, "a/y"), b""), (entry("a/file"), b"x")
    )
    with pytest.raises(tar.BadArchive, match="without end"):
        unpack(stream, tmp_path / "root")


def test_a_file_through_a_link_does_not_write_to_its_target(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    stream = archive((entry("x", tarfile.SYMTYPE, str(victim)), b""), (entry("x"), b"theirs"))
    unpack(stream, tmp_path / "root")
    assert victim.read_text() == "mine"
    assert (tmp_path / "root/x").read_text() == "theirs"


def test_old_top_folders_go_to_usr(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "usr/lib").mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    unpack(archive((entry("./lib/x/libc.so.6"), b"x")), root, merged_usr=True)
    assert (root / "usr/lib/x/libc.so.6").is_file()
    assert (root / "lib").is_symlink()


def test_a_cut_archive_is_refused(tmp_path: Path) -> None:
    whole = archive((entry("a"), b"x" * 5000)).getvalue()
    with pytest.raises(tar.BadArchive, match="ends"):
        unpack(io.BytesIO(whole[:2000]), tmp_path / "root")


def test_a_damaged_header_is_refused(tmp_path: Path) -> None:
    data = bytearray(archive((entry("a"), b"x")).getvalue())
    data[0] ^= 1
    with pytest.raises(tar.BadArchive, match="checksum"):
        unpack(io.BytesIO(bytes(data)), tmp_path / "root")
