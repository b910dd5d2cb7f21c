"""`cais ps`: the instances of a project, in Docker Compose's columns and fields."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from cais.cli.options import STRING, STRINGS, Command, Flag, parse, usage_error
from cais.cli.project import GlobalOptions

if TYPE_CHECKING:
    from cais.cli.running import Instance, View

STATES = ("paused", "restarting", "removing", "running", "dead", "created", "exited")

COMMAND = Command(
    "ps",
    "List containers",
    "[OPTIONS] [SERVICE...]",
    (
        Flag("all", "Show all stopped containers (including those created by the run command)", "a"),
        Flag("filter", "Filter services by a property (supported filters: status)", "", STRING),
        Flag(
            "format",
            "Format output using a custom template: 'table': Print output in table format with column headers "
            "(default) 'table TEMPLATE': Print output in table format using the given Go template 'json': Print in "
            "JSON format 'TEMPLATE': Print output using the given Go template",
            "",
            STRING,
        ),
        Flag("no-trunc", "Don't truncate output"),
        Flag("orphans", "Include orphaned services (not declared by project)", default="true"),
        Flag("quiet", "Only display IDs", "q"),
        Flag("services", "Display services"),
        Flag("status", f"Filter services by status. Values: [{' | '.join(STATES)}]", "", STRINGS),
    ),
)


def run(options: GlobalOptions, argv: list[str]) -> int:
    given = parse(COMMAND, argv)
    from cais.cli.running import need_services, say_gone, view, which_project
    from cais.cli.tables import by_template, json_line, table

    statuses = list(given.texts("status"))
    if given.said("filter"):
        key, equals, value = given.text("filter").partition("=")
        if not equals:
            raise usage_error(COMMAND, "arguments to --filter should be in form KEY=VAL", "--filter status=running")
        if key != "status":
            raise usage_error(COMMAND, f"unknown filter {key}", "the one filter is status")
        statuses.append(value)
    for status in statuses:
        if status not in STATES:
            raise usage_error(COMMAND, f"unknown status {status!r}", f"it is one of {', '.join(STATES)}")

    project, stack = which_project(options)
    found = view(project)
    need_services(found, stack, given.args)
    shown = []
    for one in found.instances if found else ():
        if given.args and one.spec.service not in given.args:
            continue
        if one.spec.oneoff and not given.flag("all"):
            continue
        if not given.flag("orphans", default=True) and stack is not None and one.spec.service not in stack.services:
            continue
        wanted = one.word in statuses if statuses else given.flag("all") or one.word in ("running", "restarting")
        if wanted:
            shown.append(one)
    shown.sort(key=lambda one: one.spec.id)
    say_gone(found)

    if given.flag("quiet"):
        sys.stdout.write("".join(f"{long_id(project, one)}\n" for one in shown))
        return 0
    if given.flag("services"):
        names = sorted({one.spec.service for one in shown})
        sys.stdout.write("".join(f"{name}\n" for name in names))
        return 0
    form = given.text("format") or "table"
    rows = [fields(found, one, whole=given.flag("no-trunc")) for one in shown if found]
    if form == "json":
        sys.stdout.write("".join(map(json_line, rows)))
    elif form == "table":
        columns = ("Name", "Image", "Command", "Service", "RunningFor", "Status", "Ports")
        head = ("NAME", "IMAGE", "COMMAND", "SERVICE", "CREATED", "STATUS", "PORTS")
        sys.stdout.write(table(head, [[row[column] for column in columns] for row in rows]))
    else:
        sys.stdout.write(by_template(form, rows))
    return 0


def long_id(project: str, one: Instance) -> str:
    """Sixty-four hexadecimal digits that are this instance's as long as it is not recreated, as a container's id.

    The first twelve are its host name where the file gives none, and the name it has on its networks.
    """
    from hashlib import sha256

    from cais.engine.native.names import short_id

    made = sha256(f"{one.spec.id} {one.state.created!r} {one.spec.config_hash}".encode()).hexdigest()
    return short_id(project, one.spec.id) + made[12:]


def fields(found: View, one: Instance, *, whole: bool = False) -> dict[str, Any]:
    """The object that `docker compose ps --format json` prints for a container, key by key."""
    import time

    from cais.cli.tables import ago

    spec, state = one.spec, one.state
    command = " ".join(spec.process.argv)
    if not whole and len(command) > 20:
        command = command[:19] + "…"
    volumes = [mount for mount in spec.root.mounts if mount.kind in ("volume", "bind")]
    created = time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(state.created)) if state.created else ""
    identity = long_id(found.project, one)
    return {
        "Command": f'"{command}"',
        "CreatedAt": created,
        "ExitCode": state.exit_code,
        "Health": state.health if one.word == "running" else "",
        "ID": identity if whole else identity[:12],
        "Image": spec.image,
        "Labels": ",".join(f"{key}={value}" for key, value in spec.labels.items()),
        "LocalVolumes": str(sum(mount.kind == "volume" for mount in volumes)),
        "Mounts": ",".join(mount.source for mount in volumes),
        "Name": spec.id,
        "Names": spec.id,
        "Networks": ",".join(link.network for link in spec.net.attachments),
        "Ports": ports(one),
        "Project": found.project,
        "Publishers": publishers(one),
        "RunningFor": f"{ago(time.time() - state.created)} ago" if state.created else "",
        "Service": spec.service,
        "Size": "0B",
        "State": one.word,
        "Status": status_text(one, bool(found.gone)),
    }


def status_text(one: Instance, gone: bool = False) -> str:
    """`Up 2 minutes (healthy)`, in Docker's words (moby, container/state.go); what ours adds stands in brackets."""
    import time

    from cais.cli.tables import ago

    state, now = one.state, time.time()
    match one.word:
        case "running":
            health = {"": "", "starting": " (health: starting)"}.get(state.health, f" ({state.health})")
            return f"Up {ago(now - state.started)}{health}"
        case "restarting":
            return f"Restarting ({state.exit_code}) {ago(now - state.finished)} ago"
        case "exited":
            text = f"Exited ({state.exit_code})" + (f" {ago(now - state.finished)} ago" if state.finished else "")
            if gone and state.exit_code == 137:
                return f"{text} (with its supervisor)"
            return f"{text} ({state.error})" if state.error and not state.started else text
        case "created":
            if state.waits_for:
                return f"Created (waiting for {state.waits_for})"
            return f"Created ({state.error})" if state.error else "Created"
        case "removing":
            return "Removal In Progress"
        case word:
            return word.capitalize() + (f" ({state.error})" if state.error else "")


def publishers(one: Instance) -> list[dict[str, Any]]:
    """Published ports, once for v4 and once for v6 where none was asked for, and those that are only exposed."""
    runs = one.word == "running"
    found: list[dict[str, Any]] = []
    for port in (one.state.ports or one.spec.ports) if runs else ():
        for address in (port.host_ip,) if port.host_ip else ("0.0.0.0", "::"):
            found.append(
                {
                    "URL": address,
                    "TargetPort": port.target,
                    "PublishedPort": port.host_port,
                    "Protocol": port.protocol,
                }
            )
    return sorted(found, key=lambda each: (each["TargetPort"], each["Protocol"], each["PublishedPort"], each["URL"]))


def ports(one: Instance) -> str:
    """`0.0.0.0:8080->80/tcp, [::]:8080->80/tcp`."""
    out = []
    for each in publishers(one):
        host = f"[{each['URL']}]" if ":" in each["URL"] else each["URL"]
        out.append(f"{host}:{each['PublishedPort']}->{each['TargetPort']}/{each['Protocol']}")
    return ", ".join(out)
