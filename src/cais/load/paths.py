"""Relative paths to absolute ones, from the folder they count from."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

from cais.load.job import Job
from cais.source.tree import List, Map

REMOTE = ("http://", "https://", "git://", "ssh://", "git@", "github.com/", "oci://")
_REMOTE = re.compile(
    r"(https?://|git://|ssh://|github\.com/|git@|docker-image://|oci-layout://|service:)|[a-z0-9+.-]+://"
)


def expand(path: str) -> str:
    """`~/x` from the home folder; `~x` too, as Docker Compose has it."""
    if path.startswith("~"):
        return os.path.normpath(f"{os.path.expanduser('~')}/{path[1:]}")
    return path


def join(folder: str, path: str) -> str:
    path = expand(path)
    return os.path.normpath(os.path.join(folder, path))


def absolute(path: str, folder: str) -> str:
    return os.path.normpath(os.path.join(folder, expand(path)))


def windows(path: str) -> bool:
    return path.startswith("\\\\") or (len(path) > 2 and path[0].isalpha() and path[1] == ":" and path[2] in "\\/")


def _plain(folder: str) -> Callable[[str], str]:
    def absolute(path: str) -> str:
        expanded = expand(path)
        return expanded if os.path.isabs(expanded) else os.path.normpath(os.path.join(folder, expanded))

    return absolute


def _source(folder: str) -> Callable[[str], str]:
    def absolute(path: str) -> str:
        expanded = expand(path)
        if os.path.isabs(expanded) or windows(expanded):
            return expanded
        return os.path.normpath(os.path.join(folder, expanded))

    return absolute


def _context(folder: str) -> Callable[[str], str]:
    plain = _plain(folder)

    def absolute(path: str) -> str:
        return path if _REMOTE.match(path) else plain(path)

    return absolute


def resolve(job: Job, tree: Map, folder: str) -> None:
    """Every relative path of a canonical tree."""
    for section in ("services", "jobs"):
        for service in _maps(tree.get(section)):
            resolve_service(service, folder)
    source = _source(folder)
    for section in ("configs", "secrets"):
        for entry in _maps(tree.get(section)):
            if entry.get("file").__class__ is str:
                entry["file"] = source(entry["file"])
    for volume in _maps(tree.get("volumes")):
        options = volume.get("driver_opts")
        bind = volume.get("driver") == "local" and options.__class__ is Map and options.get("o") == "bind"
        if bind and options.get("device").__class__ is str:
            options["device"] = source(options["device"])


def resolve_service(service: Map, folder: str) -> None:
    plain, source, context = _plain(folder), _source(folder), _context(folder)
    build = service.get("build")
    if build.__class__ is Map:
        _apply(build, "context", context)
        contexts = build.get("additional_contexts")
        for name in contexts if contexts.__class__ is Map else ():
            _apply(contexts, name, context)
        keys = build.get("ssh")
        for name in keys if keys.__class__ is Map else ():
            _apply(keys, name, plain)
    for entry in _maps(service.get("env_file")):
        _apply(entry, "path", plain)
    _apply_all(service.get("label_file"), plain)
    develop = service.get("develop")
    for watch in _maps(develop.get("watch")) if develop.__class__ is Map else ():
        _apply(watch, "path", source)
    for volume in _maps(service.get("volumes")):
        if volume.get("type") == "bind" and volume.get("source").__class__ is str:
            volume["source"] = source(volume["source"])
    extends = service.get("extends")
    if extends.__class__ is Map:
        _apply(extends, "file", plain)
    for hook in _maps(service.get("pre_start")):
        resolve_service(hook, folder)


def rebase_service(job: Job, service: Map, folder: str) -> None:
    """Make the paths of a service read elsewhere absolute, short forms included."""
    from cais.load.canonical import SERVICE, Canonical

    worker = Canonical(job)
    for key in ("build", "volumes", "env_file", "label_file", "develop"):
        value = service.get(key)
        if value is not None and key in SERVICE:
            service[key] = SERVICE[key](worker, value, service.where(key))
    resolve_service(service, folder)


def _apply(holder: Map, key: str, change: Callable[[str], str]) -> None:
    value = holder.get(key)
    if value.__class__ is str and value:
        holder[key] = change(value)


def _apply_all(items: Any, change: Callable[[str], str]) -> None:
    for index, item in enumerate(items if items.__class__ is List else ()):
        if item.__class__ is str:
            items[index] = change(item)


def _maps(value: Any) -> list[Map]:
    if value.__class__ is Map:
        return [one for one in value.values() if one.__class__ is Map]
    if value.__class__ is List:
        return [one for one in value if one.__class__ is Map]
    return []
