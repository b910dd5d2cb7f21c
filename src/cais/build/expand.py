"""`$NAME` and its kin in the arguments of an instruction, and quotes taken away.

The forms are those of the Dockerfile reference, "Environment replacement": `$x`, `${x}`, `${x:-w}`, `${x-w}`,
`${x:+w}`, `${x+w}`, `${x:?w}`, `${x?w}`, `${x#p}`, `${x##p}`, `${x%p}`, `${x%%p}`, `${x/p/r}`, `${x//p/r}`.
A name that is not set is empty. Single quotes keep all as it is; the escape character takes the next one.
"""

import re
from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[@*#?!$-]")


class BadExpansion(Exception):
    """A `${…}` that cannot be read, or `${x:?message}` of an empty x."""


def expand(text: str, env: Mapping[str, str], escape: str = "\\", unset: set[str] | None = None) -> str:
    """One value. Names that were not set are added to `unset`."""
    return _Expander(text, env, escape, unset).all()


def expand_words(text: str, env: Mapping[str, str], escape: str = "\\") -> list[str]:
    """The same, where what a variable holds may be several words (EXPOSE)."""
    return [word for word in expand(text, env, escape).split() if word]


def expand_body(text: str, env: Mapping[str, str], escape: str = "\\") -> str:
    """The body of a here-document: variables, but quotes are content."""
    return _Expander(text, env, escape, None, quotes=False).all()


class _Expander:
    def __init__(
        self, text: str, env: Mapping[str, str], escape: str, unset: set[str] | None, *, quotes: bool = True
    ) -> None:
        self.text, self.env, self.escape, self.unset, self.quotes = text, env, escape, unset, quotes
        self.at = 0

    def all(self) -> str:
        return self.until("")

    def until(self, stops: str) -> str:
        """Up to one of `stops` (which is left), or the end."""
        out: list[str] = []
        while self.at < len(self.text):
            char = self.text[self.at]
            if char in stops:
                return "".join(out)
            if char == "'" and self.quotes:
                out.append(self._single())
            elif char == '"' and self.quotes:
                out.append(self._double())
            elif char == "$":
                out.append(self._dollar())
            elif char == self.escape:
                out.append(self._escaped())
            else:
                out.append(char)
                self.at += 1
        return "".join(out)

    def _escaped(self) -> str:
        following = self.text[self.at + 1 : self.at + 2]
        self.at += 2
        if not self.quotes and following not in {"$", self.escape}:
            return self.escape + following
        return following or self.escape

    def _single(self) -> str:
        end = self.text.find("'", self.at + 1)
        if end < 0:
            raise BadExpansion("a single quote is not closed")
        inner = self.text[self.at + 1 : end]
        self.at = end + 1
        return inner

    def _double(self) -> str:
        out: list[str] = []
        self.at += 1
        while self.at < len(self.text):
            char = self.text[self.at]
            if char == '"':
                self.at += 1
                return "".join(out)
            if char == "$":
                out.append(self._dollar())
            elif char == self.escape:
                following = self.text[self.at + 1 : self.at + 2]
                out.append(following if following and following in f'"${self.escape}' else self.escape + following)
                self.at += 2
            else:
                out.append(char)
                self.at += 1
        raise BadExpansion("a double quote is not closed")

    def _value(self, name: str) -> str | None:
        value = self.env.get(name)
        if value is None and self.unset is not None and (name[0].isalpha() or name[0] == "_"):
            self.unset.add(name)
        return value

    def _dollar(self) -> str:
        self.at += 1
        if not self.text.startswith("{", self.at):
            match = _NAME.match(self.text, self.at)
            if match is None:
                return "$"
            name = match[0][0] if match[0][0].isdigit() else match[0]
            self.at += len(name)
            return self._value(name) or ""
        self.at += 1
        match = _NAME.match(self.text, self.at)
        if match is None:
            raise BadExpansion("${ is not followed by a name" if self.at < len(self.text) else "${ is not closed")
        name = match[0]
        self.at = match.end()
        operator = next((o for o in (":-", ":+", ":?", "##", "%%", "//") if self.text.startswith(o, self.at)), "")
        operator = operator or self.text[self.at : self.at + 1]
        if operator == "}":
            self.at += 1
            return self._value(name) or ""
        if not operator:
            raise BadExpansion("${ is not closed")
        if operator not in {":-", ":+", ":?", "-", "+", "?", "#", "##", "%", "%%", "/", "//"}:
            raise BadExpansion(f"${{{name}{operator}… is not a form that Dockerfiles know")
        self.at += len(operator)
        if operator in {"/", "//"}:
            return self._replace(name, everywhere=operator == "//")
        word = self._word("}")
        return self._apply(name, operator, word)

    def _word(self, stop: str) -> str:
        word = self.until(stop)
        if self.at >= len(self.text):
            raise BadExpansion("${ is not closed")
        self.at += 1
        return word

    def _apply(self, name: str, operator: str, word: str) -> str:
        value = self.env.get(name)
        given = bool(value) if operator[0] == ":" else value is not None
        match operator[-1]:
            case "-":
                return value or "" if given else word
            case "+":
                return word if given else ""
            case "?":
                if not given:
                    raise BadExpansion(f"{name}: {word or 'it is not set'}")
                return value or ""
        value = self._value(name) or ""
        pattern = _glob(word, greedy=len(operator) == 2)
        if operator[0] == "#":
            found = re.compile(pattern, re.S).match(value)
            return value[found.end() :] if found else value
        starts = range(len(value) + 1) if len(operator) == 2 else range(len(value), -1, -1)
        for start in starts:  # the longest suffix for %%, the shortest for %
            if re.compile(pattern, re.S).fullmatch(value, start):
                return value[:start]
        return value

    def _replace(self, name: str, *, everywhere: bool) -> str:
        pattern = self._word("/")
        replacement = self._word("}")
        value = self._value(name) or ""
        return re.compile(_glob(pattern, greedy=True), re.S).sub(
            lambda _: replacement, value, count=0 if everywhere else 1
        )


def _glob(pattern: str, *, greedy: bool) -> str:
    star = ".*" if greedy else ".*?"
    return "".join(star if c == "*" else "." if c == "?" else re.escape(c) for c in pattern)
