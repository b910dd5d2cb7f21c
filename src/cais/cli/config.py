"""`cais config`: the project as it is understood, in canonical form."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from cais.cli.options import BOOL, STRING, Command, Flag, parse
from cais.cli.project import GlobalOptions

if TYPE_CHECKING:
    from cais.model.stack import Stack

COMMAND = Command(
    "config",
    "Parse, resolve and render compose file in canonical format",
    "[OPTIONS] [SERVICE...]",
    (
        Flag("environment", "Print environment used for interpolation."),
        Flag("format", "Format the output. Values: [yaml | json]", kind=STRING, choices=("yaml", "json")),
        Flag("hash", "Print the service config hash, one per line.", kind=STRING),
        Flag("images", "Print the image names, one per line."),
        Flag("lock-image-digests", "Produces an override file with image digests"),
        Flag("models", "Print the model names, one per line."),
        Flag("networks", "Print the network names, one per line."),
        Flag("no-consistency", "Don't check model consistency - warning: may produce invalid Compose output"),
        Flag("no-env-resolution", "Don't resolve service env files"),
        Flag("no-interpolate", "Don't interpolate environment variables"),
        Flag("no-normalize", "Don't normalize compose model"),
        Flag("no-path-resolution", "Don't resolve file paths"),
        Flag("origin", "Print where each value comes from: file, line, column, variable"),
        Flag("output", "Save to file (default to stdout)", short="o", kind=STRING),
        Flag("profiles", "Print the profile names, one per line."),
        Flag("quiet", "Only validate the configuration, don't print anything", short="q"),
        Flag("resolve-image-digests", "Pin image tags to digests"),
        Flag("services", "Print the service names, one per line."),
        Flag("variables", "Print model variables and default values."),
        Flag("volumes", "Print the volume names, one per line."),
    ),
)
_ = BOOL


def run(options: GlobalOptions, argv: list[str]) -> int:
    given = parse(COMMAND, argv)
    from cais.load.api import load_with
    from cais.load.job import Options

    stack = load_with(
        Options(
            paths=options.files,
            project_directory=options.project_directory,
            project_name=options.project_name,
            profiles=options.profiles,
            env_files=options.env_files,
            services=tuple(given.args) or None,
            interpolate=not given.flag("no-interpolate"),
            normalize=not given.flag("no-normalize"),
            consistency=not given.flag("no-consistency"),
            resolve_paths=not given.flag("no-path-resolution"),
            resolve_environment=not given.flag("no-env-resolution"),
        )
    )
    if stack.warnings:
        from cais.diag.text import render

        sys.stderr.write(render(stack.warnings) + "\n")
    if given.flag("quiet"):
        return 0
    text = output(stack, given)
    target = given.text("output")
    if target:
        with open(target, "w", encoding="utf-8") as file:
            file.write(text)
    else:
        sys.stdout.write(text)
    return 0


def output(stack: Stack, given: Any) -> str:
    for section in ("services", "volumes", "networks", "models"):
        if given.flag(section):
            return lines(sorted(stack.canonical.get(section) or ()))
    if given.flag("profiles"):
        return lines(sorted({one for service in stack.services.values() for one in service.profiles}))
    if given.flag("images"):
        return lines(service.image for service in stack.services.values() if service.image)
    if given.flag("environment"):
        return lines(f"{name}={value}" for name, value in sorted(stack.environment.items()))
    dollars = not given.flag("no-interpolate")
    if given.text("format") == "json":
        return as_json(stack, dollars)
    return as_yaml(stack, dollars)


def lines(items: Any) -> str:
    return "".join(f"{one}\n" for one in items)


def as_json(stack: Stack, dollars: bool) -> str:
    """Docker Compose's JSON: `x-…` keys at the top only, no models, Go's own names in blkio_config."""
    import json

    def plain(value: Any, name: str) -> Any:
        if value.__class__ is str:
            return value.replace("$", "$$") if dollars else value
        if isinstance(value, dict):
            items = value.items()
            if id(value) in stack.extended:
                items = [(key, item) for key, item in items if not key.startswith("x-")]  # type: ignore[assignment]
            if name == "blkio_config":
                return {key: blkio(item) for key, item in items}
            return {key: plain(item, key) for key, item in items}
        if isinstance(value, list):
            return [plain(item, "") for item in value]
        return value

    def blkio(value: Any) -> Any:
        if isinstance(value, list):
            return [{key.capitalize(): item for key, item in one.items()} for one in value]
        return value

    tree = {key: plain(item, key) for key, item in stack.canonical.items() if key != "models"}
    return json.dumps(tree, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def as_yaml(stack: Stack, dollars: bool) -> str:
    from cais.source.emit import dump

    return dump(stack.canonical, dollars=dollars)
