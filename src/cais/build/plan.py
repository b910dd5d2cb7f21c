"""One build: its Dockerfile read and arranged, its bases resolved; then walked, for what is ready or to make it."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from cais.build import place
from cais.build import stages as staging
from cais.build.api import BuildEvent, BuildRequest, FindBase, Report, ResolveBase
from cais.build.config import Scope, fault
from cais.build.context import Hashes, Tree
from cais.build.layers import Layers, digest
from cais.build.stages import Stage, Stages
from cais.build.texts import ignore_of, read_files, secret_values
from cais.build.vet import vet
from cais.build.view import View
from cais.build.walker import Built, Missing, Step, Walker
from cais.diag.api import ERROR, CaisError, Diagnostic, Faults
from cais.model.image import FIDELITY_ORDER, Image, ImageConfig
from cais.paths import cache_folder, private_dir
from cais.source.api import Span
from cais.source.formats import dockerfile, dockerignore

if TYPE_CHECKING:
    from cais.build.run import Runner


class Plan:
    """One request, read and arranged; then walked."""

    def __init__(self, request: BuildRequest, layers: Layers, report: Report) -> None:
        self.request, self.layers, self.report = request, layers, report
        self.name = request.name
        self.args = dict(request.args)
        self.contexts = dict(request.contexts)
        self.secret_values = secret_values(request)
        text, file, self.ignore = read_files(request)
        self.place = place.of_inline(request) if request.inline else place.Place(file)
        with self.place.telling():
            self._arrange(text)
        self.numbers = self._count()
        self.warned: set[tuple[str, str]] = set()
        self.reset()

    def _arrange(self, text: str) -> None:
        request = self.request
        parsed = dockerfile.read(text, self.place.file, below=self.place.below, indent=self.place.indent)
        self.stages: Stages = staging.arrange(
            parsed, args=self.args, contexts=self.contexts, target=request.target, span=request.span
        )
        if any(d.severity == ERROR for d in self.stages.found):
            raise Faults(self.stages.found)
        self.escape = parsed.escape
        self.hashes = Hashes(str(cache_folder("build") / "hashes" / f"{digest(request.context)[:20]}.json"))
        self.images: dict[str, Image] = {}
        self.trees: dict[str, Tree] = {}
        context = self._context_tree("", request.context, self.ignore)
        wrong = vet(self.stages, context, args=self.args, network=request.network)
        if wrong:
            raise Faults([*self.stages.found, *wrong])

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

    def unknown(self, find: FindBase) -> list[Diagnostic]:
        """What is wrong with the names of the images it needs; none is fetched."""

        def ask(key: str, text: str, span: Span | None) -> None:
            try:
                find(text, span)
            except CaisError as err:
                err.hint = (key == text and staging.meant(self.stages, text)) or err.hint
                raise

        return self._each_base(ask)

    def resolve(self, resolve_base: ResolveBase) -> None:
        """Ask for every image it names, before anything is carried out; tell all that are not there."""

        def ask(key: str, text: str, span: Span | None) -> None:
            self.images[key] = resolve_base(text, span)

        if wrong := self._each_base(ask):
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
            from cais.build.builder import build

            self.images[f"context:{name}"] = build(other, resolve_base, self.report)

    def _each_base(self, act: Callable[[str, str, Span | None], object]) -> list[Diagnostic]:
        """`act` for every image the needed stages and the contexts name: the key it is kept by, its name, where."""
        wanted: list[tuple[str, str, Span | None]] = [(text, text, span) for text, span in self.stages.images]
        for name, value in self.contexts.items():
            if value.startswith("docker-image://"):
                wanted.append((f"context:{name}", value.removeprefix("docker-image://"), self.request.span))
        wrong: list[Diagnostic] = []
        for key, text, span in wanted:
            try:
                act(key, text, span)
            except CaisError as err:
                wrong += [d._replace(span=d.span or span) for d in err.diagnostics()]
        return self.place.told(wrong)

    def ready(self) -> Image | None:
        """The first walk. Nothing in it waits, so the coroutine runs to its end without an event loop."""
        try:
            with self.place.telling():
                return run_now(self._image())
        except Missing:
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
            with self.place.telling():
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
        self.report(BuildEvent(self.name, "warning", 0, self.total, message, self.place.span(span)))

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
        walker = Walker(self, stage, scope, base)
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
        ignore = ignore_of(os.path.join(folder, ".dockerignore"))
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


def _proxy_names() -> set[str]:
    return {n for name in staging.PROXIES for n in (name, name.lower())}


def run_now(work: Coroutine[Any, Any, Image]) -> Image:
    try:
        work.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    finally:
        work.close()
    raise RuntimeError("the first walk of a build waited for something")
