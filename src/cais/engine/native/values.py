"""Values of a service that the loader lets through, as Docker Compose does, and Docker's engine refuses: told at their
lines, all at once, before anything is fetched or started. Only what is known without the image is here.
"""

import os
from collections.abc import Iterator
from typing import NamedTuple

from cais.diag.api import ERROR, CaisError, Diagnostic
from cais.engine.native.mounts import Places, mounts_of
from cais.engine.native.names import volume_folder
from cais.engine.native.restarts import restart_faults
from cais.engine.native.signals import signal_number
from cais.load.job import nearest
from cais.model.api import Service, Stack
from cais.model.image import Image, ImageConfig
from cais.paths import project_home, state_folder

MIN_MEMORY = 6 << 20  # moby `daemon/daemon_unix.go`, linuxMinMemory
MAX_HOSTNAME = 64  # sethostname(2); Docker itself asks no more of it
_NO_IMAGE = Image((), ImageConfig(), "")


class _Fault(NamedTuple):
    path: tuple[str | int, ...]
    why: str
    hint: str


def value_faults(stack: Stack, service: Service) -> list[Diagnostic]:
    at = ("services", service.name)
    found = [
        Diagnostic(ERROR, "value", f"cannot start {service.name}: {why}", stack.span(*at, *path), hint)
        for look in (_capabilities, _ulimits, _paths, _names, _limits, _tmpfs, _sysctls)
        for path, why, hint in look(service)
    ]
    return [*found, *restart_faults(stack, service), *_mounts(stack, service), *_subpaths(stack, service)]


def _capabilities(service: Service) -> Iterator[_Fault]:
    if not service.cap_add and not service.cap_drop:
        return
    from cais.sandbox.kernel import CAPABILITIES

    for key, names in (("cap_add", service.cap_add), ("cap_drop", service.cap_drop)):
        for number, name in enumerate(names):
            word = name.upper().removeprefix("CAP_")
            if word not in CAPABILITIES and word != "ALL":
                hint = nearest(word, CAPABILITIES) or "capabilities(7) has their names"
                yield _Fault((key, number), f"{key}: {name} is no capability", hint)


def _ulimits(service: Service) -> Iterator[_Fault]:
    if not service.ulimits:
        return
    from cais.sandbox.ulimits import ULIMITS, reaches_over

    for name, soft, hard in service.ulimits:
        path = ("ulimits", name)
        if name not in ULIMITS:
            yield _Fault(path, f"{name} is no ulimit", nearest(name, ULIMITS) or f"known are {', '.join(ULIMITS)}")
        elif reaches_over(soft, hard):
            why = f"the soft limit of ulimit {name} ({soft}) is above its hard one ({hard})"
            yield _Fault(path, why, "raise hard, or lower soft")


def _paths(service: Service) -> Iterator[_Fault]:
    if service.working_dir and not service.working_dir.startswith("/"):
        why = f"the working directory {service.working_dir} is not absolute"
        yield _Fault(("working_dir",), why, "write the path in the service with a leading /")
    for number, volume in enumerate(service.volumes):
        if volume.target.startswith("/") and os.path.normpath(volume.target).strip("/") == "":
            yield _Fault(("volumes", number), "nothing can be mounted over /", "mount it at a folder")


def _names(service: Service) -> Iterator[_Fault]:
    if len(service.hostname.encode()) > MAX_HOSTNAME:
        yield _Fault(("hostname",), f"its hostname is longer than {MAX_HOSTNAME} bytes", "give it a shorter one")
    if service.stop_signal:
        try:
            signal_number(service.stop_signal)
        except CaisError as error:
            yield _Fault(("stop_signal",), error.message, error.hint)


def _limits(service: Service) -> Iterator[_Fault]:
    deploy, below = service.deploy, ("deploy", "resources", "limits")
    memory = deploy.memory or service.mem_limit
    if memory and memory < MIN_MEMORY:
        path: tuple[str, ...] = (*below, "memory") if deploy.memory else ("mem_limit",)
        yield _Fault(path, f"its memory limit is {memory} bytes, and the least is 6 MB", "write it as 64m")
    cpus = deploy.cpus or service.cpus
    if cpus < 0:
        path = (*below, "cpus") if deploy.cpus else ("cpus",)
        yield _Fault(path, f"it cannot have {cpus:g} CPUs", "write it as 0.5, or leave it out for no limit")


def _tmpfs(service: Service) -> Iterator[_Fault]:
    for number, text in enumerate(service.tmpfs):
        target, path = text.partition(":")[0], ("tmpfs", number)
        if not target.startswith("/"):
            why = f"the path of the tmpfs {target} is not absolute"
            yield _Fault(path, why, "write the path in the service with a leading /")
        elif os.path.normpath(target).strip("/") == "":
            yield _Fault(path, "nothing can be mounted over /", "mount it at a folder")


def _sysctls(service: Service) -> Iterator[_Fault]:
    from cais.sandbox.api import of_the_machine

    for name, _ in service.sysctls:
        if why := of_the_machine(name, host_net=service.network_mode == "host"):
            yield _Fault(("sysctls", name), f"sysctl {name}: {why}", "take it out, or set it on the machine")


def _mounts(stack: Stack, service: Service) -> list[Diagnostic]:
    """What cannot be mounted, whatever the image has."""
    try:
        mounts_of(stack, service, _NO_IMAGE, Places(project_home(stack.name), state_folder("volumes")), service.name)
    except CaisError as error:
        return list(error.diagnostics())
    return []


def _subpaths(stack: Stack, service: Service) -> Iterator[Diagnostic]:
    """A folder of a volume that nobody will have made when the service starts: a new or empty volume may get it from
    the image, and one that another service has from that."""
    for number, volume in enumerate(service.volumes):
        named = stack.volumes.get(volume.source) if volume.type == "volume" else None
        if named is None or not volume.subpath or named.driver_opts:
            continue
        users = [s.name for s in stack.services.values() for v in s.volumes if v.source == volume.source]
        folder = volume_folder(state_folder("volumes"), named.name)
        try:
            if len(users) > 1 or not any(os.scandir(folder)):
                continue
            os.lstat(folder / volume.subpath)
        except (FileNotFoundError, NotADirectoryError):
            if folder.is_dir():
                message = f"cannot start {service.name}: volume {volume.source} has no {volume.subpath} in it"
                span = stack.span("services", service.name, "volumes", number, "volume", "subpath")
                hint = f"make it: mkdir -p {folder / volume.subpath}"
                yield Diagnostic(ERROR, "missing-subpath", message, span, hint)
        except OSError:
            continue  # not ours to look into
