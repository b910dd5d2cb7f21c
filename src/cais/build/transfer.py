"""COPY and ADD as steps of a stage: sources found and hashed into the key, then copied into the layer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cais.build.config import fault
from cais.build.context import Found, NoSource, Tree
from cais.build.copy import CannotCopy, How, Text, Writer, change_mode, copy
from cais.build.expand import BadExpansion, expand_body
from cais.build.layers import digest
from cais.build.view import look_up_owner
from cais.diag.api import CaisError
from cais.source.formats.dockerfile import Instruction, Word
from cais.source.formats.dockerignore import Ignore

if TYPE_CHECKING:
    from cais.build.walker import Step, Walker

_URL = re.compile(r"https?://", re.I)
_GIT = re.compile(r"(git@|git://|ssh://)|https?://\S+\.git(#|\?|$)", re.I)


def is_remote(text: str) -> bool:
    return bool(_URL.match(text) or _GIT.match(text))


async def transfer(walker: Walker, instruction: Instruction, step: Step) -> None:
    scope = walker.scope
    words = [Word(scope.expand(word.text, word.span), word.span) for word in instruction.words]
    *given, destination = words
    heredocs = {f"<<{'-' if h.chomp else ''}{h.name}": h for h in instruction.heredocs}
    texts: list[Text] = []
    names: list[Word] = []
    urls: list[Word] = []
    for word, raw in zip(given, instruction.words, strict=False):
        heredoc = next((h for h in instruction.heredocs if h.span == raw.span), None)
        if heredoc is not None:
            texts.append(Text(heredoc.name, _body(walker, heredoc.content, heredoc.expand, word).encode()))
        elif instruction.name == "ADD" and _GIT.match(word.text):
            raise walker.error(
                step,
                "a Git repository cannot be added",
                "clone it beside the Dockerfile and COPY it, or build this service with Docker",
                span=word.span,
            )
        elif instruction.name == "ADD" and _URL.match(word.text):
            urls.append(word)
        else:
            names.append(word)
    del heredocs
    dest = scope.path(destination.text)
    many = len(given) > 1
    how = _how(walker, instruction, step)
    from_text = instruction.flag("from") or ""
    tree = await walker.plan.tree(from_text, walker.stage, instruction.span)
    patterns = [word.text for word in names]
    try:
        content, sources = await walker.plan.off(_content, walker, tree, names, how, step)
    except OSError as err:
        raise walker.unreadable(step, err) from err
    key = digest(
        "copy",
        walker.key,
        instruction.name,
        patterns,
        dest,
        how,
        many,
        content,
        [(t.name, t.content) for t in texts],
        [u.text for u in urls],
        instruction.flag("checksum") or "",
    )
    layers = list(walker.layers)

    async def fill(scratch: str) -> None:
        found = sources if sources is not None else _match(walker, tree, names, how, step)
        fetched = [await walker.plan.off(_download, url, instruction, walker, step) for url in urls]
        writer = Writer(f"{scratch}/fs", layers)
        await walker.plan.off(_write, writer, tree, found, [*texts, *fetched], dest, how, many)

    await walker.layer(key, step, fill)


def _write(writer: Writer, tree: Tree, found: list[Found], texts: list[Text], dest: str, how: How, many: bool) -> None:
    copy(writer, tree, found, texts, dest, how, many=many)


def _body(walker: Walker, content: str, expand: bool, word: Word) -> str:
    if not expand:
        return content
    try:
        return expand_body(content, walker.scope.variables(), walker.scope.escape)
    except BadExpansion as err:
        raise fault("dockerfile-variable", str(err), word.span) from err


def _how(walker: Walker, instruction: Instruction, step: Step) -> How:
    scope = walker.scope
    chown = scope.expand(instruction.flag("chown") or "", instruction.span)
    chmod = scope.expand(instruction.flag("chmod") or "", instruction.span)
    owner = None
    if chown:
        try:
            owner = look_up_owner(walker.view(), chown)
        except LookupError as err:
            raise walker.error(
                step, f"--chown={chown}: {err.args[0]}", "add the user in a RUN before, or give numbers"
            ) from err
    try:
        change_mode(chmod, 0o644, False)
    except CannotCopy as err:
        raise walker.error(step, str(err), err.hint) from err
    return How(
        owner=owner,
        mode=chmod,
        parents=instruction.flag("parents") == "true",
        exclude=tuple(scope.expand(f.value or "", f.span) for f in instruction.all_flags("exclude")),
        unpack=instruction.name == "ADD" and instruction.flag("unpack") != "false",
    )


def _match(walker: Walker, tree: Tree, names: list[Word], how: How, step: Step) -> list[Found]:
    found: list[Found] = []
    for word in names:
        text, base = word.text, ""
        if how.parents and "/./" in text:
            base, _, text = text.partition("/./")
        try:
            for one in tree.match(f"{base}/{text}" if base else text, deep=how.parents):
                name = one.name
                if base:
                    name = name.removeprefix(base.strip("./") + "/")
                found.append(Found(name, one.entry))
        except NoSource as err:
            raise walker.error(step, str(err), err.hint, span=word.span) from err
    return found


def _content(walker: Walker, tree: Tree, names: list[Word], how: How, step: Step) -> tuple[str, list[Found] | None]:
    """The hash of all that is copied. A stage never changes, so what was hashed of it once is noted."""
    if not names:
        return "", []
    exclude = Ignore(how.exclude)
    note = ""
    if tree.digest:
        note = digest("from", tree.digest, [n.text for n in names], how.exclude, how.parents)
        kept = walker.plan.layers.note(note)
        if kept:
            return kept, None
    found = _match(walker, tree, names, how, step)
    content = tree.digest_of(found, exclude)
    if note:
        walker.plan.layers.write_note(note, content)
    return content, found


def _download(url: Word, instruction: Instruction, walker: Walker, step: Step) -> Text:
    """ADD of a URL: mode 0600, named by the last part of the address (Dockerfile reference, "ADD")."""
    import hashlib
    from urllib.parse import unquote, urlsplit

    from cais.fetch.http import Missing, get

    name = unquote(urlsplit(url.text).path.rpartition("/")[2])
    if not name and instruction.words[-1].text.endswith("/"):
        raise walker.error(step, f"{url.text} has no file name", "end the address with one", span=url.span)
    try:
        content = get(url.text, what=f"{name} for {step.text[:60]}")
    except Missing as err:
        raise walker.error(step, f"{url.text}: there is no such file", span=url.span) from err
    except CaisError as err:
        err.span = err.span or url.span
        raise
    wanted = walker.scope.expand(instruction.flag("checksum") or "", instruction.span)
    if wanted:
        algorithm, _, value = wanted.partition(":")
        if algorithm != "sha256":
            raise walker.error(step, f"--checksum={wanted}: only sha256 is known", span=url.span)
        actual = hashlib.sha256(content).hexdigest()
        if actual != value:
            raise walker.error(step, f"{url.text} has sha256:{actual}, not {wanted}", span=url.span)
    return Text(name, content, 0o600)
