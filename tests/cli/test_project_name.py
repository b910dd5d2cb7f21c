"""A project's name becomes a folder's: commands that read no file check it as those that do."""

import pytest

from cais.cli.main import main


@pytest.mark.parametrize("verb", ["ps", "logs", "down", "images"])
@pytest.mark.parametrize("name", ["../../x", "/etc", "Shop", "."])
def test_a_name_that_compose_refuses_is_refused_before_any_place_is_looked_at(
    verb: str, name: str, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("CAIS_STATE", str(tmp_path / "deep/state"))
    monkeypatch.chdir(tmp_path)
    assert main(["-p", name, verb]) == 1
    assert f'"{name}" cannot be a project name' in capsys.readouterr().err
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", name)
    assert main([verb]) == 1
    assert f'"{name}" cannot be a project name' in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
