"""Footprint: what is kept of a request so that its fellows are known again: keyed digests and a small sketch, no text. Pure.

Who holds the key can tell whether a text that he has was asked; nobody can make the text of it. Of each longer word of the
last question one byte is kept, in no order: 256 values stand for all words there are. Digests are short, because what they
are compared with is a few requests of one person or conversation (`core/signals.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b

import msgspec

DIGEST_BYTES = 8
END_BYTES = 128  # of either end of a message, that a digest is made of
LOOKED_BYTES = 512  # of a question for its words
MOST_WORDS = 32
MOST_WORDS_KNOWN = 8_192  # whose byte is remembered, for speed
SHORT = 3  # words of at most so many bytes say little, unless they are numbers
_LETTERS = bytes(
    (c + 32 if 65 <= c <= 90 else c) if chr(c).isalnum() or c >= 128 else 32 for c in range(256)
)  # ASCII in lower case; what is neither letter nor digit parts words


class Signals(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what a route makes of what people do. A score is from 0, bad, to 1, good; None: that signal is not made."""

    regenerated: float | None = 0.2
    reasked: float | None = 0.3
    abandoned: float | None = 0.4
    regenerate_s: float = 120.0  # after the end of the answer
    reask_s: float = 120.0
    abandon_s: float = 5.0  # who leaves a stream sooner has not waited
    likeness: float = 0.6  # least share of words that two questions have in common
    skip_tags: tuple[str, ...] = ()  # a request with one of these leaves nothing

    @property
    def longest_ms(self) -> int:
        return int(max(self.regenerate_s, self.reask_s) * 1000)


class Footprint(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Hold what a request leaves. `thread`: of one person where one was named, else of one conversation, of one key; `whole`:
    of all messages; `past`: of those up to the answer before the last question, b"" when there is none; `before`: of those
    before the last question, b"" when that is not what is asked; `words`: of it, sorted and different."""

    thread: bytes
    whole: bytes
    past: bytes
    before: bytes
    words: bytes
    named: bool  # a session or user was named
    again: bool  # a client program tries again by itself
    patience_ms: int  # how long the client waits for a piece of a stream; 0: it did not say


class Digests:
    """Make digests and sketches with one key, of at most 64 bytes."""

    def __init__(self, key: bytes) -> None:
        self._fresh = blake2b(key=key, digest_size=DIGEST_BYTES).copy
        self.byte_of: Callable[[bytes], int] = lru_cache(MOST_WORDS_KNOWN)(
            lambda word: blake2b(word, key=key, digest_size=1).digest()[0]
        )

    def of(self, *parts: bytes) -> bytes:
        """Return the digest of parts; none of them may end in what the next begins with and mean something else."""
        made = self._fresh()
        made.update(b"\0".join(parts))
        return made.digest()

    def messages(self, count: int, total_bytes: int, last: bytes) -> bytes:
        """Return the digest of the first `count` messages of a request: how many, how long together, both ends of the last.
        It is compared with others of one thread alone, where that tells them apart."""
        made = self._fresh()
        made.update(b"%d %d %b%b" % (count, total_bytes, last[:END_BYTES], last[-END_BYTES:]))
        return made.digest()

    def words(self, text: bytes) -> bytes:
        """Return the sketch of a question: a byte for each of its words that say something."""
        found = text[:LOOKED_BYTES].translate(_LETTERS).split(None, MOST_WORDS)[:MOST_WORDS]
        byte_of = self.byte_of
        return bytes(sorted({byte_of(word) for word in found if len(word) > SHORT or word.isdigit()}))


def alike(one: bytes, other: bytes) -> float:
    """Return the share of words that two sketches have in common, 0 to 1; 0 where either has fewer than two."""
    a, b = set(one), set(other)
    return len(a & b) / len(a | b) if len(a) > 1 and len(b) > 1 else 0.0
