"""What every test shares: the skip list and how many examples a property is tried with.

A skip that tests/real/skips.txt does not name fails the run. Properties are tried with the same examples every time,
so that a run says something about the change it tests; `make fuzz` (CAIS_EXAMPLES) looks for new ones.
"""

import fnmatch
import os
from pathlib import Path

import pytest
from hypothesis import settings

SKIPS = Path(__file__).parent / "real" / "skips.txt"

EXAMPLES = os.environ.get("CAIS_EXAMPLES")
settings.register_profile("same", derandomize=True, max_examples=200, deadline=None)
settings.register_profile("new", max_examples=int(EXAMPLES or 200), deadline=None)
settings.load_profile("new" if EXAMPLES else "same")


def allowed() -> list[str]:
    lines = (line.strip() for line in SKIPS.read_text().splitlines())
    return [line.split("|")[0].strip() for line in lines if line and not line.startswith("#")]


class SkipGuard:
    """Collects skips and turns those nobody allowed into a failed run."""

    def __init__(self) -> None:
        self.unnamed: list[str] = []
        self.patterns = allowed()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail") and not self._named(report.nodeid):
            self.unnamed.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped and not self._named(report.nodeid):
            self.unnamed.append(report.nodeid)

    def _named(self, nodeid: str) -> bool:
        return any(fnmatch.fnmatch(nodeid, pattern) for pattern in self.patterns)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.unnamed and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for nodeid in self.unnamed:
            terminalreporter.write_line(f"FAILED: a skip that tests/real/skips.txt does not name: {nodeid}", red=True)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(SkipGuard(), "cais-skips")


def pytest_report_header() -> str:
    folder = os.environ.get("CAIS_CORPUS")
    return f"public files of tests/faults.jsonl: {folder or 'not read, CAIS_CORPUS names no folder'}"
