"""Filters: pure tests that remove a candidate, each with a Reason."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from pointsman.core.health import State, may_probe, ramp_share
from pointsman.core.options import NO_BOUND, NO_DETAIL, Option, Options, costs_nano
from pointsman.core.policy import Bounds
from pointsman.core.request import Features
from pointsman.core.strategy import Snapshot

TRUSTED_SAMPLES = 5  # a percentile that rests on fewer answers is doubted
TRIAL_SHARE = 0.05  # of requests let through to a candidate whose percentile is doubted, so that it is measured again

FULL_MS = 2_000.0  # to wait for a deployment that is full, at least; at most twice that


class Reason(StrEnum):
    """Say why a candidate was not eligible; ELIGIBLE, the empty string, says that it was."""

    ELIGIBLE = ""
    CAPABILITY = "capability"  # it is known not to do what the request needs
    CONTEXT = "context"  # the request does not fit its window
    OUTPUT = "output"  # more output was asked for than it gives
    UNPRICED = "unpriced"  # the route forbids unknown prices, or limits what a request may cost
    COOLING = "cooling"  # its quota group answered 429
    EJECTED = "ejected"  # the breaker is open
    PROBING = "probing"  # the breaker is half open and its one probe is under way
    RAMPING = "ramping"  # the breaker has just closed: this time it stands behind the others, and is still eligible
    FULL = "full"  # it has as many attempts under way as its `concurrency` allows; its health is not touched
    QUALITY = "quality"  # below the route's quality floor
    SLOW = "slow"  # its measured time to first token is above the route's limit
    COST = "cost"  # predicted to cost more than the route allows a request
    SPENT = "spent"  # the route's money of the day is used up
    ASIDE = "aside"  # only an end that `on` names brings it
    RULE = "rule"  # a rule could not be evaluated on this request


HEALTH_REASONS = frozenset({Reason.COOLING, Reason.EJECTED, Reason.PROBING, Reason.FULL})
DEMANDS = ("quality_min", "ttft_ms_p95", "nano_per_request", "nano_per_day")  # of core.policy.Bounds


def fits_all(options: Options, features: Features) -> bool:
    """Tell whether every candidate of the route passes `static`: the usual case, in four comparisons."""
    wanted = features.output_tokens or 0
    return (
        not features.needs & options.lacks_any
        and features.input_tokens + wanted <= options.least_context_tokens
        and wanted <= options.least_output_tokens
        and (options.all_priced or options.route.unpriced == "allow")
    )


def static(options: Options, option: Option, features: Features) -> Reason:
    """Return the Reason that the candidate's facts give against the request."""
    wanted = min(features.output_tokens or 0, option.output_cap_tokens)
    if features.needs & option.lacks:
        return Reason.CAPABILITY
    if features.input_tokens + wanted > option.context_tokens:
        return Reason.CONTEXT
    if wanted > option.max_output_tokens:
        return Reason.OUTPUT
    if option.price is None and options.route.unpriced == "deny":
        return Reason.UNPRICED
    return Reason.ELIGIBLE


def health(state: State, now_ms: float) -> Reason:
    """Return the Reason that the deployment's state gives against a send now."""
    if now_ms < state.cool_until_ms:
        return Reason.COOLING
    if now_ms < state.open_until_ms:
        return Reason.EJECTED
    if state.ejections and now_ms < state.probe_until_ms:
        return Reason.PROBING
    if state.full:
        return Reason.FULL
    return Reason.ELIGIBLE


def is_last_resort(state: State, now_ms: float) -> bool:
    """Tell whether an ejected deployment may take a request that nobody else can: it still answers most (I15), or it is
    time to see whether it is back."""
    return (state.soft or may_probe(state, now_ms)) and not state.full and now_ms >= state.cool_until_ms


def ramp_shares(states: Sequence[State], positions: Sequence[int], now_ms: float) -> list[tuple[float, int]]:
    """Return the share of first sends, and the position, of each of the candidates that takes less than all; the smallest
    share first."""
    return sorted((ramp_share(states[p], now_ms), p) for p in positions if states[p].ramp_until_ms > now_ms)


def ramp_drawn(seed: float) -> float:
    """Return what is held against the shares of those that ramp up, uniform in [0, 1): digits of the seed that neither the
    strategies nor `trial_drawn` use."""
    return (seed * 4294967296.0) % 1.0


def wait_ms(state: State, snapshot: Snapshot, reason: str) -> float:
    """Return how long a deployment that one of HEALTH_REASONS speaks against is to be waited for. For one that is full it
    is drawn, so that not all come back together."""
    if reason == Reason.FULL:
        return FULL_MS * (1.0 + snapshot.seed)
    opens_ms = min(state.open_until_ms, state.retry_ms) if state.retry_ms else state.open_until_ms
    return max(state.cool_until_ms, opens_ms, state.probe_until_ms) - snapshot.now_ms


class Demand(NamedTuple):
    """Hold what candidates are held to: the route's bounds, and whether those that seem slow by old measurements are tried
    this time."""

    bounds: Bounds
    tried: bool


def bounded(
    options: Options, eligible: Sequence[int], features: Features, snapshot: Snapshot, demand: Demand
) -> list[Reason]:
    """Return the Reasons that the route's demands give against the `eligible` candidates.

    What the ladder brings is held to the limits of money alone: it is there for when the rest cannot be met. A candidate
    that was never measured is not slow.
    """
    bounds, tried = demand
    reasons = [Reason.ELIGIBLE] * len(eligible)
    per_request, per_day = bounds.nano_per_request, bounds.nano_per_day
    if per_request is not None or per_day is not None:
        most = NO_BOUND if per_request is None else per_request
        left = NO_BOUND if per_day is None else per_day - (snapshot.detail or NO_DETAIL).spent_nano
        for i, nano in enumerate(costs_nano(options, eligible, features, snapshot)):
            if nano > most:
                reasons[i] = Reason.COST
            elif nano > left and nano > 0:
                reasons[i] = Reason.SPENT
            elif nano < 0:
                reasons[i] = Reason.UNPRICED
    first_rung = options.tier_starts[0] if options.tier_starts else NO_BOUND
    if bounds.ttft_ms_p95 is not None:
        most_ms, states = bounds.ttft_ms_p95, snapshot.states
        for i, position in enumerate(eligible):
            state = states[position]
            if (
                state.ttft_p95_ms > most_ms
                and position < first_rung
                and not (state.sampled < TRUSTED_SAMPLES and tried)
            ):
                reasons[i] = Reason.SLOW
    if bounds.quality_min is not None:
        least, quality = bounds.quality_min, options.quality[features.category]
        for i, position in enumerate(eligible):
            if quality[position] < least and position < first_rung:
                reasons[i] = Reason.QUALITY
    return reasons


def any_doubted(options: Options, eligible: Sequence[int], snapshot: Snapshot) -> bool:
    """Tell whether some candidate seems slow by too few or too old measurements."""
    bounds, states = options.bounds, snapshot.states
    if bounds is None or bounds.ttft_ms_p95 is None:
        return False
    most_ms = bounds.ttft_ms_p95
    return any(states[p].ttft_p95_ms > most_ms and states[p].sampled < TRUSTED_SAMPLES for p in eligible)


def trial_drawn(seed: float) -> bool:
    """Draw with TRIAL_SHARE, from digits of the seed that the strategies hardly use."""
    return (seed * 65536.0) % 1.0 < TRIAL_SHARE
