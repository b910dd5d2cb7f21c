"""What runs, as commands see it: from the living supervisor, or from the state file when there is none."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cais.cli.project import GlobalOptions, load_stack
from cais.diag.api import CaisError
from cais.paths import project_home
from cais.supervise.api import InstanceSpec, InstanceState

if TYPE_CHECKING:
    from cais.model.api import Stack
    from cais.supervise.messages import Snapshot


class Instance(NamedTuple):
    spec: InstanceSpec
    state: InstanceState

    @property
    def word(self) -> str:
        """Its state in Docker's words."""
        match self.state.phase:
            case "waiting" | "starting":
                return "created"
            case "stopping":
                return "running"
            case phase:
                return phase


class View(NamedTuple):
    """One project. `pid` is the living supervisor's, or 0; `gone` is when one that did not end in order was last seen.

    With `gone`, what had been running is shown as killed, because that is what the kernel did to it.
    """

    project: str
    instances: tuple[Instance, ...]
    pid: int = 0
    gone: float = 0.0
    config_files: tuple[str, ...] = ()
    working_dir: str = ""
    notes: tuple[str, ...] = ()

    @property
    def home(self) -> Path:
        return project_home(self.project)


def view(project: str) -> View | None:
    """What is known of `project`; None when it has never been up, or is down."""
    from cais.supervise.client import snapshot

    now = snapshot(project)
    return None if now is None else _view(now)


def projects(trouble: list[CaisError]) -> list[View]:
    """Every project of this user that has instances, by name; `trouble` gets what could not be asked."""
    from cais.supervise.client import projects

    return [_view(one) for one in projects(trouble)]


def _view(now: Snapshot) -> View:
    states = {state.id: state for state in now.states}
    pairs = tuple(Instance(spec, states[spec.id]) for spec in now.specs if spec.id in states)
    gone = now.since if now.gone else 0.0
    return View(now.project, pairs, now.pid, gone, now.config_files, now.working_dir, now.notes)


def which_project(options: GlobalOptions, services: Sequence[str] = ()) -> tuple[str, Stack | None]:
    """The project that a command is about, by Compose's rule: `-p` alone is enough, else the files say.

    The stack comes along when it was loaded. Every service named must be in it, or have an instance.
    """
    from cais.load.lookup import checked_name

    if options.project_name and not options.files:
        return checked_name(options.project_name), None
    try:
        stack = load_stack(options, environment=False)
    except CaisError:
        name = os.environ.get("COMPOSE_PROJECT_NAME", "")
        if name and not options.project_name:
            return checked_name(name), None
        raise
    return stack.name, stack


def need_services(found: View | None, stack: Stack | None, names: Sequence[str]) -> None:
    """Raise for a service that neither the files nor the running project know."""
    known = {one.spec.service for one in found.instances} if found else set()
    if stack is not None:
        known |= set(stack.services)
    for name in names:
        if name not in known:
            from cais.cli.options import nearest

            near = nearest(name, sorted(known))
            hint = f"did you mean '{near}'?" if near else f"services: {', '.join(sorted(known)) or 'none'}"
            raise CaisError(f"no such service: {name}", hint=hint)


def one_instance(found: View | None, service: str, index: int) -> Instance:
    """The running instance of `service` that `exec` and `port` mean; `index` 0 is the first."""
    here = [one for one in found.instances if one.spec.service == service and not one.spec.oneoff] if found else []
    running = [one for one in here if one.word == "running"]
    if index:
        running = [one for one in running if one.spec.number == index]
    if not running:
        which = f'service "{service}"' + (f" (index {index})" if index else "")
        state = next((one for one in here if not index or one.spec.number == index), None)
        why = f"it is {state.word}" + (f", {state.state.error}" if state.state.error else "") if state else ""
        raise CaisError(f"{which} is not running{f': {why}' if why else ''}", hint=f"start it: cais up -d {service}")
    return min(running, key=lambda one: one.spec.number)


def say_gone(found: View | None) -> None:
    """One line on stderr when the supervisor went without a word, and for what is lost while it lives."""
    if found is None or not (found.gone or found.notes):
        return
    import sys
    import time

    for note in found.notes:
        print(f"warning: {note}", file=sys.stderr)
    if not found.gone:
        return
    from cais.supervise.disk import full

    if why := full((found.home,)):
        print(f"warning: {why}: what follows may be old", file=sys.stderr)
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found.gone))
    print(
        f"supervisor gone, last seen {when}, and with it all that ran in '{found.project}'; 'cais up -d' resumes",
        file=sys.stderr,
    )
