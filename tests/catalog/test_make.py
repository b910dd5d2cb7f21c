"""What making an image takes from who asks for it."""

import sys
from pathlib import Path

import pytest

from cais.catalog import make
from cais.catalog.api import Finish


def test_a_finishing_step_gets_a_short_environment_and_none_of_the_callers_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "seen"
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\nenv >{seen}\n")
    program.chmod(0o755)
    monkeypatch.setenv("CALLERS_SECRET", "planted")
    monkeypatch.setenv("CAIS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "executable", str(program))
    job = make.Job("p-1+s-1", Finish(name="s", version="1", argv=("true",), outputs=("/out",)), ())
    make.run_step(job)
    assert "planted" not in seen.read_text()
    assert f"CAIS_CACHE={tmp_path / 'cache'}\n" in seen.read_text()
