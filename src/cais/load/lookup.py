"""Which files make the project, its directory, its name and the variables: Docker Compose's rules of looking up."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cais.diag.api import CaisError
from cais.load.interpolate import Substitution, TemplateError
from cais.load.job import Job
from cais.source.files import File, Unreadable, read_text
from cais.source.formats import env as env_format
from cais.source.tree import NOWHERE, pack

NAMES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
OVERRIDES = (
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
)

# Docker Compose's rules for a dollar sign in an env file: both keep it, and quotes are what other readers know too.
DOLLAR = "for a dollar sign itself, put the value in single quotes or write $$"


class Found(NamedTuple):
    files: tuple[str, ...]
    working_dir: str


def find(job: Job) -> Found:
    """The project's files, and its variables put into `job.environment`."""
    options = job.options
    here = os.getcwd()
    job.environment.setdefault("PWD", here)
    paths = list(options.paths)
    read = _env_files(job, (), options.project_directory or (_folder(paths[0], here) if paths else here))
    if not paths and job.environment.get("COMPOSE_FILE"):
        separator = job.environment.get("COMPOSE_PATH_SEPARATOR") or os.pathsep
        base = options.project_directory or here
        paths = [
            one if one == "-" or os.path.isabs(one) else os.path.join(base, one)
            for one in job.environment["COMPOSE_FILE"].split(separator)
            if one
        ]
    if not paths:
        paths = _search(options.project_directory or here)
    working_dir = os.path.abspath(options.project_directory or _folder(paths[0], here))
    _env_files(job, read, working_dir)
    return Found(tuple(one if one == "-" else os.path.abspath(one) for one in paths), working_dir)


def _folder(path: str, here: str) -> str:
    return here if path == "-" else os.path.dirname(os.path.abspath(path))


def _search(start: str) -> list[str]:
    """The nearest folder, from `start` upwards, that has a compose file; its override file comes along."""
    folder = os.path.abspath(start)
    while True:
        present = [name for name in NAMES if os.path.lexists(os.path.join(folder, name))]
        if present:
            override = [name for name in OVERRIDES if os.path.lexists(os.path.join(folder, name))]
            return [os.path.join(folder, name) for name in (*present[:1], *override[:1])]
        parent = os.path.dirname(folder)
        if parent == folder:
            raise CaisError(
                f"cannot find a compose file: neither {os.path.abspath(start)} nor a folder above it has "
                f"{', '.join(NAMES[:-1])} or {NAMES[-1]}",
                hint="go to the project's folder, or name the file with -f",
            )
        folder = parent


def _env_files(job: Job, read: Sequence[str], working_dir: str) -> Sequence[str]:
    """`.env`, or the files of `--env-file`; the environment wins over both, a later file over an earlier one.

    Returns their paths. Where they are those that were `read` already, nothing new is in them.
    """
    given: Sequence[str] = job.options.env_files
    if not given and job.environment.get("COMPOSE_ENV_FILES"):
        given = job.environment["COMPOSE_ENV_FILES"].split(",")
    if given:
        paths = [os.path.abspath(one) for one in given]
    else:
        default = os.path.join(working_dir, ".env")
        if _disabled(job) or not os.path.exists(default) or os.path.isdir(default):
            return ()
        paths = [default]
    if paths == read:
        return paths
    outer = dict(job.environment)
    values: dict[str, str] = {}
    for path in paths:
        values.update(read_env(job, path, outer, values, job.variable_at, NOWHERE))
    for name, value in values.items():
        job.environment.setdefault(name, value)
    return paths


def _disabled(job: Job) -> bool:
    """`COMPOSE_DISABLE_ENV_FILE`, in the words of Go's `strconv.ParseBool`."""
    text = job.environment.get("COMPOSE_DISABLE_ENV_FILE", "")
    if text in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if text in ("", "0", "f", "F", "false", "FALSE", "False"):
        return False
    raise CaisError(f'COMPOSE_DISABLE_ENV_FILE is "{text}": neither true nor false', hint="set it to 1 or 0")


def read_env(
    job: Job,
    path: str,
    outer: Mapping[str, str],
    known: Mapping[str, str],
    at: dict[str, int],
    named_at: int,
    *,
    raw: bool = False,
) -> dict[str, str]:
    """The variables of one file. `outer` wins in look-ups; faults go to the job."""
    try:
        text = env_format.lines(read_text(path))
    except Unreadable as error:
        job.error("env-file", f"cannot read env file {path}: {error.reason}", named_at)
        return {}
    number = job.sources.add(File(path, text, named_at, "env file named"))

    nul = text.find("\0")
    if nul >= 0:
        line = text.count("\n", 0, nul)
        job.error("env-file", "a NUL character cannot stand in an env file", pack(number, line, 0))
        return {}

    def expand(value: str, seen: dict[str, str], begin: int) -> str:
        def lookup(name: str) -> str | None:
            return outer.get(name, seen.get(name, known.get(name)))

        if "$" not in value:
            return value
        substitution = Substitution(lookup)
        try:
            replaced = substitution.replace(value)
        except TemplateError as error:
            spot = pack(number, *env_format.place(text, begin))
            job.error("env-file", error.message, spot, hint=error.hint)
            raise
        for name in substitution.unset:
            found = re.compile(rf"\$\{{?{name}\b").search(text, begin)
            spot = pack(number, *env_format.place(text, found.start() if found else begin))
            job.unset(name, spot, hint=DOLLAR)
        return replaced

    values: dict[str, str] = {}
    try:
        if raw:
            found = env_format.read_raw(text)
        else:
            found = env_format.read(text, expand)
    except env_format.EnvFault as error:
        job.error("env-file", error.message, pack(number, error.line, error.column))
        return {}
    except TemplateError:
        return {}
    for one in found:
        if one.value is None:
            inherited = outer.get(one.name)
            if inherited is None:
                continue
            values[one.name] = inherited
        else:
            values[one.name] = one.value
        at[one.name] = pack(number, one.line, one.column)
    return values


def normal_name(text: str) -> str:
    """Lower case, only letters, digits, `-` and `_`, beginning with a letter or a digit."""
    return re.sub(r"[^a-z0-9_-]", "", text.lower()).lstrip("_-")


def given_name(job: Job) -> str | None:
    """A name given on the command line or in the environment."""
    name = job.options.project_name or job.environment.get("COMPOSE_PROJECT_NAME")
    return checked_name(name) if name else None


def checked_name(name: str) -> str:
    """A name that Compose would take too: it becomes a folder's. Raises CaisError."""
    if normal_name(name) != name:
        raise CaisError(
            f'"{name}" cannot be a project name: lower-case letters, digits, "-" and "_" only, '
            "beginning with a letter or a digit",
            hint=f"-p {normal_name(name)}" if normal_name(name) else "",
        )
    return name
