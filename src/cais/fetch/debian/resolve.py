"""Which packages belong together: the transitive Depends and Pre-Depends of some, each at its newest version.

One suite is consistent in itself (its release managers see to that), so no solver is needed: the first alternative
that exists is taken, as apt does for a fresh system. Recommends are left out, as in every container image.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cais.diag.api import CaisError
from cais.fetch.debian.index import Index, Package, Relation, relations
from cais.fetch.debian.version import Version


def closure(index: Index, wanted: Iterable[str | Package], have: Mapping[str, str] | None = None) -> list[Package]:
    """All that `wanted` needs ("redis-server (>= 5:7.0)"), less what is there already (`have`: name -> version)."""
    have = have or {}
    taken: dict[str, Package] = {}
    provided: set[str] = set()
    queue: list[Package] = []

    def take(package: Package) -> None:
        if package.name not in taken:
            taken[package.name] = package
            provided.update(r[0].name for r in relations(package.provides))
            queue.append(package)

    for one in wanted:
        if isinstance(one, Package):
            take(one)
            continue
        package = _first(index, relations(one)[0], taken)
        if package is None:
            raise CaisError(_absent(index, one))
        take(package)
    at = 0
    while at < len(queue):
        package = queue[at]
        at += 1
        for alternatives in relations(package.depends):
            if any(r.name in taken or r.name in provided or _has(have, r) for r in alternatives):
                continue
            choice = _first(index, alternatives, taken)
            if choice is None:
                raise CaisError(
                    f"cannot take {package.name} from Debian {index.suite}: it depends on "
                    f"{' or '.join(map(str, alternatives))}, which the suite does not have now"
                )
            if choice.name in have:  # provided by what is there
                continue
            take(choice)
    return queue


def _has(have: Mapping[str, str], wanted: Relation) -> bool:
    version = have.get(wanted.name)
    return version is not None and Version(version).meets(wanted.relation, wanted.version)


def _first(index: Index, alternatives: list[Relation], taken: Mapping[str, Package]) -> Package | None:
    for one in alternatives:
        package = index.package(one.name)
        if package is not None and Version(package.version).meets(one.relation, one.version):
            return package
        providers = index.providers(one.name)
        for package in providers:
            if package.name in taken:
                return package
        if providers:
            return providers[0]
    return None


def _absent(index: Index, wanted: str) -> str:
    one = relations(wanted)[0][0]
    package = index.package(one.name)
    if package is None:
        return f"cannot take {one.name} from Debian {index.suite}: the suite has no package of that name"
    return f"cannot take {one} from Debian {index.suite}: it has {package.version} now"
