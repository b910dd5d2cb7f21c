"""`cais images`: what each instance's root was made from."""

import sys

from cais.cli.options import STRING, Command, Flag, parse
from cais.cli.project import GlobalOptions

COMMAND = Command(
    "images",
    "List images used by the created containers",
    "[OPTIONS] [SERVICE...]",
    (
        Flag("format", "Format the output. Values: [table | json]", "", STRING, '"table"', ("table", "json")),
        Flag("quiet", "Only display IDs", "q"),
    ),
)


def run(options: GlobalOptions, argv: list[str]) -> int:
    given = parse(COMMAND, argv)
    from hashlib import sha256

    from cais.cli.running import need_services, view, which_project
    from cais.cli.tables import WIDE_CELL, json_line, table

    project, stack = which_project(options)
    found = view(project)
    need_services(found, stack, given.args)
    rows = []
    for one in found.instances if found else ():
        spec = one.spec
        if given.args and spec.service not in given.args:
            continue
        # The reference is name[:tag][@digest]; a colon before the last slash is a registry's port.
        name, _, _ = spec.image.partition("@")
        slash = name.rfind("/")
        colon = name.find(":", slash + 1)
        repository, tag = (name, "latest") if colon < 0 else (name[:colon], name[colon + 1 :])
        identity = sha256("\n".join(spec.root.layers).encode()).hexdigest()
        rows.append((spec.id, repository, tag, identity, spec.fidelity, spec.differs))
    rows.sort()
    if given.flag("quiet"):
        sys.stdout.write("".join(f"{identity}\n" for identity in dict.fromkeys(row[3] for row in rows)))
        return 0
    if given.text("format") == "json":
        sys.stdout.write(
            json_line(
                [
                    {
                        "ID": f"sha256:{identity}",
                        "ContainerName": name,
                        "Repository": repository,
                        "Tag": tag,
                        "Fidelity": fidelity,
                        "Differs": list(differs),
                    }
                    for name, repository, tag, identity, fidelity, differs in rows
                ]
            )
        )
        return 0
    head = ("CONTAINER", "REPOSITORY", "TAG", "IMAGE ID", "FIDELITY")
    sys.stdout.write(table(head, [(row[0], row[1], row[2], row[3][:12], row[4]) for row in rows], cell=WIDE_CELL))
    return 0
