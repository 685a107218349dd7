"""Feedback: POST /v1/feedback, a judgement of an answer that came later. Kept whatever it names; the ledger joins it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta, Raw

from pointsman.core.entry import Feedback
from pointsman.core.ids import feedback_id
from pointsman.core.policy import Key
from pointsman.gateway.answers import response
from pointsman.gateway.edge import Edge, Incoming
from pointsman.stores.journal import JournalError

if TYPE_CHECKING:
    from pointsman.gateway.worker import Worker

MOST_REQUEST_ID = 128  # characters; as much is kept of an x-request-id
MOST_SESSION = 256  # as of a chat request's session
MOST_LABEL = 128
MOST_COMMENT = 4_000
MOST_CORRECTION = 16_000
DEFAULT_SOURCE = "user"
SCORES = {"up": 1.0, "down": 0.0}  # what a thumb counts as when there is no score
_JUDGEMENTS = ("score", "thumbs", "label", "comment", "correction")


class Given(msgspec.Struct, frozen=True):
    """Hold the body of a feedback; null and "" are the same as absent."""

    request_id: Annotated[str, Meta(max_length=MOST_REQUEST_ID)] | None = None
    session: Annotated[str, Meta(max_length=MOST_SESSION)] | None = None
    score: Annotated[float, Meta(ge=0, le=1)] | None = None
    thumbs: Literal["up", "down"] | None = None
    label: Annotated[str, Meta(max_length=MOST_LABEL)] | None = None
    comment: Annotated[str, Meta(max_length=MOST_COMMENT)] | None = None
    correction: Annotated[str, Meta(max_length=MOST_CORRECTION)] | None = None
    source: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9_.-]{0,63}$")] | None = None


_members = msgspec.json.Decoder(dict[str, Raw]).decode
_given = msgspec.json.Decoder(Given).decode


class Acknowledgement:
    """Answer the client once its feedback is written; the Sender of a Feedback record."""

    def __init__(self, worker: Worker, edge: Edge, incoming: Incoming, record: Feedback) -> None:
        self._worker = worker
        self._edge = edge
        self._incoming = incoming
        self._record = record

    def booked(self) -> None:
        """Say that it is kept, and under which id; not whether what it names is there."""
        worker, record = self._worker, self._record
        worker.books.metrics.judge(record.source)
        if record.thumbs == "down" and record.request_id:
            assert isinstance(self._incoming.caller, Key)
            worker.cache.semantics.down(self._incoming.caller, record.request_id, worker.live.world.semantic_of)
        body = msgspec.json.encode({"id": record.id})
        self._edge.answer(response(202, body, close=self._incoming.close))

    def unbooked(self, error: JournalError) -> None:
        """Say that it is not kept."""
        message = f"the feedback cannot be kept: {error.args[-1]}"
        worker, incoming = self._worker, self._incoming
        self._edge.answer(worker.refusal(503, message, "ledger_unavailable", incoming=incoming, close=incoming.close))


def feedback(worker: Worker, edge: Edge, incoming: Incoming) -> None:
    """Answer POST /v1/feedback: read, book, acknowledge."""
    key = incoming.caller
    assert isinstance(key, Key)
    try:
        given = read_feedback(incoming.body)
    except ValueError as error:
        edge.answer(worker.refusal(400, str(error), "invalid_request", incoming=incoming, close=incoming.close))
        return
    at_ms = worker.live.clock.wall_ms()
    record = record_of(given, feedback_id(at_ms, worker.live.id_bytes()), at_ms, key.who)
    waiting = Acknowledgement(worker, edge, incoming, record)
    try:
        worker.books.admit(record, waiting)
    except JournalError as error:
        waiting.unbooked(error)


def read_feedback(body: bytes) -> Given:
    """Return what a body says. Raise ValueError that says what is wrong with it and what to do."""
    try:
        names = _members(body)
        unknown = next((name for name in names if name not in Given.__struct_fields__), None)
        if unknown is not None:
            raise ValueError(_unknown(unknown))
        given = _given(body)
    except msgspec.ValidationError as error:
        raise ValueError(f"the body does not fit a feedback: {error}") from None
    except msgspec.DecodeError as error:
        raise ValueError(f"the body is not valid JSON: {error}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"the body is not valid UTF-8 (byte {error.start})") from None
    except RecursionError:
        raise ValueError("the body is nested too deeply") from None
    if bool(given.request_id) == bool(given.session):
        raise ValueError("name what is judged: either `request_id` or `session`, one of them")
    if all(getattr(given, name) in (None, "") for name in _JUDGEMENTS):
        raise ValueError(f"there is no judgement in it: give at least one of {', '.join(_JUDGEMENTS)}")
    return given


def record_of(given: Given, id: str, at_ms: int, caller: tuple[str, str, str, str]) -> Feedback:
    """Return the journal record of a feedback that came at `at_ms`, in Unix milliseconds."""
    thumbs = given.thumbs or ""
    return Feedback(
        id,
        at_ms,
        caller,
        given.request_id or "",
        given.session or "",
        given.score if given.score is not None else SCORES.get(thumbs),
        thumbs,
        given.label or "",
        given.comment or "",
        given.correction or "",
        given.source or DEFAULT_SOURCE,
    )


def _unknown(name: str) -> str:
    from pointsman.config.problem import nearest, short  # rarely needed

    return f"unknown member `{short(name)}`. {nearest(name, Given.__struct_fields__)}"
