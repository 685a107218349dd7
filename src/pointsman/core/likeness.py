"""Likeness: what is in the words of two questions that a vector does not see, so that no answer is given to another question.

Pure. `facts_of` reads a question once; `differ` says why two may not have the same answer. In doubt they may not.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from itertools import pairwise
from unicodedata import normalize

import msgspec

from pointsman.core.likeness_words import (
    ASKS,
    LEADS,
    LIGHT,
    MEASURES,
    NEGATIONS,
    NUMBERS,
    OPENINGS,
    POLES,
    POLITE,
    SAME,
    SHORT_FORMS,
)

# Quoted or code, taken as it stands; a number with what is glued to it; a word; a sign with a meaning; the end of a clause.
_QUOTES = r"\"[^\"\n]{1,400}\"|`[^`\n]{1,400}`|“[^”\n]{1,400}”|„[^“”\n]{1,400}[“”]|«[^»\n]{1,400}»|(?<!\w)'[^'\n]{1,400}'(?!\w)"
_PIECES = re.compile(
    rf"(?P<quote>{_QUOTES})"
    r"|(?P<number>[-−]?\d[\d.,:/]*\d|[-−]?\d)"
    r"|(?P<word>[^\W\d_]+(?:['’-][^\W\d_]+)*(?![\w./@]*[\w/@]))"
    r"|(?P<code>[\w@/][\w@./:+#-]*)"
    r"|(?P<end>[.?!\n]+)|(?P<comma>[,;:]|\s[–—-]\s)|(?P<sign>[^\s()\[\]{}])"
)
_CLAUSE = ","  # stands between clauses while a text is read
_PHRASES = {**dict.fromkeys(POLITE, ""), **OPENINGS, **SAME}
_MOST_WORDS_OF_PHRASE = max(len(phrase.split()) for phrase in _PHRASES)
_LEADING = {tuple(phrase.split()): tuple(into.split()) for phrase, into in _PHRASES.items()}
_FIRST = frozenset(phrase[0] for phrase in _LEADING)
VERSION = 1  # of the tables and of what is read with them
FEW = 2  # words that differ while all others are the same: another thing is named


class Facts(msgspec.Struct, frozen=True, gc=False):
    """Hold what a question says, in words that can be compared. `clauses` are its words in order, between commas; `names`
    are written with a capital letter inside a sentence; `quoted` are quotes and identifiers, as they stand."""

    clauses: tuple[tuple[str, ...], ...]
    asks: str
    numbers: tuple[str, ...]
    negations: tuple[str, ...]
    poles: tuple[str, ...]
    quoted: tuple[str, ...]
    names: frozenset[str]

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(word for clause in self.clauses for word in clause)


def facts_of(text: str) -> Facts:
    """Return the Facts of a question."""
    words, quoted, names = _read(normalize("NFKC", text).replace("’", "'"))
    told = _without_phrases(words)
    clauses: list[list[str]] = [[]]
    for word in told:
        if word == _CLAUSE:
            if clauses[-1]:
                clauses.append([])
        elif word not in LIGHT:
            clauses[-1].append(NUMBERS.get(word, word))
    said = [word for clause in clauses for word in clause]
    return Facts(
        tuple(tuple(map(_stem, clause)) for clause in clauses if clause),
        next((ASKS[word] for word in said if word in ASKS), ""),
        tuple(sorted(_measure(word) for word in said if word[:1].isdigit() or word[:1] == "-" or word in MEASURES)),
        tuple(sorted(word for word in said if word in NEGATIONS)),
        tuple(sorted(POLES[word] for word in said if word in POLES)),
        tuple(sorted(quoted)),
        frozenset(names),
    )


def bucket_of(frame: str, facts: Facts, *, words: bool) -> str:
    """Return a digest that is the same for all questions that `differ` may find nothing against; others hardly ever meet in
    it. So no vectors are compared in vain."""
    whole = sorted(facts.words) if words else ()
    told = repr((VERSION, frame, facts.asks, facts.numbers, facts.negations, facts.poles, facts.quoted, whole))
    return blake2b(told.encode("utf-8", "replace"), digest_size=12).hexdigest()


def differ(one: Facts, other: Facts, *, words: bool) -> str:
    """Return why two questions may not have the same answer; "" when nothing in their words says so.

    With `words` all their words must be the same, in this order: for vectors that see the letters only. Otherwise other words
    may stand for the same as long as it is not merely one thing named in place of another.
    """
    for name in ("asks", "numbers", "negations", "poles", "quoted"):
        if getattr(one, name) != getattr(other, name):
            return name
    mine, theirs = one.words, other.words
    if not mine or not theirs:
        return "words"
    if _same_order(one, other):
        return ""
    if not one.names <= set(theirs) or not other.names <= set(mine):
        return "names"
    if words:
        return "words"
    more, less = _extra(mine, theirs), _extra(theirs, mine)
    if not more and not less:
        return "order"
    if not more or not less or max(more, less) <= FEW:
        return "substitution"  # one thing named in place of another, or with more said of it
    return ""


def _same_order(one: Facts, other: Facts) -> bool:
    """Tell whether the words are the same in the same order, but for a clause that stands in front or behind."""
    if one.words == other.words:
        return True
    for first, second in ((one, other), (other, one)):
        if len(first.clauses) == 2 and first.clauses[0][0] in LEADS:
            return first.clauses[1] + first.clauses[0] == second.words
    return False


def _extra(mine: tuple[str, ...], theirs: tuple[str, ...]) -> int:
    """Return how many words of the first are not in the second."""
    left = list(theirs)
    count = 0
    for word in mine:
        if word in left:
            left.remove(word)
        else:
            count += 1
    return count


def _read(text: str) -> tuple[list[str], list[str], list[str]]:
    """Return the words of a text in lower case, what is quoted or an identifier, and what has a capital letter."""
    words: list[str] = []
    quoted: list[str] = []
    names: list[str] = []
    begins = True
    for found in _PIECES.finditer(text):
        kind, piece = found.lastgroup, found.group()
        if kind == "end":
            begins = True
            words.append(_CLAUSE)
            continue
        if kind == "comma":
            words.append(_CLAUSE)
            continue
        if kind == "quote" or kind == "code":
            inner = piece[1:-1] if kind == "quote" else piece.rstrip(".:-/")
            quoted.append(inner)
            words.append("\x00" + inner)
        elif kind == "number":
            words.append(piece.replace("−", "-"))  # as it stands: 3.10 is not 3.1, and 1,000 may be 1
        elif kind == "word":
            lower = piece.casefold()
            if _is_identifier(piece):
                quoted.append(piece)
                lower = "\x00" + piece
            elif piece[0].isupper() and not begins and len(piece) > 1:
                names.append(_stem(lower))
            words += _written_out(lower)
        else:
            words.append(piece)
        begins = False
    return words, quoted, names


def _is_identifier(word: str) -> bool:
    """Tell whether a word has a capital inside and a small letter before it: getUser, iPhone."""
    return any(a.islower() and b.isupper() for a, b in pairwise(word))


def _written_out(word: str) -> list[str]:
    if word in SHORT_FORMS:
        return SHORT_FORMS[word].split()
    if "-" in word and word[0] != "\x00":
        return [part for whole in word.split("-") for part in _written_out(whole)]
    if word.endswith("n't"):
        return [word[:-3], "not"]
    if word[:2] in ("l'", "d'", "n'", "j'", "m'", "t'", "s'", "c'") or word[:3] == "qu'":
        return word.split("'", 1)
    return [word.removesuffix("'s")]


def _without_phrases(words: list[str]) -> list[str]:
    """Return the words with every phrase of the tables in its one form."""
    told: list[str] = []
    at = 0
    while at < len(words):
        length = 0
        if words[at] in _FIRST:
            for size in range(min(_MOST_WORDS_OF_PHRASE, len(words) - at), 0, -1):
                into = _LEADING.get(tuple(words[at : at + size]))
                if into is not None:
                    told += into
                    length = size
                    break
        if not length:
            told.append(words[at])
            length = 1
        at += length
    return told


def _measure(word: str) -> str:
    return word.removesuffix("s") if word in MEASURES and len(word) > 3 else word


def _stem(word: str) -> str:
    """Return an English word without the s of its plural; others hardly ever meet that way."""
    if len(word) < 4 or word[0] == "\x00" or not word.endswith("s") or word.endswith(("ss", "us", "is", "as", "os")):
        return word
    return word[:-3] + "y" if word.endswith("ies") and len(word) > 4 else word[:-1]
