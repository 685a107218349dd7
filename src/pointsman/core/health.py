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
PATIENCE_SAMPLES = 20  # answers of the last minute that a percentile must rest on to bound a wait
PATIENCE_LEAST_MS = 2_000.0
RATE_LIMIT_COOL_MS = 5_000.0  # when a 429 names no time

# Ends that eject at once: another try would fail the same way.
FATAL = frozenset({Kind.AUTH, Kind.NOT_FOUND, Kind.UNTRUSTED, Kind.QUOTA_EXHAUSTED})
RAMP_LEAST = 0.1  # share of its first sends that a deployment takes at once when its breaker closes again


class State(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Hold what is known of one deployment now. Times are milliseconds of the monotonic clock.

    The breaker is open while `now < open_until_ms`; after that, while `ejections > 0 and not healthy`, it is half open:
    one probe at a time, `probe_until_ms` reserving its turn. When it closes again, `ramp_until_ms` is set: until then the
    deployment takes a growing share (see `ramp_share`). `soft`: its share of successes alone was too low, so that it still
    answers most requests.
    """

    ttft_ms: float = TTFT_PRIOR_MS
    tps: float = TPS_PRIOR
    measured_ms: float = -math.inf  # time of the last latency sample
    failures: int = 0  # in a row, of any kind
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
    slow_start_ms: int = 0  # how long it ramps up when its breaker closes again; of the limits, at its last ejection
    ramp_until_ms: int = 0
    unreachable: int = 0  # in a row: of the failures, the last ones in which no connection was had
    soft: bool = False
    full: bool = False  # it has as many attempts under way as it takes: known where `concurrency` is set
    retry_ms: float = (
        0.0  # from then on one request that nobody else can take may probe it though it is open; 0.0: none
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


def waited(state: State, now_ms: float, waited_ms: float) -> State:
    """Fold an attempt that was given up before it had content, without being to blame: it takes at least so long."""
    if waited_ms <= state.ttft_ms and state.measured_ms != -math.inf:
        return state
    return msgspec.structs.replace(state, ttft_ms=max(waited_ms, state.ttft_ms), measured_ms=now_ms)


def patience_ms(state: State, most_ms: float) -> float:
    """Return how long to wait for the first content where another deployment is left: four times the 95th percentile of the
    last minute, at least PATIENCE_LEAST_MS; `most_ms` where too little was measured."""
    if state.sampled < PATIENCE_SAMPLES:
        return most_ms
    return min(most_ms, max(PATIENCE_LEAST_MS, 4.0 * state.ttft_p95_ms))


def succeeded(state: State, now_ms: float, ttft_ms: float, tps: float | None, count: float = 1.0) -> State:
    """Fold a success: the breaker closes, latency follows peaks at once and recovers cautiously (peak EWMA). `count`
    successes are counted, of which this one was measured. A soft one stays open for its time: that some of its answers are
    good is known of it."""
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
    after = State(
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
        state.slow_start_ms,
        state.ramp_until_ms,
    )
    return after if not state.ejections else _answered(state, after, now_ms)


def _answered(state: State, after: State, now_ms: float) -> State:
    """Return what `after` a success becomes of an ejected one: still ejected when that was for its share of successes and
    the time is not over, else ramping."""
    if state.soft and now_ms < state.open_until_ms:
        return msgspec.structs.replace(
            after, ejections=state.ejections, open_until_ms=state.open_until_ms, soft=True, why=state.why
        )
    ramp_until_ms = int(now_ms) + state.slow_start_ms if state.slow_start_ms else 0
    return msgspec.structs.replace(after, ramp_until_ms=ramp_until_ms)


def failed(state: State, now_ms: float, outcome: Outcome, limits: Limits, draw: float) -> State:
    """Fold a failure. Only ends the provider is to blame for count (I12). `draw` in [0, 1) jitters the ejection."""
    if outcome.blame is not Blame.PROVIDER:
        return released(state)
    if outcome.kind is Kind.RATE_LIMITED:
        return msgspec.structs.replace(state, probe_until_ms=0.0, why=outcome.kind)
    decay = _window_decay(state, now_ms)
    ok, total, failures = state.window_ok * decay, state.window_all * decay + 1.0, state.failures + 1
    unreachable = state.unreachable + 1 if outcome.kind is Kind.UNREACHABLE else 0
    hard = failures >= limits.breaker_failures or unreachable >= limits.breaker_unreachable or outcome.kind in FATAL
    weak = total >= limits.breaker_min_requests and ok < limits.breaker_success * total
    soft = not hard and (state.soft or not state.ejections)
    after = msgspec.structs.replace(
        state,
        failures=failures,
        window_ok=ok,
        window_all=total,
        window_ms=now_ms,
        probe_until_ms=0.0,
        why=outcome.kind.value,
        unreachable=unreachable,
        # A failure on the way up begins the ramp again, so that what has little capacity gets little, not nothing.
        ramp_until_ms=int(now_ms) + state.slow_start_ms if now_ms < state.ramp_until_ms else 0,
    )
    retry_ms = 0.0 if outcome.kind in FATAL else now_ms + _ejection_ms(0, outcome, limits, draw)
    if now_ms < state.open_until_ms:
        if not (state.soft and hard):  # what was sent before it was ejected, or as the last resort
            return msgspec.structs.replace(after, retry_ms=retry_ms) if state.retry_ms else after
    elif not (hard or weak or state.ejections):
        return after
    return msgspec.structs.replace(
        after,
        ejections=state.ejections + 1,
        open_until_ms=now_ms + _ejection_ms(state.ejections, outcome, limits, draw),
        window_ok=0.0,
        window_all=0.0,
        soft=soft,
        retry_ms=retry_ms,
        slow_start_ms=limits.slow_start_ms,
        ramp_until_ms=0,
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
    return (
        not state.ejections
        and not state.full
        and now_ms >= state.cool_until_ms
        and now_ms >= state.open_until_ms
        and now_ms >= state.ramp_until_ms
    )


def ramp_share(state: State, now_ms: float) -> float:
    """Return the share of first sends that a deployment takes: RAMP_LEAST when its breaker has just closed, growing evenly
    to 1.0 when its slow start is over (fault 39)."""
    left_ms = state.ramp_until_ms - now_ms
    if left_ms <= 0.0 or not state.slow_start_ms:
        return 1.0
    return max(RAMP_LEAST, 1.0 - (1.0 - RAMP_LEAST) * left_ms / state.slow_start_ms)


def breaker(state: State, now_ms: float) -> str:
    """Return `closed`, `open`, `half_open` or `cooling`."""
    if now_ms < state.cool_until_ms:
        return "cooling"
    if now_ms < state.open_until_ms:
        return "open"
    return "half_open" if state.ejections else "closed"


def _window_decay(state: State, now_ms: float) -> float:
    return exp((state.window_ms - now_ms) / WINDOW_MS)


def may_probe(state: State, now_ms: float) -> bool:
    """Tell whether an open deployment may be probed by a request that nobody else can take: ejections grow while others
    answer, but a provider that is back must be found soon when nobody does (I32)."""
    return 0.0 < state.retry_ms <= now_ms and now_ms >= state.probe_until_ms


def _ejection_ms(before: int, outcome: Outcome, limits: Limits, draw: float) -> float:
    """Return how long to eject: doubling, bounded, equal jitter (half fixed, half drawn): returns must not align."""
    base = float(limits.breaker_open_ms) * 2.0 ** min(before, 16)
    if outcome.kind in FATAL:
        base = max(base, LONG_EJECTION_MS)
    if outcome.retry_after_ms is not None:
        base = max(base, float(outcome.retry_after_ms))
    base = min(base, float(limits.breaker_open_max_ms))
    return base / 2 + draw * base / 2
