"""Outcome: the classified end of one attempt, and the table that says what each kind of end means."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from pointsman.core.usage import NO_USAGE, Usage


class Kind(StrEnum):
    """Name what happened to an attempt, and say what that means. One row of CLASSES each."""

    means: str

    def __new__(cls, value: str, means: str = "") -> Kind:
        made = str.__new__(cls, value)
        made._value_, made.means = value, means
        return made

    OK = "ok", "a complete answer"
    UNREACHABLE = "unreachable", "DNS, refused, reset while connecting, connect timeout"
    LOCAL = "local", "the router's own machine cannot connect: no network, no file descriptors"
    UNTRUSTED = "untrusted", "TLS verification failed"
    STALE = "stale", "a pooled connection was already closed; nothing was answered"
    TIMEOUT = "timeout", "no content in time"
    STALLED = "stalled", "content stopped arriving"
    RATE_LIMITED = "rate_limited", "come back later: the whole quota group rests"
    QUOTA_EXHAUSTED = "quota_exhausted", "a 429 that time alone does not heal"
    OVERLOADED = "overloaded", "the provider has too much to do (503, 529)"
    SERVER_ERROR = "server_error", "any other 5xx, or an error in a 200"
    AUTH = "auth", "the provider refuses our key"
    NOT_FOUND = "not_found", "the provider does not know the model"
    CONTEXT_LENGTH = "context_length", "the request does not fit the model's window"
    INVALID_REQUEST = "invalid_request", "the provider says that the request itself is wrong"
    CONTENT_FILTER = "content_filter", "the provider refuses the content"
    BROKEN = "broken", "not the wire format: HTML, garbage, too large"
    EMPTY = "empty", "well-formed, but no answer in it"
    SILENT = "silent", "a whole answer with neither content nor a tool call"
    TRUNCATED = "truncated", "ended before its terminal marker or its declared length"
    UNSUPPORTED = "unsupported", "this request cannot be said in the deployment's wire format"
    DEADLINE = "deadline", "the caller's deadline passed"
    CLIENT_GONE = "client_gone", "the client closed the connection"
    CANCELLED = "cancelled", "the loser of a hedge, or the router stopped"
    FULL = "full", "it has as many attempts under way as its `concurrency` allows"
    SPENT = "spent", "the route's money of the day is used up"
    UNMET = "unmet", "no candidate meets what the route demands of quality or cost"
    RULE_FAILED = "rule_failed", "a rule of the route could not be evaluated on this request"
    DEGRADED = "degraded", "the ladder answered: an earlier answer, or a text of the operator's"


class Blame(StrEnum):
    PROVIDER = "provider"
    CLIENT = "client"
    ROUTER = "router"
    NOBODY = "nobody"


class Retry(StrEnum):
    NEXT = "next"  # another deployment may answer
    SAME = "same"  # the provider never saw it: send again at once
    NEVER = "never"


class Class(msgspec.Struct, frozen=True, gc=False):
    """State the consequences of a Kind: who is to blame, whether another send may help, whether the provider may bill,
    and how it is told to the client (HTTP status, OpenAI error type, code)."""

    blame: Blame
    retry: Retry
    billable: bool
    status: int
    type: str
    code: str


_P, _C, _R, _N = Blame.PROVIDER, Blame.CLIENT, Blame.ROUTER, Blame.NOBODY

# One row a failure class. To add one: a Kind, a row here; the conformance suite asks for the rest.
CLASSES: dict[Kind, Class] = {
    Kind.OK: Class(_N, Retry.NEVER, True, 200, "", ""),
    Kind.UNREACHABLE: Class(_P, Retry.NEXT, False, 503, "api_error", "provider_unreachable"),
    Kind.LOCAL: Class(_R, Retry.NEVER, False, 503, "api_error", "network_unavailable"),
    Kind.UNTRUSTED: Class(_P, Retry.NEXT, False, 503, "api_error", "provider_untrusted"),
    Kind.STALE: Class(_N, Retry.SAME, False, 503, "api_error", "provider_unreachable"),
    Kind.TIMEOUT: Class(_P, Retry.NEXT, True, 503, "api_error", "provider_timeout"),
    Kind.STALLED: Class(_P, Retry.NEXT, True, 503, "api_error", "stream_interrupted"),
    Kind.RATE_LIMITED: Class(_P, Retry.NEXT, False, 429, "rate_limit_error", "provider_rate_limited"),
    Kind.QUOTA_EXHAUSTED: Class(_P, Retry.NEXT, False, 503, "api_error", "provider_quota_exhausted"),
    Kind.OVERLOADED: Class(_P, Retry.NEXT, False, 503, "api_error", "provider_overloaded"),
    Kind.SERVER_ERROR: Class(_P, Retry.NEXT, False, 503, "api_error", "provider_error"),
    Kind.AUTH: Class(_P, Retry.NEXT, False, 503, "api_error", "provider_credentials_refused"),
    Kind.NOT_FOUND: Class(_P, Retry.NEXT, False, 503, "api_error", "provider_model_not_found"),
    Kind.CONTEXT_LENGTH: Class(_C, Retry.NEXT, False, 400, "invalid_request_error", "context_length_exceeded"),
    Kind.INVALID_REQUEST: Class(_C, Retry.NEVER, False, 400, "invalid_request_error", "invalid_request"),
    Kind.CONTENT_FILTER: Class(_C, Retry.NEVER, True, 400, "invalid_request_error", "content_filter"),
    Kind.BROKEN: Class(_P, Retry.NEXT, True, 503, "api_error", "provider_reply_unreadable"),
    Kind.EMPTY: Class(_P, Retry.NEXT, True, 503, "api_error", "provider_reply_empty"),
    Kind.SILENT: Class(_N, Retry.NEXT, True, 200, "", ""),
    Kind.TRUNCATED: Class(_P, Retry.NEXT, True, 503, "api_error", "stream_interrupted"),
    Kind.UNSUPPORTED: Class(_C, Retry.NEXT, False, 400, "invalid_request_error", "unsupported_by_model"),
    Kind.DEADLINE: Class(_N, Retry.NEVER, True, 503, "api_error", "deadline_exceeded"),
    Kind.CLIENT_GONE: Class(_C, Retry.NEVER, True, 499, "api_error", "client_closed_request"),
    Kind.CANCELLED: Class(_N, Retry.NEVER, True, 503, "api_error", "cancelled"),
    Kind.FULL: Class(_R, Retry.NEXT, False, 503, "api_error", "overloaded"),
    Kind.SPENT: Class(_R, Retry.NEVER, False, 429, "insufficient_quota", "route_budget_spent"),
    Kind.UNMET: Class(_R, Retry.NEVER, False, 503, "api_error", "demands_not_met"),
    Kind.RULE_FAILED: Class(_R, Retry.NEVER, False, 500, "api_error", "rule_failed"),
    Kind.DEGRADED: Class(_N, Retry.NEVER, False, 200, "", ""),
}


BILLABLE = frozenset(kind for kind, row in CLASSES.items() if row.billable)


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """Hold the classified end of one attempt. `retry_after_ms` is the provider's own wish, if it gave one."""

    kind: Kind
    status: int = 0  # HTTP status of the provider; 0: none came
    message: str = ""
    retry_after_ms: int | None = None
    usage: Usage = NO_USAGE
    served_model: str = ""
    code: str = ""

    @property
    def blame(self) -> Blame:
        return CLASSES[self.kind].blame

    @property
    def retry(self) -> Retry:
        return CLASSES[self.kind].retry


ANSWERED = Outcome(Kind.OK, 200)


def kind_of_status(status: int) -> Kind:
    """Return the Kind of an HTTP error status when the body says nothing better."""
    by_status = {
        400: Kind.INVALID_REQUEST,
        401: Kind.AUTH,
        402: Kind.QUOTA_EXHAUSTED,
        403: Kind.AUTH,
        404: Kind.NOT_FOUND,
        408: Kind.TIMEOUT,
        413: Kind.CONTEXT_LENGTH,
        422: Kind.INVALID_REQUEST,
        429: Kind.RATE_LIMITED,
        529: Kind.OVERLOADED,
        503: Kind.OVERLOADED,
    }
    if status in by_status:
        return by_status[status]
    if status >= 500:
        return Kind.SERVER_ERROR
    if status >= 400:
        return Kind.INVALID_REQUEST
    return Kind.BROKEN
