"""Health: what was measured of a deployment, folded from outcomes. Pure: every fold returns a new State."""

from __future__ import annotations

import math
from math import exp

import msgspec

from pointsman.core.outcome import Blame, Kind, Outcome
from pointsman.core.policy import Limits

TTFT_PRIOR_MS = 800.0  # an unmeasured deployment is taken for average, never for instant
TPS_PRIOR = 50.0  # tokens per second
DECAY_MS = 10_000.0  # time constant of the peak EWMA (finagle's default)
FADE_MS = 60_000.0  # how fast an old measurement fades back to the prior when nothing new arrives
FRESH_MS = 1_000.0  # younger measurements are taken as they are: what fading would change is noise
WINDOW_MS = 30_000.0  # over which the success rate is counted
LONG_EJECTION_MS = 60_000.0  # for ends that time alone does not heal
RATE_LIMIT_COOL_MS = 5_000.0  # when a 429 names no time

# Ends that eject at once: another try would fail the same way.
_FATAL = frozenset({Kind.AUTH, Kind.NOT_FOUND, Kind.UNTRUSTED, Kind.QUOTA_EXHAUSTED})


class State(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Hold what is known of one deployment now. Times are milliseconds of the monotonic clock.

    The breaker is open while `now < open_until_ms`; after that, while `ejections > 0 and not healthy`, it is half open:
    one probe at a time, `probe_until_ms` reserving its turn.
    """

    ttft_ms: float = TTFT_PRIOR_MS
    tps: float = TPS_PRIOR
    measured_ms: float = -math.inf  # time of the last latency sample
    failures: int = 0  # in a row
    window_ok: float = 0.0
    window_all: float = 0.0
    window_ms: float = 0.0  # time the window counts were last decayed
    ejections: int = 0  # in a row, without a success between
    open_until_ms: float = 0.0
    probe_until_ms: float = 0.0
    cool_until_ms: float = 0.0  # the quota group's 429
    why: str = ""  # Kind of the last failure, for the operator
    ttft_p95_ms: float = 0.0  # 95th percentile of the time to first content; 0.0: never measured
    sampled: int = 0  # answers of the last minute that it rests on
    prior_ms: float = (
        TTFT_PRIOR_MS  # time to first content to expect while unmeasured: of its kin, see gateway.sketches
    )


UNKNOWN = State()


def predicted_ttft_ms(state: State, now_ms: float) -> float:
    """Return the time to first content to expect: the peak EWMA, fading to the prior as it grows old. Never zero."""
    if state.measured_ms == -math.inf:
        return state.prior_ms
    if state.measured_ms > now_ms - FRESH_MS:
        return state.ttft_ms
    age = now_ms - state.measured_ms
    weight = exp(-age / FADE_MS)
    return max(1.0, state.ttft_ms * weight + state.prior_ms * (1.0 - weight))


def predicted_ms(state: State, now_ms: float, output_tokens: int) -> float:
    """Return the time to the last token to expect for an answer of `output_tokens`."""
    return predicted_ttft_ms(state, now_ms) + output_tokens * 1000.0 / state.tps


def succeeded(state: State, now_ms: float, ttft_ms: float, tps: float | None, count: float = 1.0) -> State:
    """Fold a success: the breaker closes, latency follows peaks at once and recovers cautiously (peak EWMA). `count`
    successes are counted, of which this one was measured."""
    speed = state.tps
    if state.measured_ms == -math.inf:
        ewma = ttft_ms
        if tps is not None:
            speed = tps
    else:
        # Many samples in one instant must still move the mean, hence at most 0.9.
        age = now_ms - state.measured_ms
        keep = 0.9 if age < FRESH_MS else exp(-age / DECAY_MS)
        ewma = ttft_ms if ttft_ms > state.ttft_ms else state.ttft_ms * keep + ttft_ms * (1.0 - keep)
        if tps is not None:
            speed = speed * keep + tps * (1.0 - keep)
    decay = 1.0
    window_ms = state.window_ms
    if now_ms - window_ms > FRESH_MS:  # in steps: an exponential for every sample would cost more than it tells
        decay, window_ms = exp((window_ms - now_ms) / WINDOW_MS), now_ms
    return State(
        ewma if ewma > 0.001 else 0.001,
        speed if speed > 0.001 else 0.001,
        now_ms,
        0,
        state.window_ok * decay + count,
        state.window_all * decay + count,
        window_ms,
        0,
        0.0,
        0.0,
        state.cool_until_ms,
        "",
        state.ttft_p95_ms,
        state.sampled,
        state.prior_ms,
    )


def failed(state: State, now_ms: float, outcome: Outcome, limits: Limits, draw: float) -> State:
    """Fold a failure. Only ends the provider is to blame for count (I12). `draw` in [0, 1) jitters the ejection."""
    if outcome.blame is not Blame.PROVIDER:
        return released(state)
    if outcome.kind is Kind.RATE_LIMITED:
        return msgspec.structs.replace(state, probe_until_ms=0.0, why=outcome.kind)
    decay = _window_decay(state, now_ms)
    ok, total, failures = state.window_ok * decay, state.window_all * decay + 1.0, state.failures + 1
    tripped = (
        state.ejections > 0  # a failed probe
        or failures >= limits.breaker_failures
        or outcome.kind in _FATAL
        or (total >= limits.breaker_min_requests and ok < limits.breaker_success * total)
    )
    state = msgspec.structs.replace(
        state,
        failures=failures,
        window_ok=ok,
        window_all=total,
        window_ms=now_ms,
        probe_until_ms=0.0,
        why=outcome.kind.value,
    )
    if not tripped or now_ms < state.open_until_ms:
        return state
    return msgspec.structs.replace(
        state,
        ejections=state.ejections + 1,
        open_until_ms=now_ms + _ejection_ms(state.ejections, outcome, limits, draw),
        window_ok=0.0,
        window_all=0.0,
    )


def cooled(state: State, now_ms: float, retry_after_ms: int | None) -> State:
    """Fold a 429 of the deployment's quota group: no send before the provider's own time, which is never shortened."""
    wait = RATE_LIMIT_COOL_MS if retry_after_ms is None else float(retry_after_ms)
    return msgspec.structs.replace(state, cool_until_ms=max(state.cool_until_ms, now_ms + wait))


def probing(state: State, until_ms: float) -> State:
    """Reserve the single probe of a half-open breaker until its attempt must have ended."""
    return msgspec.structs.replace(state, probe_until_ms=until_ms)


def released(state: State) -> State:
    """Give a reserved probe back: its attempt ended without saying anything about the provider."""
    return state if state.probe_until_ms == 0.0 else msgspec.structs.replace(state, probe_until_ms=0.0)


def is_calm(state: State, now_ms: float) -> bool:
    """Tell whether nothing speaks against a send now."""
    return not state.ejections and now_ms >= state.cool_until_ms and now_ms >= state.open_until_ms


def breaker(state: State, now_ms: float) -> str:
    """Return `closed`, `open`, `half_open` or `cooling`."""
    if now_ms < state.cool_until_ms:
        return "cooling"
    if now_ms < state.open_until_ms:
        return "open"
    return "half_open" if state.ejections else "closed"


def _window_decay(state: State, now_ms: float) -> float:
    return exp((state.window_ms - now_ms) / WINDOW_MS)


def _ejection_ms(before: int, outcome: Outcome, limits: Limits, draw: float) -> float:
    """Return how long to eject: doubling, bounded, equal jitter (half fixed, half drawn): returns must not align."""
    base = float(limits.breaker_open_ms) * 2.0 ** min(before, 16)
    if outcome.kind in _FATAL:
        base = max(base, LONG_EJECTION_MS)
    if outcome.retry_after_ms is not None:
        base = max(base, float(outcome.retry_after_ms))
    base = min(base, float(limits.breaker_open_max_ms))
    return base / 2 + draw * base / 2
