"""The way in: what a shell sees of `cais` before any verb does its work."""

import io
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from cais.cli import main as cli
from cais.cli.options import Flag, help_page, options_text
from cais.cli.project import GLOBALS, GlobalOptions, read_globals
from cais.diag.api import CaisError

# All that may be imported beside what a bare `python -c pass` imports already.
LIGHT = {"cais", "cais.cli", "cais.cli.main", "cais.__main__"}


def loaded_by(*argv: str) -> set[str]:
    """Names of the modules that a command has imported more than a bare interpreter has."""
    code = (
        "import sys; before = set(sys.modules); from cais.cli.main import main\n"
        f"code = main({list(argv)!r}); print('\\n'.join(set(sys.modules) - before), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize("argv", [["--version"], ["-v"], ["--help"], ["-h"], [], ["help"]])
def test_version_and_help_import_nothing_more_than_a_bare_python(argv: list[str]) -> None:
    assert loaded_by(*argv) <= LIGHT


HEAVY = {"asyncio", "argparse", "msgspec", "ctypes", "subprocess", "ssl", "urllib.request", "yaml", "socket", "shutil"}


@pytest.mark.parametrize("verb", list(cli.VERBS))
def test_help_of_a_verb_imports_nothing_heavy(verb: str) -> None:
    assert not loaded_by(verb, "--help") & HEAVY


@pytest.mark.parametrize("verb", list(cli.VERBS))
def test_a_verb_says_of_itself_what_the_list_says(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([verb, "--help"]) == 0
    page = capsys.readouterr().out
    assert page.startswith(f"Usage:  cais {verb} ")
    assert f"\n\n{cli.VERBS[verb][1]}\n" in page
    assert cli.main(["help", verb]) == 0
    assert capsys.readouterr().out == page


def test_the_page_of_help_shows_every_global_option() -> None:
    assert options_text((*GLOBALS.flags, Flag("dry-run", "Execute command in dry run mode"))) == cli.HELP_OPTIONS


def test_without_a_verb_the_help_is_shown_as_compose_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    assert "Commands:\n" in capsys.readouterr().out
    assert cli.main(["-p", "shop"]) == 0
    assert "Commands:\n" in capsys.readouterr().out


def test_an_unknown_verb_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["upp"]) == 2
    err = capsys.readouterr().err
    assert "unknown command: upp" in err
    assert "'up'" in err
    assert cli.main(["frobnicate"]) == 2
    assert "cais --help" in capsys.readouterr().err


@pytest.mark.parametrize("verb", cli.ABSENT)
def test_a_verb_of_compose_that_is_not_there_yet_says_so(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([verb, "--whatever", "x"]) == 2
    err = capsys.readouterr().err
    assert verb in err
    assert "does not have yet" in err
    assert f"\n  {verb} " not in cli.help_text()


def test_global_options_stand_before_the_verb() -> None:
    options, version, rest = read_globals(
        [
            *("-f", "a.yaml", "--file=b.yaml", "-p", "shop", "--profile", "x", "--profile", "y"),
            *("--env-file", "e", "--ansi", "never", "--dry-run", "ps", "-a"),
        ]
    )
    assert options == GlobalOptions(
        files=("a.yaml", "b.yaml"),
        project_name="shop",
        profiles=("x", "y"),
        env_files=("e",),
        ansi="never",
        dry_run=True,
    )
    assert not version
    assert rest == ["ps", "-a"]


@pytest.mark.parametrize("verb", ["ps", "logs", "up", "down"])
def test_a_global_option_behind_the_verb_is_sent_to_its_place(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([verb, "--project-name", "x"]) == 2
    assert f"stands before the verb: cais --project-name … {verb}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv", [["--ansi", "sometimes", "ps"], ["--progress", "loud", "ps"], ["--bogus"], ["--parallel", "x", "ps"]]
)
def test_a_wrong_global_option_is_a_usage_error(argv: list[str]) -> None:
    assert cli.main(argv) == 2


def verb_that(monkeypatch: pytest.MonkeyPatch, raising: BaseException) -> None:
    module = ModuleType("cais.cli.boom")

    def run(options: GlobalOptions, argv: list[str]) -> int:
        raise raising

    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cais.cli.boom", module)
    monkeypatch.setitem(cli.VERBS, "boom", ("boom", "Fails"))


def test_an_error_of_the_user_is_one_message_and_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    verb_that(monkeypatch, CaisError("cannot start redis: port 6379 is taken by pid 412", hint="stop it"))
    assert cli.main(["boom"]) == 1
    err = capsys.readouterr().err
    assert "cannot start redis: port 6379 is taken by pid 412" in err
    assert "stop it" in err
    assert "Traceback" not in err


def test_an_interrupt_is_130_and_silent(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    verb_that(monkeypatch, KeyboardInterrupt())
    assert cli.main(["boom"]) == 130
    assert capsys.readouterr() == ("", "")


def test_our_own_fault_is_a_report_without_secrets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("CAIS_STATE", str(tmp_path))
    monkeypatch.setenv("DB_PASSWORD", "hunter-two-2")
    verb_that(monkeypatch, ValueError("cannot parse hunter-two-2 of https://me:tok3n@pypi.test/simple"))
    assert cli.main(["boom", "-e", "TOKEN=abcdef123", "psql", "--password=zzz9"]) == 3
    err = capsys.readouterr().err
    assert "Traceback" not in err
    reports = list((tmp_path / "reports").iterdir())
    assert len(reports) == 1
    assert reports[0].stat().st_mode & 0o777 == 0o600
    text = reports[0].read_text()
    assert str(reports[0].name) in err
    assert "Traceback" in text
    assert "ValueError" in text
    for secret in ("hunter-two-2", "tok3n", "abcdef123", "zzz9"):
        assert secret not in text + err


def test_a_full_disk_is_not_called_our_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    verb_that(monkeypatch, OSError(28, "No space left on device", "/data/x"))
    assert cli.main(["boom"]) == 1
    assert "No space left on device: /data/x" in capsys.readouterr().err


def test_a_reader_that_goes_away_gets_no_complaint() -> None:
    command = f"{sys.executable} -c 'from cais.cli.main import main; raise SystemExit(main([\"--help\"]))'"
    done = subprocess.run(
        ["bash", "-c", f"{command} | true; echo ${{PIPESTATUS[0]}}"], capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    assert done.stdout.strip() in ("0", "141")  # 0 when it was written before the reader went


def test_a_full_standard_output_is_said_not_ignored() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "cais", "--help"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_pages_fit_eighty_columns() -> None:
    page = help_page(GLOBALS)
    assert max(map(len, page.splitlines())) <= 80
    assert io.StringIO(page).readline() == "Usage:  cais [OPTIONS] COMMAND\n"
