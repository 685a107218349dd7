"""Embedding: a text as a vector of unit length. The one of our own counts pieces of words: no model, no dependency. Pure.

It sees spelling, not meaning: texts of the same words are near each other, `buy` and `purchase` are not.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from itertools import chain
from math import sqrt
from operator import mul
from zlib import crc32

LOCAL = "local"
DIMENSIONS = 256
_WORDS = re.compile(r"\w+")
_WORD_WEIGHT = 2  # of a whole word, as against one of its pieces


def local(text: str) -> array[float]:
    """Return the vector of a text: its words and their pieces of three letters, each hashed to a place and a sign."""
    counts = Counter(chain.from_iterable(map(_places, _WORDS.findall(text.casefold()))))
    values = [0.0] * DIMENSIONS
    for place, count in counts.items():
        values[place >> 1] += count if place & 1 else -count
    return unit(values)


def unit(values: Iterable[float]) -> array[float]:
    """Return a vector of length 1 in the same direction; that of nothing is nothing."""
    vector = array("f", values)
    length = sqrt(sum(map(mul, vector, vector)))
    return array("f", [value / length for value in vector]) if length else vector


def cosine(one: array[float], other: array[float]) -> float:
    """Return how near two unit vectors are, -1 to 1; 0 when they are not of one kind."""
    return sum(map(mul, one, other)) if len(one) == len(other) else 0.0


@lru_cache(maxsize=16_384)
def _places(word: str) -> tuple[int, ...]:
    """Return where a word counts: twice the place, and 1 where it counts up."""
    padded = f"^{word[:64]}$"
    pieces = [padded] * _WORD_WEIGHT + [padded[at : at + 3] for at in range(len(padded) - 2)]
    return tuple(crc32(piece.encode()) % (2 * DIMENSIONS) for piece in pieces)
