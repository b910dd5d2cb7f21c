"""`cais exec`: a command in a running instance; its exit code is ours."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from cais.cli.options import INT, STRING, STRINGS, Command, Flag, parse, usage_error
from cais.cli.project import GlobalOptions
from cais.diag.api import CaisError

if TYPE_CHECKING:
    from cais.supervise.client import Client

COMMAND = Command(
    "exec",
    "Execute a command in a running container",
    "[OPTIONS] SERVICE COMMAND [ARGS...]",
    (
        Flag("detach", "Detached mode: Run command in the background", "d"),
        Flag("env", "Set environment variables", "e", STRINGS),
        Flag("index", "Index of the container if service has multiple replicas", "", INT),
        Flag("interactive", "Keep STDIN open even if not attached", "i", hidden=True),
        Flag(
            "no-tty",
            "Disable pseudo-TTY allocation. By default a TTY is allocated where there is one",
            "T",
            also=("no-TTY",),
        ),
        Flag("privileged", "Give extended privileges to the process"),
        Flag("tty", "Allocate a pseudo-TTY", "t", hidden=True),
        Flag("user", "Run the command as this user", "u", STRING),
        Flag("workdir", "Path to workdir directory for this command", "w", STRING),
    ),
    interspersed=False,
    least=2,
)


def run(options: GlobalOptions, argv: list[str]) -> int:
    given = parse(COMMAND, argv)
    from msgspec.structs import replace

    from cais.cli.attach import Signals, attend, wants_terminal
    from cais.cli.running import need_services, one_instance, view, which_project
    from cais.supervise.client import Client as Connection

    service, *command = given.args
    index = given.number("index")
    if index is not None and index < 1:
        raise usage_error(COMMAND, f'invalid argument "{index}" for "--index" flag', "replicas count from 1")
    project, stack = which_project(options)
    found = view(project)
    need_services(found, stack, [service])
    one = one_instance(found, service, index or 0)
    detach = given.flag("detach")
    terminal = not detach and not given.flag("no-tty") and given.flag("tty", default=True) and wants_terminal()
    own = one.spec.process
    process = replace(
        own,
        argv=tuple(command),
        env={**own.env, **environment(given.texts("env"), os.environ), **({"TERM": _term()} if terminal else {})},
        cwd=given.text("workdir") or own.cwd,
        user=given.text("user") or own.user,
        privileged=own.privileged or given.flag("privileged"),
        tty=terminal,
        init=False,
    )
    if options.dry_run or given.flag("dry-run"):
        sys.stdout.write(f"run {command[0]} in {one.spec.id}\n")
        return 0
    client = Connection.reach(project)
    if client is None:
        raise CaisError(f'service "{service}" is not running', hint=f"start it: cais up -d {service}")
    with client:
        if detach:
            with open(os.devnull, "r+b", buffering=0) as null:
                began = client.exec(one.spec.id, process, (null.fileno(),) * 3)
            return 0 if began is not None else refused(client)
        if terminal:
            if client.exec(one.spec.id, process) is None:
                return refused(client)
            code = attend(client, sent_on=())
        else:
            with Signals(client) as signals:
                if client.exec(one.spec.id, process) is None:
                    return refused(client)
                signals.begun()
                code = client.ended()
    if client.done.error:
        raise CaisError(client.done.error, hint=client.done.hint)
    return code


def refused(client: Client) -> int:
    """Say why the process could not begin; 126 and 127 as a shell and Docker have them."""
    from cais.cli.errors import show

    done = client.done
    error = CaisError(done.error or "the command could not be started", hint=done.hint)
    show(error.diagnostics())
    return done.exit_code or 1


def environment(words: tuple[str, ...], around: Mapping[str, str]) -> dict[str, str]:
    """`-e A=1` sets; `-e A` takes it from `around`, or nothing when it is not set there, as in Docker."""
    out = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name:
            raise CaisError(f"invalid environment variable: {word}", hint="-e NAME=VALUE", exit_code=2)
        if equals:
            out[name] = value
        elif name in around:
            out[name] = around[name]
    return out


def _term() -> str:
    """The terminal is the person's own, so its name is true; Docker says xterm where there is none."""
    return os.environ.get("TERM") or "xterm"
