"""A state, cache or programs folder that somebody else could have filled is not used; `paths.trusted`."""

import os
from pathlib import Path

import pytest

from cais import paths
from cais.cli.main import main
from cais.diag.api import CaisError
from cais.fetch import names, store

ROOT = os.geteuid() == 0
SOMEBODY = 12345


@pytest.fixture(autouse=True)
def homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable, name in (("CAIS_STATE", "state"), ("CAIS_CACHE", "cache"), ("CAIS_PROGRAMS", "shared")):
        (tmp_path / name).mkdir(mode=0o700)
        monkeypatch.setenv(variable, str(tmp_path / name))
    return tmp_path


@pytest.mark.parametrize("mode", [0o777, 0o770 | 0o002, 0o722])
@pytest.mark.parametrize("kind", ["", "projects", "projects/shop"])
def test_a_state_folder_that_others_may_write_is_refused(
    homes: Path, kind: str, mode: int, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = homes / "state" / kind
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(mode)
    assert main(["-p", "shop", "ps"]) == 1
    err = capsys.readouterr().err
    assert f"cannot use {folder}: others may write there (mode {mode:04o})" in err
    assert f"chmod go-w {folder}" in err
    assert "CAIS_STATE=/another/folder" in err
    assert len(err.strip().splitlines()) == 2


@pytest.mark.parametrize("kind", ["", "programs", "programs/x-1"])
def test_a_cache_that_others_may_write_is_refused(homes: Path, kind: str) -> None:
    folder = homes / "cache" / kind
    folder.mkdir(parents=True, exist_ok=True)
    (homes / "cache/programs/x-1").mkdir(parents=True, exist_ok=True)
    folder.chmod(0o777)
    for use in (lambda: names.ready_program("x-1"), lambda: store.tree("programs", "x-1", lambda root: None)):
        with pytest.raises(CaisError, match=f"cannot use {folder}: others may write"):
            use()


def test_a_userland_that_others_may_write_is_refused(homes: Path) -> None:
    userland = homes / "cache/userlands" / names.userland_name("bookworm")
    userland.mkdir(parents=True)
    assert names.ready_userland("bookworm") == userland
    paths._trusted.clear()
    userland.chmod(0o777)
    with pytest.raises(CaisError, match="others may write"):
        names.ready_userland("bookworm")


@pytest.mark.parametrize("kind", ["", "programs", "programs/x-1"])
@pytest.mark.parametrize("mode", [0o777, 0o1777])
def test_shared_programs_that_others_may_write_are_refused(homes: Path, kind: str, mode: int) -> None:
    """Sticky or not: who may add a program there, adds the next one that is asked for."""
    (homes / "shared/programs/x-1").mkdir(parents=True)
    (homes / "shared" / kind).chmod(mode if kind != "programs/x-1" else 0o777)
    with pytest.raises(CaisError, match="others may write") as refused:
        names.ready_program("x-1")
    assert "CAIS_PROGRAMS" in refused.value.hint


def test_shared_programs_may_be_read_by_everybody(homes: Path) -> None:
    (homes / "shared/programs/x-1").mkdir(parents=True)
    (homes / "shared").chmod(0o711)
    (homes / "shared/programs").chmod(0o755)
    assert names.ready_program("x-1") == homes / "shared/programs/x-1"


def test_a_folder_like_tmp_will_do_and_its_folders_are_looked_at(homes: Path) -> None:
    (homes / "cache").chmod(0o1777)
    assert store.tree("programs", "x-1", lambda root: None).is_dir()
    assert (homes / "cache/programs").stat().st_mode & 0o777 == 0o700
    (homes / "cache/images").mkdir()
    (homes / "cache/images").chmod(0o777)
    with pytest.raises(CaisError, match=f"cannot use {homes}/cache/images"):
        store.tree("images", "x-1", lambda root: None)


def test_state_that_others_may_read_is_closed_to_them(homes: Path) -> None:
    project = homes / "state/projects/shop"
    project.mkdir(parents=True)
    (homes / "state/volumes").mkdir()
    for folder in (project, project.parent, homes / "state/volumes"):
        folder.chmod(0o755)
    assert paths.project_home("shop") == project
    paths.state_folder("volumes")
    for folder in (project, project.parent, homes / "state/volumes"):
        assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(not ROOT, reason="only root gives a folder away")
@pytest.mark.parametrize("kind", ["", "projects", "projects/shop"])
def test_a_state_folder_of_another_user_is_refused(homes: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = homes / "state" / kind
    folder.mkdir(parents=True, exist_ok=True)
    os.chown(folder, SOMEBODY, SOMEBODY)
    assert main(["-p", "shop", "ps"]) == 1
    err = capsys.readouterr().err
    assert f"cannot use {folder}: it belongs to uid {SOMEBODY}" in err
    assert "CAIS_STATE=/another/folder" in err
    assert main(["doctor", "--offline"]) in (0, 1)
    assert (f"it belongs to uid {SOMEBODY}" in capsys.readouterr().out) == (kind != "projects/shop")


@pytest.mark.skipif(not ROOT, reason="only root gives a folder away")
@pytest.mark.parametrize("home", ["cache", "shared"])
@pytest.mark.parametrize("kind", ["", "programs", "programs/x-1"])
def test_programs_of_another_user_are_refused(homes: Path, home: str, kind: str) -> None:
    (homes / home / "programs/x-1").mkdir(parents=True)
    os.chown(homes / home / kind, SOMEBODY, SOMEBODY)
    with pytest.raises(CaisError, match=f"it belongs to uid {SOMEBODY}"):
        names.ready_program("x-1")


@pytest.mark.skipif(not ROOT, reason="only root gives a folder away")
def test_a_link_of_another_user_is_refused_wherever_it_points(homes: Path) -> None:
    (homes / "mine").mkdir()
    (homes / "cache/programs").symlink_to(homes / "mine")
    assert paths.cache_folder("programs").is_dir()
    paths._trusted.clear()
    os.chown(homes / "cache/programs", SOMEBODY, SOMEBODY, follow_symlinks=False)
    with pytest.raises(CaisError, match="it belongs to"):
        paths.cache_folder("programs")


@pytest.mark.skipif(not ROOT, reason="only root has a group that is not its own")
def test_a_group_that_may_write_counts_unless_it_is_its_users_alone(homes: Path) -> None:
    (homes / "cache").chmod(0o770)
    paths.cache_folder("programs")
    paths._trusted.clear()
    os.chown(homes / "cache", 0, SOMEBODY)
    with pytest.raises(CaisError, match="others may write"):
        paths.cache_folder("programs")
