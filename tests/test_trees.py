"""What a service left is removed to the last name, or told of. As an ordinary user: root opens everything anyway."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cais.diag.api import CaisError
from cais.fetch import store
from cais.trees import remove_tree


def as_user(tmp_path: Path, work: Callable[[], None]) -> None:
    """Root's rights would hide what this is about: the work is done in a child that has given them up."""
    if os.geteuid() != 0:
        work()
        return
    for folder in (tmp_path, *list(tmp_path.parents)[:3]):
        if folder.stat().st_uid == 0 and folder != Path("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o011)
    os.chown(tmp_path, 65534, 65534)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            work()
            code = 0
        except BaseException as error:
            print(repr(error), file=sys.stderr)
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def closed(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "x/y/z").mkdir(parents=True)
    for name in ("x/y/f", "x/y/z/g", "x/h"):
        (tree / name).touch(mode=0o000)
    for name in ("x/y/z", "x/y", "x"):
        (tree / name).chmod(0o000)
    tree.chmod(0o500)
    return tree


@pytest.mark.parametrize("remove", [remove_tree, store.remove])
def test_closed_folders_below_each_other_go(tmp_path: Path, remove: Callable[[Path], None]) -> None:
    def work() -> None:
        tree = closed(tmp_path)
        remove(tree)
        assert not tree.exists()

    as_user(tmp_path, work)


def test_no_link_is_followed_nor_its_mode_changed(tmp_path: Path) -> None:
    def work() -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "kept").touch()
        outside.chmod(0o500)
        tree = tmp_path / "tree"
        tree.mkdir()
        (tree / "link").symlink_to(outside)
        (tree / "nowhere").symlink_to("missing")
        remove_tree(tree)
        assert not tree.exists()
        assert (outside / "kept").exists() and outside.stat().st_mode & 0o777 == 0o500
        (tmp_path / "link").symlink_to(outside)
        remove_tree(tmp_path / "link")
        assert not (tmp_path / "link").is_symlink() and (outside / "kept").exists()

    as_user(tmp_path, work)


def test_no_depth_is_too_deep(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    here = os.open(tree, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    try:
        remove_tree(tree)
        assert not tree.exists()
    finally:
        subprocess.run(["rm", "-rf", str(tree)], check=True)  # pytest could not


def test_what_is_not_there_is_no_fault(tmp_path: Path) -> None:
    remove_tree(tmp_path / "nothing")
    remove_tree(tmp_path / "no/where")


@pytest.mark.skipif(os.geteuid() != 0, reason="a mount needs root")
def test_what_cannot_go_is_named_and_all_else_goes(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "a/mounted").mkdir(parents=True)
    (tree / "b").mkdir()
    (tree / "b/file").touch()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(tree / "a/mounted")], check=True)
    try:
        with pytest.raises(CaisError, match=r"cannot remove .*/tree/a/mounted: device or resource busy"):
            remove_tree(tree)
    finally:
        subprocess.run(["umount", str(tree / "a/mounted")], check=True)
    assert not (tree / "b").exists()


def test_what_belongs_to_another_is_named(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("what belongs to another needs root to be made")
    tree = tmp_path / "tree"
    (tree / "theirs").mkdir(parents=True)
    (tree / "theirs/file").touch()
    os.chown(tree, 65534, 65534)
    said: list[str] = []

    def work() -> None:
        with pytest.raises(CaisError) as caught:
            remove_tree(tree)
        said.append(caught.value.message)
        assert said == [f"cannot remove {tree}/theirs/file: permission denied"]

    as_user(tmp_path, work)
    assert (tree / "theirs/file").exists()
