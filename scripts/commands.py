"""Write docs/commands.md from the option tables of src/cais/cli; `--check` only says whether it is up to date."""

import sys
from importlib import import_module
from pathlib import Path

from cais.cli.main import ABSENT, VERBS
from cais.cli.options import BOOL, Command, Flag, flags_of
from cais.cli.project import GLOBALS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "commands.md"

HEAD = """\
# Commands

Verbs, flags and what they print are Docker Compose's wherever Compose has them; options of the project stand before
the verb (`cais -f compose.prod.yaml up -d`). This page is made from the tables that the program itself reads, by
`python scripts/commands.py`.

Exit codes: 0 fine, 1 something was found or failed, 2 the command line is wrong, 3 a fault in Cais (a report is
written and named), 130 ended by ^C. `exec`, `run`, `up --exit-code-from` and `up --abort-on-container-exit` return the
service's own.
"""

TAIL = """\
## Not there yet

Docker Compose has these verbs and Cais has not: {absent}. Each says so and exits with 2.
"""


def page() -> str:
    parts = [HEAD, "## Before the verb\n\n" + rows(tuple(f for f in flags_of(GLOBALS)))]
    parts += [section(import_module(f"cais.cli.{module}").COMMAND) for module, _ in VERBS.values()]
    parts.append(TAIL.format(absent=", ".join(f"`{verb}`" for verb in ABSENT)))
    return "\n".join(parts)


def section(command: Command) -> str:
    text = f"## {command.name}\n\n{command.summary}.\n\n    cais {command.name} {command.usage}\n\n"
    text += rows(flags_of(command))
    return text + (f"\n{command.more}\n" if command.more else "")


def rows(flags: tuple[Flag, ...]) -> str:
    out = "| flag | what it does |\n|---|---|\n"
    for flag in sorted(flags, key=lambda one: one.name):
        if flag.hidden:
            continue
        kind = "" if flag.kind == BOOL else f" {flag.type_name or flag.kind}"
        short = f"`-{flag.short}`, " if flag.short else ""
        default = f" (default {flag.default})" if flag.default else ""
        text = f"{flag.help}{default}".replace("|", "\\|")
        out += f"| {short}`--{flag.name}{kind}` | {text} |\n"
    return out


def main() -> int:
    text = page()
    if "--check" in sys.argv[1:]:
        if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text:
            return 0
        print(f"{PAGE.name} is out of date: python scripts/commands.py", file=sys.stderr)
        return 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
