"""Flags of a command as a table, and the parser and help page made from it.

The syntax is that of Docker Compose (pflag): `--tail 5`, `--tail=5`, `-n 5`, `-n5`, `-aq`, `--no-deps=false`, `--`
ends the flags. argparse is not used: it knows neither that syntax nor flags that stop at the first word, and its
import costs half of what `cais --help` may take.

    COMMAND = Command("ps", "List containers", "[OPTIONS] [SERVICE...]", (Flag("all", "Show all", short="a"),))

    def run(options: GlobalOptions, argv: list[str]) -> int:
        given = parse(COMMAND, argv)
        if given.flag("all"): ...
"""

from typing import NamedTuple

from cais.diag.api import CaisError

BOOL, STRING, INT, STRINGS = "bool", "string", "int", "stringArray"
WIDTH = 79  # Docker leaves one of 80 columns free (docker/cli, cli/cobra.go, wrappedFlagUsages)


class Flag(NamedTuple):
    """`name` is without dashes. `kind` is one of the words above; `STRINGS` may be repeated.

    `also` are names that mean the same, as Docker Compose takes them and shows them nowhere (pflag's normalization).

    `default` is what the help shows after the text; the parser knows no defaults: `Given` answers False, "", () or
    None. `optional` is the value of the flag without one (pflag's NoOptDefVal), for kinds other than bool.
    """

    name: str
    help: str
    short: str = ""
    kind: str = BOOL
    default: str = ""
    choices: tuple[str, ...] = ()
    hidden: bool = False
    type_name: str = ""  # the word the help shows for the value when it is not `kind`
    also: tuple[str, ...] = ()


class Command(NamedTuple):
    """One verb. `interspersed` False: flags end at the first argument, what follows belongs to another program."""

    name: str
    summary: str
    usage: str = "[OPTIONS]"
    flags: tuple[Flag, ...] = ()
    interspersed: bool = True
    least: int = 0
    most: int | None = None
    more: str = ""  # paragraphs after the options


DRY_RUN = Flag("dry-run", "Execute command in dry run mode")


class Asked(Exception):
    """`--help` was among the flags; the page is printed and nothing else happens. Caught by main."""


class Given:
    """What the command line said. Asking for a flag that the command has not is a mistake of ours (KeyError)."""

    def __init__(self, command: Command) -> None:
        self._known = {f.name for f in flags_of(command)}
        self._values: dict[str, list[str]] = {}
        self.args: list[str] = []

    def add(self, name: str, value: str) -> None:
        self._values.setdefault(name, []).append(value)

    def said(self, name: str) -> bool:
        """Whether the flag was on the command line at all."""
        if name not in self._known:
            raise KeyError(name)
        return name in self._values

    def flag(self, name: str, default: bool = False) -> bool:
        return self._values[name][-1] == "true" if self.said(name) else default

    def text(self, name: str, default: str = "") -> str:
        return self._values[name][-1] if self.said(name) else default

    def texts(self, name: str) -> tuple[str, ...]:
        return tuple(self._values[name]) if self.said(name) else ()

    def number(self, name: str) -> int | None:
        return int(self._values[name][-1]) if self.said(name) else None


def flags_of(command: Command) -> tuple[Flag, ...]:
    """Its flags and the one that every verb has."""
    if any(f.name == "dry-run" for f in command.flags):
        return command.flags
    return (*command.flags, DRY_RUN)


def usage_error(command: Command, message: str, hint: str = "") -> CaisError:
    page = f"see 'cais {command.name} --help'" if command.name else "see 'cais --help'"
    return CaisError(message, hint=f"{hint}; {page}" if hint else page, exit_code=2)


def nearest(word: str, words: list[str]) -> str:
    """The one of `words` that `word` was probably meant to be, or ""."""
    from difflib import get_close_matches

    starts = [w for w in words if w.startswith(word)] if len(word) > 2 else []
    found = starts if len(starts) == 1 else get_close_matches(word, words, n=1, cutoff=0.6)
    return found[0] if found else ""


# pflag takes what Go's strconv.ParseBool takes.
_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")


def parse(command: Command, argv: list[str]) -> Given:
    """Read `argv`; raises CaisError with exit code 2 on a mistake, Asked after printing the help."""
    given = Given(command)
    by_name = {name: f for f in flags_of(command) for name in (f.name, *f.also)}
    by_short = {f.short: f for f in flags_of(command) if f.short}
    words = list(argv)
    while words:
        word = words.pop(0)
        if word == "--":
            given.args += words
            break
        if word.startswith("--"):
            _long(command, given, by_name, word, words)
        elif word.startswith("-") and word != "-":
            _shorts(command, given, by_short, word, words)
        elif command.interspersed:
            given.args.append(word)
        else:
            given.args += [word, *words]
            break
    count = len(given.args)
    if count < command.least:
        raise usage_error(command, f"{command.name} needs at least {_some(command.least)}, {count or 'none'} given")
    if command.most is not None and count > command.most:
        takes = f"at most {_some(command.most)}" if command.most else "no arguments"
        extra = given.args[command.most]
        raise usage_error(command, f"{command.name} takes {takes}, {extra!r} is one too many")
    return given


def _some(count: int) -> str:
    return f"{count} argument{'s' if count != 1 else ''}"


def _long(command: Command, given: Given, known: dict[str, Flag], word: str, words: list[str]) -> None:
    name, equals, value = word[2:].partition("=")
    if name == "help":
        raise Asked
    flag = known.get(name)
    if flag is None:
        raise usage_error(command, f"unknown flag: --{name}", _advice(command, name, list(known)))
    if not equals:
        value = "true" if flag.kind == BOOL else _next(command, f"--{name}", words)
    _take(command, given, flag, value)


def _advice(command: Command, name: str, known: list[str]) -> str:
    if command.name:
        from cais.cli.project import GLOBALS

        for option in GLOBALS.flags:
            if name == option.name or name == option.short:
                dash = f"--{name}" if name == option.name else f"-{name}"
                return f"{dash} stands before the verb: cais {dash} … {command.name}"
    near = nearest(name, known)
    return f"did you mean --{near}?" if near else ""


def _shorts(command: Command, given: Given, known: dict[str, Flag], word: str, words: list[str]) -> None:
    letters = word[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        if letter == "h" and "h" not in known:
            raise Asked
        flag = known.get(letter)
        if flag is None:
            hint = _advice(command, letter, [])
            raise usage_error(command, f"unknown shorthand flag: {letter!r} in {word}", hint)
        if letters.startswith("="):
            value, letters = letters[1:], ""
        elif flag.kind == BOOL:
            value = "true"
        else:
            value, letters = letters or _next(command, f"-{letter}", words), ""
        _take(command, given, flag, value)


def _next(command: Command, flag: str, words: list[str]) -> str:
    if not words:
        raise usage_error(command, f"flag needs an argument: {flag}")
    return words.pop(0)


def _take(command: Command, given: Given, flag: Flag, value: str) -> None:
    wrong = f'invalid argument "{value}" for "--{flag.name}" flag'
    if flag.kind == BOOL:
        if value not in _TRUE + _FALSE:
            raise usage_error(command, wrong, "it takes true or false, or nothing at all")
        value = "true" if value in _TRUE else "false"
    elif flag.kind == INT:
        try:
            value = str(int(value))
        except ValueError:
            raise usage_error(command, wrong, "it takes a whole number") from None
    elif flag.choices and value not in flag.choices:
        raise usage_error(command, wrong, f"it takes {', '.join(flag.choices[:-1])} or {flag.choices[-1]}")
    given.add(flag.name, value)


# -- the help page ---------------------------------------------------------------------------------------------------


def help_page(command: Command, width: int = WIDTH) -> str:
    """As Docker lays it out: usage, summary, options."""
    verb = f"cais {command.name}" if command.name else "cais"
    page = f"Usage:  {verb} {command.usage}\n\n{command.summary}\n"
    options = options_text(flags_of(command), width)
    if options:
        page += f"\nOptions:\n{options}"
    if command.more:
        page += f"\n{command.more}\n"
    return page


def options_text(flags: tuple[Flag, ...], width: int = WIDTH) -> str:
    rows = []
    for flag in sorted(flags, key=lambda f: f.name):
        if flag.hidden:
            continue
        left = f"  {f'-{flag.short}, ' if flag.short else '    '}--{flag.name}"
        kind = flag.type_name or ("" if flag.kind == BOOL else flag.kind)
        text = flag.help + (f" (default {flag.default})" if flag.default else "")
        rows.append((f"{left} {kind}".rstrip(), text))
    column = max((len(left) for left, _ in rows), default=0) + 3
    out = []
    for left, text in rows:
        lines = _wrap(text, max(24, width - column))
        out.append(f"{left:<{column}}{lines[0]}\n")
        out.extend(f"{'':<{column}}{line}\n" for line in lines[1:])
    return "".join(out)


def _wrap(text: str, width: int) -> list[str]:
    """Lines as pflag breaks them: five columns early, unless what remains fits (spf13/pflag, `wrapN`)."""
    lines = []
    while len(text) >= width:
        cut = text.rfind(" ", 0, width - 5)
        if cut <= 0:
            break
        lines.append(text[:cut])
        text = text[cut + 1 :]
    return [*lines, text]
