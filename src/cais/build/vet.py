"""Faults that need no base to be seen: told before anything is fetched or built, all at once.

What depends on a variable is left to the walk, where the base's environment is known.
"""

from collections.abc import Mapping

from cais.build import command, mounts, transfer
from cais.build.config import METADATA, Scope
from cais.build.context import NoSource, Tree
from cais.build.stages import Stages
from cais.diag.api import ERROR, Diagnostic, Faults
from cais.model.image import ImageConfig
from cais.source.formats.dockerfile import Instruction


def vet(stages: Stages, context: Tree, *, args: Mapping[str, str], network: str) -> list[Diagnostic]:
    """What is wrong in the needed stages, in the file's order."""
    found: list[Diagnostic] = []
    for number in stages.needed:
        scope = Scope(ImageConfig(), given=args, global_args=stages.globals, escape=stages.file.escape)
        for instruction in stages.stages[number].body:
            if "$" in instruction.text or any("$" in (flag.value or "") for flag in instruction.flags):
                continue
            try:
                found += _one(instruction, scope, context, network)
            except Faults as err:
                found += err.found
    return found


def _one(instruction: Instruction, scope: Scope, context: Tree, network: str) -> list[Diagnostic]:
    match instruction.name:
        case name if name in METADATA:
            scope.apply(instruction)
        case "RUN":
            mounts.read(instruction, scope)
            command.network_of(instruction, scope, network)
        case "COPY" | "ADD":
            return _sources(instruction, context)
    return []


def _sources(instruction: Instruction, context: Tree) -> list[Diagnostic]:
    """Sources of the context that are not there. `RUN` cannot make them: it does not see the context."""
    found = []
    heredocs = {heredoc.span for heredoc in instruction.heredocs}
    for word in instruction.words[:-1]:
        if word.span in heredocs or (instruction.name == "ADD" and transfer.is_remote(word.text)):
            continue
        if instruction.flag("from") or instruction.flag("parents"):
            continue
        text = word.text.strip("\"'")
        try:
            context.match(text)
        except NoSource as err:
            found.append(Diagnostic(ERROR, "dockerfile-source", str(err), word.span, err.hint))
    return found
