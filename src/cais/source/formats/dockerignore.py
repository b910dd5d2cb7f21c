"""`.dockerignore`: which paths of a context a build may not see. The rules are moby's patternmatcher's.

One pattern a line, `#` a comment, `!` an exception, the last match wins. Patterns are Go's filepath.Match
(`*` and `?` stay within a name, `[a-z]`) plus `**` for any number of directories. What is below a matched
directory is matched too (docs.docker.com/build/concepts/context, ".dockerignore files").
"""

import posixpath
import re
from collections.abc import Iterable
from typing import NamedTuple

_WILD = re.compile(r"[*?\[\\]")


class Pattern(NamedTuple):
    text: str
    exception: bool
    regex: re.Pattern[str]


class Matches(NamedTuple):
    """What each pattern said of a directory: what is below need not be asked again."""

    each: tuple[bool, ...] = ()


class Ignore:
    """The patterns of one file, in order. `walk` state is handed down so that a deep tree costs one look a path."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.patterns = tuple(p for p in map(_pattern, lines) if p is not None)
        self.exceptions = any(p.exception for p in self.patterns)

    def __bool__(self) -> bool:
        return bool(self.patterns)

    def step(self, path: str, parent: Matches) -> tuple[bool, Matches]:
        """Whether `path` (relative, `/`) is ignored, given what was said of its parent directory."""
        ignored = False
        each = []
        for i, pattern in enumerate(self.patterns):
            matched = parent.each[i] if parent.each else False
            if not matched and pattern.exception == ignored:
                matched = pattern.regex.match(path) is not None
            each.append(matched)
            if matched:
                ignored = not pattern.exception
        return ignored, Matches(tuple(each))

    def ignored(self, path: str) -> bool:
        """The same for one path alone."""
        state, ignored = Matches(), False
        parts = path.split("/")
        for i in range(1, len(parts) + 1):
            ignored, state = self.step("/".join(parts[:i]), state)
        return ignored

    def may_hold_exceptions(self, directory: str) -> bool:
        """Whether an ignored directory must be walked, because a `!` may bring something below it back."""
        for pattern in self.patterns:
            if not pattern.exception:
                continue
            plain = pattern.text[: match.start()] if (match := _WILD.search(pattern.text)) else pattern.text + "/"
            if plain.startswith(directory + "/") or (directory + "/").startswith(plain):
                return True
        return False


def read(text: str) -> Ignore:
    return Ignore(text.removeprefix("\ufeff").splitlines())


def _pattern(line: str) -> Pattern | None:
    if line.startswith("#"):
        return None
    text = line.strip()
    exception = text.startswith("!")
    text = text[1:].strip() if exception else text
    if not text:
        return None
    text = posixpath.normpath(text).lstrip("/")
    if text in {"", "."}:
        return None
    return Pattern(text, exception, re.compile(_translate(text)))


def _translate(pattern: str) -> str:
    out, i = "", 0
    while i < len(pattern):
        char = pattern[i]
        if pattern.startswith("**", i):
            i += 2
            if pattern.startswith("/", i):
                i += 1
            out += ".*" if i >= len(pattern) else "(?:.*/)?"
            continue
        if char == "*":
            out += "[^/]*"
        elif char == "?":
            out += "[^/]"
        elif char == "\\" and i + 1 < len(pattern):
            i += 1
            out += re.escape(pattern[i])
        elif char == "[" and (end := pattern.find("]", i + 2)) > 0 and (some := _set(pattern[i + 1 : end])):
            out += some
            i = end
        else:
            out += re.escape(char)
        i += 1
    return out + r"\Z"


def _set(body: str) -> str:
    """`[body]` as a regular expression; empty when it is none (`[z-a]`), and the bracket stands for itself."""
    if "--" in body:  # Python means to give this a meaning of its own, as `&&`, `||` and `~~`
        return ""
    found = "[" + re.sub(r"[\\\[&|~]", r"\\\g<0>", body) + "]"
    try:
        re.compile(found)
    except re.error:
        return ""
    return found
