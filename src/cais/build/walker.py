"""One stage's walk: each instruction in turn, the layers so far and the key they add up to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

from cais.build.api import BuildEvent
from cais.build.config import METADATA, Scope
from cais.build.context import NoSource
from cais.build.copy import CannotCopy, Writer
from cais.build.layers import digest
from cais.build.stages import Stage
from cais.build.view import View
from cais.diag.api import CaisError
from cais.model.image import ImageConfig
from cais.source.api import Span
from cais.source.formats.dockerfile import Instruction

if TYPE_CHECKING:
    from cais.build.plan import Plan

Fill = Callable[[str], Awaitable[None]]


class Missing(Exception):
    """The first walk met a layer that is not made."""


class Built(NamedTuple):
    """A stage when it is done: its layers, top first, and what it carries. `key` names the content."""

    layers: tuple[str, ...]
    key: str
    config: ImageConfig
    fidelity: str
    differs: tuple[str, ...]


class Step(NamedTuple):
    """Where a step stands, for progress and errors."""

    number: int
    text: str
    span: Span


class Walker:
    """One stage's walk: the layers so far and the key they add up to."""

    def __init__(self, plan: Plan, stage: Stage, scope: Scope, base: Built) -> None:
        self.plan, self.stage, self.scope, self.base = plan, stage, scope, base
        self.layers = list(base.layers)
        self.key = base.key

    def view(self) -> View:
        return View(self.layers or (self.plan.empty(),))

    async def carry_out(self, instruction: Instruction, step: Step) -> None:
        match instruction.name:
            case name if name in METADATA:
                self.scope.apply(instruction)
            case "WORKDIR":
                await self._workdir(instruction, step)
            case "COPY" | "ADD":
                from cais.build.transfer import transfer

                await transfer(self, instruction, step)
            case "RUN":
                from cais.build.command import run

                await run(self, instruction, step)

    async def _workdir(self, instruction: Instruction, step: Step) -> None:
        path = self.scope.workdir(instruction)
        try:
            there = self.view().find(path)
        except OSError as err:
            raise self.error(step, f"{err.filename}: {(err.strerror or '').lower()}") from err
        if there is not None and there.is_dir:
            return
        key = digest("workdir", self.key, path)

        async def fill(scratch: str) -> None:
            Writer(f"{scratch}/fs", self.layers).directory(path)

        await self.layer(key, step, fill)

    async def layer(self, key: str, step: Step, fill: Fill) -> None:
        """Put the layer of `key` on top, made when it is missing."""
        plan = self.plan
        again = plan.request.no_cache
        ready = "" if again else plan.layers.path(key)
        if not ready:
            if plan.runner is None:
                raise Missing
            self.say("step", step)
            ready = await plan.layers.make(key, self._explained(fill, step), again=again)
            self.say("done", step)
        elif plan.runner is not None:
            self.say("cached", step)
        self.layers.insert(0, ready)
        self.key = key

    def _explained(self, fill: Fill, step: Step) -> Fill:
        async def explained(scratch: str) -> None:
            try:
                await fill(scratch)
            except (CannotCopy, NoSource) as err:
                raise self.error(step, str(err), err.hint) from err
            except PermissionError as err:
                if not str(err.filename or "").startswith(self.plan.request.context):
                    raise
                raise self.unreadable(step, err) from err

        return explained

    def say(self, kind: str, step: Step, text: str | None = None) -> None:
        plan = self.plan
        plan.report(
            BuildEvent(plan.name, kind, step.number, plan.total, step.text if text is None else text, step.span)
        )

    def unreadable(self, step: Step, err: OSError) -> CaisError:
        return self.error(
            step,
            f"cannot read {err.filename}: {(err.strerror or '').lower()}",
            "make it readable, or leave it out with .dockerignore",
        )

    def error(self, step: Step, why: str, hint: str = "", span: Span | None = None) -> CaisError:
        who = f"cannot build {self.plan.name}" if self.plan.name else "cannot build"
        return CaisError(f"{who}: {_short(step.text)}: {why}", hint=hint, span=span or step.span)


def _short(text: str) -> str:
    return text if len(text) <= 120 else text[:119] + "…"
