"""`cais ls`: the projects of this user."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from cais.cli.options import STRING, STRINGS, Command, Flag, parse, usage_error
from cais.cli.project import GlobalOptions

if TYPE_CHECKING:
    from cais.cli.running import View
    from cais.diag.api import CaisError

COMMAND = Command(
    "ls",
    "List running compose projects",
    "[OPTIONS]",
    (
        Flag("all", "Show all stopped Compose projects", "a"),
        Flag(
            "filter",
            "Filter output based on conditions provided (supported filters: name)",
            "",
            STRINGS,
            "",
            (),
            False,
            "filter",
        ),
        Flag("format", "Format the output. Values: [table | json]", "", STRING, '"table"', ("table", "json")),
        Flag("quiet", "Only display project names", "q"),
    ),
    most=0,
)


def run(options: GlobalOptions, argv: list[str]) -> int:
    given = parse(COMMAND, argv)
    import re

    from cais.cli.errors import show
    from cais.cli.running import projects, say_gone
    from cais.cli.tables import WIDE_CELL, json_line, table

    patterns = []
    for condition in given.texts("filter"):
        key, equals, value = condition.partition("=")
        if key != "name" or not equals:
            raise usage_error(COMMAND, f"invalid filter '{condition}'", "--filter name=PATTERN")
        try:
            patterns.append(re.compile(value))
        except re.error as error:
            raise usage_error(COMMAND, f"invalid filter '{condition}': {error}") from error

    def listed(one: View) -> bool:
        runs = any(each.word in ("running", "restarting") for each in one.instances)
        named = not patterns or any(pattern.search(one.project) for pattern in patterns)
        return named and (runs or bool(one.pid) or given.flag("all"))

    trouble: list[CaisError] = []
    everything = projects(trouble)
    code = 1 if trouble else 0
    show([one for error in trouble for one in error.diagnostics()], ansi=options.ansi)
    shown = [one for one in everything if listed(one)]
    if given.flag("quiet"):
        sys.stdout.write("".join(f"{one.project}\n" for one in shown))
        return code
    if given.text("format") == "json":
        rows = [
            {
                "Name": one.project,
                "Status": status(one),
                "ConfigFiles": ",".join(one.config_files),
                "SupervisorPid": one.pid,
            }
            for one in shown
        ]
        sys.stdout.write(json_line(rows))
        return code
    for one in everything:
        say_gone(one)
    rows_of_text = [(one.project, status(one), ",".join(one.config_files)) for one in shown]
    sys.stdout.write(table(("NAME", "STATUS", "CONFIG FILES"), rows_of_text, cell=WIDE_CELL))
    return code


def status(one: View) -> str:
    """`exited(1), running(2)`, in the alphabet's order as Compose writes it."""
    words = [each.word for each in one.instances]
    return ", ".join(f"{word}({words.count(word)})" for word in sorted(set(words)))
