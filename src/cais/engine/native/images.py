"""Every service's image: from its card, or built. Side by side, with progress; all that fails is told at once."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from cais.build.api import BuildEvent, BuildRequest
from cais.diag.api import CaisError, Diagnostic, Faults
from cais.model.api import Build, Service, Stack
from cais.model.image import Image
from cais.source.api import Span

if TYPE_CHECKING:
    from cais.catalog.api import Service as CardService

Say = Callable[[str, str], None]  # (service, what is being done for it)


class Policy(NamedTuple):
    """`--build`, `--no-build`, `--no-cache`: what is built. Here a build is found by its content, so one that is up to
    date costs a look; `never` refuses one that would have to be carried out."""

    build: str = "auto"  # auto | always | never
    no_cache: bool = False
    pull: bool = False
    args: tuple[tuple[str, str], ...] = ()


def prepare(stack: Stack, services: Iterable[Service], say: Say, policy: Policy = Policy()) -> dict[str, Image]:
    """Service name -> image. Raises Faults with every fault."""
    services = list(services)
    images: dict[str, Image] = {}
    faults: list[Diagnostic] = []

    def one(service: Service) -> Image:
        if service.build is not None:
            return _built(stack, service, service.build, say, policy)
        return _from_card(service, service.image, say, service.span)

    def collect(service: Service, get: Callable[[], Image]) -> None:
        try:
            images[service.name] = get()
        except CaisError as error:
            faults.extend(_named(service, error))

    cards = [service for service in services if service.build is None]
    if len(cards) > 1:
        with ThreadPoolExecutor(max_workers=8) as pool:
            asked = [(service, pool.submit(one, service)) for service in cards]
            for service, future in asked:
                collect(service, future.result)
    else:
        for service in cards:
            collect(service, lambda service=service: one(service))  # type: ignore[misc]
    # Builds run programs in a sandbox, whose init must be cloned by the main thread (it dies with its thread).
    for service in services:
        if service.build is not None:
            collect(service, lambda service=service: one(service))  # type: ignore[misc]
    if faults:
        raise Faults(_unique(faults))
    return images


def _named(service: Service, error: CaisError) -> list[Diagnostic]:
    """The error's diagnostics, with the service and its place where they name none."""
    found = []
    for d in error.diagnostics():
        message = d.message if service.name in d.message else f"cannot start {service.name}: {d.message}"
        found.append(d._replace(message=message, span=d.span or _image_span(service)))
    return found


def _image_span(service: Service) -> Span | None:
    return service.span


def _unique(found: list[Diagnostic]) -> list[Diagnostic]:
    return list(dict.fromkeys(found))


def _from_card(service: Service, text: str, say: Say, span: Span | None) -> Image:
    from cais.catalog.make import image_for

    return image_for(text, card_view(service), lambda words: say(service.name, words), span=span)


def card_view(service: Service) -> "CardService":
    from cais.catalog.api import Service as CardService

    environment = {name: value for name, value in service.environment if value is not None}
    return CardService(environment=environment, command=service.command or ())


def request_of(stack: Stack, service: Service, build: Build, policy: Policy = Policy()) -> BuildRequest:
    """A `build:` with everything it names looked up."""
    args = dict(policy.args)
    secrets = []
    for grant in build.secrets:
        thing = stack.secrets[grant.source]
        value = thing.content if thing.content is not None else thing.value
        secrets.append((grant.target or grant.source, thing.file or None, None if thing.file else value))
    environment: Mapping[str, str] = stack.environment
    for name, given in build.args:
        value = environment.get(name) if given is None else given
        if value is not None:
            args.setdefault(name, value)
    return BuildRequest(
        context=build.context,
        dockerfile=build.dockerfile,
        inline=build.dockerfile_inline,
        args=tuple(args.items()),
        target=build.target,
        secrets=tuple(secrets),
        contexts=build.additional_contexts,
        labels=build.labels,
        network=build.network,
        shm_size=build.shm_size,
        extra_hosts=build.extra_hosts,
        no_cache=build.no_cache or policy.no_cache,
        span=build.span or service.span,
        name=service.name,
    )


def _built(stack: Stack, service: Service, build: Build, say: Say, policy: Policy) -> Image:
    from cais.build.builder import build as carry_out

    def report(event: BuildEvent) -> None:
        if event.kind in ("step", "cached"):
            say(event.name or service.name, event.line)

    def base(text: str, span: Span | None) -> Image:
        from cais.catalog.make import image_for

        return image_for(text, None, lambda words: say(service.name, words), span=span)

    return carry_out(request_of(stack, service, build, policy), base, report)
