"""`cais version`."""

import sys

from cais import __version__
from cais.cli.options import STRING, Command, Flag, parse
from cais.cli.project import GlobalOptions

COMMAND = Command(
    "version",
    "Show the Cais version information",
    "[OPTIONS]",
    (
        Flag("format", "Format the output. Values: [pretty | json].", "f", STRING, "pretty", ("pretty", "json")),
        Flag("short", "Shows only Cais's version number"),
    ),
    most=0,
)


def run(options: GlobalOptions, argv: list[str]) -> int:
    given = parse(COMMAND, argv)
    if given.flag("short"):
        text = __version__
    elif given.text("format") == "json":
        text = f'{{"version":"{__version__}"}}'
    else:
        text = f"cais {__version__}"
    sys.stdout.write(f"{text}\n")
    return 0
