"""`cais port`: where a port of a service is reached on this machine."""

import sys

from cais.cli.options import INT, STRING, Command, Flag, parse, usage_error
from cais.cli.project import GlobalOptions
from cais.diag.api import CaisError

COMMAND = Command(
    "port",
    "List port mappings or print the public port for a specific mapping for the service",
    "[OPTIONS] SERVICE [PRIVATE_PORT]",
    (
        Flag("index", "Index of the container if service has multiple replicas", "", INT),
        Flag("protocol", "tcp or udp", "", STRING, '"tcp"', ("tcp", "udp")),
    ),
    least=1,
    most=2,
)


def run(options: GlobalOptions, argv: list[str]) -> int:
    given = parse(COMMAND, argv)
    from cais.cli.ps import publishers
    from cais.cli.running import need_services, one_instance, view, which_project

    service, *rest = given.args
    if rest and not rest[0].isdecimal():
        raise usage_error(COMMAND, f"{rest[0]!r} is not a port")
    project, stack = which_project(options)
    found = view(project)
    need_services(found, stack, [service])
    one = one_instance(found, service, given.number("index") or 0)
    protocol = given.text("protocol", "tcp")
    listed = publishers(one)
    if not rest:
        lines = [f"{each['TargetPort']}/{each['Protocol']} -> {_address(each)}" for each in listed]
    else:
        target = int(rest[0])
        lines = [_address(each) for each in listed if (each["TargetPort"], each["Protocol"]) == (target, protocol)][:1]
        if not lines:
            has = ", ".join(sorted({f"{each['TargetPort']}/{each['Protocol']}" for each in listed})) or "none"
            raise CaisError(f"no port {target}/{protocol} for container {one.spec.id}", hint=f"published: {has}")
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


def _address(each: dict[str, object]) -> str:
    host = str(each["URL"])
    return f"{f'[{host}]' if ':' in host else host}:{each['PublishedPort']}"
