"""Every service's image: from its card, or built. Side by side, with progress; all that fails is told at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from cais.diag.api import ERROR, CaisError, Diagnostic, Faults
from cais.model.api import Build, Grant, Service, Stack
from cais.model.image import STAND_IN, Image
from cais.source.api import Span

if TYPE_CHECKING:
    from cais.build.api import BuildEvent, BuildRequest
    from cais.catalog.make import Job, Request

PLAIN = "debian:bookworm"  # the root of a service that says its native command, where no card knows the image
Say = Callable[[str, str], None]  # (service or program, what is being done for it)


class Policy(NamedTuple):
    """`--build`, `--no-build`, `--no-cache`. A build is found again by its content, so one that is up to date costs a
    look, with `--build` and without; `never` refuses one that would have to be carried out."""

    build: str = "auto"  # auto | never
    no_cache: bool = False
    args: tuple[tuple[str, str], ...] = ()


AS_NEEDED = Policy()


def prepare(
    stack: Stack,
    services: Iterable[Service],
    say: Say,
    policy: Policy = AS_NEEDED,
    later: list[Job] | None = None,
) -> dict[str, Image]:
    """Service name -> image; `later` gets the steps of cards that may wait. Raises Faults with every fault."""
    services = list(services)
    faults: list[Diagnostic] = []
    requests: dict[str, Request] = {}
    for service in services:
        if service.build is None:
            try:
                requests[service.name] = from_card(stack, service)
            except CaisError as error:
                faults += error.diagnostics()
    builds = {service.name: service for service in services if service.build is not None}
    images: dict[str, Image] = {}
    if not faults:
        try:
            images |= _from_cards(requests, say, later)
            images |= {s.name: stands_for(s, images[s.name]) for s in services if s.name in images}
        except CaisError as error:
            faults += _of_services(stack, [n for n, r in requests.items() if _lacks(r)] or list(requests), error)
    try:
        requests_of_builds = _build_requests(stack, builds, policy)
        if faults:
            faults += _unreadable(requests_of_builds)
        else:
            images |= _built(requests_of_builds, say, policy)
    except CaisError as error:
        faults += error.diagnostics()
    if faults:
        raise Faults(list(dict.fromkeys(faults)))
    return images


def unavailable(stack: Stack, services: Iterable[Service], policy: Policy = AS_NEEDED) -> list[Diagnostic]:
    """What is wrong with images and Dockerfiles, without fetching or building any: told beside other faults."""
    found: list[Diagnostic] = []
    builds: dict[str, Service] = {}
    for service in services:
        if service.build is not None:
            builds[service.name] = service
            continue
        try:
            from_card(stack, service)
        except CaisError as error:
            found += error.diagnostics()
    try:
        found += _unreadable(_build_requests(stack, builds, policy))
    except CaisError as error:
        found += error.diagnostics()
    return list(dict.fromkeys(found))


def from_card(stack: Stack, service: Service) -> Request:
    from cais.catalog.find import find, parse
    from cais.catalog.make import Request

    span = stack.span("services", service.name, "image") or service.span
    if not service.image:
        raise CaisError(
            f"cannot start {service.name}: it has neither an image nor a build",
            hint="say one of them",
            span=service.span,
        )
    if is_plain(service):
        return Request(parse(PLAIN))
    _, ref = find(service.image, span, service=service.name)
    return Request(ref, card_view(service))


def is_plain(service: Service) -> bool:
    """Whether no card knows its image, and `x-cais: {native: {command: …}}` says what runs on Debian's userland."""
    if service.build is not None or not service.image:
        return False
    from cais.catalog.find import card_for, parse
    from cais.engine.native.specs import native_command

    return native_command(service) is not None and card_for(parse(service.image)) is None


def stands_for(service: Service, image: Image) -> Image:
    """The image with what is to be said of it, where it is Debian's alone."""
    if not is_plain(service):
        return image
    said = f"x-cais.native.command on Debian bookworm stands for {service.image}"
    return image._replace(fidelity=STAND_IN, differs=(said,), origin="x-cais.native")


def card_view(service: Service):  # type: ignore[no-untyped-def]
    from cais.catalog.api import Service as View

    environment = {name: value for name, value in service.environment if value is not None}
    return View(environment=environment, command=service.command or ())


def _lacks(request: Request) -> bool:
    from cais.catalog.make import missing

    try:
        return bool(missing([request]))
    except CaisError:
        return True


def _of_services(stack: Stack, names: Sequence[str], error: CaisError) -> list[Diagnostic]:
    """An error of fetching, told with the services that need what was not to be had."""
    who = ", ".join(names)
    span = stack.span("services", names[0], "image") if names else None
    return [
        d._replace(message=d.message if who in d.message else f"cannot start {who}: {d.message}", span=d.span or span)
        for d in error.diagnostics()
    ]


def _from_cards(requests: Mapping[str, Request], say: Say, later: list[Job] | None) -> dict[str, Image]:
    from cais.catalog.make import images_for

    if not requests:
        return {}
    return dict(zip(requests, images_for(list(requests.values()), _bytes(say), later), strict=True))


def _bytes(say: Say) -> Callable[[str, int, int], None]:
    def report(name: str, done: int, total: int) -> None:
        if total:
            say(name, f"fetching {done / 1e6:.1f} of {total / 1e6:.1f} MB")
        else:
            say(name, "at work")

    return report


def request_of(
    stack: Stack, service: Service, build: Build, policy: Policy = AS_NEEDED, within: tuple[str, ...] = ()
) -> BuildRequest:
    """A `build:` with everything it names looked up."""
    from cais.build.api import BuildRequest

    args = dict(policy.args)
    secrets = [(grant.target or grant.source, *_secret(stack, service, grant)) for grant in build.secrets]
    for name, given in build.args:
        value = stack.environment.get(name) if given is None else given
        if value is not None:
            args.setdefault(name, value)
    contexts, others = _contexts(stack, build, policy, (*within, service.name))
    return BuildRequest(
        context=build.context,
        dockerfile=build.dockerfile,
        inline=build.dockerfile_inline,
        args=tuple(args.items()),
        target=build.target,
        secrets=tuple(secrets),
        contexts=contexts,
        services=others,
        labels=build.labels,
        network=build.network,
        shm_size=build.shm_size,
        extra_hosts=build.extra_hosts,
        no_cache=build.no_cache or policy.no_cache,
        span=build.span or service.span,
        inline_span=stack.span("services", service.name, "build", "dockerfile_inline")
        if build.dockerfile_inline
        else None,
        name=service.name,
    )


def _secret(stack: Stack, service: Service, grant: Grant) -> tuple[str | None, str | None]:
    """The file of a build secret, or its value. One that nobody can give is told before anything is built."""
    thing = stack.secrets[grant.source]
    if thing.file and os.access(thing.file, os.R_OK):
        return thing.file, None
    value = thing.content if thing.content is not None else thing.value
    if value is not None and not thing.file:
        return None, value
    if thing.file:
        why = f"there is no file {thing.file}, or it cannot be read"
        hint = "make it, or mend its path"
    elif thing.external:
        why = "it is external, and nobody keeps it here"
        hint = "give it a file or an environment variable"
    else:
        why = f"the environment variable {thing.environment} is not set"
        hint = f"export {thing.environment}, or write it into .env"
    raise CaisError(
        f"cannot build {service.name}: cannot give it the secret {grant.source}: {why}",
        hint=hint,
        span=thing.span or grant.span,
    )


def _contexts(
    stack: Stack, build: Build, policy: Policy, within: tuple[str, ...]
) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, BuildRequest], ...]]:
    """`additional_contexts`; one that is `service:x` brings x's own build along, or names x's image."""
    contexts: list[tuple[str, str]] = []
    others: list[tuple[str, BuildRequest]] = []
    for name, value in build.additional_contexts:
        kind, _, other = value.partition(":")
        if kind == "service":
            if other in within:
                way = " -> ".join((*within, other))
                raise CaisError(f"cannot build {within[0]}: its contexts go round ({way})", span=build.span)
            found = stack.services.get(other)
            if found is None:
                raise CaisError(
                    f"cannot build {within[0]}: the context {name} is {value}, and there is no such service"
                )
            if found.build is not None:
                others.append((other, request_of(stack, found, found.build, policy, within)))
            else:
                value = f"docker-image://{found.image}"
        contexts.append((name, value))
    return tuple(contexts), tuple(others)


def _build_requests(stack: Stack, builds: Mapping[str, Service], policy: Policy) -> list[BuildRequest]:
    """The request of each service that is built. Raises Faults with what is wrong about all of them."""
    requests: list[BuildRequest] = []
    faults: list[Diagnostic] = []
    for service in builds.values():
        assert service.build is not None
        try:
            requests.append(request_of(stack, service, service.build, policy))
        except CaisError as error:
            faults += error.diagnostics()
    if faults:
        raise Faults([*faults, *_unreadable(requests)])
    return requests


def _unreadable(requests: Sequence[BuildRequest]) -> list[Diagnostic]:
    from cais.build.builder import check
    from cais.catalog.find import find

    return [one for one in check(requests, find) if one.severity == ERROR]


def _built(requests: Sequence[BuildRequest], say: Say, policy: Policy) -> dict[str, Image]:
    if not requests:
        return {}
    from cais.build.builder import build_all, is_ready
    from cais.catalog.find import find

    base = base_resolver(say)
    if policy.build == "never":
        late = [r for r in requests if is_ready(r, base) is None]
        if late:
            raise Faults([not_built(r.name, r.span) for r in late])
    images = build_all(requests, base, reporter(say), find=find)
    return dict(zip((r.name for r in requests), images, strict=True))


def not_built(service: str, span: Span | None) -> Diagnostic:
    return Diagnostic(
        ERROR,
        "not-built",
        f"cannot start {service}: it has to be built, and --no-build was asked",
        span,
        f"run 'cais build {service}'",
    )


def base_resolver(say: Say) -> Callable[[str, Span | None], Image]:
    """What `FROM` names: a card's image."""

    def base(text: str, span: Span | None) -> Image:
        from cais.catalog.find import find
        from cais.catalog.make import image_for

        _, ref = find(text, span)
        return image_for(ref, None, _bytes(say))

    return base


def reporter(say: Say) -> Callable[[BuildEvent], None]:
    def report(event: BuildEvent) -> None:
        if event.kind == "step":
            say(event.name, event.line)

    return report
