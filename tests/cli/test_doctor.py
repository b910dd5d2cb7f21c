"""`cais doctor` is pasted into bug reports: it must be true, complete and without secrets."""

import json
from pathlib import Path

import pytest

from cais.cli import doctor
from cais.cli.main import main


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CAIS_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("CAIS_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_every_group_is_there_and_each_line_says_what_follows(places: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--offline", "--format", "json"])
    told = json.loads(capsys.readouterr().out)
    assert code == (0 if told["rung"] else 1)
    assert {"cais", "python", "system", "kernel", "user", "rung", "findings"} == set(told)
    assert {line["group"] for line in told["findings"]} == {"Isolation", "Machine", "Programs"}
    assert all(line["follows"] for line in told["findings"])
    names = {line["name"] for line in told["findings"]}
    assert {"mount namespace", "overlayfs", "cgroups", "memory", "state", "cache", "java", "node", "docker"} <= names


def test_no_secret_of_a_registrys_settings_is_shown(
    places: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from cais.fetch import pypi

    monkeypatch.setenv("PIP_INDEX_URL", "http://someone:s3cret-word@127.0.0.1:9/simple")
    monkeypatch.setenv("GOPROXY", "http://someone:s3cret-word@127.0.0.1:9")
    pypi.settings.cache_clear()
    try:
        for name in ("PyPI", "Go modules"):
            line = doctor.registry_line(name)
            assert line.ok is False
            assert line.detail
            assert "s3cret-word" not in str(line)
            assert "127.0.0.1" not in str(line)
    finally:
        pypi.settings.cache_clear()


def test_a_program_that_hangs_or_fails_does_not_stop_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "java"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor.program("java").detail == "there, but does not answer"
    assert doctor.program("node").detail == "not there"


@pytest.mark.parametrize(
    ("variable", "first"),
    [("https://a.test,direct", "https://a.test"), ("off", "off"), ("https://b.test|https://c.test", "https://b.test")],
)
def test_the_go_proxy_is_the_first_that_go_would_ask(
    monkeypatch: pytest.MonkeyPatch, variable: str, first: str
) -> None:
    monkeypatch.setenv("GOPROXY", variable)
    assert doctor.go_proxy() == first


def test_a_machine_that_refuses_isolation_fails_and_says_the_cure(
    places: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = doctor.Line("Isolation", "user namespace", False, "Operation not permitted", "refused", "sudo sysctl x=1")
    monkeypatch.setattr(doctor, "kernel", lambda: ([refused], 0))
    assert main(["doctor", "--offline"]) == 1
    out = capsys.readouterr().out
    assert "no   user namespace" in out
    assert "allow it with: sudo sysctl x=1" in out
    assert "cannot be isolated" in out
