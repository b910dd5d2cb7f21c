"""What a service asks for and the native engine does not do: said with its line at every `up`, never passed over.

Attributes that change nothing where nothing is shared or limited in that way (`isolation: default`, `annotations`,
`develop`, which is for `watch`) are not here; nor are a bind's `selinux` labels: what runs natively is not confined
by them, so nothing need be labelled for it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from cais.diag.api import ERROR, WARNING, Diagnostic
from cais.model.api import Service, Stack

_NO_LIMIT = "this limit is not set natively"
_OWN = "every service has its own here"
UNHEEDED: Mapping[str, str] = {
    "blkio_config": _NO_LIMIT,
    "cgroup": "cgroups are not shared natively",
    "cgroup_parent": "cgroups are made below the one Cais has",
    "cpu_count": _NO_LIMIT,
    "cpu_percent": _NO_LIMIT,
    "cpu_period": _NO_LIMIT,
    "cpu_quota": "write it as cpus",
    "cpu_rt_period": _NO_LIMIT,
    "cpu_rt_runtime": _NO_LIMIT,
    "cpu_shares": _NO_LIMIT,
    "cpuset": _NO_LIMIT,
    "credential_spec": "there is nothing like it on Linux",
    "device_cgroup_rules": "devices of the machine are not given natively",
    "devices": "devices of the machine are not given natively",
    "external_links": "it reaches no container of another engine",
    "gpus": "devices of the machine are not given natively",
    "ipc": _OWN,
    "mem_reservation": _NO_LIMIT,
    "mem_swappiness": _NO_LIMIT,
    "memswap_limit": _NO_LIMIT,
    "models": "no model is run natively",
    "oom_kill_disable": "the kernel's choice is not taken from it",
    "pid": _OWN,
    "post_start": "hooks are not run natively yet",
    "pre_start": "hooks are not run natively yet",
    "pre_stop": "hooks are not run natively yet",
    "runtime": "there is one way to run natively",
    "storage_opt": _NO_LIMIT,
    "use_api_socket": "there is no Docker here to talk to",
    "userns_mode": "an ordinary user's stack has a user namespace of its own, root's has none",
    "uts": _OWN,
}
_MEANINGLESS: Mapping[str, tuple[object, ...]] = {
    "cgroup": ("private",),
    "ipc": ("private", "shareable"),
    "pid": ("private",),
    "runtime": ("runc",),
}
# Of a bind: what is as asked anyway. Every mount that the source has comes with it, a read-only one is so throughout.
_PLAIN_BINDS: Mapping[str, tuple[str, ...]] = {
    "propagation": ("private", "rprivate"),
    "recursive": ("enabled", "readonly"),
}
_BIND_WHY = {
    "propagation": "what is mounted later, there or in the service, is not seen by the other",
    "recursive": "what is mounted below the source comes with it, and is read-only where the bind is",
}
_LOCAL_LOGS = ("", "json-file", "local", "none")
_NO_NEW = ("no-new-privileges", "no-new-privileges:true", "no-new-privileges=true", "no-new-privileges:false")


def unheeded(stack: Stack, service: Service) -> tuple[Diagnostic, ...]:
    """A warning for each such attribute of the service, at its place."""
    at = ("services", service.name)
    return tuple(
        Diagnostic(WARNING, "not-honoured", f"{service.name}: {what} is not honoured: {why}", stack.span(*at, *path))
        for path, what, why in _found(stack.canonical["services"][service.name], service)
    )


def _found(raw: Mapping[str, Any], service: Service) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    for key, why in UNHEEDED.items():
        value = raw.get(key)
        if value not in (None, "", 0, False, [], {}) and value not in _MEANINGLESS.get(key, ()):
            yield (key,), key, why
    if service.logging_driver not in _LOCAL_LOGS:
        yield ("logging", "driver"), f"logging driver {service.logging_driver}", "its log stays on this machine"
    for number, option in enumerate(service.security_opt):
        if option not in _NO_NEW:
            yield ("security_opt", number), f"security_opt {option}", "there is no such confinement here"
    for number, volume in enumerate(raw.get("volumes") or ()):
        bind = (volume.get("bind") or {}) if volume.get("type") == "bind" else {}
        for key, plain in _PLAIN_BINDS.items():
            if bind.get(key) and bind[key] not in plain:
                yield ("volumes", number, "bind", key), f"bind {key} {bind[key]}", _BIND_WHY[key]
    reserved = ((raw.get("deploy") or {}).get("resources") or {}).get("reservations") or {}
    if reserved.get("devices"):
        yield ("deploy", "resources", "reservations", "devices"), "deploy devices", UNHEEDED["devices"]


def refused(stack: Stack, service: Service) -> list[Diagnostic]:
    """A service that is not a program to run, but another command's to provide."""
    raw = stack.canonical["services"][service.name]
    if not raw.get("provider"):
        return []
    message = f"cannot start {service.name}: its provider {raw['provider'].get('type', '')} is not run natively"
    hint = "put the service into a profile that is not active here, or run this stack with Docker Compose"
    return [Diagnostic(ERROR, "provider", message, stack.span("services", service.name, "provider"), hint)]
