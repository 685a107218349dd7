"""Signals: judgements that people give by what they do: they ask the same again, leave, or ask anew. Pure.

| signal | is made of an answer when |
|---|---|
| `implicit:regeneration` | it was complete, and the same messages came again within `regenerate_s` of its end |
| `implicit:reask` | it was complete, and the next question was alike within `reask_s` of its end |
| `implicit:abandonment` | its client left the stream after the first content and before the end, later than `abandon_s` |

A request has one signal at most, whichever was found first: its id is made of the request's. That a conversation goes on is no
signal: who is content and who corrects a mistake both go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b

import msgspec

from pointsman.core.entry import Admitted, Feedback, Filed, Settled
from pointsman.core.footprint import Footprint, Signals, alike
from pointsman.core.outcome import Kind

SOURCE = "implicit:"  # begins the source of each signal; clients cannot write the colon
REGENERATION, REASK, ABANDONMENT = "regeneration", "reask", "abandonment"
KINDS = (REGENERATION, REASK, ABANDONMENT)
LATE_MS = 600_000  # by which rows of another worker may be booked later
LEFT = 499  # status of a request whose client left


class Asking(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Hold one request as signals see it. Unix milliseconds; `complete`: it was answered to its end."""

    id: str
    at_ms: int
    ended_ms: int
    caller: tuple[str, str, str, str]  # key, project, team, organisation
    model: str  # as the client wrote it
    complete: bool
    print: Footprint
    rules: Signals

    @property
    def until_ms(self) -> int:
        """Return until when another request may say something of this one, and may be booked."""
        return self.ended_ms + self.rules.longest_ms + LATE_MS


def asking_of(admitted: Admitted | Filed, settled: Settled | None, rules: Signals | None) -> Asking | None:
    """Return a booked request as signals see it; None when it left no Footprint. `settled` None: its worker died."""
    if admitted.footprint is None or rules is None:
        return None
    ended_ms = admitted.at_ms if settled is None else settled.at_ms
    complete = settled is not None and settled.outcome == Kind.OK
    who, model = admitted.caller, admitted.asked_model
    return Asking(admitted.id, admitted.at_ms, ended_ms, who, model, complete, admitted.footprint, rules)


def abandoned(admitted: Admitted | Filed, settled: Settled, rules: Signals | None) -> Feedback | None:
    """Return the signal of a client that left its stream; None when it did not, or a limit of its own may have ended it."""
    seen = admitted.footprint
    if seen is None or rules is None or rules.abandoned is None:
        return None
    left = settled.status == LEFT and settled.outcome == Kind.CLIENT_GONE and settled.first_ms > 0.0
    if not left or not admitted.request.features.stream or settled.ended_ms < rules.abandon_s * 1000.0:
        return None
    if seen.patience_ms and settled.ended_ms - settled.first_ms >= seen.patience_ms:
        return None
    total_ms = admitted.request.deadline_ms - admitted.request.received_ms
    if settled.ended_ms >= total_ms:
        return None
    return _signal(admitted.id, settled.at_ms, admitted.caller, ABANDONMENT, rules.abandoned)


def found(askings: Iterable[Asking]) -> Iterator[Feedback]:
    """Return the signals that requests of one thread give of each other, whatever the order they come in. What is given twice
    has the same id."""
    ordered = sorted(askings, key=lambda one: (one.at_ms, one.id))
    told: set[str] = set()
    for place, asked in enumerate(ordered):
        if asked.print.again:
            continue
        for earlier in reversed(ordered[:place]):
            kind = _relation(earlier, asked)
            if kind:
                score = earlier.rules.regenerated if kind == REGENERATION else earlier.rules.reasked
                if score is not None and earlier.id not in told and _soon(earlier, asked, kind):
                    told.add(earlier.id)
                    yield _signal(earlier.id, asked.at_ms, earlier.caller, kind, score)
                break  # what came before that was answered by it


def _relation(earlier: Asking, asked: Asking) -> str:
    """Return what a later request is to an earlier one; "" nothing. Without a name of who asks, only conversations that hold an
    answer are certain to be the same."""
    one, other = earlier.print, asked.print
    if earlier.caller != asked.caller or one.thread != other.thread or one.named != other.named:
        return ""
    if one.whole == other.whole:
        return REGENERATION if (one.named or one.past) and earlier.model == asked.model else ""
    follows = bool(other.past) and other.past == one.whole and bool(one.named or one.past)
    edited = bool(other.before) and other.before == one.before and bool(one.named or one.past)
    return REASK if (follows or edited) and alike(one.words, other.words) >= earlier.rules.likeness else ""


def _soon(earlier: Asking, asked: Asking, kind: str) -> bool:
    within_s = earlier.rules.regenerate_s if kind == REGENERATION else earlier.rules.reask_s
    return earlier.complete and 0 <= asked.at_ms - earlier.ended_ms <= within_s * 1000.0


def _signal(id: str, at_ms: int, caller: tuple[str, str, str, str], kind: str, score: float) -> Feedback:
    made = "fbk_" + blake2b(id.encode(), digest_size=14, person=b"signal").hexdigest()
    return Feedback(made, at_ms, caller, id, "", score, "", kind, "", "", SOURCE + kind)
