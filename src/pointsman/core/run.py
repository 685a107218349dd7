"""Run: the state machine that executes a Plan. Events in, effects out; it never waits, sends or reads a clock."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from pointsman.core.decide import Plan
from pointsman.core.health import RATE_LIMIT_COOL_MS
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

    __slots__ = ("_resent", "_tried", "committed", "plan", "sent", "spent_nano")

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.sent = 0
        self.committed = False
        self.spent_nano = 0  # by the attempts so far
        self._tried: list[int] = []
        self._resent = False

    def begin(self, now_ms: float) -> Send:
        """Return the first effect of a plan that has steps."""
        return self._send(self.plan.steps[self.plan.order[0]], now_ms)

    def ended(self, step: Step, outcome: Outcome, now_ms: float, usable: Usable, seed: int) -> Effect:
        """Return what follows the end of the attempt at `step`, the last one under way. `usable` tells whether a deployment
        may be sent to now; `seed` jitters the wait before a resend."""
        retry = CLASSES[outcome.kind].retry
        final = retry is Retry.NEVER  # but for those that `on` names
        if (
            self.committed
            or self.plan.deadline_ms - now_ms < MIN_USEFUL_MS
            or (final and outcome.kind not in self.plan.on)
        ):
            return Stop(outcome)
        if retry is Retry.SAME and not self._resent:
            self._resent = True
            self.sent -= 1  # the provider never saw it
            return self._send(step, now_ms, fresh=True)
        if self.sent >= self.plan.attempts or self.spent_nano >= self.plan.most_nano:
            return Stop(outcome)
        other = self._next(step, outcome, usable)
        if other is not None:
            return self._send(other, now_ms)
        if final:
            return Stop(outcome)
        return self._again(step, outcome, now_ms, usable, seed)

    def hedge(self, now_ms: float, usable: Usable) -> Step | None:
        """Return the step of a second attempt beside the first, None when there is none: another deployment of the first
        one's tier, within the same budget of attempts."""
        first = self.plan.steps[self._tried[0]]
        if self.committed or self.sent >= self.plan.attempts or self.plan.deadline_ms - now_ms < MIN_USEFUL_MS:
            return None
        for position in self.plan.order:
            step = self.plan.steps[position]
            if position not in self._tried and step.tier == first.tier and usable(step.deployment):
                self._send(step, now_ms)
                return step
        return None

    def _send(self, step: Step, now_ms: float, delay_ms: float = 0.0, fresh: bool = False) -> Send:
        self.sent += 1
        self._tried.append(step.position)
        left = self.plan.deadline_ms - now_ms - delay_ms
        return Send(step, self.sent, min(step.ttft_ms, left), delay_ms, fresh)

    def _next(self, last: Step, outcome: Outcome, usable: Usable) -> Step | None:
        window = last.context_tokens if outcome.kind is Kind.CONTEXT_LENGTH else 0
        window = 0 if window == NO_BOUND else window  # unknown says nothing of the others

        def left_of(positions: tuple[int, ...]) -> list[Step]:
            steps = [self.plan.steps[position] for position in positions if position not in self._tried]
            # What did not fit there does not fit where the window is no larger.
            return [s for s in steps if not (window and s.context_tokens <= window) and usable(s.deployment)]

        named = left_of(self.plan.on.get(outcome.kind, ()))
        if named or CLASSES[outcome.kind].retry is Retry.NEVER:
            return named[0] if named else None
        left = left_of(self.plan.order)
        if not left or left[-1].tier == left[0].tier:
            return left[0] if left else None
        tiers = sorted({step.tier for step in left})
        spare = self.plan.attempts - self.sent
        tier = tiers[max(0, len(tiers) - max(1, spare))]
        return next(step for step in left if step.tier >= tier)

    def _again(self, step: Step, outcome: Outcome, now_ms: float, usable: Usable, seed: int) -> Effect:
        """Resend to the same deployment when no other is left, after full-jitter backoff on top of what the provider asked
        for: those who wait for the same moment must come apart. Ends of the client's own making never (I13)."""
        rests = outcome.kind is Kind.RATE_LIMITED  # until it has rested it is not usable: asked again before the send
        if not rests and (outcome.kind not in _TRANSIENT or not usable(step.deployment)):
            return Stop(outcome)
        ceiling = min(BACKOFF_MS * 2.0 ** (self.sent - 1), BACKOFF_MAX_MS)
        delay_ms = ceiling * (seed >> (7 * self.sent) & 0xFFFF) / 0x10000
        if outcome.retry_after_ms is not None:
            delay_ms += outcome.retry_after_ms
        elif rests:
            delay_ms += RATE_LIMIT_COOL_MS
        if now_ms + delay_ms + MIN_USEFUL_MS > self.plan.deadline_ms or delay_ms > self.plan.most_wait_ms:
            return Stop(outcome)
        return self._send(step, now_ms, delay_ms)
