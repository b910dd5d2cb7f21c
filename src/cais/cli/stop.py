"""`cais stop`: services end in good order, and stay as they are until `start`."""

from cais.cli.options import INT, Command, Flag, parse
from cais.cli.project import GlobalOptions

COMMAND = Command(
    "stop",
    "Stop services",
    "[OPTIONS] [SERVICE...]",
    (Flag("timeout", "Specify a shutdown timeout in seconds", "t", INT),),
)


def run(options: GlobalOptions, argv: list[str]) -> int:
    given = parse(COMMAND, argv)
    from cais.cli.change import change, chosen, seconds

    project, _, instances = chosen(options, given.args)
    return change(options, "stop", project, instances, start_supervisor=False, timeout=seconds(given.number("timeout")))
