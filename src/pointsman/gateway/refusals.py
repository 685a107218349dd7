"""Refusals: how the end of a request that has no answer is told to the client."""

from __future__ import annotations

from pointsman.core.decide import Plan
from pointsman.core.facts import RuleError
from pointsman.core.outcome import CLASSES, Blame, Kind, Outcome
from pointsman.core.request import Request, names_of
from pointsman.gateway import answers
from pointsman.gateway.answers import Refused
from pointsman.stores.journal import JournalError

# What a provider says here is about the operator's account, perhaps with a part of the key; the ledger keeps it.
OWN_WORDS = {
    Kind.AUTH: "the provider refuses the router's credentials",
    Kind.QUOTA_EXHAUSTED: "the router's quota at the provider is used up",
    Kind.NOT_FOUND: "the provider does not know the model the router asked for",
    Kind.UNTRUSTED: "the provider's certificate cannot be verified",
}
SLOW_WAIT_MS = 5_000  # for a deployment to be measured as faster

# Ends that another try of the client meets again.
_NO_USE = frozenset({*OWN_WORDS, Kind.DEADLINE, Kind.SPENT, Kind.UNMET, Kind.RULE_FAILED})


def failure_body(outcome: Outcome, request_id: str) -> bytes:
    """Return the OpenAI-shaped error body of an outcome."""
    kind = CLASSES[outcome.kind]
    message = OWN_WORDS.get(outcome.kind) or outcome.message or kind.code.replace("_", " ")
    origin = kind.blame.value if kind.blame is not Blame.NOBODY else "router"
    return answers.error_body(message, kind.type, kind.code, origin=origin, request_id=request_id)


def failure_headers(outcome: Outcome, attempts: int, status: int, *, final: bool = False) -> str:
    """Return the headers that tell an SDK whether, and when, to try again.

    `x-should-retry: false` when our own tries are spent, or when nobody can be tried: every 503 says that what could be tried
    was tried, so that retries do not multiply (I9). A 429 that met no other deployment is left to the SDK, which waits as
    `retry-after` says. `final`: the operator has said so.
    """
    lines = ""
    if status in (429, 503):
        wait_ms = outcome.retry_after_ms if outcome.retry_after_ms is not None else 1_000
        lines = f"retry-after: {max(1, -(-wait_ms // 1000))}\r\n"
    if final or attempts > 1 or status == 503 or outcome.kind in _NO_USE:
        lines += "x-should-retry: false\r\n"
    return lines


def unbooked(error: JournalError) -> Refused:
    """Return the refusal of a request that cannot be booked."""
    return Refused(503, f"the request cannot be booked, so it is not sent: {error.args[-1]}", "ledger_unavailable")


def rule_failure(error: RuleError) -> Outcome:
    """Return the Outcome of a request on which a rule could not be evaluated: it is never passed over."""
    message = f"rule {error.index + 1} of `{error.route}` cannot be evaluated on this request: {error}"
    return Outcome(Kind.RULE_FAILED, 0, message)


def in_the_way(plan: Plan, request: Request, route: str) -> Outcome:
    """Return the Outcome of a request for which no deployment could be tried. `route` is its name as the operator wrote
    it."""
    if plan.wait_ms:
        kind = {"cooling": Kind.RATE_LIMITED, "full": Kind.FULL}.get(plan.refused, Kind.OVERLOADED)
        message = f"no deployment of `{route}` can be tried now ({plan.refused})"
        return Outcome(kind, 0, message, int(plan.wait_ms))
    features = request.features
    if plan.refused == "context":
        message = f"about {features.input_tokens} input tokens do not fit any model of `{route}`"
        return Outcome(Kind.CONTEXT_LENGTH, 0, message)
    if plan.refused == "slow":
        message = f"every deployment of `{route}` is slower now than its limit ttft_ms_p95"
        return Outcome(Kind.OVERLOADED, 0, message, SLOW_WAIT_MS)
    if plan.refused == "spent":
        return Outcome(Kind.SPENT, 0, f"`{route}` has used up its limit usd_per_day; it opens again at 00:00 UTC")
    if plan.refused in ("cost", "quality"):
        what = (
            "is predicted to cost no more than its limit usd_per_request"
            if plan.refused == "cost"
            else "is good enough"
        )
        return Outcome(Kind.UNMET, 0, f"no deployment of `{route}` that can be tried {what}")
    wants = {
        "capability": f"no model of `{route}` is known to take: {', '.join(names_of(features.needs))}",
        "output": f"no model of `{route}` gives {features.output_tokens} output tokens",
        "unpriced": f"`{route}` forbids models whose price is unknown",
    }
    return Outcome(Kind.UNSUPPORTED, 0, wants.get(plan.refused, f"no deployment of `{route}`: {plan.refused}"))
