"""What COPY copies from: a context (with `.dockerignore`), a stage, an image. Matching, walking, hashing.

The hash of a source names its content: paths, kinds, permission bits, link targets and bytes, not times. Bytes of
context files are hashed once and remembered by (size, mtime, inode, ctime), as git's index does.
"""

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cais.build.view import Entry, View
from cais.source.formats.dockerignore import Ignore, Matches

_NOTHING = Ignore(())
_WILD = re.compile(r"[*?\[]")
_RECENT = 2_000_000_000  # ns: a file written this shortly before it was hashed may change within one clock tick


class Found(NamedTuple):
    """One source that matched: `name` is the path as matched (links not followed), `entry` what it leads to."""

    name: str
    entry: Entry


class NoSource(Exception):
    """A source that is not there. `hint` says why, when it is known."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Hashes:
    """sha256 of files, kept in one JSON file per context. Losing it costs only time."""

    def __init__(self, store: str) -> None:
        self.store = store
        self.known: dict[str, list[object]] | None = None
        self.changed = False

    def of(self, path: str, about: os.stat_result) -> str:
        stamp = [about.st_size, about.st_mtime_ns, about.st_ino, about.st_ctime_ns]
        if self.known is None:
            self.known = self._load()
        kept = self.known.get(path)
        if kept is not None and kept[1:] == stamp:
            return str(kept[0])
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        import time

        if time.time_ns() - max(about.st_mtime_ns, about.st_ctime_ns) > _RECENT:
            self.known[path] = [digest, *stamp]
            self.changed = True
        return digest

    def _load(self) -> dict[str, list[object]]:
        import json

        try:
            with open(self.store, encoding="utf-8") as file:
                found = json.load(file)
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def save(self) -> None:
        if not self.changed or self.known is None:
            return
        import json

        scratch = f"{self.store}.{os.getpid()}"
        try:
            os.makedirs(os.path.dirname(self.store), mode=0o700, exist_ok=True)
            with open(scratch, "w", encoding="utf-8") as file:
                json.dump(self.known, file)
            os.replace(scratch, self.store)
        except OSError:
            return  # a cache that cannot be written is a slower one
        self.changed = False


class Tree:
    """A view to copy from. `owners`: whether owners are kept (a stage's are, a context's become root's).

    `digest` names an immutable tree (a stage's or an image's key); "" is a directory that may change.
    """

    def __init__(
        self, view: View, what: str, *, ignore: Ignore = _NOTHING, hashes: Hashes | None = None, digest: str = ""
    ) -> None:
        self.view, self.what, self.ignore, self.hashes, self.digest = view, what, ignore, hashes, digest

    @property
    def owners(self) -> bool:
        return bool(self.digest)

    def match(self, pattern: str, *, deep: bool = False) -> list[Found]:
        """What a source names, sorted; a pattern with wildcards may match nothing. `deep`: `**` is known too."""
        clean = os.path.normpath("/" + pattern).lstrip("/")
        if not _WILD.search(clean):
            return [self._one(clean, pattern)]
        found: list[Found] = []
        self._glob(self.view.root(), "", [p for p in clean.split("/") if p], found, deep=deep)
        return found

    def _one(self, clean: str, written: str) -> Found:
        try:
            entry = self.view.find(clean)
            if entry is not None and entry.parts and self._hidden(entry):
                raise NoSource(f"{written} is excluded by .dockerignore", "remove the pattern, or add a line with !")
            if entry is None or (clean and self._link_hidden(clean)):
                raise NoSource(f"{written} is not in {self.what}", self._nearest(clean))
        except NotADirectoryError as err:
            raise NoSource(f"{written} is not in {self.what}: {err.filename} is a file") from err
        except OSError as err:
            raise NoSource(f"{written} cannot be read from {self.what}: {err.strerror}") from err
        return Found(clean, entry)

    def _link_hidden(self, clean: str) -> bool:
        return bool(self.ignore) and self.ignore.ignored(clean) and not self.ignore.may_hold_exceptions(clean)

    def _nearest(self, clean: str) -> str:
        import difflib

        try:
            last, missing = self.view.resolve(clean)
            near = difflib.get_close_matches(missing[0], self.view.names(last), n=1) if missing else []
        except OSError:
            return ""
        return f"did you mean {'/'.join([*last.parts, near[0]])}?" if near else ""

    def _hidden(self, entry: Entry) -> bool:
        path = "/".join(entry.parts)
        if not self.ignore or not self.ignore.ignored(path):
            return False
        return not (entry.is_dir and self.ignore.may_hold_exceptions(path))

    def _glob(self, folder: Entry, prefix: str, parts: list[str], found: list[Found], *, deep: bool) -> None:
        first, rest = parts[0], parts[1:]
        if deep and first == "**":
            if rest:
                self._glob(folder, prefix, rest, found, deep=True)
            for name, entry in self.view.children(folder):
                if entry.is_dir:
                    self._glob(entry, f"{prefix}{name}/", parts, found, deep=True)
            return
        wanted = re.compile(_name_pattern(first))
        for name, entry in self.view.children(folder):
            if not wanted.match(name) or self._hidden(entry):
                continue
            if rest:
                followed = self._follow(entry)
                if followed is not None and followed.is_dir:
                    self._glob(followed, f"{prefix}{name}/", rest, found, deep=deep)
                continue
            followed = self._follow(entry)
            if followed is not None and all(f.name != prefix + name for f in found):
                found.append(Found(prefix + name, followed))

    def _follow(self, entry: Entry) -> Entry | None:
        if not entry.is_link:
            return entry
        try:
            return self.view.find(entry.path)
        except OSError:
            return None

    def walk(self, top: Entry, exclude: Ignore = _NOTHING) -> Iterator[tuple[str, Entry]]:
        """All below a directory, parents first, as (relative path, entry); links are not followed."""
        state = Matches()
        for i in range(1, len(top.parts) + 1):
            _, state = self.ignore.step("/".join(top.parts[:i]), state)
        yield from self._walk(top, "", state, Matches(), exclude)

    def _walk(
        self, folder: Entry, prefix: str, state: Matches, excluded: Matches, exclude: Ignore
    ) -> Iterator[tuple[str, Entry]]:
        for name, entry in self.view.children(folder):
            path, below = "/".join(entry.parts), prefix + name
            ignored, inner = self.ignore.step(path, state)
            left_out, inner_excluded = exclude.step(below, excluded)
            if left_out and not (entry.is_dir and exclude.may_hold_exceptions(below)):
                continue
            if not entry.is_dir:
                if not ignored and not left_out and not stat.S_ISSOCK(entry.about.st_mode):
                    yield below, entry
                continue
            deeper = self._walk(entry, below + "/", inner, inner_excluded, exclude)
            if not ignored and not left_out:
                yield below, entry
                yield from deeper
            elif self.ignore.may_hold_exceptions(path) or left_out:
                first = next(deeper, None)
                if first is not None:  # an ignored directory is there for what is excepted below it
                    yield below, entry
                    yield first
                    yield from deeper

    def digest_of(self, sources: Sequence[Found], exclude: Ignore = _NOTHING) -> str:
        """One hash over everything the sources hold."""
        total = hashlib.sha256()
        for source in sources:
            self._add(total, source.name, source.entry)
            if source.entry.is_dir:
                for below, entry in self.walk(source.entry, exclude):
                    self._add(total, below, entry)
        return total.hexdigest()

    def _add(self, total: "hashlib._Hash", name: str, entry: Entry) -> None:
        mode = entry.about.st_mode
        fact: list[object] = [name, stat.S_IFMT(mode), stat.S_IMODE(mode)]
        if self.owners:
            fact += [entry.about.st_uid, entry.about.st_gid]
        if stat.S_ISREG(mode):
            fact.append(self.file_digest(entry))
        elif entry.is_link:
            fact[2] = 0
            fact.append(os.readlink(entry.host))
        total.update(repr(fact).encode("utf-8", "surrogateescape"))

    def file_digest(self, entry: Entry) -> str:
        if self.hashes is not None:
            return self.hashes.of(entry.host, entry.about)
        with readable(entry.host), open(entry.host, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


class readable:
    """Open a file of ours that its mode closes to us: a stage may hold mode 000, which root inside could read."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.mode = -1

    def __enter__(self) -> None:
        if os.geteuid() != 0 and not os.access(self.path, os.R_OK):
            self.mode = stat.S_IMODE(os.stat(self.path).st_mode)
            os.chmod(self.path, self.mode | stat.S_IRUSR)

    def __exit__(self, *_: object) -> None:
        if self.mode >= 0:
            os.chmod(self.path, self.mode)


def _name_pattern(text: str) -> str:
    """Go's filepath.Match for one name."""
    out, i = "", 0
    while i < len(text):
        char = text[i]
        if char == "*":
            out += ".*"
        elif char == "?":
            out += "."
        elif char == "\\" and i + 1 < len(text):
            i += 1
            out += re.escape(text[i])
        elif char == "[" and (end := text.find("]", i + 2)) > 0:
            out += f"[{text[i + 1 : end]}]"
            i = end
        else:
            out += re.escape(char)
        i += 1
    return f"(?s:{out})\\Z"
