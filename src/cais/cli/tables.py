"""Lists as Docker prints them: columns, one JSON object per line, or a Go template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cais.diag.api import CaisError

# Docker's tabwriter (docker/cli formatter.go; compose formatter/pretty.go): three columns between two cells, a cell
# is at least 10 wide, in the lists of Compose's own (`ls`, `images`) 20.
GAP, CELL, WIDE_CELL = 3, 10, 20


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, cell: int = CELL) -> str:
    """Left-aligned columns; like Go's tabwriter, every cell but the last is padded."""
    widths = [max(cell, max(map(len, column)) + GAP) for column in zip(head, *rows, strict=True)]
    out = []
    for row in (head, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        out.append("".join([*cells, row[-1]]) + "\n")
    return "".join(out)


def json_line(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"


def template(text: str, value: Mapping[str, Any]) -> str:
    """The part of Go's text/template that people use in `--format`: `{{.Name}}`, `{{json .}}`, `{{json .Ports}}`,
    `{{upper .X}}`, `{{lower .X}}`, `\\t` and `\\n`. Anything else is an error that says so.
    """
    import re

    def field(match: re.Match[str]) -> str:
        words = match[1].split()
        if not words or len(words) > 2 or not words[-1].startswith("."):
            raise _cannot(match[0])
        name = words[-1][1:]
        if name and name not in value:
            from cais.cli.options import nearest

            near = nearest(name, list(value))
            hint = f"did you mean .{near}?" if near else f"fields: {', '.join(value)}"
            raise CaisError(f"template: {match[0]} names no field", hint=hint, exit_code=2)
        found = value[name] if name else dict(value)
        match words[:-1]:
            case []:
                return "" if found is None else str(found)
            case ["json"]:
                return json_line(found).rstrip("\n")
            case ["upper"]:
                return str(found).upper()
            case ["lower"]:
                return str(found).lower()
            case _:
                raise _cannot(match[0])

    plain = text.replace("\\t", "\t").replace("\\n", "\n")
    return re.sub(r"\{\{-?\s*(.*?)\s*-?\}\}", field, plain)


def _cannot(part: str) -> CaisError:
    return CaisError(
        f"cannot read the template {part}",
        hint="fields ({{.Name}}), json, upper and lower are understood; --format json gives everything",
        exit_code=2,
    )


def by_template(text: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """`TEMPLATE` prints a line per row, `table TEMPLATE` aligns them under the fields' names."""
    if not text.startswith("table "):
        return "".join(template(text, row) + "\n" for row in rows)
    import re

    text = text.removeprefix("table ").replace("\\t", "\t")
    heads = [" ".join(re.findall(r"\.(\w+)", cell)) or cell for cell in text.split("\t")]
    spaced = [re.sub(r"(?<=[a-z])(?=[A-Z])", " ", head).upper() for head in heads]
    return table(spaced, [template(text, row).split("\t") for row in rows])


def ago(seconds: float) -> str:
    """A span of time as Docker words it (docker/go-units, `HumanDuration`)."""
    whole = int(seconds)
    minutes, hours = whole // 60, int(seconds / 3600 + 0.5)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    for limit, unit, word in ((14, 1, "days"), (60, 7, "weeks"), (730, 30, "months")):
        if hours < 24 * limit:
            return f"{hours // 24 // unit} {word}"
    return f"{hours // 24 // 365} years"
