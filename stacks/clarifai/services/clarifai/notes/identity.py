"""Which block of the new text is which block of the old one.

A block keeps its identity when its text is still there (wherever it moved), and when it was edited but is still more
like its old self than like anything else. Everything else is new, or gone.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from difflib import SequenceMatcher

ALIKE = 0.5  # how much of an edited block must be left for it to be the same block


def match_blocks(old: Sequence[str], new: Sequence[str]) -> list[int | None]:
    """For each new text the index of the old one it continues, or None. No old one is given twice."""
    result: list[int | None] = [None] * len(new)
    places: dict[str, list[int]] = defaultdict(list)
    for index in reversed(range(len(old))):
        places[old[index]].append(index)
    for position, text in enumerate(new):
        if places.get(text):
            result[position] = places[text].pop()

    taken = {index for index in result if index is not None}
    left = [index for index in range(len(old)) if index not in taken]
    words_left = {index: words(old[index]) for index in left}
    pairs = []
    for position, text in enumerate(new):
        if result[position] is not None:
            continue
        mine = words(text)
        for index in left:
            likeness = alike(words_left[index], mine)
            if likeness >= ALIKE:
                pairs.append((-likeness, abs(index - position), position, index))
    for _, _, position, index in sorted(pairs):
        if result[position] is None and index not in taken:
            result[position] = index
            taken.add(index)
    return result


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def alike(old: list[str], new: list[str]) -> float:
    """0 to 1. The cheap upper bound first: most pairs end there."""
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    return matcher.ratio() if matcher.quick_ratio() >= ALIKE else 0.0
