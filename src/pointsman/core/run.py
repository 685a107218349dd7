"""Run: the state machine that executes a Plan. Events in, effects out; it never waits, sends or reads a clock."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from pointsman.core.decide import Plan
from pointsman.core.options import NO_BOUND, Step
from pointsman.core.outcome import CLASSES, Kind, Outcome, Retry

MIN_USEFUL_MS = 50.0  # no attempt starts with less time than this before the deadline (I10)
BACKOFF_MS = 250.0
BACKOFF_MAX_MS = 8_000.0

# Ends after which the same deployment may answer the same request a moment later.
_TRANSIENT = frozenset({Kind.OVERLOADED, Kind.SERVER_ERROR, Kind.UNREACHABLE, Kind.EMPTY, Kind.BROKEN, Kind.TRUNCATED})


class Send(msgspec.Struct, frozen=True, gc=False):
    """Ask the driver to send attempt `number` (1-based) to a step's deployment, after `delay_ms`. `fresh`: on a new
    connection. `ttft_ms`: give up when no content came by then."""

    step: Step
    number: int
    ttft_ms: float
    delay_ms: float = 0.0
    fresh: bool = False


class Stop(msgspec.Struct, frozen=True, gc=False):
    """Tell the driver that this is the end: tell the client, settle. `final` is why."""

    final: Outcome


Effect = Send | Stop
Usable = Callable[[int], bool]


class Run:
    """Execute one Plan: `begin`, then `ended` for each end of an attempt, `committed` set at first content.

    One budget of attempts is shared by retry and failover (I8, I10, I13 hold whatever the driver reports). Of it one is
    kept for each rung of the ladder below, so that the first tier cannot use it up.
    """

    __slots__ = ("_last", "_resent", "_tried", "committed", "plan", "sent")

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.sent = 0
        self.committed = False
        self._tried: list[int] = []
        self._last: Step | None = None
        self._resent = False

    def begin(self, now_ms: float) -> Send:
        """Return the first effect of a plan that has steps."""
        return self._send(self.plan.steps[self.plan.order[0]], now_ms)

    def ended(self, outcome: Outcome, now_ms: float, usable: Usable, seed: int) -> Effect:
        """Return what follows the end of the attempt under way. `usable` tells whether a deployment may be sent to now;
        `seed` jitters the wait before a resend."""
        retry = CLASSES[outcome.kind].retry
        if self.committed or retry is Retry.NEVER or self.plan.deadline_ms - now_ms < MIN_USEFUL_MS:
            return Stop(outcome)
        if retry is Retry.SAME and not self._resent and self._last is not None:
            self._resent = True
            self.sent -= 1  # the provider never saw it
            return self._send(self._last, now_ms, fresh=True)
        if self.sent >= self.plan.attempts:
            return Stop(outcome)
        step = self._next(outcome, usable)
        if step is not None:
            return self._send(step, now_ms)
        return self._again(outcome, now_ms, usable, seed)

    def _send(self, step: Step, now_ms: float, delay_ms: float = 0.0, fresh: bool = False) -> Send:
        self.sent += 1
        self._last = step
        self._tried.append(step.position)
        left = self.plan.deadline_ms - now_ms - delay_ms
        return Send(step, self.sent, min(step.ttft_ms, left), delay_ms, fresh)

    def _next(self, outcome: Outcome, usable: Usable) -> Step | None:
        window = self._last.context_tokens if self._last and outcome.kind is Kind.CONTEXT_LENGTH else 0
        window = 0 if window == NO_BOUND else window  # unknown says nothing of the others
        left: list[Step] = []
        for position in self.plan.order:
            step = self.plan.steps[position]
            if position in self._tried or not usable(step.deployment):
                continue
            if window and step.context_tokens <= window:
                continue  # what did not fit there does not fit here
            left.append(step)
        if not left or left[-1].tier == left[0].tier:
            return left[0] if left else None
        tiers = sorted({step.tier for step in left})
        spare = self.plan.attempts - self.sent
        tier = tiers[max(0, len(tiers) - max(1, spare))]
        return next(step for step in left if step.tier >= tier)

    def _again(self, outcome: Outcome, now_ms: float, usable: Usable, seed: int) -> Effect:
        """Resend to the last deployment when no other is left, after full-jitter backoff; client ends never (I13)."""
        step = self._last
        if step is None or outcome.kind not in _TRANSIENT or not usable(step.deployment):
            return Stop(outcome)
        ceiling = min(BACKOFF_MS * 2.0 ** (self.sent - 1), BACKOFF_MAX_MS)
        delay_ms = ceiling * (seed >> (7 * self.sent) & 0xFFFF) / 0x10000
        if outcome.retry_after_ms is not None:
            delay_ms = max(delay_ms, float(outcome.retry_after_ms))
        if now_ms + delay_ms + MIN_USEFUL_MS > self.plan.deadline_ms or delay_ms > BACKOFF_MAX_MS:
            return Stop(outcome)
        return self._send(step, now_ms, delay_ms)
