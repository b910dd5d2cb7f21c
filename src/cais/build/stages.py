"""The stages of a Dockerfile: what each stands on, which are needed for the target, and every fault at once."""

from collections.abc import Mapping
from typing import NamedTuple

from cais.build.expand import BadExpansion, expand
from cais.diag.api import ERROR, WARNING, Diagnostic
from cais.source.api import Span
from cais.source.formats import dockerfile
from cais.source.formats.dockerfile import Dockerfile, Instruction

_ARCH = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")


class Stage(NamedTuple):
    """`base` is `("stage", "2")`, `("image", "python:3.12")`, `("context", "name")` or `("scratch", "")`."""

    number: int
    name: str
    base: tuple[str, str]
    span: Span
    base_span: Span
    body: tuple[Instruction, ...]


class Stages(NamedTuple):
    file: Dockerfile
    stages: tuple[Stage, ...]
    globals: Mapping[str, str]  # ARGs before the first FROM that have a value
    declared: frozenset[str]  # every ARG name, to say which --build-arg nobody asks for
    target: int
    needed: tuple[int, ...]
    images: tuple[tuple[str, Span], ...]  # images the needed stages name, each once
    found: tuple[Diagnostic, ...]  # warnings and errors


def platform_args() -> dict[str, str]:
    """What BuildKit predefines; usable in FROM, and in a stage after `ARG TARGETARCH`."""
    import os

    arch = _ARCH.get(os.uname().machine, os.uname().machine)
    both = {"PLATFORM": f"linux/{arch}", "OS": "linux", "ARCH": arch, "VARIANT": ""}
    return {f"{side}{name}": value for side in ("TARGET", "BUILD") for name, value in both.items()}


def diagnostic(fault: dockerfile.Fault) -> Diagnostic:
    severity = ERROR if fault.severity == "error" else WARNING
    return Diagnostic(severity, fault.code, fault.message, fault.span, fault.hint)


def arrange(
    file: Dockerfile, *, args: Mapping[str, str], contexts: Mapping[str, str], target: str, span: Span | None
) -> Stages:
    """Split into stages and find what the target needs. Faults are in `found`, as many as there are."""
    return _Arranger(file, args, contexts).arrange(target, span)


class _Arranger:
    def __init__(self, file: Dockerfile, args: Mapping[str, str], contexts: Mapping[str, str]) -> None:
        self.file, self.args, self.contexts = file, args, contexts
        self.found = [diagnostic(f) for f in file.faults]
        self.globals: dict[str, str] = {}
        self.declared: set[str] = set()
        self.stages: list[Stage] = []
        self.names: dict[str, int] = {}

    def error(self, code: str, message: str, span: Span | None, hint: str = "") -> None:
        self.found.append(Diagnostic(ERROR, code, message, span, hint))

    def arrange(self, target: str, span: Span | None) -> Stages:
        body: list[Instruction] = []
        opened: tuple[int, str, tuple[str, str], Span, Span] | None = None
        for instruction in self.file.instructions:
            if instruction.name == "ARG":
                self.declared.update(pair.name.text for pair in instruction.pairs)
            if instruction.name == "FROM":
                if opened:
                    self.stages.append(Stage(*opened, tuple(body)))
                opened, body = self._from(instruction), []
            elif opened:
                body.append(instruction)
            elif instruction.name == "ARG":
                self._global(instruction)
            else:
                self.error(
                    "dockerfile-no-from",
                    f"{instruction.name} stands before the first FROM",
                    instruction.span,
                    "only ARG may stand there; begin with FROM <image>",
                )
        if opened:
            self.stages.append(Stage(*opened, tuple(body)))
        elif not self.found:
            self.error("dockerfile-no-from", "this Dockerfile has no FROM", Span(self.file.file, 1, 1))
        index = self._target(target, span)
        needed: dict[int, None] = {}
        images: dict[str, Span] = {}
        if index >= 0:
            self._need(index, needed, images)
        return Stages(
            self.file,
            tuple(self.stages),
            self.globals,
            frozenset(self.declared),
            index,
            tuple(sorted(needed)),
            tuple(images.items()),
            tuple(self.found),
        )

    def _global(self, instruction: Instruction) -> None:
        for pair in instruction.pairs:
            name = pair.name.text
            if name in self.args:
                self.globals[name] = self.args[name]
            elif pair.value is not None:
                self.globals[name] = self._expand(pair.value.text, pair.value.span)

    def _expand(self, text: str, span: Span) -> str:
        try:
            return expand(text, {**platform_args(), **self.globals}, self.file.escape)
        except BadExpansion as err:
            self.error("dockerfile-variable", str(err), span)
            return ""

    def _from(self, instruction: Instruction) -> tuple[int, str, tuple[str, str], Span, Span]:
        index = len(self.stages)
        word = instruction.words[0]
        name = instruction.words[2].text.lower() if len(instruction.words) == 3 else ""
        base = self._expand(word.text, word.span)
        platform = self._expand(instruction.flag("platform") or "", instruction.span)
        here = platform_args()["TARGETPLATFORM"]
        if platform and not platform.startswith(here):
            self.found.append(
                Diagnostic(
                    WARNING,
                    "dockerfile-platform",
                    f"platform {platform} is asked for; this stage is built for {here}",
                    instruction.flags[0].span,
                )
            )
        kind = ("image", base)
        if not base:
            self.error(
                "dockerfile-base-empty",
                f"FROM {word.text} names no image: the variable is empty",
                word.span,
                "give it a default with ARG before FROM, or a value under build.args",
            )
        elif base.lower() in self.names:
            kind = ("stage", str(self.names[base.lower()]))
        elif base in self.contexts:
            kind = ("context", base)
        elif base == "scratch":
            kind = ("scratch", "")
        if name:
            if name.isdigit() or not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
                self.error("dockerfile-stage-name", f"{name!r} is no name for a stage", instruction.words[2].span)
            elif name in self.names:
                self.error("dockerfile-stage-twice", f"the stage {name} is there twice", instruction.words[2].span)
            self.names[name] = index
        return index, name, kind, instruction.span, word.span

    def _target(self, target: str, span: Span | None) -> int:
        if not target:
            return len(self.stages) - 1
        for stage in self.stages:
            if stage.name == target.lower() or str(stage.number) == target:
                return stage.number
        if self.stages:
            import difflib

            names = [s.name for s in self.stages if s.name]
            near = difflib.get_close_matches(target.lower(), names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"its stages are {', '.join(names) or 'without names'}"
            self.error("dockerfile-target", f"{self.file.file} has no stage {target!r}", span, hint)
        return -1

    def _need(self, index: int, needed: dict[int, None], images: dict[str, Span]) -> None:
        if index in needed:
            return
        needed[index] = None
        stage = self.stages[index]
        kind, value = stage.base
        if kind == "stage":
            self._need(int(value), needed, images)
        elif kind == "image":
            images.setdefault(value, stage.base_span)
        for instruction in stage.body:
            for text, span in sources_from(instruction.inner or instruction):
                kind, value = self.source(text, index)
                if kind == "stage":
                    if int(value) == index:
                        self.error("dockerfile-copy-self", f"stage {text} takes files from itself", span)
                    else:
                        self._need(int(value), needed, images)
                elif kind == "image":
                    images.setdefault(value, span)

    def source(self, text: str, below: int) -> tuple[str, str]:
        return source(text, self.stages[:below], self.contexts)


def source(text: str, earlier: "tuple[Stage, ...] | list[Stage]", contexts: Mapping[str, str]) -> tuple[str, str]:
    """What `--from=text` means in a stage: an earlier stage by name or number, a named context, else an image."""
    for stage in earlier:
        if stage.name and stage.name == text.lower():
            return "stage", str(stage.number)
    if text.isdigit() and int(text) < len(earlier):
        return "stage", text
    if text in contexts:
        return "context", text
    return "image", text


def meant(stages: Stages, text: str) -> str:
    """What to say of an image nobody knows that may be a stage's name, mistyped or out of turn; else nothing."""
    import difflib

    if any(sign in text for sign in "/:@"):
        return ""
    names = [stage.name for stage in stages.stages if stage.name]
    if text.lower() in names:
        return f"the stage {text} comes after this: only stages before it can be named"
    near = difflib.get_close_matches(text.lower(), names, n=1)
    if near:
        return f"did you mean the stage {near[0]}?"
    if text in {value for _, value in (stage.base for stage in stages.stages)} or not names:
        return ""
    return f"no stage is called {text}: there {'are' if len(names) > 1 else 'is'} {', '.join(names)}"


def sources_from(instruction: Instruction) -> list[tuple[str, Span]]:
    """`--from` of COPY and of the mounts of RUN."""
    found = [(f.value, f.span) for f in instruction.all_flags("from") if f.value]
    for flag in instruction.all_flags("mount"):
        for part in (flag.value or "").split(","):
            if part.startswith("from=") and len(part) > 5:
                found.append((part[5:], flag.span))
    return found
