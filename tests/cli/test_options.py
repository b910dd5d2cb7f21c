"""The parser of flags speaks Docker Compose's (pflag's) syntax."""

from importlib import import_module

import pytest

from cais.cli.main import main
from cais.cli.options import INT, STRING, STRINGS, Asked, Command, Flag, Given, parse
from cais.diag.api import CaisError

LOGS = Command(
    "logs",
    "View output",
    "[OPTIONS] [SERVICE...]",
    (
        Flag("follow", "Follow", "f"),
        Flag("timestamps", "Show timestamps", "t"),
        Flag("tail", "Lines", "n", STRING),
        Flag("index", "Index", "", INT),
        Flag("env", "Variables", "e", STRINGS),
        Flag("format", "Format", "", STRING, choices=("table", "json")),
    ),
)
EXEC = LOGS._replace(name="exec", interspersed=False, least=2)


def seen(given: Given) -> tuple[object, ...]:
    return given.flag("follow"), given.flag("timestamps"), given.text("tail"), given.number("index"), given.args


@pytest.mark.parametrize(
    "argv",
    [
        "-f -t -n 5 api",
        "-ft -n5 api",
        "--follow --timestamps --tail=5 api",
        "api -tfn=5",
        "api --tail 5 -tf --",
        "-ftn5 api",
    ],
)
def test_every_spelling_means_the_same(argv: str) -> None:
    assert seen(parse(LOGS, argv.split())) == (True, True, "5", None, ["api"])


def test_two_dashes_end_the_flags() -> None:
    assert parse(LOGS, ["--", "-f"]).args == ["-f"]


def test_what_follows_the_service_belongs_to_its_command() -> None:
    given = parse(EXEC, ["-e", "A=1", "--env=B=2=3", "db", "psql", "-f", "x", "--", "--help"])
    assert given.texts("env") == ("A=1", "B=2=3")
    assert given.args == ["db", "psql", "-f", "x", "--", "--help"]


def test_a_bool_can_be_turned_off() -> None:
    assert parse(LOGS, ["--follow=false"]).flag("follow", default=True) is False
    assert parse(LOGS, []).flag("follow", default=True) is True


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--folow"], "did you mean --follow?"),
        (["-Z"], "unknown shorthand flag: 'Z' in -Z"),
        (["--tail"], "flag needs an argument: --tail"),
        (["-n"], "flag needs an argument: -n"),
        (["--index", "x"], 'invalid argument "x" for "--index" flag'),
        (["--follow=maybe"], 'invalid argument "maybe" for "--follow" flag'),
        (["--format", "xml"], "it takes table or json"),
        (["--profile", "x"], "stands before the verb"),
    ],
)
def test_a_mistake_is_named_with_the_way_out(argv: list[str], words: str) -> None:
    with pytest.raises(CaisError) as caught:
        parse(LOGS, argv)
    assert caught.value.exit_code == 2
    assert words in f"{caught.value.message}\n{caught.value.hint}"
    assert "cais logs --help" in caught.value.hint


def test_too_few_and_too_many_arguments_are_usage_errors() -> None:
    with pytest.raises(CaisError, match="needs at least 2 arguments, 1 given"):
        parse(EXEC, ["db"])
    with pytest.raises(CaisError, match="takes no arguments, 'x' is one too many"):
        parse(LOGS._replace(most=0), ["x"])


@pytest.mark.parametrize("argv", [["--help"], ["-h"], ["api", "--help"], ["-fh"]])
def test_help_is_asked_for_anywhere(argv: list[str]) -> None:
    with pytest.raises(Asked):
        parse(LOGS, argv)


@pytest.mark.parametrize(
    "words",
    [
        "up --menu --no-recreate",
        "up --menu=false --pull missing -y",
        "up --y",
        "down --volume",
        "build --progress plain --parallel --compress --force-rm --no-rm",
        "run --no-TTY -i --volumes ./a:/b --labels a=b api",
        "run -T --pull always --env-from-file f --env-from-file g --remove-orphans --quiet-pull api",
        "exec --no-TTY api true",
    ],
)
def test_flags_that_compose_takes_are_taken(words: str) -> None:
    verb, *argv = words.split()
    assert parse(import_module(f"cais.cli.{verb}").COMMAND, argv)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("-d --attach api", "--attach and --detach"),
        ("--wait --attach-dependencies", "--attach-dependencies and --wait"),
        ("--attach api --attach-dependencies", "--attach and --attach-dependencies"),
        ("--always-recreate-deps --no-recreate", "--always-recreate-deps and --no-recreate"),
        ("--watch", "--watch"),
        ("--pull sometimes", '"sometimes"'),
    ],
)
def test_flags_of_up_that_compose_refuses_together_are_refused(
    words: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["up", *words.split()]) == 2
    assert why in capsys.readouterr().err
