"""A failing RUN in words: the line, the command, its last output, and what the usual causes mean."""

import re
from collections.abc import Sequence

from cais.diag.api import CaisError
from cais.source.api import Span

_OTHER_PYTHON = re.compile(r"requires a different Python: (\S+) not in '([^']+)'")
_IGNORED_PYTHON = re.compile(
    r"Ignored the following versions that require a different python version: .*?Requires-Python (\S+)"
)
_SIGNALS = {137: "killed (SIGKILL): the machine may be out of memory", 139: "crashed (SIGSEGV)"}


def failed(
    name: str, text: str, span: Span, code: int, lines: Sequence[str], *, base: str, differs: Sequence[str], root: bool
) -> CaisError:
    """`base` is the image the stage stands on, `differs` what is said of it."""
    shown = "\n".join(f"    {line}" for line in lines)
    what = _SIGNALS.get(code, f"ended with exit code {code}")
    who = f"cannot build {name}" if name else "cannot build"
    message = f"{who}: {text} {what}"
    if shown:
        message += f"\n{shown}"
    return CaisError(message, hint=hint("\n".join(lines), base=base, differs=differs, root=root, code=code), span=span)


def hint(output: str, *, base: str, differs: Sequence[str], root: bool, code: int) -> str:
    match = _OTHER_PYTHON.search(output)
    if match:
        there, wanted = match[1], match[2]
        return _other_python(there, wanted, base, differs)
    match = _IGNORED_PYTHON.search(output)
    if match and "No matching distribution" in output:
        return _other_python("", match[1].rstrip(";,"), base, differs)
    if "Temporary failure in name resolution" in output or "Could not resolve" in output:
        return "the build could not reach the network: check the connection, and the mirrors of pip, npm or apt"
    if "No space left on device" in output:
        return "the disk is full; make room or move the cache with CAIS_CACHE"
    if not root and re.search(
        r"(setgroups|setuid|setresuid|setegid|seteuid|initgroups).*(not permitted|Invalid)", output
    ):
        return (
            "changing to another user inside a RUN takes root, or the ranges of newuidmap; "
            "use USER before the RUN instead of su or gosu"
        )
    if code == 127:
        return "the command is not in the image: install it in a RUN before, or check PATH"
    return ""


def _other_python(there: str, wanted: str, base: str, differs: Sequence[str]) -> str:
    stands = f"; {differs[0]}" if differs else ""
    have = f"Python {there} runs here" if there else "another Python runs here"
    return (
        f"a package wants Python {wanted}, FROM {base} was asked for and {have}{stands}. Ask for a Python that "
        "satisfies it (python:3.11 and python:3.13 are the exact ones Debian has), choose an older version of the "
        "package, or build this service with Docker"
    )
