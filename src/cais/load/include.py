"""`include`: each included project is loaded by itself; what it defines goes under what the including file defines."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from cais.load import consistency, environment, normalize
from cais.load.job import Job
from cais.load.lookup import read_env
from cais.load.merge import Merge
from cais.load.paths import REMOTE, absolute, expand, resolve
from cais.load.schema import FILE
from cais.load.shapes import check
from cais.source.tree import NOWHERE, List, Map

SECTIONS = ("services", "volumes", "networks", "secrets", "configs", "models", "jobs")

# Loads the files of one project: (files, its folder, the files that include one another up to here, where it is named).
LoadProject = Callable[[list[str], str, tuple[str, ...], int], Map]


class Includes:
    def __init__(self, job: Job, project: LoadProject) -> None:
        self.job = job
        self.project = project
        self.merge = Merge(job)
        self.failed = False  # something was left out: what it would have defined is missing

    def resolve(self, value: Map, path: str, working_dir: str, chain: tuple[str, ...]) -> None:
        """Take `include` out of `value`, a document of `path`, and put what it brings in under the rest."""
        at = value.where("include")
        given = value["include"]
        value.drop("include")
        if given is None:
            return
        check(Map({"include": given}, {"include": at}), FILE, None, None, "", self._lenient)
        for entry, place in zip(given, given.at, strict=True) if given.__class__ is List else ():
            self._one(value, entry, place, path, working_dir, chain)

    def _lenient(self, code: str, message: str, position: int = NOWHERE, **rest: Any) -> None:
        """Docker Compose does not hold `include` against the schema: an unknown key there is a warning."""
        if code == "unknown-key":
            self.job.warn(code, message, position, key=True, hint=rest.get("hint", ""))
        else:
            self.job.error(code, message, position, **rest)

    def _one(self, value: Map, entry: Any, at: int, path: str, working_dir: str, chain: tuple[str, ...]) -> None:
        job = self.job
        long = Map({"path": entry}, {"path": at}) if entry.__class__ is str else entry
        files = self._files(long, at, working_dir) if long.__class__ is Map else []
        if not files:
            return
        for file in files:
            if file in chain or file == path:
                circle = " includes ".join([*(chain[chain.index(file) :] if file in chain else ()), path, file])
                self.failed = True
                job.error("include-cycle", f"include runs in a circle: {circle}", at)
                return
        directory = long.get("project_directory") if long.get("project_directory").__class__ is str else ""
        folder = absolute(directory, working_dir) if directory else os.path.dirname(files[0])
        outer, outer_at, outer_folder = job.environment, job.variable_at, job.working_dir
        job.environment, job.variable_at, job.working_dir = dict(outer), dict(outer_at), folder
        self._variables(long, folder, working_dir, outer)
        try:
            imported = self.project(files, folder, (*chain, path), at)
            normalize.defaults(job, imported, folder)
            consistency.validate(job, imported)
            if not job.options.interpolate:
                own = {name: value for name, value in job.environment.items() if name not in outer}
                environment.in_lists(imported, own)
            resolve(job, imported, expand(directory) if directory else os.path.relpath(folder, outer_folder))
        finally:
            job.environment, job.variable_at, job.working_dir = outer, outer_at, outer_folder
        kept = Map()
        for section in SECTIONS:
            if imported.get(section).__class__ is Map:
                kept.put(section, imported[section], imported.where(section))
        merged = self.merge.files(kept, value)  # what the including file says counts more
        value.clear()
        value.update(merged)
        value.at = merged.at

    def _files(self, long: Map, at: int, working_dir: str) -> list[str]:
        files: list[str] = []
        given = long.get("path")
        for one in given if given.__class__ is List else [given]:
            if one.__class__ is not str or not one:
                continue
            if one.startswith(REMOTE):
                self.failed = True
                self.job.error("remote", f"cannot include {one}: remote includes are not supported", at,
                               hint="fetch it into the project and include the local file")  # fmt: skip
                return []
            files.append(absolute(one, working_dir))
        return files

    def _variables(self, long: Map, folder: str, working_dir: str, outer: dict[str, str]) -> None:
        """Those of its `env_file`, or of the `.env` in its folder, under the ones of the including project."""
        job = self.job
        given = long.get("env_file")
        if not given:
            default = os.path.join(folder, ".env")
            paths = [default] if os.path.isfile(default) else []
        else:
            paths = [absolute(str(one), working_dir) for one in (given if given.__class__ is List else [given])]
        values: dict[str, str] = {}
        for path in paths:
            if path == "/dev/null":
                continue
            values.update(read_env(job, path, outer, values, job.variable_at, long.where("env_file")))
        for name, value in values.items():
            job.environment.setdefault(name, value)
