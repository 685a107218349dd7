"""Semantic: answers given again to similar questions, where a route asks for it, and what shows how often that is wrong.

The exact cache has been asked before. A vector finds what may be meant, the words must agree (`core/likeness.py`), and of the
hits a share is asked fresh as well (`checks.py`); what comes of that moves the route's threshold (`core/trust.py`).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import msgspec

from pointsman.core.chat import Text, ToolCall
from pointsman.core.embedding import LOCAL, local
from pointsman.core.likeness import Facts, bucket_of, differ, facts_of
from pointsman.core.policy import Semantic
from pointsman.core.question import question_of
from pointsman.core.trust import Trust, interval
from pointsman.core.verdict import same_answer
from pointsman.dialects.base import WireError
from pointsman.dialects.forms import remade
from pointsman.gateway import checks
from pointsman.gateway.complaints import COMPLAINTS
from pointsman.gateway.world import CALLER_DIALECT
from pointsman.observe.metrics import Metrics
from pointsman.stores.cache_memory import Answer
from pointsman.stores.similar import Entry, Similar
from pointsman.stores.trusts import Trusts

if TYPE_CHECKING:
    from pointsman.core.policy import Key
    from pointsman.gateway.cache import Part
    from pointsman.gateway.clock import Clock
    from pointsman.gateway.edge import Incoming
    from pointsman.gateway.exchange import Exchange

FOLDER = "similar"
MOST_LOOKS = 8  # entries near enough whose words are compared
_words = msgspec.json.Encoder(order="deterministic").encode


class Asked:
    """Hold the question of a request, and its vector when there is one."""

    __slots__ = ("bucket", "facts", "frame", "text", "vector")

    def __init__(self, frame: str, text: str, facts: Facts, *, words: bool) -> None:
        self.frame, self.text, self.facts = frame, text, facts
        self.bucket = bucket_of(frame, facts, words=words)
        self.vector: array[float] | None = None


class Semantics:
    """Find similar questions, for one worker. `find` looks for a kept answer by share and name in the form a request wants."""

    def __init__(
        self, data: Path, clock: Clock, metrics: Metrics, find: Callable[[Part, str], Answer | None], chance: Random
    ) -> None:
        self.similar = Similar(data / FOLDER)
        self.trusts = Trusts(data / FOLDER)
        self._clock, self._metrics, self._find, self._chance = clock, metrics, find, chance

    # --- a request
    def ask(self, part: Part, incoming: Incoming) -> Asked | None:
        """Return the question of a request, None when it has none that may be compared or the route compares no more."""
        semantic = part.caching.settings.semantic
        if semantic is None or self.trust(part, semantic).off:
            return None
        found = question_of(part.caching, part.key.share, incoming.body, incoming.headers.get("openai-beta"))
        if found is None:
            return None
        own = semantic.embeddings == LOCAL
        asked = Asked(found.frame + part.caching.space, found.text, facts_of(found.text), words=own)
        if own:
            asked.vector = local(asked.text)
        return asked

    def look(self, part: Part) -> Answer | None:
        """Return the answer to a question that is similar enough and says nothing else."""
        asked, semantic = part.asked, part.caching.settings.semantic
        if asked is None or asked.vector is None or semantic is None:
            return None
        least, now_ms = self.trust(part, semantic).threshold, self._clock.wall_ms()
        near = self.similar.near(part.key.share, asked.bucket, asked.vector, least, now_ms)
        for similarity, entry in near[:MOST_LOOKS]:
            if differ(asked.facts, facts_of(entry.text), words=semantic.embeddings == LOCAL):
                continue
            answer = self._find(part, entry.name)
            if answer is not None:
                part.result, part.similarity, part.entry = "semantic", similarity, entry.name
                return answer
        return None

    def given(self, exchange: Exchange, part: Part, answer: Answer) -> None:
        """Note that an answer was given, so that it can be judged later; of some, ask fresh now."""
        semantic = part.caching.settings.semantic
        assert semantic is not None
        own, given = exchange.request.id, exchange.incoming.headers.get("x-request-id")
        who = _who(exchange.incoming)
        marks = [_mark(who[1:] if any(who[1:]) else who, own)]
        if given is not None:
            marks.append(_mark(who, given[:128].decode("latin-1")))
        self.similar.note_served(tuple(marks), f"{part.key.share} {part.entry} {part.caching.label}")
        if self._chance.random() < semantic.check:
            checks.plan(exchange, part, answer)

    # --- an answer
    def keep(self, part: Part, incoming: Incoming, answer: Answer) -> None:
        """Keep the question of an answer that has just been kept."""
        semantic = part.caching.settings.semantic
        asked = part.asked or self.ask(part, incoming)
        if semantic is None or asked is None or asked.vector is None or text_of(answer) is None:
            return
        entry = Entry(part.name, asked.bucket, asked.text, asked.vector.tobytes(), answer.until_ms)
        self.similar.put(part.key.share, entry, semantic.max_entries)

    def checked(self, part: Part, given: Answer, fresh: Answer) -> None:
        """Compare the answer that was given to a similar question with the one asked fresh."""
        semantic, one, other = part.caching.settings.semantic, text_of(given), text_of(fresh)
        if semantic is not None and one is not None:
            self._judge(part.caching.label, semantic, wrong=other is None or not same_answer(one, other))

    def down(self, key: Key, request_id: str, semantic_of: Callable[[str], Semantic | None]) -> None:
        """Take a thumb down: when that request was given the answer to a similar question, that one is not given again."""
        who = key.who
        for mark in (_mark(who[1:] if any(who[1:]) else who, request_id), _mark(who, request_id)):
            share, _, rest = self.similar.served(mark).partition(" ")
            name, _, label = rest.partition(" ")
            semantic = semantic_of(label) if label else None
            if semantic is not None and self.similar.drop(share, name):
                self._judge(label, semantic, wrong=True, down=True)
                return

    # --- what is known
    def trust(self, part: Part, semantic: Semantic) -> Trust:
        """Return what is known of a route."""
        trust = self.trusts.get(part.caching.label, semantic)
        self._tell(trust)
        return trust

    def _judge(self, label: str, semantic: Semantic, *, wrong: bool, down: bool = False) -> None:
        trust, change = self.trusts.judge(label, semantic, self._clock.wall_ms(), wrong=wrong, down=down)
        counts, key = self._metrics.cache_checks, f"{label}\x1f{'down' if down else 'wrong' if wrong else 'right'}"
        counts[key] = counts.get(key, 0) + 1
        self._tell(trust)
        if change:
            told = {"alert": f"semantic_{change}", "route": label, "threshold": round(trust.threshold, 4)}
            told |= {"wrong": trust.all_wrong, "checked": trust.all_checked, "bound": semantic.wrong_hits}
            COMPLAINTS.alert(told)

    def _tell(self, trust: Trust) -> None:
        told = self._metrics.cache_trust.get(trust.route)
        if told is None or told[0] != trust.all_checked or told[3] != (1.0 if trust.off else trust.threshold):
            low, high = interval(trust.wrong, trust.checked)
            threshold = 1.0 if trust.off else trust.threshold
            self._metrics.cache_trust[trust.route] = [float(trust.all_checked), low, high, threshold]


def text_of(answer: Answer) -> str | None:
    """Return what an answer says; None when it is more than a text: a call of a tool quotes the question it answers."""
    body: bytes | None = answer.body
    if answer.form != "whole":
        body = remade(CALLER_DIALECT, answer.body, answer.form, "whole", answer.usage)
    try:
        reply = None if body is None else CALLER_DIALECT.decode_reply(body)
    except WireError:
        reply = None
    if reply is None or len(reply.choices) != 1:
        return None
    parts = reply.choices[0].message.parts
    if any(isinstance(part, ToolCall) for part in parts):
        return None
    return "".join(part.text for part in parts if isinstance(part, Text)) or None


def _who(incoming: Incoming) -> tuple[str, str, str, str]:
    who: tuple[str, str, str, str] = incoming.caller.who  # type: ignore[attr-defined]
    return who


def _mark(who: tuple[str, ...], request_id: str) -> str:
    return blake2b(_words((who, request_id)), digest_size=12).hexdigest()
