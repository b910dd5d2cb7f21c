"""`cais down`: everything of the project ends and is removed; its named volumes stay unless `-v` is said."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from cais.cli.options import INT, STRING, Command, Flag, parse, usage_error
from cais.cli.project import GlobalOptions, make_progress

if TYPE_CHECKING:
    from cais.cli.running import View

COMMAND = Command(
    "down",
    "Stop and remove containers, networks",
    "[OPTIONS] [SERVICES]",
    (
        Flag("remove-orphans", "Remove containers for services not defined in the Compose file"),
        Flag("rmi", 'Remove images used by services ("local"|"all"): here images are a cache, which stays', "", STRING),
        Flag("timeout", "Specify a shutdown timeout in seconds", "t", INT),
        Flag(
            "volumes",
            'Remove named volumes declared in the "volumes" section of the Compose file and anonymous volumes '
            "attached to containers",
            "v",
            also=("volume",),
        ),
    ),
)


def run(options: GlobalOptions, argv: list[str]) -> int:
    given = parse(COMMAND, argv)
    if given.said("rmi") and given.text("rmi") not in ("local", "all"):
        raise usage_error(COMMAND, f"invalid value for --rmi: {given.text('rmi')!r}", "it takes local or all")
    from cais.cli.change import seconds
    from cais.cli.running import View, need_services, view, which_project
    from cais.supervise.state import Unreadable

    # Every service of the file is meant, also those that a profile hides now: they are no orphans.
    project, stack = which_project(options._replace(profiles=("*",)), given.args)
    try:
        found = view(project)
    except Unreadable as error:
        if not error.replaceable:
            raise
        print(error.message, file=sys.stderr)  # what it left is found without it
        found = View(project, ())
    if given.args:
        need_services(found, stack, given.args)
    services = tuple(given.args)
    if stack is not None and not services and not given.flag("remove-orphans"):
        services = tuple(stack.services)
    left: tuple[str, ...] = ()
    if found is not None:
        left = _remove(options, found, services, seconds(given.number("timeout")), volumes=given.flag("volumes"))
    removed = False
    if given.flag("volumes") and not given.args:
        from cais.engine.native.volumes import remove_volumes

        removed = remove_volumes(project, stack, [one.spec for one in found.instances] if found else ())
    if found is None and not removed:
        print(f'Warning: No resource found to remove for project "{project}".', file=sys.stderr)
    if left and not given.args:
        print(f"left running, not in the file: {', '.join(left)}; --remove-orphans removes them too", file=sys.stderr)
    return 0


def _remove(
    options: GlobalOptions, found: View, services: tuple[str, ...], timeout: float | None, *, volumes: bool
) -> tuple[str, ...]:
    """Stop and remove; the services of which something is left."""
    from cais.cli.bring import Shower, names_of, raise_failures
    from cais.engine.native.isolation import make_sandbox
    from cais.supervise.client import Client, await_end, snapshot

    client = Client.ensure(found.project, make_sandbox)
    names = names_of(found.project, ((one.spec.id, one.spec.service) for one in found.instances))
    with client, make_progress(options, "down") as progress:
        Shower(progress, names).show(client.command("down", services, timeout=timeout, volumes=volumes))
    raise_failures(client.done)
    now = snapshot(found.project) if client.pid else None
    left = tuple(sorted({spec.service for spec in now.specs})) if now else ()
    if not left:
        await_end(found.home, 2.0)
    return left
