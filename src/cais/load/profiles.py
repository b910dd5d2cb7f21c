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


def activate(job: Job, tree: Map, profiles: Sequence[str], named: Sequence[str]) -> Map:
    """Take the services no profile activates out of `tree`; returns them."""
    services = tree.get("services")
    disabled = Map()
    if services.__class__ is not Map or "*" in profiles:
        return disabled
    active = set(profiles)
    for name in named:
        service = services.get(name)
        if service.__class__ is Map:
            active.update(service.get("profiles") or ())
    for name in list(services):
        service = services[name]
        wanted = service.get("profiles") if service.__class__ is Map else None
        if wanted and not active.intersection(wanted):
            disabled.put(name, service, services.where(name))
            services.drop(name)
    return disabled


def select(job: Job, tree: Map, named: Sequence[str]) -> None:
    """Only the named services and what they depend on."""
    services = tree["services"]
    keep: dict[str, None] = {}
    pending = list(named)
    for name in named:
        if name not in services:
            hint = nearest(name, services) or f"services: {', '.join(sorted(services)) or 'none'}"
            job.error("no-such-service", f"no such service: {name}", hint=hint)
    while pending:
        name = pending.pop()
        if name in keep or name not in services:
            continue
        keep[name] = None
        pending.extend(services[name].get("depends_on") or ())
    for name in list(services):
        if name not in keep:
            services.drop(name)


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
    for hook in service.get("pre_start") or ():
        if hook.__class__ is Map:
            _uses(hook, used)
