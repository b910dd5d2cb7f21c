"""Claims and the concepts they mention, by rules.

A concept is what the writer marked or named: [[a link]], #tag, **strong words**, `code`, and Names In Capitals.
A claim is a sentence that states something (no question, no heading, at least four words) and mentions a concept.
"""

import re
import unicodedata
from typing import NamedTuple

from clarifai.notes.markdown import ITEM, Block

LINK = re.compile(r"\[\[([^\]|#\n]+)(?:#[^\]|\n]*)?(?:\|[^\]\n]*)?\]\]")
TAG = re.compile(r"(?<![\w#/])#([^\W\d][\w/-]*)")
STRONG = re.compile(r"(?:\*\*|__)([^*_\n]{2,60}?)(?:\*\*|__)")
CODE = re.compile(r"`([^`\n]{2,40})`")
NAME_WORD = r"[^\W\d_a-zà-öø-ÿ][\w'’-]+"  # begins with a capital, of any alphabet
NAME = re.compile(rf"\b{NAME_WORD}(?:\s+(?:(?:of|the|and|de|da|do|das|dos|e)\s+)?{NAME_WORD})*")
ODD = re.compile(r".[^\Wa-zà-öø-ÿ_]")  # a capital or a digit after the first letter
SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+(?=[^\sa-zà-öø-ÿ])")
ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|etc|cf|vs|dr|sr|sra|mr|mrs|prof|ex|p|pp|fig|no|art)\.$", re.IGNORECASE)
WORD = re.compile(r"\w+")

# Words that open a sentence in capitals and name nothing.
OPENING_WORDS = """
a an and are as at but by each every for from has have he her his how i if in is it its no not of on or our she so some
that the their there these they this those to was we were what when where which who why will with you
ao as às com como da das de do dos e é ela ele em esta este eu foi isso isto já mas mais não nas no nos o os ou para
pela pelo por quando que se sem ser seu sua são tem um uma
"""
OPENERS = frozenset(OPENING_WORDS.split())


class Claim(NamedTuple):
    text: str
    concepts: tuple[str, ...]  # labels as written, in order, each once


def concept_key(label: str) -> str:
    """Two spellings of one name have one key: case, accents' encoding, spaces, hyphens."""
    text = unicodedata.normalize("NFKC", label).casefold().replace("_", " ").replace("-", " ").replace("/", " ")
    return " ".join(text.split())


def claims_of(block: Block) -> list[Claim]:
    if block.kind in ("code", "heading"):
        return []
    claims = []
    for sentence in sentences(block):
        if sentence.endswith("?") or len(WORD.findall(sentence)) < 4:
            continue
        if concepts := concepts_of(sentence):
            claims.append(Claim(plain(sentence), concepts))
    return claims


def sentences(block: Block) -> list[str]:
    """A list gives its items, a paragraph its sentences, each on one line."""
    pieces: list[str] = []
    for line in block.text.split("\n"):
        if ITEM.match(line) or not pieces:
            pieces.append(ITEM.sub("", line).strip())
        else:
            pieces[-1] += " " + line.strip()
    found: list[str] = []
    for piece in pieces:
        start = 0
        for end in SENTENCE_END.finditer(piece):
            if not ABBREVIATION.search(piece[: end.start()]):
                found.append(piece[start : end.start()].strip())
                start = end.end()
        found.append(piece[start:].strip())
    return [sentence for sentence in found if sentence]


def concepts_of(sentence: str) -> tuple[str, ...]:
    labels: list[str] = []
    rest = sentence
    for pattern in (LINK, TAG, CODE, STRONG):
        labels += [match[1].strip() for match in pattern.finditer(rest)]
        rest = pattern.sub(" . ", rest)
    for match in NAME.finditer(rest):
        words = match[0].split()
        while words and words[0].lower() in OPENERS:
            words.pop(0)
        opens = not WORD.search(rest[: match.start()])
        # One capitalised word at the start of a sentence is grammar; in its middle, or as odd as Neo4j, it is a name.
        if len(words) > 1 or (words and (not opens or ODD.search(words[0]))):
            labels.append(" ".join(words))
    by_key: dict[str, str] = {}
    for label in labels:
        key = concept_key(label)
        if 2 <= len(key) <= 80:
            by_key.setdefault(key, label)
    return tuple(by_key.values())


def plain(sentence: str) -> str:
    """The sentence as a person reads it: marks gone, link texts kept."""
    text = re.sub(r"\[\[([^\]|\n]+)\|([^\]\n]+)\]\]", r"\2", sentence)
    text = re.sub(r"\[\[([^\]\n]+)\]\]", r"\1", text)
    return re.sub(r"(\*\*|__|`)", "", text)
