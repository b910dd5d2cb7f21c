"""`environment` and `labels` from what surrounds them: bare names, env files, label files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from cais.load.job import Job
from cais.load.lookup import read_env
from cais.load.measures import to_bool
from cais.source.tree import List, Map


def bare_names(job: Job, container: Map) -> None:
    """`environment: [HOME]` takes its value from the outside; so do build arguments, or they are none."""
    around: Mapping[str, str] = job.environment if job.options.interpolate else own_name(job)
    _fill(around, container.get("environment"))
    build = container.get("build")
    arguments = build.get("args") if build.__class__ is Map else None
    _fill(around, arguments)
    if arguments.__class__ is Map:
        for name in [name for name, value in arguments.items() if value is None]:
            arguments.drop(name)
    elif arguments.__class__ is List:  # `--no-interpolate` leaves lists
        given = [(item, at) for item, at in zip(arguments, arguments.at, strict=True) if "=" in str(item)]
        build["args"] = List([item for item, _ in given], [at for _, at in given])


def own_name(job: Job) -> dict[str, str]:
    """The one variable that `--no-interpolate` fills in: the loader itself makes it."""
    return {"COMPOSE_PROJECT_NAME": job.environment["COMPOSE_PROJECT_NAME"]}


def _fill(around: Mapping[str, str], values: Any) -> None:
    if values.__class__ is Map:
        for name, value in values.items():
            if value is None and name in around:
                values[name] = around[name]
    elif values.__class__ is List:
        for index, name in enumerate(values):
            if name in around:
                values[index] = f"{name}={around[name]}"


def in_lists(tree: Map, around: Mapping[str, str]) -> None:
    """Bare names in lists that stay lists: the project's own, and those that only an included project knows."""
    services = tree.get("services")
    for service in services.values() if services.__class__ is Map else ():
        if service.__class__ is Map and service.get("environment").__class__ is List:
            _fill(around, service["environment"])


def files(job: Job, tree: Map) -> None:
    """What the services' files give."""
    services = tree.get("services")
    for service in services.values() if services.__class__ is Map else ():
        if service.__class__ is Map:
            if job.options.resolve_environment:
                _fill(job.environment, service.get("environment"))
                env_files(job, service)
            label_files(job, service)


def env_files(job: Job, service: Map) -> None:
    """Variables of `env_file` under those of `environment`."""
    given = service.get("env_file")
    if not given:
        service.drop("env_file")
        return
    collected = Map()
    for entry in given:
        path, at = entry.get("path"), entry.where("path")
        if path.__class__ is not str:
            continue  # the schema has been held against it
        required = _required(job, entry)
        if not os.path.exists(path):
            if required:
                job.error("env-file", f"env file {path} does not exist", at)
            continue
        raw = entry.get("format") == "raw"
        if entry.get("format") not in (None, "", "raw"):
            job.error("env-file", f'there is no env file format "{entry["format"]}"', at)
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


def label_files(job: Job, service: Map) -> None:
    given = service.get("label_file")
    if not given:
        return
    collected = Map()
    for path, at in zip(given, given.at, strict=True):
        if not os.path.exists(path):
            job.error("label-file", f"label file {path} does not exist", at)
            continue
        places: dict[str, int] = {}
        for key, value in read_env(job, path, collected, {}, places, at).items():
            collected.put(key, value, places.get(key, at))
    own = service.get("labels")
    for key, value in (own or {}).items():
        collected.put(key, value, own.where(key))
    service["labels"] = collected
