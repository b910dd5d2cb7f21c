"""Whether an instance may start: what its `depends_on` says against how those services are. Pure.

Compose waits in `pkg/compose/convergence.go` (`waitDependencies`, `isServiceHealthy`); the verdicts are the same, but
they come from events instead of a look every 500 ms.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from cais.supervise.api import Dependency
from cais.supervise.machine import Life

# Why a command waits in vain when a later one has decided otherwise.
STOPPED, REMOVED = "another command stopped it", "another command removed it"


class Verdict(NamedTuple):
    """`met`, or what it waits for, or why that will never come. `warnings`: an optional dependency failed."""

    met: bool
    waits_for: str = ""
    failed: str = ""
    culprit: str = ""  # id of the instance that failed
    warnings: tuple[str, ...] = ()


def judge(depends_on: Sequence[Dependency], lives: Mapping[str, Sequence[Life]]) -> Verdict:
    """`lives`: every service's instances (without one-offs). A service that has none is no obstacle, as in Compose."""
    waits: list[str] = []
    warnings: list[str] = []
    for dependency in depends_on:
        for life in lives.get(dependency.service, ()):
            met, waiting, failed = _one(dependency, life)
            if met:
                continue
            if failed and dependency.required:
                return Verdict(False, failed=failed, culprit=life.spec.id)
            if failed:
                warnings.append(f"optional dependency {life.spec.id} failed: {failed}")
                continue
            waits.append(waiting)
    if waits:
        return Verdict(False, waits_for=", ".join(dict.fromkeys(waits)), warnings=tuple(warnings))
    return Verdict(True, warnings=tuple(warnings))


def _one(dependency: Dependency, life: Life) -> tuple[bool, str, str]:
    """(met, what is waited for, why it will never be)."""
    name = life.spec.service
    pending = life.phase in ("waiting", "starting", "restarting") or (life.phase == "stopping" and life.goal == "again")
    if life.error and life.phase in ("created", "exited"):
        return False, "", f"{name} could not start"
    if life.crash_looping:
        return False, "", f"{name} keeps crashing ({life.crashes} times in a row, last exit code {life.exit_code})"
    match dependency.condition:
        case "service_completed_successfully":
            if life.phase == "exited" and life.run:
                return life.exit_code == 0, "", "" if life.exit_code == 0 else f"{name} exited ({life.exit_code})"
            if life.phase in ("created", "removing"):
                return False, "", f"{name} is not running"
            return False, f"{name} to complete", ""
        case "service_healthy":
            if life.spec.health is None:
                return False, "", f"{name} has no healthcheck"
            if life.health == "unhealthy":
                return False, "", f"{name} is unhealthy"
            if life.phase == "exited":
                return False, "", f"{name} exited ({life.exit_code})"
            if life.phase == "running":
                return life.health == "healthy", f"{name} to be healthy", ""
            return (False, f"{name} to be healthy", "") if pending else (False, "", f"{name} is not running")
        case _:
            # Compose only orders the starts: one that has been started is enough, even if it has ended since.
            if life.phase in ("running", "restarting", "stopping") or (life.phase == "exited" and life.run):
                return True, "", ""
            return (False, f"{name} to start", "") if pending else (False, "", f"{name} is not running")


# Without a healthcheck, `--wait` can only see that it runs, so it looks whether it still does a moment later: Compose
# looks for the first time after half a second.
SETTLED = 0.3


def settles_in(life: Life, now: float) -> float:
    """Seconds until one that runs and has no healthcheck counts as there; 0 when it does.

    A clock that has been set back must not make anybody wait for it to come round again.
    """
    left = life.started + SETTLED - now
    return left if 0 < left <= SETTLED else 0.0


def arrived(life: Life, now: float, *, wait: bool) -> tuple[bool, str]:
    """For `up`: (is there, why it will never be). `wait` asks for healthy, or running where there is no check.

    Unlike Compose, a one-shot that ended well counts as there.
    """
    if life.error and life.phase in ("created", "exited", "removing"):
        return False, life.error
    if life.phase == "removing":
        ended = life.spec.remove_on_exit and life.run > 0  # `run --rm`: it was there, and its end took it away
        return ended, "" if ended else REMOVED
    if life.crash_looping:
        return False, f"it keeps crashing: {life.crashes} times in a row, last exit code {life.exit_code}"
    if life.phase == "exited" and life.run:
        if wait and (life.exit_code or life.goal == "rest"):
            return False, f"it exited ({life.exit_code})" if life.goal == "run" else STOPPED
        return True, ""
    if life.phase == "created":
        return False, STOPPED
    if life.phase != "running":
        return life.phase == "restarting" and not wait, ""
    if not wait:
        return True, ""
    if life.spec.health is None:
        return not settles_in(life, now), ""
    if life.health == "unhealthy":
        return False, f"it is unhealthy: {life.streak} checks in a row failed"
    return life.health == "healthy", ""


def in_layers(depends: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Services in layers: each needs only services of earlier ones. A cycle (loaders refuse it) comes last."""
    left = {name: {d for d in needs if d in depends} for name, needs in depends.items()}
    layers: list[list[str]] = []
    while left:
        free = [name for name, needs in left.items() if not needs & left.keys()] or list(left)
        layers.append(free)
        for name in free:
            del left[name]
    return layers
