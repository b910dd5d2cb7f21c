"""The summary note of a day: core's digest as Markdown. `generated: true` keeps it from being read as claims."""

import os
from pathlib import Path
from typing import Any

FOLDER = "daily"


def render(day: str, digest: dict[str, Any]) -> str:
    notes, concepts, problems = digest["notes"], digest["concepts"], digest["problems"]
    claims = sum(note["claims"] for note in notes)
    lines = ["---", f"title: Summary of {day}", "generated: true", "---", "", f"# Summary of {day}", ""]
    lines += [f"{counted(len(notes), 'note')} written, {counted(claims, 'claim')} in them.", ""]
    if notes:
        lines += ["## Notes", ""]
        for note in notes:
            state = "new" if note["new"] else "edited"
            target = note["path"].removesuffix(".md")
            lines.append(f"- [[{target}|{note['title']}]]: {state}, {counted(note['claims'], 'claim')}")
        lines.append("")
    if concepts:
        lines += ["## Concepts mentioned most", ""]
        lines += [f"- {concept['name']}: {counted(concept['claims'], 'claim')}" for concept in concepts]
        lines.append("")
    if problems:
        lines += ["## Files that could not be read", ""]
        lines += [f"- {problem['path']}: {problem['reason']}" for problem in problems]
        lines.append("")
    return "\n".join(lines)


def counted(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def write(vault: Path, day: str, text: str) -> bool:
    """Whole or not at all: written beside its place and renamed. False when it is there already, word for word."""
    target = vault / FOLDER / f"{day}.md"
    if target.is_file() and target.read_text(encoding="utf-8") == text:
        return False
    target.parent.mkdir(exist_ok=True)
    draft = target.with_name(f".{day}.md.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.chmod(0o664)
    draft.replace(target)
    return True
