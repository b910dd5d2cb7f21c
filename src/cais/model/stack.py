"""The Stack itself, apart from the typed views of its parts: `cais config` prints a stack and needs no views."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cais.source.tree import NOWHERE, Map, where

if TYPE_CHECKING:
    from cais.diag.api import Diagnostic
    from cais.model.api import FileObject, NamedVolume, Network, Service
    from cais.source.api import Span
    from cais.source.files import Sources


class Stack:
    """One compose project. Equal inputs give equal stacks; nothing here changes after loading.

    `canonical` is what `cais config --format json` prints; the typed views are made from it when first asked for.
    `environment` is what interpolation saw: the process environment over `.env`.
    """

    def __init__(
        self,
        *,
        name: str,
        working_dir: str,
        files: tuple[str, ...],
        canonical: Map,
        warnings: tuple[Diagnostic, ...] = (),
        environment: Mapping[str, str] | None = None,
        profiles: tuple[str, ...] = (),
        sources: Sources | None = None,
        used: Mapping[int, tuple[str, ...]] | None = None,
        variable_at: Mapping[str, int] | None = None,
        extended: frozenset[int] = frozenset(),
        all_profiles: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.working_dir = working_dir
        self.files = files
        self.canonical: Mapping[str, Any] = canonical
        self.warnings = warnings
        self.environment: Mapping[str, str] = environment or {}
        self.profiles = profiles
        self.all_profiles = all_profiles
        self._sources = sources
        self._used = used or {}
        self._variable_at = variable_at or {}
        self.extended = extended  # id() of each mapping of `canonical`, its top apart, that has x-… keys

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Stack):
            return NotImplemented
        return (self.name, self.working_dir, self.canonical) == (other.name, other.working_dir, other.canonical)

    def __hash__(self) -> int:
        return hash((self.name, self.working_dir))

    def __repr__(self) -> str:
        return f"Stack({self.name!r}, services={list(self.canonical.get('services') or ())})"

    @cached_property
    def services(self) -> Mapping[str, Service]:
        """Active services by name, in the file's order."""
        from cais.model import views

        return {name: views.service(self, name, entry) for name, entry in self._entries("services")}

    @cached_property
    def networks(self) -> Mapping[str, Network]:
        from cais.model import views

        return {name: views.network(self, name, entry) for name, entry in self._entries("networks")}

    @cached_property
    def volumes(self) -> Mapping[str, NamedVolume]:
        from cais.model import views

        return {name: views.named_volume(self, name, entry) for name, entry in self._entries("volumes")}

    @cached_property
    def configs(self) -> Mapping[str, FileObject]:
        from cais.model import views

        return {name: views.file_object(self, "configs", name, entry) for name, entry in self._entries("configs")}

    @cached_property
    def secrets(self) -> Mapping[str, FileObject]:
        from cais.model import views

        return {name: views.file_object(self, "secrets", name, entry) for name, entry in self._entries("secrets")}

    def _entries(self, section: str) -> list[tuple[str, Mapping[str, Any]]]:
        return [(name, entry or {}) for name, entry in (self.canonical.get(section) or {}).items()]

    def position(self, *path: str | int) -> int:
        """The packed position of the value at `path`, or of its nearest parent that has one."""
        value: Any = self.canonical
        found = NOWHERE
        for step in path:
            at = where(value, step)
            if at != NOWHERE:
                found = at
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                break
        return found

    def span(self, *path: str | int) -> Span | None:
        """Where the value at `path` of `canonical` came from; of its nearest parent when it was made here."""
        return self._sources.span(self.position(*path)) if self._sources else None

    def key_span(self, *path: str | int) -> Span | None:
        """Where the key that ends `path` stands: the line by which people know a service."""
        return self._sources.span(self.position(*path), key=True) if self._sources else None

    def variables(self, *path: str | int) -> tuple[tuple[str, Span | None], ...]:
        """The variables that gave the value at `path`, and where an env file defines each."""
        return self.variables_at(self.position(*path))

    def place(self, position: int) -> Span | None:
        """The span of a packed position."""
        return self._sources.span(position) if self._sources else None

    def variables_at(self, position: int) -> tuple[tuple[str, Span | None], ...]:
        names = self._used.get(position, ()) if position != NOWHERE else ()
        return tuple((name, self.place(self._variable_at.get(name, NOWHERE))) for name in names)

    def chain(self, position: int) -> list[tuple[str, Span | None]]:
        """How the file of `position` came to be read: `included from`, `extended from`."""
        if self._sources is None:
            return []
        return [(relation, self.place(at)) for relation, at in self._sources.chain(position)]
