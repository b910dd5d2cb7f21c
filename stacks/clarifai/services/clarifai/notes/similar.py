"""Are two concept names spellings of one name? Vectors propose the pairs, this decides: a wrong merge mixes two
things for good, so words must agree one by one, and numbers never differ."""

from difflib import SequenceMatcher

from clarifai.notes.embedding import plain_letters

ENDINGS = (("ies", "y"), ("ões", "ão"), ("oes", "ao"), ("ses", "s"), ("xes", "x"), ("s", ""))


def same_name(one: str, other: str) -> bool:
    if digits(one) != digits(other):
        return False
    a, b = plain_letters(one).split(), plain_letters(other).split()
    if "".join(a) == "".join(b):  # "data base" and "database"
        return True
    return len(a) == len(b) and all(same_word(x, y) for x, y in zip(a, b, strict=True))


def same_word(one: str, other: str) -> bool:
    if singular(one) == singular(other):
        return True
    # A slip of the pen in a long word: one letter more, less, or exchanged, never the first one.
    if min(len(one), len(other)) < 8 or one[0] != other[0]:
        return False
    return SequenceMatcher(None, one, other, autojunk=False).ratio() >= 0.9 and abs(len(one) - len(other)) <= 1


def singular(word: str) -> str:
    if len(word) < 4 or word.endswith("ss"):
        return word
    for ending, instead in ENDINGS:
        if word.endswith(ending):
            return word[: -len(ending)] + instead
    return word


def digits(text: str) -> list[str]:
    return [letter for letter in text if letter.isdigit()]
