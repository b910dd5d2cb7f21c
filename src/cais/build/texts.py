"""What a build reads before it begins: the Dockerfile, what its context hides, its secrets."""

from __future__ import annotations

import os
import stat

from cais.build.api import BuildRequest
from cais.build.place import shown
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
    return text, shown(path), ignore_of(own if os.path.exists(own) else context_ignore)


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
