"""`extends`: a service with another one, of this file or of another, merged under it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from cais.load.interpolate import interpolate
from cais.load.job import Job, nearest
from cais.load.merge import SERVICE, Merge, unify, unify_service
from cais.load.paths import REMOTE, absolute, rebase_service
from cais.load.schema import FILE
from cais.load.shapes import check
from cais.load.tags import forget, untag
from cais.source.tree import Map, copy
from cais.source.yaml import Document

MAX_CHAIN = 100
FILLED = ("build", "depends_on", "env_file", "gpus", "ports")

ReadFile = Callable[[str, int, str], "list[Document] | None"]
Resets = list[tuple[str, ...]]


class Extends:
    """Remembers the files it has read, because many services extend one file."""

    def __init__(self, job: Job, read: ReadFile) -> None:
        self.job = job
        self.read = read
        self.merge = Merge(job)
        self.resets: dict[str, Resets] = {}  # what `!reset` and `!override` stand at, by file
        self.foreign: dict[str, Map | None] = {}  # the services of other files; None: unreadable

    def resolve(self, tree: Map, path: str, working_dir: str, resets: Resets) -> None:
        """Extend every service of `tree`, a document of `path`, in place."""
        self.resets[path] = resets
        services = tree.get("services")
        if services.__class__ is not Map:
            return
        for name in list(services):
            service = services[name]
            if service.__class__ is Map and "extends" in service:
                services[name] = self._one(name, services, path, working_dir, ((path, name),))

    def _one(self, name: str, services: Map, path: str, folder: str, trail: tuple[tuple[str, str], ...]) -> Any:
        """The service with what it extends merged under it; without `extends` when that leads nowhere."""
        service = services[name]
        if service.__class__ is not Map or "extends" not in service:
            return service
        base, found = self._base(name, service, services, path, folder, trail)
        if not found:
            self.job.incomplete.add(name)
            service.drop("extends")
            return service
        if base.__class__ is not Map:
            return service
        over = Map(service, dict(service.at))
        over.drop("extends")
        for mark in self.resets.get(path, ()):
            if mark[:2] == ("services", name) and len(mark) > 2:
                forget(base, mark[2:])
        merged = self.merge.mapping(base, over, f"services.{name}", SERVICE)
        unify_service(merged)
        services[name] = merged
        return merged

    def _base(
        self, name: str, service: Map, services: Map, path: str, folder: str, trail: tuple[tuple[str, str], ...]
    ) -> tuple[Any, bool]:
        """A copy of the service that `service` extends, and whether it was found; else why not was reported."""
        job = self.job
        given, at = service["extends"], service.where("extends")
        if given is None:
            message = f'service "{name}" extends nothing'
            job.error("wrong-type", message, at, key=True, hint="name a service or remove it")
            return None, False
        target, file, target_at, file_at = given, None, at, at
        if given.__class__ is Map:
            target, file = given.get("service"), given.get("file")
            target_at, file_at = given.where("service"), given.where("file")
        if target.__class__ is not str or (file is not None and file.__class__ is not str):
            only = Map({name: Map({"extends": given}, {"extends": at})})
            check(Map({"services": only}), FILE, None, None, "", job.error)
            return None, False
        base_path, base_folder = path, folder
        if file is not None:
            if file.startswith(REMOTE):
                job.error("remote", f"cannot extend from {file}: remote files are not supported", file_at)
                return None, False
            base_path = absolute(file, folder)
            base_folder = os.path.dirname(base_path)
        step = (base_path, target)
        if len(trail) > MAX_CHAIN:
            job.error("extends-cycle", f"more than {MAX_CHAIN} services extend one another", at)
            return None, False
        if step in trail:
            circle = " extends ".join(f"{one}" for _, one in (*trail[trail.index(step) :], step))
            job.error("extends-cycle", f"extends runs in a circle: {circle}", at)
            return None, False
        others: Map | None = services
        if file is not None:
            others = self._services(base_path, file_at)
            if others is None:
                return None, False
        if others.__class__ is not Map or others is None or target not in others:
            known = others if others.__class__ is Map and others is not None else {}
            where = base_path if file is not None else "this file"
            message = f'service "{name}" extends "{target}", which {where} does not define'
            job.error("undefined-service", message, target_at, hint=nearest(target, known))
            return None, False
        base = copy(self._one(target, others, base_path, base_folder, (*trail, step)))
        if target in job.incomplete:
            job.incomplete.add(name)
        if file is not None and base.__class__ is Map:  # paths of another file count from that file's folder
            rebase_service(job, base, os.path.relpath(base_folder, folder))
        return base, True

    def _given(self, tree: Map) -> None:
        """What nobody else holds against the schema: a key without a value in a file that is extended from."""
        services = tree.get("services")
        for service in services.values() if services.__class__ is Map else ():
            for key in FILLED if service.__class__ is Map else ():
                if key in service and service[key] is None:
                    self.job.error("wrong-type", f"{key} has no value", service.where(key), key=True)

    def _services(self, path: str, at: int) -> Map | None:
        """The services of another file, its documents merged over each other and interpolated by themselves."""
        if path not in self.foreign:
            self.foreign[path] = None
            documents = self.read(path, at, "extended from")
            tree = Map()
            for document in documents or ():
                value = document.value
                if value.__class__ is not Map:
                    continue
                resets: Resets = []
                if document.tagged:
                    untag(value, (), resets)
                interpolate(self.job, value)
                for reset in resets:
                    forget(tree, reset)
                only = Map({"services": value["services"]}, value.at) if "services" in value else Map()
                self.merge.files(tree, only)
                unify(tree)
                self._given(only)
                self.resets[path] = resets
            if documents is not None:
                self.foreign[path] = tree.get("services", Map())
        return self.foreign[path]
