"""Verdict: whether the answer that was given to a similar question is the one that it would have got by itself. Pure.

Models say the same in other words each time, so two texts that say the same must be told from two that do not:

1. The same text, but for case, white space and marks at the end: right.
2. Other numbers, dates or quotes in it: wrong.
3. A short one (up to 40 words) with other negations or opposites: wrong.
4. Else right when their local vectors are near enough, wrong when they are not.
"""

from __future__ import annotations

import re

from pointsman.core.embedding import cosine, local
from pointsman.core.likeness import facts_of

NEAR = 0.75
SHORT_WORDS = 40
MOST_CHARACTERS = 20_000  # of an answer that are looked at


def same_answer(given: str, fresh: str) -> bool:
    """Tell whether two answers say the same."""
    one, other = _plain(given), _plain(fresh)
    if one == other:
        return True
    mine, theirs = facts_of(given[:MOST_CHARACTERS]), facts_of(fresh[:MOST_CHARACTERS])
    if set(mine.numbers) != set(theirs.numbers) or set(mine.quoted) != set(theirs.quoted):
        return False
    short = max(len(mine.words), len(theirs.words)) <= SHORT_WORDS
    if short and (bool(mine.negations) != bool(theirs.negations) or set(mine.poles) != set(theirs.poles)):
        return False
    return cosine(local(one), local(other)) >= NEAR


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text[:MOST_CHARACTERS]).strip().strip(".!?* ").casefold()
