"""`cais start`: what `stop` stopped runs again, as it was."""

from cais.cli.options import INT, Command, Flag, parse
from cais.cli.project import GlobalOptions
from cais.diag.api import CaisError

COMMAND = Command(
    "start",
    "Start services",
    "[OPTIONS] [SERVICE...]",
    (
        Flag("wait", "Wait for services to be running|healthy. Implies detached mode."),
        Flag("wait-timeout", "Maximum duration in seconds to wait for the project to be running|healthy", "", INT),
    ),
)


def run(options: GlobalOptions, argv: list[str]) -> int:
    given = parse(COMMAND, argv)
    from cais.cli.change import change, chosen, seconds

    project, _, instances = chosen(options, given.args)
    missing = set(given.args) - {one.spec.service for one in instances}
    if missing or not instances:
        name = f"service {sorted(missing)[0]!r}" if missing else f"project {project!r}"
        raise CaisError(f"cannot start: {name} has no container to start", hint="cais up -d makes them")
    return change(
        options,
        "start",
        project,
        instances,
        start_supervisor=True,
        wait=given.flag("wait"),
        timeout=seconds(given.number("wait-timeout") or None),
    )
