"""`cais kill`: a signal to the first process of each service, KILL unless said otherwise."""

from cais.cli.options import STRING, Command, Flag, parse
from cais.cli.project import GlobalOptions
from cais.diag.api import CaisError

COMMAND = Command(
    "kill",
    "Force stop service containers",
    "[OPTIONS] [SERVICE...]",
    (
        Flag("remove-orphans", "Remove containers for services not defined in the Compose file"),
        Flag("signal", "SIGNAL to send to the container", "s", STRING, "SIGKILL"),
    ),
)


def run(options: GlobalOptions, argv: list[str]) -> int:
    given = parse(COMMAND, argv)
    from cais.cli.change import change, chosen
    from cais.engine.native.signals import signal_number

    number = signal_number(given.text("signal", "SIGKILL"))
    project, _, instances = chosen(options, given.args)
    alive = [one for one in instances if one.word in ("running", "restarting", "paused")]
    if not alive:
        which = f"of {', '.join(given.args)} " if given.args else ""
        raise CaisError(
            f"cannot kill: nothing {which}runs in project {project!r}", hint="cais ps -a shows what there is"
        )
    return change(options, "kill", project, alive, start_supervisor=False, signal=number)
