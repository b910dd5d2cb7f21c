"""`cais doctor`: what this machine can do, a line each with what follows from it.

It is what a person pastes into a bug report: registries are named, their addresses (which may carry credentials)
are not, and the home folder is `~`. It works offline, as any user, and takes about as long as the slowest registry.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from cais.cli.options import STRING, Command, Flag, parse
from cais.cli.project import GlobalOptions

COMMAND = Command(
    "doctor",
    "Show what this machine can do, a line each with what follows from it",
    "[OPTIONS]",
    (
        Flag("format", "Format the output. Values: [table | json]", "", STRING, '"table"', ("table", "json")),
        Flag("offline", "Ask no registry"),
    ),
    most=0,
    more="Exits with 1 when stacks cannot be isolated on this machine.",
)

PATIENCE = 3.0  # seconds a registry, or a program asked for its version, has to answer
MEASURING = 1.0  # seconds for the size of the cache; what takes longer is "more than"
GIB = 1 << 30


class Line(NamedTuple):
    """One thing. `ok` None: neither good nor bad, it is there or it is not."""

    group: str
    name: str
    ok: bool | None
    detail: str
    follows: str
    cure: str = ""


def run(options: GlobalOptions, argv: list[str]) -> int:
    given = parse(COMMAND, argv)
    from cais.cli.tables import json_line

    isolation, rung = kernel()  # first: it forks, which is safe only while there are no threads
    asked = {} if given.flag("offline") else ask_registries()
    programs = ask_programs()
    lines = [*isolation, *machine(), *collect(programs), *collect(asked)]
    if given.text("format") == "json":
        told = {**about(), "rung": rung, "findings": [line._asdict() for line in lines]}
        sys.stdout.write(json_line(told))
    else:
        from cais.cli.progress import wants_colour

        sys.stdout.write(page(lines, rung, colour=wants_colour(sys.stdout, options.ansi)))
    return 0 if rung else 1


def about() -> dict[str, str]:
    import platform

    from cais import __version__

    release = platform.freedesktop_os_release() if os.path.exists("/etc/os-release") else {}
    return {
        "cais": __version__,
        "python": platform.python_version(),
        "system": release.get("PRETTY_NAME", platform.system()),
        "kernel": f"{platform.release()} {platform.machine()}",
        "user": "root" if os.geteuid() == 0 else "ordinary",
    }


def page(lines: list[Line], rung: int, *, colour: bool) -> str:
    def paint(text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if colour else text

    facts = about()
    who = "root" if facts["user"] == "root" else "an ordinary user"
    out = [f"cais {facts['cais']}, Python {facts['python']}, {facts['system']}, kernel {facts['kernel']}, {who}"]
    width = max(len(line.name) for line in lines)
    group = ""
    for line in lines:
        if line.group != group:
            group = line.group
            out += ["", paint(group, "1")]
        mark = {True: paint("yes", "32"), False: paint("no ", "31"), None: " - "}[line.ok]
        detail = "" if line.detail in ("", "yes") else f" ({line.detail})"
        out.append(f"  {mark}  {line.name:<{width}}  {line.follows}{detail}")
        if line.cure:
            out.append(f"  {'':<{width + 7}}{'allow it with' if line.group == 'Isolation' else 'to do'}: {line.cure}")
    verdict = "Stacks run isolated on this machine." if rung else "Stacks cannot be isolated on this machine."
    return "\n".join([*out, "", paint(verdict, "1")]) + "\n"


# -- the kernel and the machine --------------------------------------------------------------------------------------


def kernel() -> tuple[list[Line], int]:
    from cais.paths import state_home
    from cais.sandbox import probe

    found = probe.findings(str(state_home()))
    rung = probe.rung(found)
    lines = []
    for one in found:
        bad = None if one.name in ("cgroups", "newuidmap") else False
        lines.append(Line("Isolation", one.name, one.ok or bad, one.detail, _home(one.follows), one.cure))
    return lines, rung


def machine() -> list[Line]:
    from cais.diag.api import CaisError
    from cais.paths import cache_folder, cache_home, shared_programs, state_folder, state_home

    lines = []
    total, free = _memory()
    if total:
        enough = "enough for a small stack" if free >= GIB else "little: a database on the JVM takes about 0.5 GB"
        lines.append(Line("Machine", "memory", free >= GIB, f"{_size(free)} of {_size(total)} free", enough))
    lines.append(Line("Machine", "processors", None, "", f"{len(os.sched_getaffinity(0))} may be used"))
    places: list[tuple[str, Path, str, Callable[[], Path | None]]] = [
        ("state", state_home(), "projects, volumes and logs", partial(state_folder, "projects")),
        ("cache", cache_home(), "programs and layers", partial(cache_folder, "programs")),
    ]
    if shared := os.environ.get("CAIS_PROGRAMS"):
        places.append(("shared programs", Path(shared).absolute(), "read only", shared_programs))
    for name, path, holds, check in places:
        try:
            check()
        except CaisError as error:
            lines.append(Line("Machine", name, False, "", _home(error.message), _home(error.hint)))
            continue
        there = path
        while not there.exists() and there != there.parent:
            there = there.parent
        try:
            stat = os.statvfs(there)
            disk = stat.f_bavail * stat.f_frsize
        except OSError as error:
            lines.append(Line("Machine", name, False, error.strerror or "", f"{_home(str(path))} cannot be used"))
            continue
        writable = os.access(there, os.W_OK) or name == "shared programs"
        text = f"{holds} in {_home(str(path))}: {_used(str(path))}, {_size(disk)} free on the disk"
        if not writable:
            text = f"{_home(str(there))} cannot be written"
        elif disk < 2 * GIB:
            text += "; a stack takes 1 to 3 GB"
        lines.append(Line("Machine", name, writable and disk >= 2 * GIB, "", text))
    return lines


def _memory() -> tuple[int, int]:
    """(total, available) bytes; 0 where /proc does not say."""
    values = {}
    try:
        with open("/proc/meminfo") as file:
            for row in file:
                name, _, rest = row.partition(":")
                values[name] = int(rest.split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return values.get("MemTotal", 0), values.get("MemAvailable", 0)


def _used(path: str) -> str:
    end = time.monotonic() + MEASURING
    total = 0
    for folder, _, files in os.walk(path):
        for name in files:
            try:
                total += os.lstat(f"{folder}/{name}").st_blocks * 512
            except OSError:
                continue
        if time.monotonic() > end:
            return f"more than {_size(total)} used"
    return f"{_size(total)} used"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _home(text: str) -> str:
    home = os.path.expanduser("~")
    return text.replace(home, "~") if len(home) > 1 else text


# -- what is asked side by side --------------------------------------------------------------------------------------


class Asked(NamedTuple):
    """A question that is on its way. Threads are daemons: one that hangs does not hold the command up."""

    thread: threading.Thread
    answer: list[Line]
    late: Line


def _ask(question: Callable[[], Line], late: Line) -> Asked:
    answer: list[Line] = []
    thread = threading.Thread(target=lambda: answer.append(question()), daemon=True)
    thread.start()
    return Asked(thread, answer, late)


def collect(asked: dict[str, Asked]) -> list[Line]:
    end = time.monotonic() + PATIENCE
    lines = []
    for one in asked.values():
        one.thread.join(max(0.0, end - time.monotonic()))
        lines.append(one.answer[0] if one.answer else one.late)
    return lines


# program: (arguments that print its version, what follows when it is there, when it is not)
PROGRAMS = {
    "docker": (("version", "--format", "{{.Server.Version}}"), "not needed", "not needed: that is what Cais is for"),
    "java": (("-version",), "not needed: cards bring their own", "not needed: cards bring their own"),
    "node": (("--version",), "not needed: cards bring their own", "not needed: cards bring their own"),
    "go": (("version",), "not needed: cards bring their own", "not needed: cards bring their own"),
}


def ask_programs() -> dict[str, Asked]:
    return {name: _ask(partial(program, name), program_line(name, "no answer")) for name in PROGRAMS}


def program(name: str) -> Line:
    return program_line(name, _version(name, PROGRAMS[name][0]))


def program_line(name: str, version: str) -> Line:
    _, there, absent = PROGRAMS[name]
    return Line("Programs", name, None, version or "not there", there if version else absent)


def _version(name: str, arguments: tuple[str, ...]) -> str:
    """The version a program tells, "there" when it does not, "" when there is none."""
    import re
    import shutil
    import subprocess

    path = shutil.which(name)
    if path is None:
        return ""
    try:
        done = subprocess.run(
            [path, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "there, but does not answer"
    found = re.search(rb"\d+(\.\d+)+[\w.+-]*", done.stdout)
    if done.returncode or found is None:
        return "there, but does not answer"
    return found[0].decode()


# registry: what comes from it
REGISTRIES = {
    "PyPI": "Python packages, Postgres, nginx and other wheels",
    "npm": "Node packages, Node itself",
    "Maven Central": "Neo4j, Kafka and other jars",
    "Debian": "the userland of every root, Redis, Prometheus",
    "Go modules": "programs that are built from source",
}


def ask_registries() -> dict[str, Asked]:
    late = f"no answer in {PATIENCE:.0f} s"
    return {
        name: _ask(partial(registry_line, name), Line("Registries", name, False, late, _without(gives)))
        for name, gives in REGISTRIES.items()
    }


def registry_line(name: str) -> Line:
    gives, begun = REGISTRIES[name], time.monotonic()
    try:
        why = registry(name)
    except Exception as error:  # a client's settings that we cannot read must not end the list
        why = f"its client's settings cannot be read: {type(error).__name__}"
    if why:
        return Line("Registries", name, False, why, _without(gives))
    return Line("Registries", name, True, f"answers in {(time.monotonic() - begun) * 1000:.0f} ms", gives)


def _without(gives: str) -> str:
    return f"only what is in the cache: {gives}"


def registry(name: str) -> str:
    """ "" when it answers, else why not. Addresses and credentials are those of the registry's own client."""
    from cais.fetch import http, maven, npm, pypi
    from cais.fetch.debian import sources

    match name:
        case "PyPI":
            pip = pypi.settings()
            return http.answers(f"{pip.indexes[0]}/msgspec/", cafile=pip.cafile)
        case "npm":
            config = npm.settings()
            headers = {"Authorization": f"Bearer {config.token}"} if config.token else {}
            return http.answers(f"{config.registry}/ms/latest", headers=headers, cafile=config.cafile)
        case "Maven Central":
            repository = maven.settings()
            headers = {"Authorization": repository.authorization} if repository.authorization else {}
            return http.answers(f"{repository.base}org/neo4j/neo4j/maven-metadata.xml", headers=headers)
        case "Debian":
            apt = sources.read()
            for scheme, proxy in apt.proxies:
                http.use_proxy(scheme, http.host_of(apt.archive), proxy)
            return http.answers(f"{apt.archive}/dists/bookworm/InRelease")
        case _:
            proxy = go_proxy()
            if proxy in ("off", "direct"):
                return f"GOPROXY is {proxy}"
            return http.answers(f"{proxy.rstrip('/')}/golang.org/x/text/@v/list")


def go_proxy() -> str:
    """The first of GOPROXY: the variable's, then that of `go env -w` (its file), then Go's default."""
    said = os.environ.get("GOPROXY", "")
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    file = os.environ.get("GOENV") or f"{config}/go/env"
    if not said and file != "off":
        try:
            with open(file, encoding="utf-8", errors="replace") as lines:
                said = next((row.strip()[8:] for row in lines if row.startswith("GOPROXY=")), "")
        except OSError:
            pass
    # Go's default; put together here so that no registry's host name stands in the sources.
    default = "https://" + ".".join(("proxy", "golang", "org"))
    return (said or default).replace("|", ",").split(",")[0].strip()
