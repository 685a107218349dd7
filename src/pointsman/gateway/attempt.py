"""Attempt: one send while it is under way, and the row it becomes."""

from __future__ import annotations

from msgspec import structs

from pointsman.core.entry import AttemptRow
from pointsman.core.options import Step
from pointsman.core.outcome import BILLABLE, Kind, Outcome
from pointsman.core.pricing import NOTHING, UNPRICED, charge
from pointsman.core.usage import NO_USAGE, Usage
from pointsman.dialects.relay_reply import silence_of
from pointsman.dialects.relay_stream import RelayStream
from pointsman.dialects.translate import TranslateStream
from pointsman.gateway.clock import Clock
from pointsman.gateway.ruler import Ruler
from pointsman.gateway.upstream import RawHeaders, lower
from pointsman.gateway.world import CALLER_DIALECT, Endpoint

Pipe = RelayStream | TranslateStream
MAX_MODEL, MAX_MESSAGE = 200, 500  # characters of a provider's own words that the books keep
# Ends by which we stopped listening: what the provider did with the request is not known.
_UNHEARD = frozenset({Kind.TIMEOUT, Kind.DEADLINE, Kind.CLIENT_GONE, Kind.CANCELLED})


class Attempt:
    """Hold one send. Times are milliseconds of the monotonic clock; 0.0: did not get that far."""

    connected_ms = 0.0
    answered_ms = 0.0  # first content, or the whole reply
    status = 0
    streams = False
    pipe: Pipe | None  # what reads its stream
    sent = False  # the request has left
    probe = 0.0  # until when it is the one try of a half-open breaker; 0.0: it is none

    def __init__(self, step: Step, endpoint: Endpoint, started_ms: float) -> None:
        self.step = step
        self.endpoint = endpoint
        self.started_ms = started_ms
        self.pipe = None

    @property
    def bills_on(self) -> bool:
        """Tell whether hanging up now would not end the bill."""
        return self.sent and self.endpoint.provider.bills_cancelled

    def pipe_for(self, *, show_usage: bool) -> Pipe:
        """Return what reads a stream: relayed when the wires are the same, else translated."""
        if self.endpoint.relays:
            return RelayStream(show_usage=show_usage)
        return TranslateStream(self.endpoint.dialect, CALLER_DIALECT, show_usage=show_usage)

    def translate_reply(self, body: bytes) -> tuple[Outcome | None, Usage, str, bytes]:
        """Return a unary reply of another wire as failure (None: it is an answer; SILENT and CONTENT_FILTER: it is one that
        says nothing), usage, served model and the body for the
        client. Raise WireError when it is not of the provider's wire."""
        reply = self.endpoint.dialect.decode_reply(body)
        failure = None if reply.choices else Outcome(Kind.EMPTY, 200, "the reply has no choices")
        if failure is None and not any(choice.message.parts for choice in reply.choices):
            failure = silence_of({choice.finish or "stop" for choice in reply.choices})
        return failure, reply.usage or NO_USAGE, reply.model, CALLER_DIALECT.encode_reply(reply)

    def classify(self, status: int, headers: RawHeaders, body: bytes, clock: Clock) -> Outcome:
        """Return the Outcome of a reply that is no answer. Dates in its headers count from the clock's now."""
        outcome = self.endpoint.dialect.classify(status, lower(headers), body, clock.wall_ms() / 1000)
        if outcome.kind is Kind.OK:
            return Outcome(Kind.BROKEN, status, "something else came than was asked for")
        return outcome

    def row(
        self, outcome: Outcome, now_ms: float, ready_ms: float, service_tier: str | None, minute: int
    ) -> AttemptRow:
        """Return what the books say of the attempt. Times in it count from `ready_ms`; `minute` is that of the UTC day
        whose prices hold, -1 when none depends on it.

        An end that providers do not bill costs nothing; a billable one without usage is unpriced: unknown is not zero (I5).
        """
        deployment, usage = self.endpoint.deployment, outcome.usage
        price = deployment.price
        if usage.source != "unknown":
            cost = charge(usage, price, service_tier, minute)
        else:
            cost = UNPRICED if self.answered_ms and outcome.kind in BILLABLE else NOTHING
        return AttemptRow(
            deployment.name,
            deployment.provider,
            deployment.wire.model,
            outcome.kind,
            outcome.status or self.status,
            self.started_ms - ready_ms,
            self.connected_ms and self.connected_ms - ready_ms,
            self.answered_ms and self.answered_ms - ready_ms,
            now_ms - ready_ms,
            usage,
            -1 if cost.nano is None else cost.nano,
            cost.state,
            "" if price is None else price.version,
            outcome.served_model[:MAX_MODEL],
            self._without_key(outcome.message)[:MAX_MESSAGE] if outcome.message else "",
        )

    def _without_key(self, message: str) -> str:
        """Return a provider's words without the key we called it with (I24)."""
        secret = self.endpoint.provider.api_key
        return message.replace(secret.reveal(), "***") if secret is not None and secret.reveal() else message

    def billed(self, outcome: Outcome, input_tokens: int) -> Outcome:
        """Return the outcome with what an attempt that did not end well has used: a stream is billed from its first content
        on, and a request whose answer nobody waited for at least for its input (fault 12)."""
        pipe = self.pipe
        if outcome.usage.source != "unknown":
            return outcome
        if self.sent and not self.answered_ms and outcome.kind in _UNHEARD and (pipe is None or not pipe.events):
            return structs.replace(
                outcome, usage=Usage(self.endpoint.ruler.input_tokens(input_tokens), 0, source="estimated")
            )
        if pipe is None or outcome.usage.source != "unknown" or not (pipe.content or outcome.kind in BILLABLE):
            return outcome
        usage = self.usage_so_far(input_tokens)
        return outcome if usage is None else structs.replace(outcome, usage=usage, served_model=pipe.served_model)

    def usage_so_far(self, input_tokens: int) -> Usage | None:
        """Return what a stream that did not end well has used, by our estimate; None when nothing of it came.

        What the provider said of its input holds; of its output it may have said something early, so the larger counts.
        """
        pipe = self.pipe
        if pipe is None or not pipe.events:
            return None
        said, ruler = pipe.usage, self.endpoint.ruler
        return Usage(
            said.input_tokens or ruler.input_tokens(input_tokens),
            max(said.output_tokens, ruler.output_tokens(pipe.text_bytes)),
            said.cache_read_tokens,
            said.cache_write_5m_tokens,
            said.cache_write_1h_tokens,
            said.reasoning_tokens,
            source="estimated",
        )


def estimated_usage(ruler: Ruler, input_tokens: int, text_bytes: int) -> Usage:
    """Return our own estimate of an answer whose provider said nothing of its usage."""
    return Usage(ruler.input_tokens(input_tokens), ruler.output_tokens(text_bytes), source="estimated")
