"""`cais new` writes a stack as a starting point and destroys nothing."""

import json
from pathlib import Path

import pytest

from cais.cli.main import main
from cais.cli.new import stacks


def test_every_stack_is_listed_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "--format", "json"]) == 0
    assert [row["Name"] for row in json.loads(capsys.readouterr().out)] == list(stacks())
    assert main(["new"]) == 0
    assert capsys.readouterr().out.startswith("NAME ")


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "stacks" / "shop"
    (folder / "api" / "__pycache__").mkdir(parents=True)
    for name, text in {
        "compose.yaml": "services: {}\n",
        "README.md": "# Shop: a small shop\n",
        ".env.example": "TOKEN=dev\n",
        ".env": "TOKEN=mine\n",
        "api/main.py": "print(1)\n",
        "api/__pycache__/main.pyc": "x",
    }.items():
        (folder / name).write_text(text)
    (folder / "smoke.py").write_text("#!/usr/bin/env python3\n")
    (folder / "smoke.py").chmod(0o755)
    monkeypatch.setattr("cais.cli.new.stacks", lambda: {"shop": folder})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_stack_is_written_without_what_use_left_behind(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "shop", "mine"]) == 0
    written = {str(path.relative_to(shop / "mine")) for path in (shop / "mine").rglob("*") if path.is_file()}
    assert written == {"compose.yaml", "README.md", ".env.example", ".env", "api/main.py", "smoke.py"}
    assert (shop / "mine" / ".env").read_text() == "TOKEN=dev\n"
    assert (shop / "mine" / ".env").stat().st_mode & 0o777 == 0o600
    assert (shop / "mine" / "smoke.py").stat().st_mode & 0o100
    assert "cd mine && cais up" in capsys.readouterr().out


def test_a_folder_that_is_not_empty_is_left_alone(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shop / "mine").mkdir()
    (shop / "mine" / "notes.txt").write_text("mine")
    assert main(["new", "shop", "mine"]) == 1
    assert "not empty (it has notes.txt)" in capsys.readouterr().err
    assert [path.name for path in (shop / "mine").iterdir()] == ["notes.txt"]
    assert main(["new", "shop", "mine/notes.txt"]) == 1


def test_an_unknown_stack_names_the_nearest(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "shap"]) == 2
    assert "did you mean 'shop'?" in capsys.readouterr().err


def test_a_dry_run_writes_nothing(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "--dry-run", "shop"]) == 0
    assert "write shop/compose.yaml" in capsys.readouterr().out
    assert not (shop / "shop").exists()
