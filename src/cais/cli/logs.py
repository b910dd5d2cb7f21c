"""`cais logs`: what services said, also when nothing runs any more."""

import sys

from cais.cli.options import INT, STRING, Command, Flag, parse, usage_error
from cais.cli.project import GlobalOptions

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
    from cais.supervise.logs import read
    from cais.supervise.state import supervisor_alive

    since = moment(given.text("since"), "since") if given.said("since") else None
    until = moment(given.text("until"), "until") if given.said("until") else None
    tail = _tail(given.text("tail", "all"))
    index = given.number("index")
    if index is not None and len(given.args) != 1:
        raise usage_error(COMMAND, "--index requires one service to be selected")

    project, stack = which_project(options)
    found = view(project)
    need_services(found, stack, given.args)
    wanted = [
        one.spec
        for one in (found.instances if found else ())
        if (not given.args or one.spec.service in given.args)
        and (index is None or one.spec.number == index)
        and (one.spec.oneoff is False or one.spec.service in given.args)
        and (one.spec.attach or bool(given.args))
    ]
    say_gone(found)
    if found is None or not wanted:
        return 0
    names = {spec.id: spec.id.removeprefix(f"{project}-") for spec in wanted}
    printer = LogPrinter(
        sys.stdout.buffer,
        names=names.values(),
        colour=wants_colour(sys.stdout, options.ansi) and not given.flag("no-color"),
        prefix=not given.flag("no-log-prefix"),
        timestamps=given.flag("timestamps"),
    )
    follow, home = given.flag("follow"), found.home
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
    return 0


def _tail(text: str) -> int | None:
    if text == "all":
        return None
    try:
        lines = int(text)
    except ValueError:
        raise usage_error(COMMAND, f'invalid argument "{text}" for "--tail" flag', "it takes a number or all") from None
    return None if lines < 0 else lines
