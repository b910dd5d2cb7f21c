"""What a build reads before it begins: the Dockerfile, where it stands, what its context hides, its secrets."""

from __future__ import annotations

import os
import stat

from cais.build.api import BuildRequest
from cais.diag.api import CaisError
from cais.source.formats import dockerfile, dockerignore


def read_files(request: BuildRequest) -> tuple[str, str, dockerignore.Ignore]:
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
        return request.inline, "dockerfile_inline", ignore_of(context_ignore)
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
    return text, _shown(path), ignore_of(own if os.path.exists(own) else context_ignore)


def place_of_inline(request: BuildRequest) -> tuple[str, int, int]:
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


def ignore_of(path: str) -> dockerignore.Ignore:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return dockerignore.read(file.read(1 << 20))
    except OSError:
        return dockerignore.Ignore(())


def secret_values(request: BuildRequest) -> list[str]:
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
