"""Who a process runs as: `USER` looked up in the root's own /etc/passwd and /etc/group, and its capabilities.

The rules are those of Docker (moby/sys user.GetExecUser): a name or a number; a number needs no entry; groups that
list the user are supplementary ones unless a group was given.
"""

from collections.abc import Iterator
from typing import NamedTuple

from cais.sandbox.api import Process, Refused
from cais.sandbox.kernel import CAPABILITIES

# moby oci/caps/defaults.go
DEFAULT_CAPABILITIES = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
]


class Person(NamedTuple):
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def _rows(path: str) -> Iterator[list[str]]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
    except OSError:  # an image without the file: numbers still work
        return
    for line in text.splitlines():
        if line and not line.startswith("#"):
            yield line.split(":")


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and int(text) < 2**32 - 1 else None


def look_up(user: str, group_add: tuple[str, ...], etc: str = "/etc") -> Person:
    """Raises Refused when a name has no entry."""
    name, _, group = user.partition(":")
    uid, gid, home, login = 0, 0, "/", ""
    wanted = _number(name or "0")
    for row in _rows(f"{etc}/passwd"):
        if len(row) < 6 or not (row[2].isdigit() and row[3].isdigit()):
            continue
        if row[0] == name or (wanted is not None and int(row[2]) == wanted):
            login, uid, gid, home = row[0], int(row[2]), int(row[3]), row[5] or "/"
            break
    else:
        if wanted is None:
            raise Refused(f"user {name}", "no matching entries in the image's /etc/passwd")
        uid = wanted
    groups = [row for row in _rows(f"{etc}/group") if len(row) >= 3 and row[2].isdigit()]
    by_name = {row[0]: int(row[2]) for row in reversed(groups)}

    def group_id(text: str) -> int:
        number = by_name.get(text, _number(text))
        if number is None:
            raise Refused(f"group {text}", "no matching entries in the image's /etc/group")
        return number

    extra: list[int] = []
    if group:
        gid = group_id(group)
    else:
        extra = [int(row[2]) for row in groups if len(row) >= 4 and login and login in row[3].split(",")]
    extra += [group_id(text) for text in group_add]
    return Person(uid, gid, tuple(dict.fromkeys([gid, *extra])), home)


def capabilities(process: Process, own: int) -> tuple[int, ...]:
    """Numbers of the capabilities a process may ever have (oci/caps/utils.go: `ALL` is allowed in both lists). `own` is
    the mask of those that are there to give. Raises Refused when one that is named is not among them."""
    every = set(CAPABILITIES)
    add, drop = _named(process.cap_add), _named(process.cap_drop)
    if process.privileged:
        kept = every
    elif "ALL" in add:
        kept = every - drop
    elif "ALL" in drop:
        kept = add
    else:
        kept = (set(DEFAULT_CAPABILITIES) | add) - drop
    unknown = (add | drop) - every - {"ALL"}
    if unknown:
        raise Refused("capabilities", f"unknown: {', '.join(sorted(unknown))}")
    if missing := sorted(name for name in add - {"ALL"} if not own >> CAPABILITIES.index(name) & 1):
        raise Refused(f"cap_add {', '.join(missing)}", "not even root has it on this machine")
    return tuple(at for at, name in enumerate(CAPABILITIES) if name in kept and own >> at & 1)


def _named(names: tuple[str, ...]) -> set[str]:
    return {name.upper().removeprefix("CAP_") for name in names}
