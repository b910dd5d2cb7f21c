"""`cais restart`: stop, then start, dependencies first; what depends on it with `restart: true` follows."""

from cais.cli.options import INT, Command, Flag, parse
from cais.cli.project import GlobalOptions
from cais.diag.api import CaisError

COMMAND = Command(
    "restart",
    "Restart service containers",
    "[OPTIONS] [SERVICE...]",
    (
        Flag("no-deps", "Don't restart dependent services"),
        Flag("timeout", "Specify a shutdown timeout in seconds", "t", INT),
    ),
)


def run(options: GlobalOptions, argv: list[str]) -> int:
    given = parse(COMMAND, argv)
    from cais.cli.change import change, chosen, seconds

    project, _, instances = chosen(options, given.args)
    if not instances:
        raise CaisError(f"cannot restart: project {project!r} has no container", hint="cais up -d makes them")
    return change(
        options,
        "restart",
        project,
        instances,
        start_supervisor=True,
        timeout=seconds(given.number("timeout")),
        no_deps=given.flag("no-deps"),
    )
