"""`cais build`: services' Dockerfiles carried out now, as `up` would before it starts them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cais.cli.interrupt import interrupted_at_once
from cais.cli.options import STRING, STRINGS, Command, Flag, Given, parse, usage_error
from cais.cli.project import PROGRESS, GlobalOptions, load_stack, make_progress
from cais.diag.api import WARNING, CaisError, Diagnostic

if TYPE_CHECKING:
    from cais.build.api import BuildEvent, BuildRequest
    from cais.cli.progress import Progress
    from cais.model.api import Service, Stack

COMMAND = Command(
    "build",
    "Build or rebuild services",
    "[OPTIONS] [SERVICE...]",
    (
        Flag("build-arg", "Set build-time variables for services", "", STRINGS),
        Flag("builder", "Set builder to use", "", STRING),
        Flag("check", "Check build configuration"),
        Flag("compress", "Without effect, in Docker Compose too", hidden=True),
        Flag("force-rm", "Without effect, in Docker Compose too", hidden=True),
        Flag("memory", "Set memory limit for the build container. Not supported by BuildKit.", "m", STRING),
        Flag("no-cache", "Do not use cache when building the image"),
        Flag("no-rm", "Without effect, in Docker Compose too", hidden=True),
        Flag("parallel", "Without effect, in Docker Compose too", hidden=True),
        Flag("print", "Print equivalent bake file"),
        Flag("progress", "As before the verb, where it belongs", kind=STRING, choices=PROGRESS, hidden=True),
        Flag("provenance", "Add a provenance attestation", "", STRING),
        Flag("pull", "Always attempt to pull a newer version of the image"),
        Flag("push", "Push service images"),
        Flag("quiet", "Suppress the build output", "q"),
        Flag("sbom", "Add a SBOM attestation", "", STRING),
        Flag("ssh", "Set SSH authentications used when building service images", "", STRING),
        Flag("with-dependencies", "Also build dependencies (transitively)"),
    ),
)
# What another builder's flag asks for and this one has not; the others above without effect change nothing that runs.
_REFUSED = {
    "push": "Cais pushes no images: build and push with docker compose build --push",
    "print": "there is no bake file: Cais carries the Dockerfiles out itself",
    "ssh": "a build does not get your ssh agent: give a deploy token as a build secret",
    "builder": "there is one builder, Cais's own",
}


def run(options: GlobalOptions, argv: list[str]) -> int:
    given = parse(COMMAND, argv)
    for name, why in _REFUSED.items():
        if given.said(name):
            raise usage_error(COMMAND, f"--{name} is not supported", why)
    stack = load_stack(options, services=given.args or None, environment=False)
    services = _chosen(stack, given)
    if not services:
        import sys

        print("No services to build", file=sys.stderr)
        return 0
    requests = _requests(stack, services, given)
    if given.flag("check"):
        return _check(options, requests)
    if given.said("progress"):
        options = options._replace(progress=given.text("progress"))  # type: ignore[arg-type]
    if given.flag("quiet"):
        options = options._replace(progress="quiet")
    with make_progress(options, "build") as progress:
        if given.flag("dry-run") or options.dry_run:
            return _dry_run(progress, requests)
        with interrupted_at_once("nothing was built"):
            _build(progress, requests, lines=options.progress == "plain")
    return 0


def _chosen(stack: Stack, given: Given) -> list[Service]:
    """The named services, or all; of them those with a `build:`."""
    names = list(given.args)
    if names:
        from cais.cli.running import need_services

        need_services(None, stack, names)
    if names and given.flag("with-dependencies"):
        for name in names:  # grows while it is walked
            names += [d.service for d in stack.services[name].depends_on if d.service not in names]
    wanted = [s for n, s in stack.services.items() if not names or n in names]
    return [s for s in wanted if s.build is not None]


def _requests(stack: Stack, services: Sequence[Service], given: Given) -> list[BuildRequest]:
    from cais.engine.native.images import Policy, request_of

    policy = Policy(no_cache=given.flag("no-cache"), args=_build_args(stack, given))
    return [request_of(stack, service, service.build, policy) for service in services if service.build is not None]


def _build_args(stack: Stack, given: Given) -> tuple[tuple[str, str], ...]:
    """`NAME=value`; `NAME` alone takes the value of the environment, as Docker does."""
    found = []
    for text in given.texts("build-arg"):
        name, equals, value = text.partition("=")
        if not name:
            raise usage_error(COMMAND, f'invalid argument "{text}" for "--build-arg" flag')
        if equals:
            found.append((name, value))
        elif name in stack.environment:
            found.append((name, stack.environment[name]))
    return tuple(found)


def _check(options: GlobalOptions, requests: Sequence[BuildRequest]) -> int:
    """`--check`: read and arrange, fetch and build nothing."""
    from cais.build.builder import check
    from cais.catalog.find import find
    from cais.cli.errors import show

    found = check(requests, find)
    show(found, ansi=options.ansi)
    if not found:
        print("Check complete, no warnings found.")
    return 1 if found else 0


def _dry_run(progress: Progress, requests: Sequence[BuildRequest]) -> int:
    for request in requests:
        progress.done(request.name, f"would build {request.context}")
    return 0


def _build(progress: Progress, requests: Sequence[BuildRequest], *, lines: bool) -> None:
    from cais.build.builder import build_all
    from cais.catalog.find import find
    from cais.cli.errors import in_words
    from cais.engine.native.images import base_resolver

    def report(event: BuildEvent) -> None:
        match event.kind:
            case "step":
                progress.update(event.name, event.line)
            case "cached":
                progress.update(event.name, f"{event.line} (cached)")
            case "output" if lines:
                progress.note(f"{event.name}  {event.step}/{event.steps}  {event.text}")
            case "warning":
                progress.note(in_words([Diagnostic(WARNING, "build", event.text, event.span)]))

    fetched: dict[str, None] = {}

    def say(program: str, words: str) -> None:
        fetched[program] = None
        progress.update(program, words)

    for request in requests:
        progress.update(request.name, "reading its Dockerfile")
    try:
        build_all(requests, base_resolver(say), report, find=find)
    except CaisError as error:
        said = [one.message for one in error.diagnostics()]
        for request in requests:
            if any(f"cannot build {request.name}:" in message for message in said):
                progress.fail(request.name, "failed")
        raise
    for program in fetched:
        progress.done(program, "ready")
    for request in requests:
        progress.done(request.name, "Built")
