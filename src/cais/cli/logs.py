"""`cais logs`: what services said, also when nothing runs any more."""

import sys
from collections.abc import Sequence

from cais.cli.options import INT, STRING, Command, Flag, parse, usage_error
from cais.cli.project import GlobalOptions
from cais.diag.api import CaisError

COMMAND = Command(
    "logs",
    "View output from containers",
    "[OPTIONS] [SERVICE...]",
    (
        Flag("follow", "Follow log output", "f"),
        Flag("index", "index of the container if service has multiple replicas", "", INT),
        Flag("no-color", "Produce monochrome output"),
        Flag("no-log-prefix", "Don't print prefix in logs"),
        Flag(
            "since",
            "Show logs since timestamp (e.g. 2013-01-02T13:23:37Z) or relative (e.g. 42m for 42 minutes)",
            kind=STRING,
        ),
        Flag("tail", "Number of lines to show from the end of the logs for each container", "n", STRING, '"all"'),
        Flag("timestamps", "Show timestamps", "t"),
        Flag(
            "until",
            "Show logs before a timestamp (e.g. 2013-01-02T13:23:37Z) or relative (e.g. 42m for 42 minutes)",
            kind=STRING,
        ),
    ),
)


def run(options: GlobalOptions, argv: list[str]) -> int:
    given = parse(COMMAND, argv)
    from cais.cli.logprint import LogPrinter
    from cais.cli.moments import moment
    from cais.cli.progress import wants_colour
    from cais.cli.running import need_services, say_gone, view, which_project
    from cais.paths import project_home
    from cais.supervise.client import GONE, GONE_HINT, lost
    from cais.supervise.connect import supervisor_alive
    from cais.supervise.logs import read
    from cais.supervise.state import Unreadable

    since = moment(given.text("since"), "since") if given.said("since") else None
    until = moment(given.text("until"), "until") if given.said("until") else None
    tail = _tail(given.text("tail", "all"))
    index = given.number("index")
    if index is not None and len(given.args) != 1:
        raise usage_error(COMMAND, "--index requires one service to be selected")

    project, stack = which_project(options)
    try:
        found = view(project)
    except Unreadable as error:  # the logs are there all the same
        print(error.message, file=sys.stderr)
        names = _by_files(project, given.args, index)
        watched = 0
    else:
        watched = found.pid if found else 0
        need_services(found, stack, given.args)
        say_gone(found)
        names = {
            one.spec.id: one.spec.id.removeprefix(f"{project}-")
            for one in (found.instances if found else ())
            if (not given.args or one.spec.service in given.args)
            and (index is None or one.spec.number == index)
            and (one.spec.oneoff is False or one.spec.service in given.args)
            and (one.spec.attach or bool(given.args))
        }
    if not names:
        return 0
    printer = LogPrinter(
        sys.stdout.buffer,
        names=names.values(),
        colour=wants_colour(sys.stdout, options.ansi) and not given.flag("no-color"),
        prefix=not given.flag("no-log-prefix"),
        timestamps=given.flag("timestamps"),
    )
    follow, home = given.flag("follow"), project_home(project)
    try:
        for line in read(
            home,
            list(names),
            follow=follow,
            tail=tail,
            since=since,
            until=until,
            alive=lambda: supervisor_alive(home),
        ):
            printer.write(names[line.id], line.data, at=line.at, stream=line.stream, partial=line.partial)
            if follow:
                printer.flush()
    finally:
        printer.close()
    if follow and watched and not supervisor_alive(home) and lost(project, watched):
        raise CaisError(GONE, hint=GONE_HINT)
    return 0


def _by_files(project: str, services: Sequence[str], index: int | None) -> dict[str, str]:
    """Instances by the names of their log files, which are the names that Compose gives them."""
    from cais.paths import project_home

    found = {}
    for file in sorted((project_home(project) / "logs").glob("*.log")):
        shown = file.stem.removeprefix(f"{project}-")
        service, _, number = shown.rpartition("-")
        if (not services or service in services) and (index is None or number == str(index)):
            found[file.stem] = shown
    return found


def _tail(text: str) -> int | None:
    if text == "all":
        return None
    try:
        lines = int(text)
    except ValueError:
        raise usage_error(COMMAND, f'invalid argument "{text}" for "--tail" flag', "it takes a number or all") from None
    return None if lines < 0 else lines
