"""Requests -> images. A walk through the needed stages that computes each step's key and makes the layers missing.

The walk is done twice at most. The first looks for ready layers only: no event loop, no sandbox, some milliseconds.
At the first layer that is missing it gives up, and the second walk makes it and what follows, stages side by side.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from cais.build import stages as staging
from cais.build.api import BuildEvent, BuildRequest, Report, ResolveBase
from cais.build.config import METADATA, Scope, fault
from cais.build.context import Hashes, NoSource, Tree
from cais.build.copy import CannotCopy, Writer
from cais.build.layers import Layers, digest
from cais.build.stages import Stage, Stages
from cais.build.vet import vet
from cais.build.view import View
from cais.diag.api import ERROR, CaisError, Diagnostic, Faults
from cais.model.image import FIDELITY_ORDER, Image, ImageConfig
from cais.paths import cache_folder, private_dir
from cais.source.api import Span
from cais.source.formats import dockerfile, dockerignore
from cais.source.formats.dockerfile import Instruction

if TYPE_CHECKING:
    from cais.build.run import Runner

Fill = Callable[[str], Awaitable[None]]


def build(request: BuildRequest, resolve_base: ResolveBase, progress: Report | None = None) -> Image:
    """One build. Raises Faults for what the Dockerfile says wrong, CaisError when a step fails."""
    return build_all([request], resolve_base, progress)[0]


def build_all(
    requests: Sequence[BuildRequest], resolve_base: ResolveBase, progress: Report | None = None, *, parallel: int = 2
) -> list[Image]:
    """Several builds, equal steps done once; in the main thread, outside an event loop. `parallel` RUNs at a time."""
    plans = _plans(requests, resolve_base, progress or (lambda event: None))
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


def check(requests: Sequence[BuildRequest]) -> list[Diagnostic]:
    """What reading and arranging the Dockerfiles finds, warnings too; nothing is fetched or built."""
    found: dict[Diagnostic, None] = {}
    for request in requests:
        try:
            plan = Plan(request, Layers(), lambda event: None)
        except CaisError as err:
            found.update(dict.fromkeys(err.diagnostics()))
            continue
        found.update(dict.fromkeys(plan.stages.found))
    return list(found)


def _plans(requests: Sequence[BuildRequest], resolve_base: ResolveBase, report: Report) -> list[Plan]:
    plans: list[Plan] = []
    same: dict[BuildRequest, Plan] = {}
    found: list[Diagnostic] = []
    layers = Layers()
    for request in requests:
        key = request._replace(name="", span=None)
        if key in same:
            plans.append(same[key])
            continue
        try:
            plan = Plan(request, layers, report)
        except Faults as err:
            found += err.found
            continue
        same[key] = plan
        plans.append(plan)
    if found:
        raise Faults(found)
    for plan in same.values():
        plan.resolve(resolve_base)
    return plans


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


class _Missing(Exception):
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


class Plan:
    """One request, read and arranged; then walked."""

    def __init__(self, request: BuildRequest, layers: Layers, report: Report) -> None:
        self.request, self.layers, self.report = request, layers, report
        self.name = request.name
        self.args = dict(request.args)
        self.contexts = dict(request.contexts)
        self.secret_values = _secret_values(request)
        text, file, self.ignore = _read_files(request)
        self.in_compose_file = False
        if request.inline:
            file, below, indent = _place_of_inline(request)
            self.in_compose_file = below > 0
            parsed = dockerfile.read(text, file, below=below, indent=indent)
        else:
            parsed = dockerfile.read(text, file)
        self.stages: Stages = staging.arrange(
            parsed, args=self.args, contexts=self.contexts, target=request.target, span=request.span
        )
        if any(d.severity == ERROR for d in self.stages.found):
            raise self._faults(self.stages.found)
        self.escape = parsed.escape
        self.hashes = Hashes(str(cache_folder("build") / "hashes" / f"{digest(request.context)[:20]}.json"))
        self.images: dict[str, Image] = {}
        self.trees: dict[str, Tree] = {}
        context = self._context_tree("", request.context, self.ignore)
        wrong = vet(self.stages, context, args=self.args, network=request.network)
        if wrong:
            raise self._faults([*self.stages.found, *wrong])
        self.numbers = self._count()
        self.warned: set[tuple[str, str]] = set()
        self.reset()

    def _faults(self, found: Sequence[Diagnostic]) -> Faults:
        """A Dockerfile of its own is named by its path; one that stands in the compose file needs its service."""
        if self.in_compose_file and self.name:
            found = [one._replace(message=f"cannot build {self.name}: {one.message}") for one in found]
        return Faults(found)

    def reset(self) -> None:
        self.runner: Runner | None = None
        self.turns: Any = None
        self.done: dict[int, Built] = {}
        self.tasks: dict[int, Any] = {}

    def _count(self) -> dict[int, int]:
        """The number of each stage's first instruction among all that are carried out."""
        numbers, total = {}, 0
        for index in self.stages.needed:
            numbers[index] = total
            total += len(self.stages.stages[index].body)
        self.total = total
        return numbers

    def runs(self) -> bool:
        return any(i.name in {"RUN", "ONBUILD"} for s in self.stages.needed for i in self.stages.stages[s].body) or any(
            image.config.on_build for image in self.images.values()
        )

    def resolve(self, resolve_base: ResolveBase) -> None:
        """Ask for every image the needed stages name, before anything is carried out; tell all that are not there."""
        wrong: list[Diagnostic] = []
        wanted: list[tuple[str, str, Span | None]] = [(text, text, span) for text, span in self.stages.images]
        for name, value in self.contexts.items():
            if value.startswith("docker-image://"):
                wanted.append((f"context:{name}", value.removeprefix("docker-image://"), self.request.span))
        for key, text, span in wanted:
            try:
                self.images[key] = resolve_base(text, span)
            except CaisError as err:
                wrong += [d._replace(span=d.span or span) for d in err.diagnostics()]
        if wrong:
            raise Faults(wrong)
        for name, value in self.contexts.items():
            if not value.startswith("service:"):
                continue
            other = dict(self.request.services).get(value.removeprefix("service:"))
            if other is None:
                raise CaisError(
                    f"cannot build {self.name}: the context {name} is {value}, and that service has no build",
                    span=self.request.span,
                )
            self.images[f"context:{name}"] = build(other, resolve_base, self.report)

    def ready(self) -> Image | None:
        """The first walk. Nothing in it waits, so the coroutine runs to its end without an event loop."""
        try:
            return _run_now(self._image())
        except _Missing:
            self.reset()
            return None

    async def make(self, runner: Runner, turns: Any) -> Image:
        import asyncio

        self.reset()
        self.runner, self.turns = runner, turns
        for diagnostic in self.stages.found:
            self.warn(diagnostic.code, diagnostic.message, diagnostic.span)
        for index in self.stages.needed:
            self.tasks[index] = asyncio.create_task(self._stage(index))
        try:
            return await self._image()
        finally:
            self.cancel()
            await asyncio.gather(*self.tasks.values(), return_exceptions=True)

    def cancel(self) -> None:
        for task in self.tasks.values():
            task.cancel()

    def hashes_save(self) -> None:
        self.hashes.save()

    def warn(self, code: str, message: str, span: Span | None) -> None:
        if (code, message) in self.warned:
            return
        self.warned.add((code, message))
        self.report(BuildEvent(self.name, "warning", 0, self.total, message, span))

    async def off(self, act: Callable[..., Any], *given: Any) -> Any:
        """Work that takes the disk: beside the event loop when there is one (it carries the network of a RUN)."""
        if self.runner is None:
            return act(*given)
        import asyncio

        return await asyncio.to_thread(act, *given)

    # the walk

    async def _image(self) -> Image:
        built = await self.stage(self.stages.target)
        config = built.config
        if self.request.labels:
            config = config._replace(labels=tuple({**dict(config.labels), **dict(self.request.labels)}.items()))
        unused = sorted(set(self.args) - self.stages.declared - set(staging.platform_args()) - _proxy_names())
        if unused and self.runner is not None:
            self.warn("build-args-unused", f"no ARG takes the build arguments {', '.join(unused)}", self.request.span)
        return Image(
            layers=built.layers,
            config=config,
            digest=digest("image", built.key, config),
            fidelity=built.fidelity,
            differs=built.differs,
            origin=f"build {self.request.context}" + (f" ({self.request.target})" if self.request.target else ""),
        )

    async def stage(self, index: int) -> Built:
        if index in self.done:
            return self.done[index]
        if index in self.tasks:
            return await self.tasks[index]  # type: ignore[no-any-return]
        return await self._stage(index)

    async def _stage(self, index: int) -> Built:
        stage = self.stages.stages[index]
        base = await self._base(stage)
        scope = Scope(base.config, given=self.args, global_args=self._global_args(), escape=self.escape)
        walker = _Walker(self, stage, scope, base)
        triggers = base.config.on_build
        if triggers:
            scope.config = scope.config._replace(on_build=())
            for trigger in triggers:
                read = dockerfile.read(trigger, f"{stage.base_span.file} (ONBUILD of {stage.base[1]})")
                for instruction in read.instructions:
                    await walker.carry_out(instruction, Step(0, f"ONBUILD {instruction.source}", stage.base_span))
        for number, instruction in enumerate(stage.body, self.numbers[index] + 1):
            await walker.carry_out(instruction, Step(number, instruction.source, instruction.span))
        built = Built(tuple(walker.layers), walker.key, scope.finished(), base.fidelity, base.differs)
        self.done[index] = built
        return built

    def _global_args(self) -> dict[str, str]:
        return {**staging.platform_args(), **self.stages.globals}

    async def _base(self, stage: Stage) -> Built:
        kind, value = stage.base
        if kind == "stage":
            return await self.stage(int(value))
        if kind == "scratch":
            return Built((), "scratch", ImageConfig(), FIDELITY_ORDER[0], ())
        image = self.images.get(value if kind == "image" else f"context:{value}")
        if image is None:
            raise fault(
                "dockerfile-base-context",
                f"the named context {value} is a directory: a stage cannot stand on it",
                stage.base_span,
                "use docker-image://… or service:… in additional_contexts, or COPY --from it",
            )
        return Built(image.layers, image.digest, image.config, image.fidelity, image.differs)

    async def tree(self, text: str, stage: Stage, span: Span) -> Tree:
        """What `--from=text` copies from; "" is the build context."""
        if not text:
            return self._context_tree("", self.request.context, self.ignore)
        kind, value = staging.source(text, self.stages.stages[: stage.number], self.contexts)
        if kind == "stage":
            built = await self.stage(int(value))
            return Tree(View(built.layers or (self.empty(),)), f"stage {text}", digest=built.key)
        image = self.images.get(value if kind == "image" else f"context:{value}")
        if image is not None:
            return Tree(View(image.layers), f"the image {text}", digest=image.digest)
        return self._named_context(value, self.contexts[value], span)

    def _named_context(self, name: str, value: str, span: Span) -> Tree:
        if "://" in value:
            raise fault(
                "dockerfile-context-remote",
                f"the named context {name} is {value}: only directories and images are supported",
                span,
                "clone it, and name the directory",
            )
        folder = os.path.join(self.request.context, value)
        ignore = _ignore_of(os.path.join(folder, ".dockerignore"))
        return self._context_tree(name, folder, ignore)

    def _context_tree(self, name: str, folder: str, ignore: dockerignore.Ignore) -> Tree:
        if name not in self.trees:
            what = f"the named context {name} ({folder})" if name else f"the build context {folder}"
            if not os.path.isdir(folder):
                raise CaisError(f"cannot build {self.name}: {what} is not a directory", span=self.request.span)
            self.trees[name] = Tree(View((folder,), plain=True), what, ignore=ignore, hashes=self.hashes)
        return self.trees[name]

    def empty(self) -> str:
        """A layer with nothing in it: what `scratch` looks like to overlayfs, which wants one at least."""
        path = private_dir(self.layers.home) / "empty" / "fs"
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
        return str(path)


class _Walker:
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
                raise _Missing
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


def _secret_values(request: BuildRequest) -> list[str]:
    """To keep them out of what is shown. A short value would blacken half of a log and is left alone."""
    values = []
    for _, path, value in request.secrets:
        if value is None and path:
            try:
                with open(path, encoding="utf-8", errors="replace") as file:
                    value = file.read(1 << 16)
            except OSError:
                continue
        values += [line.strip() for line in (value or "").splitlines() if len(line.strip()) >= 6]
    return values


def _proxy_names() -> set[str]:
    return {n for name in staging.PROXIES for n in (name, name.lower())}


def _run_now(work: Coroutine[Any, Any, Image]) -> Image:
    try:
        work.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    finally:
        work.close()
    raise RuntimeError("the first walk of a build waited for something")


def _read_files(request: BuildRequest) -> tuple[str, str, dockerignore.Ignore]:
    """The Dockerfile's text, its name for people, and what the context hides."""
    context_ignore = os.path.join(request.context, ".dockerignore")
    if "://" in request.context or request.context.startswith("git@"):
        raise CaisError(
            f"cannot build {request.name}: the context {request.context} is remote",
            hint="clone it and name the directory",
            span=request.span,
        )
    if not os.path.isdir(request.context):
        raise CaisError(f"cannot build {request.name}: there is no directory {request.context}", span=request.span)
    if request.inline:
        return request.inline, "dockerfile_inline", _ignore_of(context_ignore)
    path = os.path.join(request.context, request.dockerfile)
    try:
        about = os.stat(path)
        if about.st_size > dockerfile.MAX_BYTES or not stat.S_ISREG(about.st_mode):
            raise CaisError(f"cannot build {request.name}: {path} is not a Dockerfile", span=request.span)
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
    except OSError as err:
        near = ""
        if isinstance(err, FileNotFoundError):
            import difflib

            folder = os.path.dirname(path)
            names = os.listdir(folder) if os.path.isdir(folder) else []
            found = difflib.get_close_matches(os.path.basename(path), names, n=1)
            near = f"did you mean {found[0]}?" if found else "build.dockerfile names it when it has another name"
        raise CaisError(
            f"cannot build {request.name}: cannot read {path}: {(err.strerror or '').lower()}",
            hint=near,
            span=request.span,
        ) from err
    own = f"{path}.dockerignore"
    return text, _shown(path), _ignore_of(own if os.path.exists(own) else context_ignore)


def _place_of_inline(request: BuildRequest) -> tuple[str, int, int]:
    """The file that `dockerfile_inline` stands in, the lines above its text and the columns before it.

    Only a block (`|`) keeps lines as they are; of any other the lines count from the text's beginning.
    """
    unknown = (f"dockerfile_inline of {request.name}" if request.name else "dockerfile_inline", 0, 0)
    if request.span is None:
        return unknown
    try:
        with open(request.span.file, encoding="utf-8", errors="replace") as file:
            lines = file.read(1 << 22).split("\n")
    except OSError:
        return unknown
    first = next((line for line in request.inline.split("\n") if line.strip()), "")
    for number in range(max(0, request.span.line - 2), len(lines)):
        key, colon, value = lines[number].partition(":")
        if key.strip() != "dockerfile_inline" or not colon or not value.strip().startswith("|"):
            continue
        above = number + 1
        while above < len(lines) and not lines[above].strip():
            above += 1
        if above == len(lines):
            return unknown
        text = lines[above]
        if text.strip() != first.strip() and "$" not in text:
            continue  # another service's, or a file over this one wrote another
        return _shown(request.span.file), number + 1, len(text) - len(text.lstrip())
    return unknown


def _shown(path: str) -> str:
    """Relative to where the user stands, when that is shorter to read."""
    try:
        relative = os.path.relpath(path)
    except (OSError, ValueError):
        return path
    return path if relative.startswith("../") else relative


def _ignore_of(path: str) -> dockerignore.Ignore:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return dockerignore.read(file.read(1 << 20))
    except OSError:
        return dockerignore.Ignore(())
