"""Answers of Docker Compose that are easily missed; each was read off Docker Compose 5.6.1."""

from pathlib import Path

import pytest

import cais
from cais.cli import config
from cais.cli.project import GlobalOptions


def load(tmp_path: Path, text: str, **env: str) -> cais.Stack:
    path = tmp_path / "compose.yaml"
    path.write_text(text)
    return cais.load([str(path)], env=env)


def service(tmp_path: Path, body: str) -> dict[str, object]:
    return load(tmp_path, f"services: {{api: {{image: x, {body}}}}}").canonical["services"]["api"]


def refused(tmp_path: Path, body: str) -> str:
    with pytest.raises(cais.Faults) as caught:
        service(tmp_path, body)
    return caught.value.found[0].message


def test_numbers_read_as_go_prints_them(tmp_path: Path) -> None:
    found = service(tmp_path, "environment: {A: 1234567.89, B: 1e6, C: 999999.5, D: 100000000000000000000, E: 0.00001}")
    assert found["environment"] == {"A": "1.23456789e+06", "B": "1e+06", "C": "999999.5", "D": "1e+20", "E": "1e-05"}


def test_a_bare_name_stands_over_the_env_file(tmp_path: Path) -> None:
    (tmp_path / "one.env").write_text("B=1\n")
    assert service(tmp_path, "env_file: one.env, environment: [B]")["environment"] == {"B": None}


def test_the_env_file_can_be_switched_off(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1\n")
    text = "services: {api: {image: 'x:${A:-none}'}}"
    assert load(tmp_path, text).services["api"].image == "x:1"
    assert load(tmp_path, text, COMPOSE_DISABLE_ENV_FILE="1").services["api"].image == "x:none"
    with pytest.raises(cais.CaisError):
        load(tmp_path, text, COMPOSE_DISABLE_ENV_FILE="perhaps")


def test_an_empty_override_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("services: {api: {image: x}}")
    (tmp_path / "empty.yaml").write_text("# nothing yet\n")
    paths = [str(tmp_path / "compose.yaml"), str(tmp_path / "empty.yaml")]
    assert list(cais.load(paths, env={}).services) == ["api"]
    with pytest.raises(cais.Faults) as caught:
        cais.load(paths[1:], env={})
    assert caught.value.found[0].span is not None


def test_what_is_not_there_is_not_excused(tmp_path: Path) -> None:
    assert "not defined" in refused(tmp_path, "depends_on: {db: {condition: service_started, required: false}}")
    assert "not defined" in refused(tmp_path, "build: {context: ., additional_contexts: {base: 'service:bas'}}")
    assert "292 years" in refused(tmp_path, "stop_grace_period: 9999999999999h")


def test_ports_stay_as_written_without_interpolation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("compose.yaml").write_text('services: {api: {image: x, ports: ["$P:80", "81"]}}')
    assert config.run(GlobalOptions(), ["--no-interpolate"]) == 0
    assert '- $P:80\n      - "81"\n' in capsys.readouterr().out
