"""`cais config`: the project as it is understood, in canonical form."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from cais.cli.options import STRING, Command, Flag, parse
from cais.cli.project import GlobalOptions
from cais.diag.api import CaisError

if TYPE_CHECKING:
    from cais.cli.options import Given
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

TOP = ("name", "services", "jobs", "networks", "volumes", "secrets", "configs", "models")
LISTS = ("services", "volumes", "networks", "models")  # of the whole project; they need no env files
LISTED = (*LISTS, "hash", "images", "profiles", "environment")


def run(options: GlobalOptions, argv: list[str]) -> int:
    given = parse(COMMAND, argv)
    from cais.load.api import load_with
    from cais.load.job import Options

    whole = any(given.said(name) for name in LISTS)
    interpolate = not given.flag("no-interpolate") and not given.flag("variables")
    chosen = Options(
        paths=options.files,
        project_directory=options.project_directory,
        project_name=options.project_name,
        profiles=options.profiles,
        env_files=options.env_files,
        services=None if whole or given.said("hash") or not interpolate else tuple(given.args) or None,
        interpolate=interpolate,
        validate=not given.flag("variables"),
        normalize=not given.flag("no-normalize"),
        consistency=not given.flag("no-consistency"),
        unique_names=not any(given.said(name) for name in LISTED),
        resolve_paths=not given.flag("no-path-resolution"),
        resolve_environment=not given.flag("no-env-resolution") and not whole,
    )
    try:
        stack = load_with(chosen)
        if stack.warnings:
            from cais.cli.errors import show

            show(stack.warnings, ansi=options.ansi)
        text = output(stack, given)
    except CaisError as error:
        if given.text("format") != "json":
            raise
        return failed_as_json(error)
    if given.flag("quiet"):
        return 0
    target = given.text("output")
    if target:
        with open(target, "w", encoding="utf-8") as file:
            file.write(text)
    else:
        sys.stdout.write(text)
    return 0


def failed_as_json(error: CaisError) -> int:
    """The faults as values on stdout, and as ever on stderr."""
    import json

    from cais.cli.errors import show
    from cais.diag.values import as_values

    found = error.diagnostics()
    sys.stdout.write(json.dumps({"diagnostics": as_values(found)}, indent=2, ensure_ascii=False) + "\n")
    show(found)
    return error.exit_code


def output(stack: Stack, given: Given) -> str:
    tree = stack.canonical
    for section in ("services", "volumes", "networks"):
        if given.flag(section):
            return lines(sorted(tree.get(section) or ()))
    if given.flag("models"):
        return lines(sorted(str(one.get("model", "")) for one in (tree.get("models") or {}).values()))
    if given.flag("profiles"):
        return lines(stack.all_profiles)
    if given.flag("images"):
        return lines(image for _, image in images(stack))
    if given.flag("environment"):
        return lines(sorted(f"{name}={value}" for name, value in stack.environment.items()))
    if given.said("hash"):
        return hashes(stack, given.text("hash"))
    if given.flag("variables"):
        from cais.load.variables import table

        return table(tree, given.text("format"))
    if given.flag("origin"):
        from cais.load.origin import with_origin

        return with_origin(stack)
    if given.flag("lock-image-digests"):
        return dump_locked(stack)
    if given.flag("resolve-image-digests"):
        from cais.cli.digests import pinned

        for name, image in pinned(stack).items():
            stack.canonical["services"][name]["image"] = image
    if given.flag("no-interpolate"):
        return as_it_stands(stack, given.text("format"))
    if given.text("format") == "json":
        return as_json(stack)
    return as_yaml(stack)


def images(stack: Stack) -> list[tuple[str, str]]:
    """Each service's image; what a build makes is named after project and service."""
    services = stack.canonical.get("services") or {}
    return [(name, service.get("image") or f"{stack.name}-{name}") for name, service in sorted(services.items())]


def hashes(stack: Stack, wanted: str) -> str:
    """Docker Compose's hash of each service: it changes when, and only when, its container must be made again."""
    from cais.load.fingerprint import fingerprint

    services = values(stack, dollars=False).get("services") or {}
    names = sorted(services) if wanted == "*" else sorted(wanted.split(","))
    for name in names:
        if name not in services:
            raise CaisError(f"no such service: {name}", exit_code=1)
    return lines(f"{name} {fingerprint(services[name])}" for name in names)


def dump_locked(stack: Stack) -> str:
    """An override file that holds every image fast."""
    from cais.cli.digests import pinned
    from cais.source.emit import dump

    images = pinned(stack)
    services = sorted(stack.canonical.get("services") or {})
    return dump({"services": {name: {"image": images[name]} if name in images else {} for name in services}})


def lines(items: Any) -> str:
    return "".join(f"{one}\n" for one in items)


def as_it_stands(stack: Stack, form: str) -> str:
    """The model before Go's types: every key, sorted, each variable as it was written."""
    if form == "json":
        import json

        return json.dumps(stack.canonical, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    from cais.source.emit import dump

    return dump(stack.canonical, fold=True)


def as_json(stack: Stack) -> str:
    import json

    return json.dumps(values(stack, dollars=True), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def values(stack: Stack, *, dollars: bool) -> dict[str, Any]:
    """What Docker Compose's JSON holds: `x-…` keys at the top only, no models, Go's own names in blkio_config."""

    def plain(value: Any, name: str) -> Any:
        if value.__class__ is str:
            return value.replace("$", "$$") if dollars else value
        if value.__class__ is float and value.is_integer():
            return int(value)
        if isinstance(value, dict):
            items = value.items()
            if id(value) in stack.extended:
                items = [(key, item) for key, item in items if not key.startswith("x-")]  # type: ignore[assignment]
            if name == "blkio_config":
                return {key: blkio(item) for key, item in items}
            if dollars:
                return {key.replace("$", "$$"): plain(item, key) for key, item in items}
            return {key: plain(item, key) for key, item in items}
        if isinstance(value, list):
            return [plain(item, "") for item in value]
        return value

    def blkio(value: Any) -> Any:
        if isinstance(value, list):
            return [{key.capitalize(): item for key, item in one.items()} for one in value]
        return value

    return {key: plain(item, key) for key, item in stack.canonical.items() if key != "models"}


def as_yaml(stack: Stack) -> str:
    from cais.load.members import PROJECT
    from cais.source.emit import dump

    tree = without_defaults(stack.canonical)
    order = [key for key in TOP if key in tree] + sorted(key for key in tree if key not in TOP)
    shapes: dict[str, Any] = PROJECT
    return "".join(dump({key: tree[key]}, dollars=True, shape={key: shapes.get(key)}, fold=True) for key in order)


def without_defaults(tree: Any) -> Any:
    """Docker Compose's YAML leaves out what its JSON shows empty: commands of the image, addresses, placement."""
    tree = dict(tree)
    for section in ("services", "jobs", "networks"):
        if tree.get(section):
            tree[section] = {name: bare(entry) for name, entry in tree[section].items()}
    for name, entry in (tree.get("jobs") or {}).items():
        entry["name"] = name  # its JSON does without
    return tree


def both(limit: Any) -> Any:
    return {"soft": limit.get("soft", 0), "hard": limit.get("hard", 0)} if isinstance(limit, dict) else limit


def bare(entry: Any) -> Any:
    if not isinstance(entry, dict):
        return entry
    kept = dict(entry)
    for key in ("command", "entrypoint"):
        if key in kept and kept[key] is None:
            del kept[key]
    if kept.get("ulimits"):
        kept["ulimits"] = {name: both(limit) for name, limit in kept["ulimits"].items()}
    if isinstance(kept.get("build"), dict):
        kept["build"] = bare(kept["build"])
    if kept.get("ipam") == {}:
        del kept["ipam"]
    if "deploy" in kept:
        kept["deploy"] = {
            key: value for key, value in kept["deploy"].items() if value != {} or key not in ("resources", "placement")
        }
    if kept.get("pre_start"):
        kept["pre_start"] = [bare(hook) for hook in kept["pre_start"]]
    if isinstance(kept.get("develop"), dict) and kept["develop"].get("watch"):
        watches = [
            {key: value for key, value in watch.items() if key != "exec" or value.get("command") is not None}
            for watch in kept["develop"]["watch"]
        ]
        kept["develop"] = {**kept["develop"], "watch": watches}
    return kept
