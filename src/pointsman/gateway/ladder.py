"""Ladder: what a route answers when no deployment did: an earlier answer, a text of the operator's, or a plain refusal."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from pointsman.core.cachekey import share_of
from pointsman.core.chat import Choice, End, Finish, Message, Reply, Start, Text, TextDelta, UsageReport
from pointsman.core.outcome import CLASSES, Blame, Kind, Outcome
from pointsman.core.policy import Key, Rung
from pointsman.core.request import NEED_JSON_SCHEMA
from pointsman.core.usage import Usage
from pointsman.gateway import answers
from pointsman.gateway.refusals import failure_body, failure_headers
from pointsman.gateway.settlement import failed_headers, ladder_headers
from pointsman.gateway.world import CALLER_DIALECT

if TYPE_CHECKING:
    from pointsman.gateway.exchange import Exchange

# Ends that the ladder is not there for: the caller's own fault, and our own end.
_PASSED_ON = frozenset({Kind.CLIENT_GONE, Kind.CANCELLED})


class Last(NamedTuple):
    """Hold the answer that ends an exchange, what to book of it, and the rung it came from; "" for none."""

    outcome: Outcome
    status: int
    answer: bytes
    rung: str


def answer_key(exchange: Exchange) -> tuple[str, str]:
    """Return what an answer is kept under: its caller, its route and the request to the last byte. One caller never gets
    what was written for another."""
    caller, label = exchange.incoming.caller, exchange.options.label
    assert isinstance(caller, Key)
    return share_of("key", label, caller.who).hex(), blake2b(exchange.incoming.body, digest_size=20).hexdigest()


def keeps_answers(exchange: Exchange) -> bool:
    """Tell whether the route may fall back on an earlier answer, and this is one worth keeping: not of a lower rung."""
    return (
        exchange.step is not None
        and not exchange.step.tier
        and any(rung.cached_s is not None for rung in exchange.options.last)
    )


def last_answer(exchange: Exchange, outcome: Outcome, now_ms: float) -> Last:
    """Return what the client is told when no deployment answered: by the first rung that has an answer, else of `outcome`
    itself. Where the request is at fault there is no stepping down: the caller can mend it."""
    rungs = exchange.options.last
    if not rungs or CLASSES[outcome.kind].blame is Blame.CLIENT or outcome.kind in _PASSED_ON:
        return _refusal(exchange, outcome, failed_headers(exchange, now_ms), "")
    for rung in rungs:
        if rung.refuse:
            wait_ms = 1000 * (rung.retry_after_s or 1)
            outcome = Outcome(outcome.kind, outcome.status, outcome.message, wait_ms, outcome.usage)
            return _refusal(exchange, outcome, ladder_headers(exchange, rung), rung.name)
        body = _cached(exchange, rung) if rung.reply is None else _reply(exchange, rung.reply)
        if body is not None:
            answer = answers.whole(exchange.edge, ladder_headers(exchange, rung), body, stream=exchange.streams)
            return Last(Outcome(Kind.DEGRADED, 200, outcome.message), 200, answer, rung.name)
    return _refusal(exchange, outcome, failed_headers(exchange, now_ms), "")


def _refusal(exchange: Exchange, outcome: Outcome, headers: str, rung: str) -> Last:
    status = CLASSES[outcome.kind].status
    if rung:
        status = max(503, status)
    extra = headers + failure_headers(outcome, len(exchange.rows), status, final=bool(rung))
    body = failure_body(outcome, exchange.request.id)
    return Last(outcome, status, answers.response(status, body, extra, close=exchange.incoming.close), rung)


def _cached(exchange: Exchange, rung: Rung) -> bytes | None:
    live = exchange.shell.live
    oldest_ms = live.clock.wall_ms() - int((rung.cached_s or 0.0) * 1000)
    kept = live.answers.get(*answer_key(exchange), live.clock.wall_ms())
    return kept.body if kept is not None and kept.at_ms >= oldest_ms else None


def _reply(exchange: Exchange, text: str) -> bytes | None:
    """Return the operator's text as an answer in the caller's wire: a JSON body, or a whole stream. None when the caller
    wants JSON of a schema: text would break what reads it."""
    features = exchange.request.features
    if features.needs & NEED_JSON_SCHEMA:
        return None
    id, model, created_s = f"chatcmpl-{exchange.request.id}", exchange.options.label, 0
    created_s = exchange.shell.live.clock.wall_ms() // 1000
    usage = Usage(0, 0)
    if not exchange.streams:
        message = Message("assistant", (Text(text),))
        choices = tuple(Choice(index, message, "stop") for index in range(features.choices))
        reply = Reply(id=id, model=model, choices=choices, usage=usage, created_s=created_s)
        return CALLER_DIALECT.encode_reply(reply)
    encoder = CALLER_DIALECT.stream_encoder(include_usage=exchange.head.include_usage)
    texts = [TextDelta(text, index) for index in range(features.choices)]
    ends = [Finish("stop", index) for index in range(features.choices)]
    return encoder.encode([Start(id, model, created_s), *texts, *ends, UsageReport(usage), End()])
