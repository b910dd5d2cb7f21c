"""`environment` and `labels` from what surrounds them: bare names, env files, label files."""

from __future__ import annotations

import os
from typing import Any

from cais.load.job import Job
from cais.load.lookup import read_env
from cais.load.measures import to_bool
from cais.source.tree import List, Map


def bare_names(job: Job, tree: Map) -> None:
    """`environment: [HOME]` takes its value from the outside; so do build arguments."""
    for service in _services(tree):
        _fill(job, service.get("environment"))
        build = service.get("build")
        if build.__class__ is Map:
            _fill(job, build.get("args"))
        for kind in ("pre_start", "post_start", "pre_stop"):
            for hook in service.get(kind) or ():
                if hook.__class__ is Map:
                    _fill(job, hook.get("environment"))


def _fill(job: Job, values: Any) -> None:
    if values.__class__ is List:  # `--no-interpolate` leaves lists
        for index, item in enumerate(values):
            if item in job.environment:
                values[index] = f"{item}={job.environment[item]}"
    if values.__class__ is not Map:
        return
    for name, value in values.items():
        if value is None and name in job.environment:
            values[name] = job.environment[name]


def files(job: Job, tree: Map) -> None:
    """What the services' files give."""
    services = tree.get("services")
    for name, service in services.items() if services.__class__ is Map else ():
        if service.__class__ is Map:
            if job.options.resolve_environment:
                env_files(job, service, name)
            label_files(job, service, name)


def env_files(job: Job, service: Map, name: str) -> None:
    """Variables of `env_file` under those of `environment`."""
    given = service.get("env_file")
    if not given:
        service.drop("env_file")
        return
    collected = Map()
    for entry in given:
        path, at = entry.get("path"), entry.where("path")
        required = _required(job, entry)
        if not os.path.exists(path):
            if required:
                job.error("env-file", f'service "{name}": env file {path} does not exist', at)
            continue
        raw = entry.get("format") == "raw"
        if entry.get("format") not in (None, "", "raw"):
            job.error("env-file", f'service "{name}": there is no env file format "{entry["format"]}"', at)
            continue
        places: dict[str, int] = {}
        for key, value in read_env(job, path, job.environment, collected, places, at, raw=raw).items():
            collected.put(key, value, places.get(key, at))
    own = service.get("environment")
    for key, value in (own or {}).items():
        collected.put(key, value, own.where(key))
    service["environment"] = collected
    service.drop("env_file")


def _required(job: Job, entry: Map) -> bool:
    given = entry.get("required")
    if given.__class__ is not str:
        return given is not False
    try:
        return to_bool(given)
    except ValueError as error:
        job.error("cast", str(error), entry.where("required"))
        return False


def label_files(job: Job, service: Map, name: str) -> None:
    given = service.get("label_file")
    if not given:
        return
    collected = Map()
    for path, at in zip(given, given.at, strict=True):
        if not os.path.exists(path):
            job.error("label-file", f'service "{name}": label file {path} does not exist', at)
            continue
        places: dict[str, int] = {}
        for key, value in read_env(job, path, {}, collected, places, at).items():
            collected.put(key, value, places.get(key, at))
    own = service.get("labels")
    for key, value in (own or {}).items():
        collected.put(key, value, own.where(key))
    service["labels"] = collected


def _services(tree: Map) -> list[Map]:
    found = [tree.get("services"), tree.get("jobs")]
    return [one for section in found if section.__class__ is Map for one in section.values() if one.__class__ is Map]
