"""Error bodies and what they mean: one reader for every shape seen in the field, one table per dialect."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timezone
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from pointsman.core.chat import Reply, StreamError
from pointsman.core.outcome import CLASSES, Kind, Outcome, kind_of_status
from pointsman.core.usage import NO_USAGE
from pointsman.dialects.base import Dialect, WireError
from pointsman.dialects.wirejson import anything

MAX_MESSAGE_CHARS = 500
MAX_RETRY_AFTER_MS = 86_400_000
MAX_ERROR_BYTES = 64 * 1024  # of an error body; the rest is not read


class ErrorFacts(msgspec.Struct, frozen=True):
    """Hold what an error body says: its `words` (type, code, status; lower case), a message, a wished delay."""

    words: tuple[str, ...]
    message: str = ""
    code: str = ""
    status: int = 0  # an HTTP status named in the body
    retry_after_ms: int | None = None


class ErrorTable(msgspec.Struct, frozen=True):
    """Hold one dialect's rules, tried in this order; then the HTTP status decides, then LAST_WORDS."""

    words: dict[str, Kind]  # a word that says enough by itself; lower case, as everything here
    phrases: tuple[tuple[str, Kind], ...]  # parts of the message
    broad: dict[str, Kind]  # a word that says less than a phrase does


LAST_WORDS = {  # too vague to overrule a status
    "invalid_request_error": Kind.INVALID_REQUEST,
    "badrequesterror": Kind.INVALID_REQUEST,  # vLLM
    "invalid_argument": Kind.INVALID_REQUEST,
}


def read_error(body: bytes) -> ErrorFacts | None:
    """Return the facts of an error body in any known shape, or None if the body reports no error.

    Shapes: {"error": {…}} (OpenAI, Anthropic, Google), {"error": "text"}, {"object"|"type": "error", …}, {"detail": …}
    (FastAPI), {"errors": […]}, {"message": …} and a list whose first item is one of those.
    """
    try:
        value = anything(body[:MAX_ERROR_BYTES], "error body")
    except WireError:
        return None
    if isinstance(value, list):
        value = value[0] if value else None
    if not isinstance(value, dict):
        return None
    return _facts(_error_member(value))


def _error_member(value: dict[str, Any]) -> object:
    for name in ("error", "errors", "detail"):
        if found := value.get(name):
            return found[0] if isinstance(found, list) else found
    is_error = value.get("object") == "error" or value.get("type") == "error"
    looks_bare = isinstance(value.get("message"), str) and not {"choices", "content", "candidates"} & value.keys()
    return value if is_error or looks_bare else None


def _facts(error: object) -> ErrorFacts | None:
    if not error:
        return None
    if isinstance(error, str):
        return ErrorFacts((), error)
    if not isinstance(error, dict):
        return ErrorFacts(())
    inner = error.get("innererror")  # Azure puts the exact code there
    named = [error.get("code"), error.get("type"), error.get("status")]
    named += [inner.get("code")] if isinstance(inner, dict) else []
    details = [d for d in _list(error.get("details")) if isinstance(d, dict)]
    named += [d.get("reason") for d in details]
    named += [v.get("quotaId") for d in details for v in _list(d.get("violations")) if isinstance(v, dict)]
    words = [str(w) for w in named if isinstance(w, str | int) and not isinstance(w, bool)]
    numbers = [int(w) for w in words if w.isascii() and w.isdigit() and len(w) == 3]
    message = error.get("message") or error.get("msg")
    return ErrorFacts(
        words=tuple(w.lower() for w in words),
        message=message if isinstance(message, str) else "",
        code=next((w for w in words if not w.isdigit()), words[0] if words else "")[:100],
        status=numbers[0] if numbers else 0,
        retry_after_ms=next((ms for d in details if (ms := _delay_ms(d.get("retryDelay"))) is not None), None),
    )


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _delay_ms(value: object) -> int | None:
    """Return a protobuf Duration as JSON ("34.074824224s", google.rpc.RetryInfo) in milliseconds."""
    return _milliseconds(value[:-1], 1000) if isinstance(value, str) and value.endswith("s") else None


def retry_after_ms(headers: Mapping[str, str], now_s: float) -> int | None:
    """Return the provider's wished delay in ms, 0..86_400_000, or None if it gave none that can be read.

    `retry-after-ms` (OpenAI, Azure) before `retry-after` as seconds or HTTP date (RFC 9110 section 10.2.3); header
    names are lower case; `now_s` is Unix time in seconds.
    """
    exact = headers.get("retry-after-ms")
    if exact is not None and (ms := _milliseconds(exact, 1)) is not None:
        return ms
    value = headers.get("retry-after")
    if value is None:
        return None
    if (ms := _milliseconds(value, 1000)) is not None:
        return ms
    try:
        moment = parsedate_to_datetime(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=timezone.utc)  # noqa: UP017 - the alias is newer than some type stubs
        return _clamp_ms((moment.timestamp() - now_s) * 1000)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _milliseconds(text: str, factor: int) -> int | None:
    try:
        value = float(text) * factor
    except ValueError:
        return None
    return None if math.isnan(value) else _clamp_ms(value)


def _clamp_ms(value: float) -> int:
    return int(max(0.0, min(value, float(MAX_RETRY_AFTER_MS))))


def kind_of_error(table: ErrorTable, facts: ErrorFacts, status: int) -> Kind:
    """Return the Kind of an error body; `status` is the HTTP status, or one below 400 if only the body knows."""
    for word in facts.words:
        if word in table.words:
            return table.words[word]
    message = facts.message.lower()
    for needle, kind in table.phrases:
        if needle in message:
            return kind
    for word in facts.words:
        if word in table.broad:
            return table.broad[word]
    status = status if status >= 400 else facts.status
    if status >= 400:
        return kind_of_status(status)
    return next((LAST_WORDS[word] for word in facts.words if word in LAST_WORDS), Kind.SERVER_ERROR)


def stream_error(table: ErrorTable, facts: ErrorFacts) -> StreamError:
    """Return the event for an error the provider put inside a stream."""
    kind = kind_of_error(table, facts, facts.status)
    return StreamError(kind, facts.message[:MAX_MESSAGE_CHARS], facts.code or None, facts.retry_after_ms)


def classify(
    dialect: Dialect, table: ErrorTable, status: int, headers: Mapping[str, str], body: bytes, now_s: float
) -> Outcome:
    """Return the classified end of a whole HTTP answer, also of a 200 that carries an error, garbage or nothing."""
    wish = retry_after_ms(headers, now_s)
    if 200 <= status < 300:
        return _classify_success(dialect, table, status, body, wish)
    if facts := read_error(body):
        return _failed(table, facts, status, wish)
    return Outcome(kind_of_status(status), status, "the provider's error body cannot be read", wish)


def _failed(table: ErrorTable, facts: ErrorFacts, status: int, wish: int | None) -> Outcome:
    delay = wish if wish is not None else facts.retry_after_ms
    kind = kind_of_error(table, facts, status)
    return Outcome(kind, status, facts.message[:MAX_MESSAGE_CHARS], delay, code=facts.code)


def _classify_success(dialect: Dialect, table: ErrorTable, status: int, body: bytes, wish: int | None) -> Outcome:
    """Classify by the body, since a 200 may carry an error, a page, or nothing (faults 24 to 27)."""
    if not body.strip():
        return Outcome(Kind.EMPTY, status, "the body is empty")
    problem = ""
    try:
        reply = dialect.decode_reply(body)
        if reply.choices:
            kind, message = _judge(reply)
            return Outcome(kind, status, message, usage=reply.usage or NO_USAGE, served_model=reply.model)
    except WireError as error:
        problem = str(error)[:MAX_MESSAGE_CHARS]
    if facts := read_error(body):
        return _failed(table, facts, status, wish)
    if problem:
        return Outcome(Kind.BROKEN, status, problem)
    return Outcome(Kind.EMPTY, status, "the reply has no choices", served_model=reply.model)


def _judge(reply: Reply) -> tuple[Kind, str]:
    """Return OK, or EMPTY for a reply that ended well but holds nothing (faults 26, 27)."""
    if any(choice.message.parts for choice in reply.choices):
        return Kind.OK, ""
    if all(choice.finish in ("stop", None) for choice in reply.choices):
        return Kind.EMPTY, "the reply has neither content nor a tool call"
    if all(choice.finish == "content_filter" for choice in reply.choices):
        return Kind.CONTENT_FILTER, "the provider's content filter stopped the reply"
    return Kind.OK, ""


def error_words(event: StreamError) -> tuple[str, str]:
    """Return (OpenAI error type, code) of a StreamError, from CLASSES; an unknown kind counts as broken."""
    kind = Kind(event.kind) if event.kind in Kind.__members__.values() else Kind.BROKEN
    return CLASSES[kind].type, CLASSES[kind].code
