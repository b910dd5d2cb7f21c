"""The probe tells what this machine allows: where stacks start here, it must say so."""

from pathlib import Path

import pytest

from cais.sandbox import probe

pytestmark = pytest.mark.real


def test_where_these_tests_run_everything_a_stack_needs_is_found(tmp_path: Path) -> None:
    found = {finding.name: finding for finding in probe.findings(str(tmp_path))}
    assert probe.rung(list(found.values())) == 1
    assert found["nf_tables redirect"].ok and found["seccomp filter"].ok
    assert not list(tmp_path.iterdir())
    probe.require(str(tmp_path))


def test_each_finding_says_what_follows(tmp_path: Path) -> None:
    for finding in probe.findings(str(tmp_path / "not" / "there")):
        assert finding.detail and finding.follows, finding
