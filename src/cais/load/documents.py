"""From files to one merged tree: read, interpolate, extend, include, merge, check against the schema, make canonical.

The order is Docker Compose's: each document goes through all of it before the next is merged over it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from cais.load.canonical import canonical, texts
from cais.load.environment import bare_names
from cais.load.interpolate import Substitution, TemplateError, interpolate
from cais.load.job import Job, nearest, shown
from cais.load.lookup import normal_name, read_env
from cais.load.merge import Merge, unify, unify_service
from cais.load.paths import expand
from cais.load.schema import FILE
from cais.load.shapes import check
from cais.source.files import File, Unreadable, read_text
from cais.source.tree import NOWHERE, List, Map, Tagged, copy
from cais.source.yaml import Document, YamlError, read

MAX_FILES = 1000
MAX_CHAIN = 100
REMOTE = ("http://", "https://", "git://", "ssh://", "git@", "github.com/", "oci://")


class Reader:
    """Reads the files of one project; remembers them, because `extends` names the same file again and again."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.merge = Merge(job)
        self.count = 0
        self.parsed: dict[tuple[str, int], list[Document] | None] = {}

    def project(self, paths: Sequence[str], working_dir: str, chain: tuple[str, ...] = (), at: int = NOWHERE) -> Map:
        """The files merged over each other, left to right."""
        relation = "included from" if chain else ""
        documents = [(path, one) for path in paths for one in self.documents(path, at, relation) or ()]
        if not chain and not documents and self.empty != NOWHERE and not self.job.failed:
            self.job.error("empty", "there is nothing in this file", self.empty)
        if not chain:
            self.naming([one for _, one in documents])
        tree = Map()
        for path, document in documents:
            try:
                tree = self.one(tree, document, path, working_dir, chain)
            except (AttributeError, TypeError, KeyError, IndexError, ValueError):
                # Merging stumbled over a shape that the schema forbids; it is held against the schema afterwards.
                self.fatal = True
                if document.value.__class__ is Map:
                    check(document.value, FILE, None, None, "", self.job.error)
                if not self.job.failed:
                    raise
        return tree

    def naming(self, documents: list[Document]) -> None:
        """The project's name, before anything else: `${COMPOSE_PROJECT_NAME}` may stand anywhere in the files."""
        job = self.job
        for document in documents:
            name = document.value.get("name") if document.value.__class__ is Map else None
            if name.__class__ is str and name:
                self.name, self.name_at = name, document.value.where("name")
        if self.name and job.options.interpolate:
            try:
                self.name = Substitution(job.environment.get).replace(self.name)
            except TemplateError:
                self.name = ""  # reported when the document is interpolated
        name = self.given or normal_name(self.name) or self.fallback
        if name:
            job.environment.setdefault("COMPOSE_PROJECT_NAME", name)
        if self.name_at != NOWHERE and not self.given and not normal_name(self.name) and not job.failed:
            job.error("project-name", "the project's name is empty", self.name_at, hint="give one with -p")

    def documents(self, path: str, at: int, relation: str) -> list[Document] | None:
        """The documents of a file, or None when a fault was reported."""
        job = self.job
        self.count += 1
        if self.count > MAX_FILES:
            job.error("too-many-files", f"more than {MAX_FILES} files are included or extended", at)
            return None
        try:
            text = read_text(path)
        except Unreadable as error:
            self.fatal = True
            if error.line:
                number = job.sources.add(File(path, "", at, relation))
                job.error("encoding", error.reason, position(number, error.line - 1, error.column - 1))
            elif at != NOWHERE:
                job.error("unreadable", str(error), at)
            else:
                number = job.sources.add(File(path, ""))
                job.error("unreadable", str(error), position(number, 0, 0))
            return None
        name = "<stdin>" if path == "-" else path
        number = job.sources.add(File(name, text, at, relation))
        faults: list[YamlError] = []
        documents: list[Document] | None
        try:
            documents = read(text, number, faults)
            if not documents:
                self.empty = position(number, 0, 0)
        except YamlError as error:
            faults.append(error)
            documents = None
        except RecursionError:
            faults.append(YamlError("too-deep", "nested too deep", position(number, 0, 0)))
            documents = None
        self.fatal = self.fatal or documents is None
        for fault in faults:
            notes = [(fault.note, fault.other)] if fault.other >= 0 else []
            job.error(fault.code, fault.message, fault.position, key=True, notes=notes)
        return documents

    def one(self, tree: Map, document: Document, path: str, working_dir: str, chain: tuple[str, ...]) -> Map:
        job = self.job
        value = document.value
        if value.__class__ is Tagged:
            value = value.value
        if value.__class__ is not Map:
            found = "there is nothing here" if value is None else f"this is {shown(value)}"
            self.fatal = True
            job.error("not-a-mapping", f"a compose file is a mapping; {found}", document.position)
            return tree
        resets: list[tuple[str, ...]] = []
        if document.tagged:
            untag(value, (), resets)
        interpolate(job, value)
        for reset in resets:
            forget(tree, reset)
        if "include" in value:
            self.include(value, path, working_dir, chain)
        if "services" in value:
            self.extend_all(value, path, working_dir, resets)
        if tree:
            tree = self.merge.files(tree, value)
            unify(tree)
        else:
            tree = value
            unify(tree)
        check(tree, FILE, None, None, "", job.error)
        if "version" in tree:
            job.warn("obsolete", "version is obsolete: it is ignored, remove it", tree.where("version"), key=True)
            tree.drop("version")
        job.drop_invalid()
        canonical(job, tree)
        unify(tree)
        return tree

    name: str = ""  # as a file gives it
    given: str | None = None  # by the command line or the environment
    fallback: str = ""  # the folder's
    name_at: int = NOWHERE
    empty: int = NOWHERE  # a file without a document: no fault beside another that has one
    fatal: bool = False  # something could not be read: what it would have defined is missing

    # --- include

    def include(self, value: Map, path: str, working_dir: str, chain: tuple[str, ...]) -> None:
        """Each included project is loaded by itself; what it defines goes under what this file defines."""
        given = value.pop("include")
        at = value.at.pop("include", NOWHERE)
        if given is None:
            return
        check(Map({"include": given}, {"include": at}), FILE, None, None, "", self.lenient)
        if given.__class__ is not List:
            return
        for entry, place in zip(given, given.at, strict=True):
            self._include_one(value, entry, place, path, working_dir, chain)

    def lenient(self, code: str, message: str, position: int = NOWHERE, **rest: Any) -> None:
        """Docker Compose does not hold `include` against the schema: an unknown key there is a warning."""
        if code == "unknown-key":
            self.job.warn(code, message, position, key=True, hint=rest.get("hint", ""))
        else:
            self.job.error(code, message, position, **rest)

    def _include_one(
        self, value: Map, entry: Any, at: int, path: str, working_dir: str, chain: tuple[str, ...]
    ) -> None:
        job = self.job
        long = Map({"path": entry}, {"path": at}) if entry.__class__ is str else entry
        if long.__class__ is not Map:
            return
        paths = texts(None, long.get("path"), at)  # type: ignore[arg-type]
        files: list[str] = []
        for one in paths:
            if one.__class__ is not str or not one:
                continue
            if one.startswith(REMOTE):
                self.fatal = True
                job.error("remote", f"cannot include {one}: remote includes are not supported", at,
                          hint="fetch it into the project and include the local file")  # fmt: skip
                return
            files.append(absolute(one, working_dir))
        if not files:
            return
        for file in files:
            if file in chain or file == path:
                circle = " includes ".join([*(chain[chain.index(file) :] if file in chain else ()), path, file])
                self.fatal = True
                job.error("include-cycle", f"include runs in a circle: {circle}", at)
                return
        directory = long.get("project_directory")
        if directory.__class__ is str and directory:
            folder = absolute(directory, working_dir)
        else:
            folder = os.path.dirname(files[0])
        outer, outer_at = job.environment, job.variable_at
        saved = job.working_dir
        job.environment, job.variable_at = dict(outer), dict(outer_at)
        job.working_dir = folder
        self._include_env(long, folder, working_dir, outer)
        try:
            imported = self.project(files, folder, (*chain, path), at)
            resolve_folder(job, imported, folder)
            bare_names(job, imported)
        finally:
            job.environment, job.variable_at = outer, outer_at
            job.working_dir = saved
        kept = Map()
        for section in ("services", "volumes", "networks", "secrets", "configs", "models", "jobs"):
            if imported.get(section).__class__ is Map:
                kept.put(section, imported[section], imported.where(section))
        merged = self.merge.files(kept, value)  # what the including file says counts more
        value.clear()
        value.update(merged)
        value.at = merged.at

    def _include_env(self, long: Map, folder: str, working_dir: str, outer: dict[str, str]) -> None:
        job = self.job
        given = long.get("env_file")
        if given is None:
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

    # --- extends

    def extend_all(self, tree: Map, path: str, working_dir: str, resets: list[tuple[str, ...]]) -> None:
        self.resets[path] = resets
        services = tree.get("services")
        if services.__class__ is not Map:
            return
        for name in list(services):
            service = services[name]
            if service.__class__ is Map and "extends" in service:
                services[name] = self.extend(name, services, path, working_dir, ((path, name),))

    def extend(self, name: str, services: Map, path: str, working_dir: str, trail: tuple[tuple[str, str], ...]) -> Any:
        """The service with what it extends merged under it."""
        job = self.job
        service = services[name]
        if service.__class__ is not Map or "extends" not in service:
            return service
        given = service["extends"]
        at = service.where("extends")
        if given is None:
            job.error(
                "wrong-type", f'service "{name}" extends nothing', at, key=True, hint="name a service or remove it"
            )
            return self.unextended(name, service)
        target: Any = given
        file: Any = None
        if given.__class__ is Map:
            target, file = given.get("service"), given.get("file")
            at_service = given.where("service")
        else:
            at_service = at
        if target.__class__ is not str or (file is not None and file.__class__ is not str):
            check(
                Map({"services": Map({name: Map({"extends": given}, {"extends": at})})}),
                FILE,
                None,
                None,
                "",
                job.error,
            )
            return self.unextended(name, service)
        base_services: Any = services
        base_path, base_dir = path, working_dir
        if file:
            if file.startswith(REMOTE):
                job.error("remote", f"cannot extend from {file}: remote files are not supported", given.where("file"))
                return self.unextended(name, service)
            base_path = absolute(file, working_dir)
            base_dir = os.path.dirname(base_path)
        if len(trail) > MAX_CHAIN:
            job.error("extends-cycle", f"more than {MAX_CHAIN} services extend one another", at)
            return self.unextended(name, service)
        step = (base_path, target)
        if step in trail:
            circle = " extends ".join(f"{one}" for _, one in (*trail[trail.index(step) :], step))
            job.error("extends-cycle", f"extends runs in a circle: {circle}", at)
            return self.unextended(name, service)
        if file:
            base_services = self.foreign_services(base_path, given.where("file"), base_dir)
            if base_services is None:
                return self.unextended(name, service)
        if base_services.__class__ is not Map or target not in base_services:
            known = base_services if base_services.__class__ is Map else {}
            job.error(
                "undefined-service",
                f'service "{name}" extends "{target}", which {base_path if file else "this file"} does not define',
                at_service,
                hint=nearest(target, known),
            )
            return self.unextended(name, service)
        base = self.extend(target, base_services, base_path, base_dir, (*trail, step))
        if base.__class__ is not Map:
            return service
        base = copy(base)
        if file:
            resolve_service(job, base, base_dir, relative_to=working_dir)
        over = Map(service, dict(service.at))
        over.drop("extends")
        for mark in self.resets.get(path, ()):
            if mark[:2] == ("services", name) and len(mark) > 2:
                forget(base, mark[2:])
        merged = self.merge.mapping(base, over, f"services.{name}", self.service_rules())
        unify_service(merged)
        services[name] = merged
        return merged

    def unextended(self, name: str, service: Map) -> Map:
        """The service without an `extends` that leads nowhere."""
        self.job.incomplete.add(name)
        service.drop("extends")
        return service

    resets: dict[str, list[tuple[str, ...]]]

    @staticmethod
    def service_rules() -> Any:
        from cais.load.merge import SERVICE

        return SERVICE

    def foreign_services(self, path: str, at: int, folder: str) -> Any:
        """The services of another file, read and interpolated by themselves."""
        job = self.job
        if path not in self.foreign:
            self.foreign[path] = None
            documents = self.documents(path, at, "extended from")
            for document in documents or ():
                value = document.value
                if value.__class__ is not Map:
                    continue
                resets: list[tuple[str, ...]] = []
                if document.tagged:
                    untag(value, (), resets)
                interpolate(job, value)
                self.foreign[path] = value.get("services", Map())
                self.resets[path] = resets
            if documents is not None and self.foreign[path] is None:
                self.foreign[path] = Map()
        return self.foreign[path]

    foreign: dict[str, Any]


def reader(job: Job) -> Reader:
    made = Reader(job)
    made.foreign = {}
    made.resets = {}
    return made


def position(number: int, line: int, column: int) -> int:
    from cais.source.tree import pack

    return pack(number, line, column)


def absolute(path: str, folder: str) -> str:
    return os.path.normpath(os.path.join(folder, expand(path)))


def untag(value: Any, path: tuple[str, ...], resets: list[tuple[str, ...]]) -> None:
    """Take `!reset` values out and unwrap `!override` ones; note the paths of both."""
    if value.__class__ is Map:
        for key in list(value):
            item = value[key]
            if item.__class__ is Tagged:
                if item.tag != "!broken":
                    resets.append((*path, key))
                if item.tag != "!override":
                    value.drop(key)
                    continue
                value[key] = item = item.value
            untag(item, (*path, key), resets)
    elif value.__class__ is List:
        keep = []
        for index, item in enumerate(value):
            if item.__class__ is Tagged:
                if item.tag != "!override":
                    continue
                value[index] = item = item.value
            untag(item, (*path, str(index)), resets)
            keep.append(index)
        if len(keep) < len(value):
            value.at = [value.at[index] for index in keep]
            value[:] = [value[index] for index in keep]


def forget(tree: Any, path: tuple[str, ...]) -> None:
    """Remove what stands at `path`, when something does."""
    for step in path[:-1]:
        if tree.__class__ is not Map or step not in tree:
            return
        tree = tree[step]
    if tree.__class__ is Map:
        tree.drop(path[-1])


def resolve_folder(job: Job, tree: Map, folder: str) -> None:
    from cais.load.paths import resolve

    resolve(job, tree, folder)


def resolve_service(job: Job, service: Map, folder: str, *, relative_to: str) -> None:
    """Paths of a service from another file count from that file's folder."""
    from cais.load.paths import rebase_service

    rebase_service(service, folder, relative_to)
