"""COPY and ADD do what BuildKit's do, and nothing leaves the context or the root."""

import io
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from cais.build.copy import change_mode
from cais.diag.api import CaisError, Faults
from cais.model.image import Image

from .conftest import Kitchen

Tree = Callable[[Image], dict[str, str]]


def files(tree: dict[str, str]) -> dict[str, str]:
    return {path: text for path, text in tree.items() if text != "/"}


@pytest.mark.parametrize(
    ("copy", "expected"),
    [
        ("COPY a.txt /x", {"x": "A"}),
        ("COPY a.txt /x/", {"x/a.txt": "A"}),
        ("COPY a.txt /etc", {"etc/a.txt": "A"}),
        ("COPY a.txt b.txt /x/", {"x/a.txt": "A", "x/b.txt": "B"}),
        ("COPY *.txt /x/", {"x/a.txt": "A", "x/b.txt": "B"}),
        ("COPY nothing*.md a.txt /x/", {"x/a.txt": "A"}),
        ("COPY sub /x", {"x/c.txt": "C", "x/deep/d.txt": "D"}),
        ("COPY sub/ /x/", {"x/c.txt": "C", "x/deep/d.txt": "D"}),
        ("COPY s*b /x/", {"x/c.txt": "C", "x/deep/d.txt": "D"}),
        ("COPY sub/*/d.txt .", {"work/d.txt": "D"}),
        ("COPY sub ../up", {"up/c.txt": "C", "up/deep/d.txt": "D"}),
        ('COPY ["a.txt", "with blank/"]', {"work/with blank/a.txt": "A"}),
        ("COPY a.txt /bin/", {"usr/bin/a.txt": "A"}),
        ("COPY ../../a.txt /x", {"x": "A"}),
        ("COPY --parents sub/deep/d.txt /x/", {"x/sub/deep/d.txt": "D"}),
        ("COPY --parents sub/./deep/d.txt /x/", {"x/deep/d.txt": "D"}),
        ("COPY --parents sub/**/*.txt /x/", {"x/sub/c.txt": "C", "x/sub/deep/d.txt": "D"}),
        ("COPY --exclude=deep sub /x", {"x/c.txt": "C"}),
        ("COPY --exclude=b* *.txt /x/", {"x/a.txt": "A"}),
        ("COPY <<EOF /x\nhi $BASE\nEOF", {"x": "hi yes\n"}),
        ("COPY <<'EOF' /x/\nhi $BASE\nEOF", {"x/EOF": "hi $BASE\n"}),
        ("COPY <<one <<two /x/\n1\none\n2\ntwo", {"x/one": "1\n", "x/two": "2\n"}),
    ],
)
def test_where_things_go(kitchen: Kitchen, tree_of: Tree, copy: str, expected: dict[str, str]) -> None:
    for path, text in {"a.txt": "A", "b.txt": "B", "sub/c.txt": "C", "sub/deep/d.txt": "D"}.items():
        kitchen.write(path, text)
    image = kitchen.build(f"FROM base\nWORKDIR /work\n{copy}\n")
    assert files(tree_of(image)) == expected


def test_dockerignore_hides_and_excepts(kitchen: Kitchen, tree_of: Tree) -> None:
    kitchen.write(".dockerignore", "node_modules\n*.log\n!keep.log\ndocs\n!docs/readme.md\n")
    for path in ("node_modules/x", "a.log", "keep.log", "docs/readme.md", "docs/other.md", "src/main.py"):
        kitchen.write(path, path)
    image = kitchen.build("FROM base\nCOPY . /app\n")
    assert set(files(tree_of(image))) == {"app/.dockerignore", "app/keep.log", "app/docs/readme.md", "app/src/main.py"}


def test_a_source_that_dockerignore_hides_says_so(kitchen: Kitchen) -> None:
    kitchen.write(".dockerignore", "*.env\n")
    kitchen.write("prod.env", "x")
    with pytest.raises(Faults) as error:
        kitchen.build("FROM base\nCOPY prod.env /x\n")
    (found,) = error.value.found
    assert "excluded by .dockerignore" in found.message and found.span is not None and found.span.line == 2


def test_a_missing_source_is_named_with_its_place_and_the_nearest_name(kitchen: Kitchen) -> None:
    kitchen.write("requirements.txt")
    with pytest.raises(Faults) as error:
        kitchen.build("FROM base\nRUN false\nCOPY requirement.txt a /\n")
    first, second = error.value.found  # before the RUN is tried
    assert first.message.startswith("requirement.txt is not in the build context") and "requirements.txt" in first.hint
    assert first.span is not None and (first.span.line, first.span.column) == (3, 6)
    assert second.span is not None and (second.span.line, second.span.column) == (3, 22)


def test_a_missing_source_that_a_variable_names_is_told_with_its_value(kitchen: Kitchen) -> None:
    with pytest.raises(CaisError, match="nowhere is not in the build context"):
        kitchen.build("FROM base\nENV F=nowhere\nCOPY $F /\n")


def test_links_inside_a_directory_stay_links_and_a_named_link_is_followed_inside_the_context(
    kitchen: Kitchen, tree_of: Tree
) -> None:
    kitchen.write("real/file", "data")
    (kitchen.context / "link").symlink_to("real/file")
    (kitchen.context / "real/inner").symlink_to("/etc/shadow")
    image = kitchen.build("FROM base\nCOPY link /a\nCOPY real /b\n")
    assert files(tree_of(image)) == {"a": "data", "b/file": "data", "b/inner": "-> /etc/shadow"}


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../../../../etc/passwd", "loop"])
def test_a_hostile_link_in_the_context_does_not_reach_the_host(kitchen: Kitchen, target: str) -> None:
    (kitchen.context / "loop").symlink_to("loop")
    (kitchen.context / "evil").symlink_to(target)
    with pytest.raises(CaisError):
        kitchen.build("FROM base\nCOPY evil /x\n")


def test_a_hostile_link_in_the_base_does_not_lead_the_copy_out_of_the_root(
    kitchen: Kitchen, tree_of: Tree, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (kitchen.base / "out").symlink_to(outside)
    kitchen.write("f", "x")
    image = kitchen.build("FROM base\nCOPY f /out/f\n")
    assert list(outside.iterdir()) == []
    assert files(tree_of(image))[str(outside / "f").lstrip("/")] == "x"


def test_modes_are_kept_set_and_read_as_symbols(kitchen: Kitchen) -> None:
    kitchen.write("run.sh", "x", 0o750)
    kitchen.write("d/plain", "x", 0o640)
    image = kitchen.build("FROM base\nCOPY run.sh /a\nCOPY --chmod=600 run.sh /b\nCOPY --chmod=u=rwX,go=rX d /d\n")
    third, second, first = image.layers[:3]
    assert stat.S_IMODE(os.stat(f"{first}/a").st_mode) == 0o750
    assert stat.S_IMODE(os.stat(f"{second}/b").st_mode) == 0o600
    assert stat.S_IMODE(os.stat(f"{third}/d/plain").st_mode) == 0o644


@pytest.mark.parametrize(
    ("chmod", "mode", "is_dir", "result"),
    [("755", 0o600, False, 0o755), ("u+x", 0o644, False, 0o744), ("go-rwx", 0o777, False, 0o700),
     ("a=r", 0o777, False, 0o444), ("+X", 0o644, True, 0o755), ("+X", 0o644, False, 0o644),
     ("g=u", 0o640, False, 0o660), ("u+s", 0o755, False, 0o4755), ("+t", 0o777, True, 0o1777)],
)  # fmt: skip
def test_chmod(chmod: str, mode: int, is_dir: bool, result: int) -> None:
    assert change_mode(chmod, mode, is_dir) == result


def test_times_of_files_are_kept(kitchen: Kitchen) -> None:
    os.utime(kitchen.write("f", "x"), (1_000_000_000, 1_000_000_000))
    image = kitchen.build("FROM base\nCOPY f /f\n")
    assert os.stat(f"{image.layers[0]}/f").st_mtime == 1_000_000_000


def test_a_copy_into_a_directory_of_the_base_keeps_its_mode(kitchen: Kitchen) -> None:
    (kitchen.base / "etc").chmod(0o751)
    kitchen.write("f", "x")
    image = kitchen.build("FROM base\nCOPY f /etc/f\n")
    assert stat.S_IMODE(os.stat(f"{image.layers[0]}/etc").st_mode) == 0o751


def test_chown_takes_names_of_the_stage_and_numbers(kitchen: Kitchen) -> None:
    kitchen.write("f", "x")
    image = kitchen.build(
        "FROM base\nCOPY --chown=app f /a\nCOPY --chown=app:staff f /b\nCOPY --chown=7 f /c\nCOPY f /new/d\n"
    )
    owners = [os.stat(f"{layer}/{name}") for layer, name in zip(image.layers, ["new/d", "c", "b", "a"], strict=False)]
    expected = [(0, 0), (7, 7), (1000, 50), (1000, 2000)]
    if os.geteuid():  # an ordinary user has one owner to give, who is everybody inside
        expected = [(os.geteuid(), os.getegid())] * 4
    assert [(o.st_uid, o.st_gid) for o in owners] == expected


def test_an_unknown_owner_is_an_error_with_a_way_out(kitchen: Kitchen) -> None:
    kitchen.write("f", "x")
    with pytest.raises(CaisError, match="no user 'nobody-here'") as error:
        kitchen.build("FROM base\nCOPY --chown=nobody-here f /a\n")
    assert "RUN" in error.value.hint


def test_a_directory_over_a_file_and_a_file_over_a_directory_are_errors(kitchen: Kitchen) -> None:
    kitchen.write("d/etc/x", "x")
    kitchen.write("e/passwd/x", "x")
    kitchen.write("g/etc", "x")
    for copy in ("COPY e /etc", "COPY g /"):
        with pytest.raises(CaisError, match="cannot copy"):
            kitchen.build(f"FROM base\n{copy}\n")


def test_several_sources_need_a_directory(kitchen: Kitchen) -> None:
    kitchen.write("a")
    kitchen.write("b")
    with pytest.raises(CaisError, match="must be a directory"):
        kitchen.build("FROM base\nCOPY a b /x\n")


def test_add_unpacks_a_local_archive_and_copy_does_not(kitchen: Kitchen, tree_of: Tree) -> None:
    with tarfile.open(kitchen.context / "a.tar.gz", "w:gz") as tar:
        info = tarfile.TarInfo("dir/file")
        info.size, info.mode = 5, 0o600
        tar.addfile(info, io.BytesIO(b"hello"))
        link = tarfile.TarInfo("dir/link")
        link.type, link.linkname = tarfile.SYMTYPE, "file"
        tar.addfile(link)
        hard = tarfile.TarInfo("hard")
        hard.type, hard.linkname = tarfile.LNKTYPE, "dir/file"
        tar.addfile(hard)
    image = kitchen.build("FROM base\nADD a.tar.gz /x\n")
    assert files(tree_of(image)) == {"x/dir/file": "hello", "x/dir/link": "-> file", "x/hard": "hello"}
    image = kitchen.build("FROM base\nCOPY a.tar.gz /y/\n")
    assert os.path.isfile(f"{image.layers[0]}/y/a.tar.gz")


def test_a_hostile_archive_does_not_write_outside(kitchen: Kitchen, tree_of: Tree, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    with tarfile.open(kitchen.context / "a.tar", "w") as tar:
        link = tarfile.TarInfo("out")
        link.type, link.linkname = tarfile.SYMTYPE, str(outside)
        tar.addfile(link)
        for name in ("out/evil", "../../../../up", "/abs"):
            info = tarfile.TarInfo(name)
            info.size = 1
            tar.addfile(info, io.BytesIO(b"x"))
    image = kitchen.build("FROM base\nADD a.tar /x/\n")
    assert list(outside.iterdir()) == []
    found = files(tree_of(image))
    assert found["x/up"] == "x" and found["x/abs"] == "x" and found[f"{str(outside)[1:]}/evil"] == "x"


def test_git_sources_are_refused_with_a_way_out(kitchen: Kitchen) -> None:
    with pytest.raises(CaisError, match="Git") as error:
        kitchen.build("FROM base\nADD https://example.org/a/b.git /x\n")
    assert "clone" in error.value.hint


def test_copy_from_a_stage_an_image_and_a_named_context(kitchen: Kitchen, tree_of: Tree, tmp_path: Path) -> None:
    kitchen.write("f", "from context")
    other = tmp_path / "other"
    other.mkdir()
    (other / "o").write_text("from other")
    image = kitchen.build(
        "FROM base AS build\nCOPY f /out/f\nFROM base\n"
        "COPY --from=build /out /a\nCOPY --from=0 /out/f /b\nCOPY --from=other o /c\nCOPY --from=tools /etc/group /d\n",
        contexts=(("other", str(other)),),
    )
    found = files(tree_of(image))
    assert (found["a/f"], found["b"], found["c"]) == ("from context", "from context", "from other")
    assert found["d"].startswith("root:") and kitchen.asked == ["base", "tools"]


def test_a_working_directory_over_a_file_is_an_error_with_its_line(kitchen: Kitchen) -> None:
    with pytest.raises(CaisError, match="/etc/passwd") as error:
        kitchen.build("FROM base\nWORKDIR /etc/passwd/x\n")
    assert error.value.span is not None and error.value.span.line == 2


def test_a_file_that_may_not_be_read_is_named(kitchen: Kitchen) -> None:
    """Root may read everything: for root the copy succeeds, which is Docker's answer too."""
    kitchen.write("locked", "x", 0o000)
    if os.geteuid() == 0:
        kitchen.build("FROM base\nCOPY locked /x\n")
        return
    with pytest.raises(CaisError, match=r"cannot read .*/locked") as error:
        kitchen.build("FROM base\nCOPY locked /x\n")
    assert ".dockerignore" in error.value.hint
