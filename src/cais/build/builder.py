"""Requests -> images. A walk through the needed stages that computes each step's key and makes the layers missing.

The walk is done twice at most. The first looks for ready layers only: no event loop, no sandbox, some milliseconds.
At the first layer that is missing it gives up, and the second walk makes it and what follows, stages side by side.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from cais.build.api import BuildRequest, FindBase, Report, ResolveBase
from cais.build.layers import Layers
from cais.build.plan import Plan
from cais.diag.api import CaisError, Diagnostic, Faults
from cais.model.image import Image
from cais.paths import cache_folder, private_dir


def build(request: BuildRequest, resolve_base: ResolveBase, progress: Report | None = None) -> Image:
    """One build. Raises Faults for what the Dockerfile says wrong, CaisError when a step fails."""
    return build_all([request], resolve_base, progress)[0]


def build_all(
    requests: Sequence[BuildRequest],
    resolve_base: ResolveBase,
    progress: Report | None = None,
    *,
    find: FindBase | None = None,
    parallel: int = 2,
) -> list[Image]:
    """Several builds, equal steps done once; in the main thread, outside an event loop. `parallel` RUNs at a time.

    With `find`, images that are nowhere are told with all else that is wrong, before the first is fetched.
    """
    plans = _plans(requests, resolve_base, progress or (lambda event: None), find)
    images = [None if plan.request.no_cache else plan.ready() for plan in plans]
    missing = [plan for plan, image in zip(plans, images, strict=True) if image is None]
    if missing:
        import asyncio

        made = dict(zip(missing, asyncio.run(_make(missing, parallel)), strict=True))
        images = [made[plan] if image is None else image for plan, image in zip(plans, images, strict=True)]
    for plan in plans:
        plan.hashes_save()
    return [image for image in images if image is not None]


def is_ready(request: BuildRequest, resolve_base: ResolveBase) -> Image | None:
    """The image when every layer is there already, else None: what `up --dry-run` asks."""
    return _plans([request], resolve_base, lambda event: None)[0].ready()


def check(requests: Sequence[BuildRequest], find: FindBase | None = None) -> list[Diagnostic]:
    """What reading and arranging the Dockerfiles finds, warnings too; nothing is fetched or built."""
    plans, wrong = _read(requests, lambda event: None, find)
    warnings = (one for plan in dict.fromkeys(plans) for one in plan.stages.found)
    return list(dict.fromkeys([*wrong, *warnings]))


def _plans(
    requests: Sequence[BuildRequest], resolve_base: ResolveBase, report: Report, find: FindBase | None = None
) -> list[Plan]:
    """Read, and their bases resolved. Raises Faults with what is wrong about all of them."""
    plans, wrong = _read(requests, report, find)
    if not wrong:
        for plan in dict.fromkeys(plans):
            try:
                plan.resolve(resolve_base)
            except CaisError as err:
                wrong += err.diagnostics()
    if wrong:
        raise Faults(list(dict.fromkeys(wrong)))
    return plans


def _read(
    requests: Sequence[BuildRequest], report: Report, find: FindBase | None
) -> tuple[list[Plan], list[Diagnostic]]:
    """A plan for each request, the same for equal ones; and what is wrong with those that have none."""
    plans: list[Plan] = []
    wrong: list[Diagnostic] = []
    same: dict[BuildRequest, Plan] = {}
    layers = Layers()
    for request in requests:
        key = request._replace(name="", span=None, inline_span=None)
        try:
            plan = same.get(key) or Plan(request, layers, report)
        except CaisError as err:
            wrong += err.diagnostics()
            continue
        if key not in same and find is not None:
            wrong += plan.unknown(find)
        same[key] = plan
        plans.append(plan)
    return plans, wrong


async def _make(plans: Sequence[Plan], parallel: int) -> list[Image]:
    import asyncio

    from cais.build.run import Runner

    layers = private_dir(cache_folder("layers"))
    runner = Runner(layers / f".run-{os.getpid()}")
    try:
        if any(plan.runs() for plan in plans):
            from cais.sandbox.api import Refused

            try:
                runner.boot()
            except Refused as err:
                raise CaisError(
                    f"cannot build: the sandbox for RUN does not start: {err}", hint="cais doctor says what is missing"
                ) from err
        turns = asyncio.Semaphore(max(1, parallel))
        unique = list(dict.fromkeys(plans))
        tasks = [asyncio.create_task(plan.make(runner, turns)) for plan in unique]
        try:
            made = dict(zip(unique, await asyncio.gather(*tasks), strict=True))
        except BaseException:
            for plan in unique:
                plan.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise
        return [made[plan] for plan in plans]
    finally:
        await runner.close()
