"""How a command says what is wrong: diagnostics on stderr, and a report to paste when the fault is ours."""

import errno
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TextIO

from cais.cli.progress import Ansi, wants_colour
from cais.diag.api import CaisError, Diagnostic

# errno of what a machine refuses, not what we did wrong: said in one line, exit 1.
_MACHINE = (
    "ENOSPC",
    "ENOTDIR",
    "ELOOP",
    "EDQUOT",
    "EROFS",
    "EMFILE",
    "ENFILE",
    "ENOMEM",
    "EACCES",
    "EPERM",
    "EIO",
    "ENAMETOOLONG",
)


def show(found: Iterable[Diagnostic], *, ansi: Ansi = "auto", stream: TextIO | None = None) -> None:
    """Print diagnostics for people: place, words, the source line underlined, what to do."""
    stream = stream or sys.stderr
    found = list(found)
    if not found:
        return
    from cais.diag.text import summary

    text = in_words(found, color=wants_colour(stream, ansi)) + "\n"
    if sum(one.severity == "error" for one in found) > 1:
        text += f"\n{summary(found)}\n"
    try:
        stream.write(text)
        stream.flush()
    except UnicodeEncodeError:
        stream.write(text.encode("ascii", "replace").decode())
    except OSError:
        pass  # nobody reads stderr any more


def in_words(found: Sequence[Diagnostic], *, color: bool = False) -> str:
    """Diagnostics in the form that people see everywhere: paths from where they stand, the line underlined."""
    from cais.diag.text import render

    try:
        folder = os.getcwd()
    except OSError:
        folder = "/"  # the folder we stand in has been deleted
    return render(found, color=color, folder=folder)


def failed(error: BaseException, argv: list[str], ansi: Ansi = "auto") -> int:
    """Say what `error` means and return the exit code. Called by main alone, inside its `except`."""
    if isinstance(error, CaisError):
        show(error.diagnostics(), ansi=ansi)
        return error.exit_code
    machine = _of_the_machine(error)
    if machine:
        full = "make room there, or move the state with CAIS_STATE and the cache with CAIS_CACHE"
        no_room = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        show((Diagnostic("error", "machine", machine, None, full if no_room else ""),), ansi=ansi)
        return 1
    place = write_report(error, argv)
    what = f"{type(error).__name__}: {_scrub(str(error).partition(chr(10))[0])}"
    lines = [f"cais: this is a fault in Cais, not in your files: {what}"]
    if place:
        lines.append(f"  a report ready to paste in an issue, without secrets, is in {place}")
    print("\n".join(lines), file=sys.stderr)
    return 3


def _of_the_machine(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "cannot go on: not enough memory"
    if not isinstance(error, OSError) or errno.errorcode.get(error.errno or 0) not in _MACHINE:
        return ""
    where = f": {error.filename}" if isinstance(error.filename, str | os.PathLike) else ""
    return f"cannot go on: {error.strerror}{where}"


# -- the report ------------------------------------------------------------------------------------------------------

_SECRET_WORDS = ("PASS", "SECRET", "TOKEN", "KEY", "CREDENTIAL", "AUTH", "PWD", "DSN", "URL", "URI")


def write_report(error: BaseException, argv: list[str]) -> Path | None:
    """Write what a maintainer needs into a file of the user's and return its path, None when none can be written."""
    import tempfile
    import time

    from cais.paths import private_dir, state_home

    text = _scrub(_report(error, argv))
    name = f"cais-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    for folder in (state_home() / "reports", Path(tempfile.gettempdir())):
        try:
            path = private_dir(folder) / name
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with open(descriptor, "w", encoding="utf-8", errors="replace") as file:
                file.write(text)
            return path
        except OSError:
            continue
    return None


def _report(error: BaseException, argv: list[str]) -> str:
    import platform
    import traceback

    from cais import __version__

    # Words that are not flags may be values (`-e TOKEN=x`, a command for exec): only their number is told.
    words = [a.partition("=")[0] if a.startswith("-") else ("…" if i else a) for i, a in enumerate(argv)]
    user = "root" if os.geteuid() == 0 else "an ordinary user"
    trace = "".join(traceback.format_exception(error))
    return (
        f"cais {__version__}\n"
        f"python {platform.python_version()} {platform.python_implementation()}\n"
        f"system {platform.system()} {platform.release()} {platform.machine()}, {user}\n"
        f"command cais {' '.join(words)}\n\n{trace}"
    )


def _scrub(text: str) -> str:
    """`text` without the user's home, without credentials in addresses, without values of secret-like variables."""
    import re

    for name, value in os.environ.items():
        if len(value) >= 4 and any(word in name.upper() for word in _SECRET_WORDS) and not os.path.isdir(value):
            text = text.replace(value, f"<{name}>")
    text = re.sub(r"(?<=://)[^/\s@]+@", "…@", text)
    text = re.sub(r"(?i)((?:pass(?:word|wd)?|secret|token|api_?key)\w*['\"]?\s*[=:]\s*)\S+", r"\1…", text)
    home = os.path.expanduser("~")
    return text.replace(home, "~") if len(home) > 1 else text
