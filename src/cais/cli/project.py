"""Which project a command is about: the options that stand before the verb, and loading the files they name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from cais.cli.options import INT, STRING, STRINGS, Command, Flag, parse
from cais.diag.api import CaisError

if TYPE_CHECKING:
    from typing import TextIO

    from cais.cli.progress import Ansi, Mode, Progress
    from cais.model.api import Stack

ANSI = ("never", "always", "auto")
PROGRESS = ("auto", "tty", "plain", "json", "quiet")
# Programs are fetched when they are missing, whatever is said; Compose's words are taken (`pkg/compose/pull.go`).
PULL = Flag(
    "pull",
    'Pull image before running ("always"|"missing"|"never"): here programs are fetched when they are missing',
    "",
    STRING,
    '"policy"',
    ("always", "missing", "never", "if_not_present", "build"),
)

# Docker Compose's, in its words (`docker compose --help`, 5.6.1).
GLOBALS = Command(
    "",
    "Run, check and ship the stack of a compose.yaml, without Docker",
    "[OPTIONS] COMMAND",
    (
        Flag("all-resources", "Include all resources, even those not used by services"),
        Flag("ansi", 'Control when to print ANSI control characters ("never"|"always"|"auto")', "", STRING, '"auto"'),
        Flag("compatibility", "Accepted for Docker Compose's sake, changes nothing"),
        Flag("env-file", "Specify an alternate environment file", kind=STRINGS),
        Flag("file", "Compose configuration files", "f", STRINGS),
        Flag("parallel", "Control max parallelism, -1 for unlimited", "", INT, "-1"),
        Flag("profile", "Specify a profile to enable", "", STRINGS),
        Flag("progress", f"Set type of progress output ({', '.join(PROGRESS)})", "", STRING),
        Flag(
            "project-directory",
            "Specify an alternate working directory (default: the path of the, first specified, Compose file)",
            "",
            STRING,
        ),
        Flag("project-name", "Project name", "p", STRING),
        Flag("version", "Show the version", "v"),
        Flag("verbose", "Accepted for Docker Compose's sake", hidden=True),
    ),
    interspersed=False,
)


class GlobalOptions(NamedTuple):
    """What stood before the verb. Variables that Compose reads (COMPOSE_FILE, …) are the loader's matter."""

    files: tuple[str, ...] = ()
    project_name: str | None = None
    profiles: tuple[str, ...] = ()
    env_files: tuple[str, ...] = ()
    project_directory: str | None = None
    ansi: Ansi = "auto"
    progress: Mode = "auto"
    parallel: int = -1
    compatibility: bool = False
    all_resources: bool = False
    dry_run: bool = False


def read_globals(argv: list[str]) -> tuple[GlobalOptions, bool, list[str]]:
    """The options before the verb, whether `--version` was among them, and the verb with what follows it."""
    from os import environ

    given = parse(GLOBALS, argv)
    ansi = given.text("ansi") or environ.get("COMPOSE_ANSI", "") or "auto"
    if ansi not in ANSI:
        raise CaisError(f'invalid value for --ansi: "{ansi}"', hint="it takes never, always or auto", exit_code=2)
    progress = given.text("progress") or environ.get("COMPOSE_PROGRESS", "") or "auto"
    if progress not in PROGRESS:
        raise CaisError(
            f'unsupported --progress value "{progress}"', hint=f"it takes {', '.join(PROGRESS)}", exit_code=2
        )
    parallel = given.number("parallel")
    options = GlobalOptions(
        files=given.texts("file"),
        project_name=given.text("project-name") or None,
        profiles=given.texts("profile"),
        env_files=given.texts("env-file"),
        project_directory=given.text("project-directory") or None,
        ansi=ansi,  # type: ignore[arg-type]
        progress=progress,  # type: ignore[arg-type]
        parallel=-1 if parallel is None else parallel,
        compatibility=given.flag("compatibility"),
        all_resources=given.flag("all-resources"),
        dry_run=given.flag("dry-run"),
    )
    return options, given.flag("version"), given.args


def load_stack(
    options: GlobalOptions, services: Sequence[str] | None = None, *, environment: bool = True, quiet: bool = False
) -> Stack:
    """The stack that the options name; its warnings are printed, unless `quiet`. Raises Faults with every fault found.

    `environment`: read the services' env files too. As in Docker Compose, only what makes instances needs them: `ps`
    or `down` go by a file that has gone, and do not warn of what is in it.
    """
    from cais.cli.errors import show
    from cais.load.api import load

    stack = load(
        options.files,
        project_directory=options.project_directory,
        project_name=options.project_name,
        profiles=options.profiles,
        env_files=options.env_files,
        services=services,
        resolve_environment=environment,
    )
    if not quiet:
        show(stack.warnings, ansi=options.ansi)
    return stack


def all_services(options: GlobalOptions) -> tuple[str, ...]:
    """Of the whole file: a service that a profile hides is no orphan."""
    return tuple(load_stack(options._replace(profiles=("*",)), environment=False, quiet=True).services)


def make_progress(options: GlobalOptions, title: str, stream: TextIO | None = None) -> Progress:
    """The display that `--progress` and `--ansi` ask for."""
    from cais.cli.progress import Progress

    return Progress(stream, ansi=options.ansi, mode=options.progress, title=title)
