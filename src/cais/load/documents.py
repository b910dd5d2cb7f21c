"""From files to one merged tree: read, interpolate, extend, include, merge, check against the schema, make canonical.

The order is Docker Compose's: each document goes through all of it before the next is merged over it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cais.load.canonical import canonical
from cais.load.extends import Extends
from cais.load.include import Includes
from cais.load.interpolate import Substitution, TemplateError, interpolate
from cais.load.job import Job, shown
from cais.load.lookup import normal_name
from cais.load.merge import Merge, unify
from cais.load.schema import FILE
from cais.load.shapes import check
from cais.load.tags import forget, promoted, untag
from cais.source.files import File, Unreadable, read_text
from cais.source.tree import NOWHERE, Map, Tagged, pack
from cais.source.yaml import Document, YamlError, read

MAX_FILES = 1000


class Reader:
    """Reads the files of one project. `given` is the name of the command line or the environment, `fallback` the
    folder's."""

    def __init__(self, job: Job, given: str | None, fallback: str) -> None:
        self.job = job
        self.given, self.fallback = given, fallback
        self.name, self.name_at = "", NOWHERE  # as a file gives it
        self.merge = Merge(job)
        self.extends = Extends(job, self.documents)
        self.includes = Includes(job, self.project)
        self.count = 0
        self.empty = NOWHERE  # a file without a document: no fault beside another that has one
        self.unread = False  # something could not be read: what it would have defined is missing

    @property
    def fatal(self) -> bool:
        """Whether so much is missing that what follows would be about that only."""
        return self.unread or self.includes.failed

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
            tree = self.one(tree, document, path, working_dir, chain)
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
        as_written = not (job.options.interpolate or job.options.normalize)
        name = self.given or (self.name if as_written else normal_name(self.name)) or self.fallback
        if name:
            job.environment["COMPOSE_PROJECT_NAME"] = name
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
            self.unread = True
            if error.line:
                number = job.sources.add(File(path, "", at, relation))
                job.error("encoding", error.reason, pack(number, error.line - 1, error.column - 1))
            elif at != NOWHERE:
                job.error("unreadable", str(error), at)
            else:
                number = job.sources.add(File(path, ""))
                job.error("unreadable", str(error), pack(number, 0, 0))
            return None
        name = "<stdin>" if path == "-" else path
        number = job.sources.add(File(name, text, at, relation))
        faults: list[YamlError] = []
        documents: list[Document] | None
        try:
            documents = read(text, number, faults)
            if not documents:
                self.empty = pack(number, 0, 0)
        except YamlError as error:
            faults.append(error)
            documents = None
        except RecursionError:
            faults.append(YamlError("too-deep", "nested too deep", pack(number, 0, 0)))
            documents = None
        self.unread = self.unread or documents is None
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
            self.unread = True
            job.error("not-a-mapping", f"a compose file is a mapping; {found}", document.position)
            return tree
        resets: list[tuple[str, ...]] = []
        if document.tagged:
            untag(value, (), resets)
        interpolate(job, value)
        for reset in resets:
            forget(tree, reset)
        for holder, old, attribute in promoted(value):
            self._promote(holder, old, attribute)
        if "include" in value:
            self.includes.resolve(value, path, working_dir, chain)
        if "services" in value:
            self.extends.resolve(value, path, working_dir, resets)
        tree = self.merge.files(tree, value) if tree else value
        unify(tree)
        check(tree, FILE, None, None, "", job.error if job.options.validate else self._tolerant)
        if "version" in tree:
            job.warn("obsolete", "version is obsolete: it is ignored, remove it", tree.where("version"), key=True)
            tree.drop("version")
        job.drop_invalid()
        canonical(job, tree)
        unify(tree)
        return tree

    def _tolerant(self, code: str, message: str, position: int = NOWHERE, **rest: Any) -> None:
        if code == "wrong-type":  # nothing later can bear it
            self.job.error(code, message, position, **rest)

    def _promote(self, holder: Map, old: str, attribute: str) -> None:
        """An attribute under its old name, merged under what goes by the new one."""
        over, at = holder.get(attribute), holder.where(attribute)
        holder.put(attribute, holder[old], holder.where(old))
        holder.drop(old)
        if over is not None:
            holder[attribute] = self.merge.value(holder[attribute], over, at, attribute, None)
