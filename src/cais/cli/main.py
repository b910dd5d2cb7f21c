"""Maps a verb to a module and imports only that one; the only place that catches.

`cais --version` and `--help` cost little more than a bare Python: nothing is imported here but `sys`.
"""

import sys

# verb: (module, summary). A module has `run(options, argv) -> int` and `COMMAND`, whose summary is this one.
VERBS = {
    "build": ("build", "Build or rebuild services"),
    "config": ("config", "Parse, resolve and render compose file in canonical format"),
    "doctor": ("doctor", "Show what this machine can do, a line each with what follows from it"),
    "down": ("down", "Stop and remove containers, networks"),
    "exec": ("exec", "Execute a command in a running container"),
    "images": ("images", "List images used by the created containers"),
    "kill": ("kill", "Force stop service containers"),
    "logs": ("logs", "View output from containers"),
    "ls": ("ls", "List running compose projects"),
    "new": ("new", "Write a complete example stack into a folder"),
    "port": ("port", "List port mappings or print the public port for a specific mapping for the service"),
    "ps": ("ps", "List containers"),
    "restart": ("restart", "Restart service containers"),
    "run": ("run", "Run a one-off command on a service"),
    "start": ("start", "Start services"),
    "stop": ("stop", "Stop services"),
    "up": ("up", "Create and start containers"),
    "version": ("version", "Show the Cais version information"),
}

# Docker Compose has these and Cais has not, yet.
_ABSENT = (
    "alpha attach bridge commit convert cp create events export pause publish pull push rm scale stats top unpause "
    "volumes wait watch"
)
ABSENT = _ABSENT.split()

# The page of `cais --help` is text, not made from GLOBALS: making it would cost its imports. A test holds them equal.
HELP_OPTIONS = """\
      --all-resources              Include all resources, even those not
                                   used by services
      --ansi string                Control when to print ANSI control
                                   characters ("never"|"always"|"auto")
                                   (default "auto")
      --compatibility              Accepted for Docker Compose's sake,
                                   changes nothing
      --dry-run                    Execute command in dry run mode
      --env-file stringArray       Specify an alternate environment file
  -f, --file stringArray           Compose configuration files
      --parallel int               Control max parallelism, -1 for
                                   unlimited (default -1)
      --profile stringArray        Specify a profile to enable
      --progress string            Set type of progress output (auto,
                                   tty, plain, json, quiet)
      --project-directory string   Specify an alternate working directory
                                   (default: the path of the, first
                                   specified, Compose file)
  -p, --project-name string        Project name
  -v, --version                    Show the version
"""


def help_text() -> str:
    verbs = "".join(f"  {verb:<10}{summary}\n" for verb, (_, summary) in VERBS.items())
    return (
        "Usage:  cais [OPTIONS] COMMAND\n\n"
        "Run, check and ship the stack of a compose.yaml, without Docker\n\n"
        f"Options:\n{HELP_OPTIONS}\nCommands:\n{verbs}\n"
        "Run 'cais COMMAND --help' for more information on a command.\n"
    )


def main(argv: list[str] | None = None) -> int:
    """Run one command line and return its exit code; never raises, never shows a traceback."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        code = _run(argv)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return _pipe_closed()
    except Exception as error:
        from cais.cli.errors import failed

        code = failed(error, argv)
        _let_go_of_stdout()
    return code


def _run(argv: list[str]) -> int:
    if argv in ([], ["--help"], ["-h"], ["help"]):
        sys.stdout.write(help_text())
        return 0
    if argv in (["--version"], ["-v"]):
        return _version()
    import gc

    gc.set_threshold(20_000, 20, 20)  # what a command imports and loads is no garbage: less looking for some
    from cais.cli.options import Asked, help_page, nearest
    from cais.cli.project import read_globals
    from cais.diag.api import CaisError

    try:
        options, version, words = read_globals(argv)
    except Asked:
        sys.stdout.write(help_text())
        return 0
    if version:
        return _version()
    if words[:1] == ["help"]:
        words = [*words[1:2], "--help"] if words[1:] else []
    if not words:
        sys.stdout.write(help_text())
        return 0
    verb, *rest = words
    if verb not in VERBS:
        if verb in ABSENT:
            raise CaisError(f"'{verb}' is a command of Docker Compose that Cais does not have yet", exit_code=2)
        near = nearest(verb, [*VERBS, "help"])
        hint = f"did you mean '{near}'?" if near else "'cais --help' lists the commands"
        raise CaisError(f"unknown command: {verb}", hint=hint, exit_code=2)

    from importlib import import_module

    module = import_module(f"cais.cli.{VERBS[verb][0]}")
    try:
        return int(module.run(options, rest))
    except Asked:
        sys.stdout.write(help_page(module.COMMAND))
        return 0


def _version() -> int:
    from cais import __version__

    sys.stdout.write(f"cais {__version__}\n")
    return 0


def _pipe_closed() -> int:
    """The reader went (`cais ps | head -1`): end as a program that SIGPIPE killed, quietly."""
    _let_go_of_stdout()
    return 141


def _let_go_of_stdout() -> None:
    """What cannot be written must not be tried again: Python flushes at its end, complains and exits with 120
    (https://docs.python.org/3/library/signal.html#note-on-sigpipe).
    """
    import os

    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except (OSError, ValueError):
            pass
