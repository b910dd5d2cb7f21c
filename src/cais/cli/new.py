"""`cais new`: a complete example stack, written out as a starting point.

The stacks are the folders of `stacks/`: in a checkout at its root, in a wheel beside this package
(pyproject.toml, force-include).
"""

import os
import sys
from pathlib import Path

from cais.cli.options import STRING, Command, Flag, parse
from cais.cli.project import GlobalOptions
from cais.diag.api import CaisError

COMMAND = Command(
    "new",
    "Write a complete example stack into a folder",
    "[OPTIONS] [NAME [DIR]]",
    (Flag("format", "Format of the list. Values: [table | json]", "", STRING, '"table"', ("table", "json")),),
    most=2,
    more="Without NAME it lists the stacks there are. DIR is ./NAME when it is not said, and must be empty.",
)

# What use leaves behind in a folder, and what is a person's own: never part of a template.
LEFT_OVER = {"__pycache__", "node_modules", ".env", ".venv", ".git", ".pytest_cache", ".mypy_cache", ".ruff_cache"}


def run(options: GlobalOptions, argv: list[str]) -> int:
    given = parse(COMMAND, argv)
    known = stacks()
    if not given.args:
        return _list(known, given.text("format", "table"))
    name = given.args[0]
    if name not in known:
        from cais.cli.options import nearest

        near = nearest(name, list(known))
        hint = f"did you mean '{near}'?" if near else f"there are: {', '.join(known) or 'none'}"
        raise CaisError(f"no stack is called {name}", hint=hint, exit_code=2)
    target = Path(given.args[1] if len(given.args) > 1 else name)
    _must_be_empty(target)
    if options.dry_run or given.flag("dry-run"):
        sys.stdout.write("".join(f"write {target / path}\n" for path in _files(known[name])))
        return 0
    written = _copy(known[name], target)
    where = "" if target.resolve() == Path.cwd() else f"cd {_quoted(str(target))} && "
    sys.stdout.write(f"{written} files of {name} are in {target}\n\n  {where}cais up\n")
    return 0


def stacks() -> dict[str, Path]:
    """Name -> folder of every stack that came with Cais."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "stacks", package.parent.parent / "stacks"):
        if folder.is_dir():
            return {path.name: path for path in sorted(folder.iterdir()) if (path / "compose.yaml").is_file()}
    return {}


def title(folder: Path) -> str:
    """The first heading of its README."""
    try:
        with open(folder / "README.md", encoding="utf-8") as file:
            return next((line.lstrip("# ").strip() for line in file if line.startswith("# ")), "")
    except OSError:
        return ""


def _list(known: dict[str, Path], form: str) -> int:
    from cais.cli.tables import json_line, table

    if form == "json":
        sys.stdout.write(json_line([{"Name": name, "Title": title(path)} for name, path in known.items()]))
    else:
        sys.stdout.write(table(("NAME", "TITLE"), [(name, title(path)) for name, path in known.items()]))
    return 0


def _must_be_empty(target: Path) -> None:
    try:
        found = sorted(os.listdir(target))
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise CaisError(f"cannot write into {target}: it is a file", hint="name a folder") from None
    if found:
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        raise CaisError(
            f"cannot write into {target}: it is not empty (it has {found[0]}{more})", hint="name a new folder"
        )


def _files(folder: Path) -> list[Path]:
    """Of a template, relative to it."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in LEFT_OVER)
        found += [
            (Path(place) / name).relative_to(folder)
            for name in sorted(files)
            if name not in LEFT_OVER and not name.endswith((".pyc", ".pyo"))
        ]
    return found


def _copy(source: Path, target: Path) -> int:
    """Ordinary files of the caller's own, whatever the modes were; `.env` is made from `.env.example`, mode 0600."""
    files = _files(source)
    target.mkdir(parents=True, exist_ok=True)
    for path in files:
        place = target / path
        place.parent.mkdir(parents=True, exist_ok=True)
        data = (source / path).read_bytes()
        place.write_bytes(data)
        if (source / path).stat().st_mode & 0o100:
            place.chmod(place.stat().st_mode | (0o111 & ~_umask()))
        if path.name == ".env.example":
            own = place.with_name(".env")
            own.touch(mode=0o600)
            own.write_bytes(data)
    return len(files) + sum(path.name == ".env.example" for path in files)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _quoted(text: str) -> str:
    import shlex

    return shlex.quote(text)
