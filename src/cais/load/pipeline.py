"""The stages of loading, in order. Each takes the tree of the one before and reports what it finds to the job."""

from __future__ import annotations

import os
from typing import NamedTuple

from cais.diag.api import CaisError
from cais.load import consistency, decode, documents, environment, lookup, normalize, paths, profiles
from cais.load.job import Job, Options, sort
from cais.source.tree import Map


class Loaded(NamedTuple):
    """What the pipeline gives: a canonical tree and what was found on the way."""

    name: str
    working_dir: str
    files: tuple[str, ...]
    tree: Map
    disabled: Map
    profiles: tuple[str, ...]
    all_profiles: tuple[str, ...]
    job: Job


def run(options: Options, environ: dict[str, str]) -> Loaded:
    job = Job(options, environ)
    found = lookup.find(job)
    job.working_dir = found.working_dir
    job.stop_if_failed()
    given = lookup.given_name(job)
    fallback = lookup.normal_name(os.path.basename(found.working_dir))

    reader = documents.Reader(job, given, fallback)
    tree = reader.project(found.files, found.working_dir)
    if reader.fatal:
        job.stop_if_failed()
    name = given or lookup.normal_name(reader.name) or fallback
    if not name:
        job.stop_if_failed()
        raise CaisError("the project needs a name", hint="give one with -p, or a name at the top of the file")
    if not tree:
        job.stop_if_failed()
        raise CaisError(f"cannot load {', '.join(found.files)}: there is nothing in it")

    return _finish(job, tree, found, name, reader.name_at if reader.name and not given else -1)


def _finish(job: Job, tree: Map, found: lookup.Found, name: str, name_at: int) -> Loaded:
    """From the merged tree to the canonical one."""
    options = job.options
    if options.resolve_paths:
        paths.resolve(job, tree, found.working_dir)
    normalize.defaults(job, tree, found.working_dir)
    if options.validate:
        consistency.validate(job, tree)
    if options.normalize:
        normalize.normalize(job, tree, name)
    active = profiles.active_profiles(job)
    everything = profiles.all_profiles(tree)
    if not options.interpolate:  # the model as it stands, as Docker Compose has it: not decoded, nothing left out
        environment.in_lists(tree, environment.own_name(job))
        if options.normalize:
            tree.put("name", name, name_at)
        job.stop_if_failed()
        job.found = sort(job.found)
        return Loaded(name, found.working_dir, found.files, tree, Map(), active, everything, job)
    disabled = profiles.activate(tree, active)
    if options.consistency:
        consistency.consistent(job, tree, disabled)
    environment.files(job, tree)
    if options.services:
        profiles.select(job, tree, disabled, active, options.services)
        environment.files(job, tree)  # those of services that a profile had hidden
    if options.consistency and options.unique_names:
        consistency.container_names(job, tree)
    profiles.prune(tree)
    decode.decode(job, tree)
    tree.put("name", name, name_at)
    tree.drop("include")
    if tree.get("services") is None:
        tree.put("services", Map(), -1)
    job.stop_if_failed()
    job.found = sort(job.found)
    return Loaded(name, found.working_dir, found.files, tree, disabled, active, everything, job)
