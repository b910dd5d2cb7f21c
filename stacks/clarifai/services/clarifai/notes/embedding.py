"""A text -> a vector, here and now: no model to fetch, the same numbers on every machine.

Words, pairs of words and the three-letter pieces of words are hashed into a fixed number of places with a sign (the
"hashing trick", Weinberger et al. 2009), damped, and scaled to length one. Pieces of words make "embedding" and
"embeddings" near; pairs make "graph database" nearer to itself than to "database graph". It knows no synonyms:
for that set EMBEDDING_URL to any address that speaks the OpenAI embeddings protocol (core/embedder.py).
"""

import re
import unicodedata
from collections import defaultdict
from math import log, sqrt
from zlib import crc32

MODEL = "hashed-ngrams-1"  # raise the number whenever a text would get another vector: what is stored becomes stale

WORD = re.compile(r"\w+")
COMMON_WORDS = """
a an and are as at be but by for from has have in into is it its no not of on or so that the their them then there these
they this to was were will with what when where which who how
ao aos as com como da das de do dos e em entre foi mais mas na nas no nos não o os ou para pela pelo por que se sem seu
sua são também um uma é à às
"""
COMMON = frozenset(COMMON_WORDS.split())
WORD_WEIGHT, PAIR_WEIGHT, PIECE_WEIGHT = 1.0, 0.6, 0.25


def embed(text: str, dimensions: int) -> list[float]:
    weights: dict[str, float] = defaultdict(float)
    previous = ""
    for word in WORD.findall(plain_letters(text)):
        if word in COMMON:
            previous = ""
            continue
        weights["w " + word] += WORD_WEIGHT
        if previous:
            weights[f"p {previous} {word}"] += PAIR_WEIGHT
        edged = f"<{word}>"
        for start in range(len(edged) - 2):
            weights["g " + edged[start : start + 3]] += PIECE_WEIGHT
        previous = word
    vector = [0.0] * dimensions
    for feature, weight in weights.items():
        spread = crc32(feature.encode())
        sign = 1.0 if spread & 1 else -1.0
        vector[(spread >> 1) % dimensions] += sign * log(1.0 + weight)
    length = sqrt(sum(value * value for value in vector))
    return [value / length for value in vector] if length else vector


def plain_letters(text: str) -> str:
    """Lower case without accents: `Ação` and `acao` are one word to a person who types a search."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))
