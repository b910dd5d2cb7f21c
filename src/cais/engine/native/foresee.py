"""`up --dry-run`: what would be fetched, built and started. Nothing is fetched, built, made or started for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from cais.diag.api import CaisError, Faults
from cais.engine.native.images import Policy, from_card, not_built, request_of, stands_for, unavailable
from cais.engine.native.preflight import early, preflight
from cais.engine.native.specs import Options, desired
from cais.engine.native.up import places_of, refuse_far
from cais.load.job import sort
from cais.model.api import Service, Stack
from cais.model.image import Image, ImageConfig
from cais.plan.api import Action
from cais.supervise.api import Desired, InstanceState

if TYPE_CHECKING:
    from cais.catalog.make import Request
    from cais.diag.api import Diagnostic
    from cais.source.api import Span

# Of an image that is yet to be built only this is known: it is another one than all there is.
_UNBUILT = Image((), ImageConfig(cmd=("",)), "not built yet")


class Fetch(Action, frozen=True, tag=True):
    what: str

    def describe(self) -> str:
        return f"fetch {self.what}"


class Build(Action, frozen=True, tag=True):
    service: str
    context: str

    def describe(self) -> str:
        return f"build {self.service} from {self.context}"


class Foreseen(NamedTuple):
    """What comes before the instances, and these. An instance whose image has to be built has not all its values."""

    actions: tuple[Action, ...]
    desired: Desired


def foresee(
    stack: Stack,
    services: Sequence[Service],
    states: Sequence[InstanceState],
    *,
    scales: Mapping[str, int],
    policy: Policy,
    strict: bool,
) -> Foreseen:
    faults = early(stack, services, states, scales)
    if faults:
        raise Faults(sort([*faults, *unavailable(stack, services, policy)]))
    looked = _Looker()
    images: dict[str, Image] = {}
    late: list[Service] = []
    for service in services:
        try:
            if service.build is None:
                image = looked.card(from_card(stack, service))
                images[service.name] = stands_for(service, image)
                continue
            request = request_of(stack, service, service.build, policy)
            image_or_none = None if policy.no_cache else looked.built(request)
        except CaisError as error:
            faults += error.diagnostics()
            continue
        if image_or_none is None:
            late.append(service)
        images[service.name] = image_or_none or _UNBUILT
    if policy.build == "never":
        faults += [not_built(service.name, service.span) for service in late]
    if faults:
        raise Faults(list(dict.fromkeys(faults)))
    if strict:
        refuse_far(services, images)
    options = Options(scales=scales, services=frozenset(s.name for s in services))
    wanted = desired(stack, images, places_of(stack.name), options)
    unknown = {service.name for service in late}
    found: list[Diagnostic] = preflight(stack, services, wanted, states, without_image=unknown)
    if found:
        raise Faults(sort(found))
    builds = [Build(s.name, s.build.context) for s in late if s.build is not None]
    return Foreseen((*map(Fetch, looked.absent), *builds), wanted)


class _Looker:
    """Images as they will be; `absent` is what they lack, in words."""

    def __init__(self) -> None:
        self.absent: dict[str, None] = {}

    def card(self, request: Request) -> Image:
        from cais.catalog.make import foreseen, missing

        self.absent.update(dict.fromkeys(missing([request])))
        return foreseen(request)

    def built(self, request: object) -> Image | None:
        from cais.build.api import BuildRequest
        from cais.build.builder import is_ready

        assert isinstance(request, BuildRequest)
        lacking = False

        def base(text: str, span: Span | None) -> Image:
            from cais.catalog.find import find
            from cais.catalog.make import Request, missing

            nonlocal lacking
            _, ref = find(text, span)
            lacking = lacking or bool(missing([Request(ref)]))
            return self.card(Request(ref))

        try:
            return is_ready(request, base)
        except (CaisError, OSError):
            if lacking:  # it looked into a base that is not there
                return None
            raise
