"""start, stop, restart and kill: which instances are meant, the supervisor asked, its events shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cais.cli.project import GlobalOptions, make_progress

if TYPE_CHECKING:
    from cais.cli.running import Instance, View
    from cais.supervise.client import Client


def chosen(options: GlobalOptions, services: Sequence[str]) -> tuple[str, View | None, list[Instance]]:
    """The project and those of its instances that `services` name (all when none is named)."""
    from cais.cli.running import need_services, view, which_project

    project, stack = which_project(options, services)
    found = view(project)
    need_services(found, stack, services)
    instances = [
        one
        for one in (found.instances if found else ())
        if (not services or one.spec.service in services) and not one.spec.oneoff
    ]
    return project, found, instances


def change(
    options: GlobalOptions,
    verb: str,
    project: str,
    instances: Sequence[Instance],
    *,
    start_supervisor: bool,
    **more: Any,
) -> int:
    """Ask for `verb` and show what happens."""
    from cais.cli.bring import Shower, names_of, raise_failures
    from cais.supervise.client import Client

    if not instances:
        return 0
    client: Client | None
    if start_supervisor:
        from cais.engine.native.isolation import make_sandbox

        client = Client.ensure(project, make_sandbox)
    else:
        client = Client.reach(project)
    if client is None:
        return 0  # nothing runs without a supervisor: what was to be stopped is
    names = names_of(project, ((one.spec.id, one.spec.service) for one in instances))
    with client, make_progress(options, verb) as progress:
        Shower(progress, names).show(client.command(verb, ids=tuple(one.spec.id for one in instances), **more))
    raise_failures(client.done)
    return 0


def seconds(number: int | None) -> float | None:
    return None if number is None else float(number)
