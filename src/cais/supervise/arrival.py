"""Waiting until instances are there, and why one of them never will be."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cais.supervise.instance import Instance
from cais.supervise.logs import last_lines
from cais.supervise.messages import Done, Failure
from cais.supervise.waiting import arrived, settles_in

if TYPE_CHECKING:
    from cais.supervise.supervisor import Supervisor

ORPHAN_LOG_LINES = 12


async def arrival(supervisor: Supervisor, targets: Sequence[Instance], *, wait: bool, timeout: float | None) -> Done:
    """Until all are there, or one never will be."""
    end = None if timeout is None else time.monotonic() + timeout
    while True:
        now = time.time()
        failed: list[tuple[Instance, str]] = []
        missing: list[Instance] = []
        for instance in targets:
            there, why = arrived(instance.life, now, wait=wait)
            if why:
                failed.append((instance, why))
            elif not there:
                missing.append(instance)
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
        out[spec.id] = Failure(
            id=spec.id,
            service=spec.service,
            what=f"start {instance.spec.service}",
            why=why,
            span=spec.span,
            log=tuple(last_lines(supervisor.home, spec.id, ORPHAN_LOG_LINES)),
            hint=f"'cais logs {spec.service}' shows all that it wrote",
        )
    return tuple(out.values())
