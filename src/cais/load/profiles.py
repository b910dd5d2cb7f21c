"""Which services take part: profiles, services named by the caller, and resources that nobody uses."""

from __future__ import annotations

from collections.abc import Sequence

from cais.load.job import Job, nearest
from cais.source.tree import Map


def active_profiles(job: Job) -> tuple[str, ...]:
    given = tuple(job.options.profiles)
    if not given and job.environment.get("COMPOSE_PROFILES"):
        given = tuple(one.strip() for one in job.environment["COMPOSE_PROFILES"].split(",") if one.strip())
    return given


def all_profiles(tree: Map) -> tuple[str, ...]:
    """Every profile that some service names."""
    services = tree.get("services")
    return tuple(
        sorted(
            {
                str(profile)
                for service in (services.values() if services.__class__ is Map else ())
                if service.__class__ is Map
                for profile in service.get("profiles") or ()
            }
        )
    )


def activate(tree: Map, profiles: Sequence[str]) -> Map:
    """Take the services and jobs that no profile activates out of `tree`; returns the services."""
    disabled = Map()
    if "*" in profiles:
        return disabled
    active = frozenset(profiles or ("",))  # with none named, "" is: what Go's split makes of an empty variable
    for section in ("services", "jobs"):
        entries = tree.get(section)
        for name in list(entries) if entries.__class__ is Map else ():
            entry = entries[name]
            wanted = entry.get("profiles") if entry.__class__ is Map else None
            if wanted and active.isdisjoint(wanted):
                if section == "services":
                    disabled.put(name, entry, entries.where(name))
                entries.drop(name)
    return disabled


def select(job: Job, tree: Map, disabled: Map, profiles: Sequence[str], named: Sequence[str]) -> None:
    """Only the named services, which a profile may hide, and what they depend on. A name may be a pattern."""
    services = tree.get("services")
    if services.__class__ is not Map:
        services = Map()
    active = set(profiles)
    for name in named:
        if name in disabled:
            active.update(disabled[name].get("profiles") or ())
    for name in list(disabled):
        if not active.isdisjoint(disabled[name].get("profiles") or ()):
            services.put(name, disabled[name], disabled.where(name))
            disabled.drop(name)
    keep: dict[str, None] = {}
    pending: list[str] = []
    for name in named:
        matching = [name] if name in services else _matching(name, services)
        if not matching and not services.lost(name):
            hint = nearest(name, services) or f"services: {', '.join(sorted(services)) or 'none'}"
            job.error("no-such-service", f"no such service: {name}", hint=hint)
        pending += matching
    while pending:
        name = pending.pop()
        if name in keep:
            continue
        keep[name] = None
        depends = services[name].get("depends_on") or Map()
        for other, entry in depends.items():
            if other in services:
                pending.append(other)
            elif not services.lost(other) and (entry.__class__ is not Map or entry.get("required") is not False):
                message = f'no such service: {other}, which service "{name}" depends on'
                job.error("no-such-service", message, depends.where(other), key=True)
    for name in list(services):
        if name not in keep:
            services.drop(name)
            continue
        depends = services[name].get("depends_on") or Map()
        for other in [other for other in depends if other not in keep]:
            depends.drop(other)


def _matching(pattern: str, services: Map) -> list[str]:
    from fnmatch import fnmatchcase

    return [name for name in services if fnmatchcase(name, pattern.replace("[^", "[!"))]


def prune(tree: Map) -> None:
    """Leave out networks, volumes, configs, secrets and models that no service uses."""
    services = tree.get("services")
    used: dict[str, set[str]] = {section: set() for section in ("networks", "volumes", "configs", "secrets", "models")}
    for service in services.values() if services.__class__ is Map else ():
        if service.__class__ is Map:
            _uses(service, used)
    for section, names in used.items():
        entries = tree.get(section)
        if entries.__class__ is not Map:
            continue
        for name in list(entries):
            if name not in names:
                entries.drop(name)
        if not entries:
            tree.drop(section)


def _uses(service: Map, used: dict[str, set[str]]) -> None:
    used["networks"].update(service.get("networks") or ())
    used["models"].update(service.get("models") or ())
    for volume in service.get("volumes") or ():
        if volume.__class__ is Map and volume.get("type") == "volume" and volume.get("source"):
            used["volumes"].add(volume["source"])
    for section in ("configs", "secrets"):
        for grant in service.get(section) or ():
            if grant.__class__ is Map:
                used[section].add(grant.get("source", ""))
    build = service.get("build")
    if build.__class__ is Map:
        for grant in build.get("secrets") or ():
            if grant.__class__ is Map:
                used["secrets"].add(grant.get("source", ""))
