"""Which restart policy a service asks for, and whether Docker's engine would take it.

Compose gives the engine whatever is written (`pkg/compose/create.go`, `getRestartPolicy`), and the engine refuses what
it does not know (moby `api/types/container`, `ValidateRestartPolicy`).
"""

from typing import NamedTuple

from cais.diag.api import ERROR, WARNING, Diagnostic
from cais.load.job import nearest
from cais.model.api import Service, Stack
from cais.supervise.api import Restart

_AS_THE_ENGINE = {"none": "no", "any": "always", "": "no"}
_KNOWN = ("no", "always", "on-failure", "unless-stopped")


class Asked(NamedTuple):
    policy: str
    retries: int
    path: tuple[str, ...]  # of the policy below the service
    retries_path: tuple[str, ...]


def asked(service: Service) -> Asked:
    """`deploy.restart_policy` wins over `restart` as a whole: without a condition of its own it is never restarted.
    Its delay and window are Swarm's; the engine is given neither, and its backoff is that of `machine.py`."""
    policy = service.deploy.raw.get("restart_policy")
    if policy is not None:
        path = ("deploy", "restart_policy")
        attempts = (*path, "max_attempts") if "max_attempts" in policy else path
        condition = (*path, "condition") if "condition" in policy else path
        return Asked(_engine_s(policy.get("condition") or ""), service.deploy.restart_max_attempts, condition, attempts)
    name, _, rest = service.restart.partition(":")
    return Asked(_engine_s(name), _number(rest.partition(":")[0]) or 0, ("restart",), ("restart",))


def restart_of(service: Service) -> Restart:
    name, retries, _, _ = asked(service)
    match name:
        case "always" | "unless-stopped":
            return Restart(policy=name)
        case "on-failure":
            return Restart(policy="on-failure", max_retries=max(0, retries))
        case _:
            return Restart()


def _engine_s(name: str) -> str:
    return _AS_THE_ENGINE.get(name, name)


def _number(text: str) -> int | None:
    """As Go's `strconv.Atoi`."""
    return int(text) if text.lstrip("+-").isdecimal() and len(text) - len(text.lstrip("+-")) <= 1 else None


def restart_faults(stack: Stack, service: Service) -> list[Diagnostic]:
    name, retries, path, retries_path = asked(service)
    at = ("services", service.name)
    if name not in _KNOWN:
        hint = nearest(name.replace("_", "-"), _KNOWN) or f"write one of {', '.join(_KNOWN)}"
        if path[0] == "deploy":
            known = ("none", "on-failure", "any")
            hint = nearest(name.replace("_", "-"), known) or f"write one of {', '.join(known)}"
        message = f"cannot start {service.name}: {name} is no restart policy"
        return [Diagnostic(ERROR, "restart-policy", message, stack.span(*at, *path), hint)]
    if retries < 0 or (retries and name != "on-failure"):
        why = "cannot be negative" if retries < 0 else "can only be used with on-failure"
        message = f"cannot start {service.name}: a count of restarts ({retries}) {why}"
        hint = "say condition: on-failure, or take max_attempts out"
        if path[0] == "restart":
            hint = f"write on-failure:{abs(retries)}, or {name} alone"
        return [Diagnostic(ERROR, "restart-policy", message, stack.span(*at, *retries_path), hint)]
    return []


def restart_warnings(stack: Stack, service: Service) -> list[Diagnostic]:
    """What Docker Compose takes in silence, and its writer will not have meant."""
    at = ("services", service.name)
    policy = service.deploy.raw.get("restart_policy")
    if policy is not None:
        if policy.get("condition") or service.restart in ("", "no"):
            return []
        message = (
            f"{service.name}: restart {service.restart} is not honoured: deploy.restart_policy goes before it, "
            "and says no condition (as in Docker Compose, it is not restarted)"
        )
        hint = "say a condition in deploy.restart_policy: any, on-failure or none"
        return [Diagnostic(WARNING, "not-honoured", message, stack.span(*at, "restart"), hint)]
    name, colon, count = service.restart.partition(":")
    if name != "on-failure" or not colon or _number(count) is not None:
        return []
    message = f"{service.name}: {count!r} is no number of restarts: it is restarted without limit, as in Docker Compose"
    return [Diagnostic(WARNING, "not-honoured", message, stack.span(*at, "restart"), "write on-failure:5")]
