"""Dockerfile text -> instructions that know their place. What they mean is build/'s business; check/ reads them too.

The grammar is that of BuildKit's parser (docs.docker.com/reference/dockerfile, "Format", "Here-documents"):
parser directives at the top, comments and blank lines also inside a continued instruction, `escape` for
continuation, here-documents after RUN, COPY and ADD, JSON ("exec") or shell form. Reading never raises: every
fault is collected, and what could be read is there.
"""

import re
import sys
from bisect import bisect_right
from typing import NamedTuple

from cais.source.api import Span

INSTRUCTIONS = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
]
FLAGS = {
    "ADD": ["chown", "chmod", "link", "keep-git-dir", "checksum", "exclude", "unpack"],
    "COPY": ["from", "chown", "chmod", "link", "parents", "exclude"],
    "FROM": ["platform"],
    "HEALTHCHECK": ["interval", "timeout", "start-period", "start-interval", "retries"],
    "RUN": ["mount", "network", "security", "device"],
}
SWITCHES = {"link", "parents", "keep-git-dir", "unpack"}  # flags that may stand without a value
_REPEATABLE = {"mount", "exclude", "device"}
_HEREDOC = {"RUN", "COPY", "ADD"}
_JSON = {"ADD", "CMD", "COPY", "ENTRYPOINT", "RUN", "SHELL", "VOLUME"}
_SHELL_FORM = {"CMD", "ENTRYPOINT", "RUN", "SHELL"}
_WHOLE_LINE = {"MAINTAINER", "STOPSIGNAL", "USER", "WORKDIR"}
_DIRECTIVE = re.compile(r"^#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*$")
_HEREDOC_WORD = re.compile(r"^(\d*)<<(-?)([^<]*)$")
MAX_BYTES = 8 * 1024 * 1024  # far beyond any Dockerfile; a reader must end on hostile input


class Fault(NamedTuple):
    """Something wrong in the text; diag's Diagnostic is made from it one layer up."""

    code: str
    message: str
    span: Span
    hint: str = ""
    severity: str = "error"


class Word(NamedTuple):
    text: str
    span: Span


class Flag(NamedTuple):
    """`--name=value` after an instruction; `value` is None for a bare switch such as `--link`."""

    name: str
    value: str | None
    span: Span


class Pair(NamedTuple):
    """`NAME=value` of ARG, ENV and LABEL, quotes kept; `value` is None for `ARG NAME`."""

    name: Word
    value: Word | None


class Heredoc(NamedTuple):
    """`<<EOF`. `expand` is false when the name was quoted; `chomp` (`<<-`) has taken leading tabs away already."""

    name: str
    content: str
    expand: bool
    chomp: bool
    span: Span


class Instruction(NamedTuple):
    """One instruction. `text` is all after its name and flags, continued lines joined.

    `words` are the arguments as this instruction takes them: the items of a JSON form, one whole command in
    shell form, else what white space separates. HEALTHCHECK's first word is `CMD` or `NONE`. ONBUILD has `inner`.
    """

    name: str
    text: str
    words: tuple[Word, ...]
    span: Span
    flags: tuple[Flag, ...] = ()
    pairs: tuple[Pair, ...] = ()
    heredocs: tuple[Heredoc, ...] = ()
    json: bool = False
    inner: "Instruction | None" = None
    source: str = ""  # as written, without heredoc bodies: what progress shows

    def flag(self, name: str) -> str | None:
        """The value of the last flag of that name; a bare switch is "true"."""
        found = None
        for flag in self.flags:
            if flag.name == name:
                found = "true" if flag.value is None else flag.value
        return found

    def all_flags(self, name: str) -> list[Flag]:
        return [f for f in self.flags if f.name == name]


class Dockerfile(NamedTuple):
    file: str
    instructions: tuple[Instruction, ...]
    directives: tuple[tuple[str, str], ...]
    escape: str
    faults: tuple[Fault, ...]


class _Line:
    """A logical line: the text of one or more physical ones, and where each part of it came from."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.texts: list[str] = []
        self.parts: list[tuple[int, int, int]] = []  # (offset, line, column)
        self.length = 0

    def add(self, text: str, line: int, column: int) -> None:
        self.parts.append((self.length, line, column))
        self.texts.append(text)
        self.length += len(text)

    def end(self) -> "_Line":
        """No more lines come: `text` is all of it, white space at the end away."""
        self.text = "".join(self.texts).rstrip()
        return self

    def at(self, offset: int) -> tuple[int, int]:
        after = bisect_right(self.parts, (offset, sys.maxsize, 0))
        start, line, column = self.parts[max(0, after - 1)]
        return line, column + offset - start

    def span(self, start: int, end: int) -> Span:
        line, column = self.at(start)
        end_line, end_column = self.at(max(start, end - 1))
        return Span(self.file, line, column, end_line, end_column + 1)


def read(text: str, file: str = "Dockerfile", *, below: int = 0, indent: int = 0) -> Dockerfile:
    """Read a whole Dockerfile. Every fault is in `faults`; instructions that could be read are there anyway.

    `below` and `indent`: the lines above the text and the columns before it, where it stands inside another file.
    """
    return _Reader(text, file, below, indent).read()


class _Reader:
    def __init__(self, text: str, file: str, below: int = 0, indent: int = 0) -> None:
        self.file, self.below, self.indent = file, below, indent
        self.faults: list[Fault] = []
        self.lines = text[:MAX_BYTES].removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
        if len(text) > MAX_BYTES:
            self._fault("dockerfile-too-large", f"a Dockerfile larger than {MAX_BYTES >> 20} MiB is not read", 1, 1)
        self.escape = "\\"
        self.index = 0

    def _fault(self, code: str, message: str, line: int, column: int, hint: str = "", severity: str = "error") -> None:
        span = Span(self.file, line + self.below, column + self.indent)
        self.faults.append(Fault(code, message, span, hint, severity))

    def read(self) -> Dockerfile:
        directives = self._directives()
        found = []
        while (logical := self._logical_line()) is not None:
            instruction = self._instruction(logical)
            if instruction is not None:
                found.append(instruction)
        if not found and not self.faults:
            self._fault("dockerfile-empty", "this Dockerfile has no instruction", 1, 1, "begin with FROM <image>")
        return Dockerfile(self.file, tuple(found), tuple(directives.items()), self.escape, tuple(self.faults))

    def _directives(self) -> dict[str, str]:
        """`# syntax=`, `# escape=`, `# check=`: only before everything else, a blank line included."""
        found: dict[str, str] = {}
        for number, line in enumerate(self.lines, 1):
            match = _DIRECTIVE.match(line.strip())
            if match is None:
                break
            name, value = match[1].lower(), match[2]
            if name not in {"syntax", "escape", "check"}:
                break
            if name in found:
                self._fault("dockerfile-directive-twice", f"the parser directive {name!r} is given twice", number, 1)
                continue
            found[name] = value
            if name == "escape":
                if value not in {"\\", "`"}:
                    self._fault(
                        "dockerfile-escape", f"escape is {value!r}", number, 1, r"it may be \ or ` and nothing else"
                    )
                else:
                    self.escape = value
        return found

    def _logical_line(self) -> _Line | None:
        """The next instruction's lines joined; comments and blank lines between them dropped, as BuildKit does."""
        logical = _Line(self.file)
        escape = re.escape(self.escape)
        continued = re.compile(rf"(?:^|(?<=[^{escape}])){escape}[ \t]*$")
        while self.index < len(self.lines):
            number, line = self.index + 1, self.lines[self.index]
            self.index += 1
            stripped = line.lstrip(" \t")
            if not stripped.strip() or stripped.startswith("#"):
                continue  # inside a continued instruction too
            text, column = (stripped, len(line) - len(stripped) + 1) if not logical.parts else (line, 1)
            match = continued.search(text)
            logical.add(text[: match.start()] if match else text, number + self.below, column + self.indent)
            if match is None:
                return logical.end()
        return logical.end() if logical.parts else None

    def _instruction(self, logical: _Line, start: int = 0) -> Instruction | None:
        text = logical.text
        match = re.compile(r"\s*(\S+)\s*").match(text, start)
        if match is None:
            return None
        word, name = match[1], match[1].upper()
        span = logical.span(match.start(1), len(text))
        if name not in INSTRUCTIONS:
            self._unknown(word, logical.span(match.start(1), match.end(1)))
            return None
        position = match.end()
        flags, position = self._flags(name, logical, position)
        rest = text[position:].rstrip()
        whole = Word(rest, logical.span(position, position + len(rest)))
        heredocs = self._heredocs(logical, position) if name in _HEREDOC else ()
        source = " ".join(text[start:].split())
        made = Instruction(name, rest, (), span, flags, heredocs=heredocs, source=source)
        if not rest and name != "HEALTHCHECK":
            self._needs(made, "an argument")
            return None
        if name == "ONBUILD":
            return self._onbuild(made, logical, position)
        if name == "HEALTHCHECK":
            return self._healthcheck(made, logical, position)
        if name in {"ENV", "LABEL", "ARG"}:
            return self._named_values(made, logical, position)
        if name in _JSON:
            items = self._json(made, whole)
            if items is not None:
                return made._replace(words=items, json=True)
        if name in _SHELL_FORM or name in _WHOLE_LINE:
            if name == "SHELL":
                self._fault_at("dockerfile-shell", "SHELL takes a JSON list", whole.span, 'SHELL ["/bin/bash", "-c"]')
                return None
            return made._replace(words=(whole,))
        words = tuple(
            Word(m[0], logical.span(m.start(), m.end())) for m in re.compile(r"[^\t\v\f\r ]+").finditer(text, position)
        )
        return self._counted(made._replace(words=words))

    def _fault_at(self, code: str, message: str, span: Span, hint: str = "", severity: str = "error") -> None:
        self.faults.append(Fault(code, message, span, hint, severity))

    def _needs(self, made: Instruction, what: str) -> None:
        self._fault_at("dockerfile-arguments", f"{made.name} needs {what}", made.span)

    def _unknown(self, word: str, span: Span) -> None:
        near = _nearest(word.upper(), INSTRUCTIONS)
        hint = f"did you mean {near}?" if near else f"an instruction is one of {', '.join(INSTRUCTIONS)}"
        if word in {"&&", "||", "|"} or word.startswith("-"):
            hint = f"end the line before with {self.escape} to continue it"
        self._fault_at("dockerfile-unknown-instruction", f"{word[:60]!r} is not a Dockerfile instruction", span, hint)

    def _flags(self, name: str, logical: _Line, position: int) -> tuple[tuple[Flag, ...], int]:
        """`--flag=value` words before the arguments. Quotes group; the escape character takes the next one."""
        flags: list[Flag] = []
        known = FLAGS.get(name, [])
        if name in {"CMD", "ENTRYPOINT", "SHELL", "MAINTAINER", "ONBUILD"}:
            return (), position
        while logical.text.startswith("--", position):
            word, end = _quoted_word(logical.text, position, self.escape)
            after = _skip_space(logical.text, end)
            if word == "--":
                return tuple(flags), after
            span = logical.span(position, end)
            flag, _, value = word[2:].partition("=")
            if flag not in known:
                near = _nearest(flag, known)
                hint = f"did you mean --{near}?" if near else ""
                if not hint and known:
                    hint = f"{name} takes {', '.join('--' + k for k in known)}"
                self._fault_at("dockerfile-unknown-flag", f"{name} has no flag --{flag}", span, hint)
            elif "=" not in word and flag not in SWITCHES:
                self._fault_at("dockerfile-flag-value", f"--{flag} needs a value", span, f"write --{flag}=…")
            elif flag not in _REPEATABLE and any(f.name == flag for f in flags):
                self._fault_at("dockerfile-flag-twice", f"--{flag} is given twice", span)
            else:
                flags.append(Flag(flag, value if "=" in word else None, span))
            position = after
        return tuple(flags), position

    def _json(self, made: Instruction, whole: Word) -> tuple[Word, ...] | None:
        """The items of `["a", "b"]`, or None for the shell form. What only looks like JSON is shell form, said."""
        if not whole.text.startswith("["):
            return None
        import json

        try:
            items = json.loads(whole.text)
        except ValueError:
            items = None
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            if whole.text.endswith("]"):
                self._fault_at(
                    "dockerfile-json-form",
                    f"{made.name}'s argument looks like a JSON list and is none: taken as a shell command",
                    whole.span,
                    'a JSON list has double quotes: ["a", "b"]',
                    "warning",
                )
            return None
        return tuple(Word(item, whole.span) for item in items)

    def _counted(self, made: Instruction) -> Instruction | None:
        count = len(made.words) + len(made.heredocs) * 0
        match made.name:
            case "FROM" if count not in {1, 3} or (count == 3 and made.words[1].text.upper() != "AS"):
                self._fault_at(
                    "dockerfile-arguments",
                    "FROM takes one image",
                    made.span,
                    "write FROM <image> or FROM <image> AS <name>",
                )
                return None
            case "COPY" | "ADD" if count < 2:
                self._fault_at("dockerfile-arguments", f"{made.name} needs a source and a destination", made.span)
                return None
        return made

    def _onbuild(self, made: Instruction, logical: _Line, position: int) -> Instruction | None:
        inner = self._instruction(logical, position)
        if inner is None:
            return None
        if inner.name in {"ONBUILD", "FROM", "MAINTAINER"}:
            self._fault_at("dockerfile-onbuild", f"ONBUILD {inner.name} is not allowed", inner.span)
            return None
        return made._replace(inner=inner)

    def _healthcheck(self, made: Instruction, logical: _Line, position: int) -> Instruction | None:
        match = re.compile(r"(\S+)\s*").match(logical.text, position)
        kind = match[1].upper() if match else ""
        if match is None or kind not in {"CMD", "NONE"}:
            self._fault_at(
                "dockerfile-healthcheck",
                f"HEALTHCHECK is followed by {match[1]!r}" if match else "HEALTHCHECK needs CMD or NONE",
                made.span,
                "write HEALTHCHECK [options] CMD <command>, or HEALTHCHECK NONE",
            )
            return None
        first = Word(kind, logical.span(match.start(1), match.end(1)))
        rest = logical.text[match.end() :].rstrip()
        whole = Word(rest, logical.span(match.end(), match.end() + len(rest)))
        if kind == "NONE":
            if rest:
                self._fault_at("dockerfile-healthcheck", "HEALTHCHECK NONE takes no arguments", whole.span)
            return made._replace(words=(first,))
        if not rest:
            self._fault_at("dockerfile-healthcheck", "HEALTHCHECK CMD needs a command", made.span)
            return None
        items = self._json(made, whole)
        if items is not None:
            return made._replace(words=(first, *items), json=True)
        return made._replace(words=(first, whole))

    def _named_values(self, made: Instruction, logical: _Line, position: int) -> Instruction | None:
        """`a=1 b="2 3"`; `ENV key the rest` and `LABEL key the rest` are the old form of one pair."""
        words: list[tuple[str, int, int]] = []
        at = position
        while at < len(logical.text):
            word, end = _raw_word(logical.text, at, self.escape)
            words.append((word, at, end))
            at = _skip_space(logical.text, end)
        if made.name != "ARG" and "=" not in words[0][0]:
            name, start, end = words[0]
            value_at = _skip_space(logical.text, end)
            value = logical.text[value_at:].rstrip()
            if not value:
                self._needs(made, "a name and a value")
                return None
            pair = Pair(
                Word(name, logical.span(start, end)), Word(value, logical.span(value_at, value_at + len(value)))
            )
            return made._replace(pairs=(pair,))
        pairs = []
        for word, start, end in words:
            name, equals, value = word.partition("=")
            span = logical.span(start, start + max(1, len(name)))
            if not name or (not equals and made.name != "ARG"):
                self._fault_at(
                    "dockerfile-pair",
                    f"{made.name} cannot read {word[:60]!r}: it is not name=value",
                    logical.span(start, end),
                    "quote a value that has blanks",
                )
                return None
            at_value = start + len(name) + 1
            given = Word(value, logical.span(at_value, max(at_value, end))) if equals else None
            pairs.append(Pair(Word(name, span), given))
        return made._replace(pairs=tuple(pairs))

    def _heredocs(self, logical: _Line, position: int) -> tuple[Heredoc, ...]:
        if logical.text.startswith("[", position):
            return ()
        found: list[Heredoc] = []
        at = position
        while at < len(logical.text):
            word, end = _raw_word(logical.text, at, self.escape)
            span, at = logical.span(at, end), _skip_space(logical.text, end)
            match = _HEREDOC_WORD.match(word)
            if match is None:
                continue
            name = match[3].replace('"', "").replace("'", "").replace(self.escape, "")
            if not name or any(c.isspace() for c in name):
                continue
            found.append(self._body(name, name == match[3], match[2] == "-", span))
        return tuple(found)

    def _body(self, name: str, expand: bool, chomp: bool, span: Span) -> Heredoc:
        lines: list[str] = []
        first = self.index
        while self.index < len(self.lines):
            line = self.lines[self.index]
            self.index += 1
            if (line.lstrip("\t") if chomp else line) == name:
                return Heredoc(name, "".join(lines), expand, chomp, span)
            lines.append((line.lstrip("\t") if chomp else line) + "\n")
        self.index = max(first, self.index)
        self._fault_at(
            "dockerfile-heredoc",
            f"the here-document {name} does not end",
            span,
            f"a line must be {name} and nothing else",
        )
        return Heredoc(name, "".join(lines), expand, chomp, span)


def _nearest(word: str, known: list[str]) -> str:
    import difflib

    found = difflib.get_close_matches(word, known, n=1, cutoff=0.65)
    return found[0] if found else ""


def is_only_heredoc(text: str) -> bool:
    """True when a RUN command is `<<EOF` alone: its body is then the script itself."""
    return _HEREDOC_WORD.match(text.strip()) is not None


def _skip_space(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _raw_word(text: str, at: int, escape: str) -> tuple[str, int]:
    """The word at `at`, quotes and escapes kept, and where it ends."""
    start, quote = at, ""
    while at < len(text):
        char = text[at]
        if char == escape and quote != "'" and at + 1 < len(text):
            at += 2
            continue
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char.isspace():
            break
        at += 1
    return text[start:at], at


def _quoted_word(text: str, at: int, escape: str) -> tuple[str, int]:
    """The same with quotes taken away, as flags are read."""
    raw, end = _raw_word(text, at, escape)
    out, quote, i = "", "", 0
    while i < len(raw):
        char = raw[i]
        if char == escape and i + 1 < len(raw) and raw[i + 1] in f"'\"{escape} ":
            i += 1
            out += raw[i]
        elif quote:
            if char == quote:
                quote = ""
            else:
                out += char
        elif char in "'\"":
            quote = char
        else:
            out += char
        i += 1
    return out, end
