"""Waiting until instances are there, and why one of them never will be."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cais.supervise.disk import HINT
from cais.supervise.instance import Instance
from cais.supervise.logs import last_lines
from cais.supervise.messages import Done, Failure
from cais.supervise.waiting import arrived, settles_in

if TYPE_CHECKING:
    from cais.supervise.supervisor import Supervisor

ORPHAN_LOG_LINES = 12


async def arrival(supervisor: Supervisor, targets: Sequence[Instance], *, wait: bool, timeout: float | None) -> Done:
    """Until all are there, or one never will be.

    Kinder than Compose: one that runs and is unhealthy while what it depends on is still coming may yet recover. It
    has failed when as many checks as it is allowed have failed since that arrived.
    """
    excused: dict[str, int] = {}  # id -> its failed checks in a row when last something it needs was still coming
    end = None if timeout is None else time.monotonic() + timeout
    while True:
        now = time.time()
        failed: list[tuple[Instance, str]] = []
        missing: list[Instance] = []
        sick: list[tuple[Instance, str]] = []
        for instance in targets:
            there, why = arrived(instance.life, now, wait=wait)
            if why:
                unhealthy = instance.life.phase == "running" and instance.life.health == "unhealthy"
                (sick if unhealthy else failed).append((instance, why))
            elif not there:
                missing.append(instance)
        coming = {instance.spec.service for instance in missing}
        for instance, why in sick:
            id, streak, health = instance.spec.id, instance.life.streak, instance.spec.health
            if coming & _needs(supervisor, instance.spec.service):
                excused[id] = streak
            allowed = excused[id] + health.retries if health and id in excused else 0
            if streak < allowed:
                missing.append(instance)
            else:
                failed.append((instance, why))
        if failed:
            return Done(exit_code=1, failures=failures(supervisor, failed, wait=wait))
        if not missing:
            return Done()
        left = None if end is None else end - time.monotonic()
        if left is not None and left <= 0:
            late = [(i, f"it is not {'healthy' if i.spec.health else 'running'} after {timeout:g} s") for i in missing]
            return Done(exit_code=1, failures=failures(supervisor, late, wait=wait))
        settling = [settles_in(i.life, now) for i in missing if i.life.pid and i.life.spec.health is None]
        await supervisor.change(min([t for t in (left, *settling) if t], default=None))


def _needs(supervisor: Supervisor, service: str) -> set[str]:
    """The services it depends on, and those they depend on."""
    found: set[str] = set()
    left = [service]
    while left:
        name = left.pop()
        for instance in supervisor.instances.values():
            if instance.spec.service == name and not instance.spec.oneoff:
                new = {dependency.service for dependency in instance.spec.depends_on} - found
                found |= new
                left += new
    return found


def failures(supervisor: Supervisor, failed: Sequence[tuple[Instance, str]], *, wait: bool) -> tuple[Failure, ...]:
    """One message for each cause: those who only waited for it are named in it."""
    out: dict[str, Failure] = {}
    for instance, why in failed:
        cause = instance
        while (next := supervisor.instances.get(cause.culprit)) is not None and next is not cause:
            cause = next
        spec = cause.spec
        if cause is not instance:
            why = cause.life.error or why
            if spec.id in out or any(c is cause for c, _ in failed):
                continue
        if cause.life.health == "unhealthy" and cause.life.health_log:
            why += f"; the last check said: {cause.life.health_log[-1] or '(nothing)'}"
        if cause.full:
            why += f"; {cause.full}"
        log = tuple(last_lines(supervisor.home, spec.id, ORPHAN_LOG_LINES))
        out[spec.id] = Failure(
            id=spec.id,
            service=spec.service,
            what=f"start {instance.spec.service}",
            why=why,
            span=spec.span,
            log=log,
            hint=HINT if cause.full else f"'cais logs {spec.service}' shows all that it wrote" if log else "",
        )
    return tuple(out.values())
