"""Quotas: limits and budgets as data, and their arithmetic: rates (GCRA), calendar windows, what a request reserves.

A quota is a measure, an amount and a period for a scope; a Counter is one quota of one subject. Tokens and requests per
second, minute or hour are rates: they flow (the generic cell rate algorithm, ITU-T I.371, with a burst as large as the
limit). Everything else counts in calendar windows: a window is a function of the time and the zone, so that nothing has to
reset it (fault 87).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pointsman.core.entry import AttemptRow
    from pointsman.core.options import Option
    from pointsman.core.request import Features

Measure = Literal["requests", "input_tokens", "output_tokens", "tokens", "usd"]
Scope = Literal["", "organisation", "team", "project", "key"]
Period = Literal["s", "m", "h", "d", "w", "mo"]
Over = Literal["refuse", "notify", "degrade"]

MEASURES: tuple[Measure, ...] = ("requests", "input_tokens", "output_tokens", "tokens", "usd")
RATE_US: dict[str, int] = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000}  # periods that flow
PERIOD_NAMES = {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week", "mo": "month"}
ASSUMED_OUTPUT_TOKENS = 2_048  # reserved when neither client nor route says how long an answer may be
NOTIFY_AT = 0.8
TOKENS_PER_RATE = 1_000_000  # as in core.pricing
NEVER_US = -1  # the wait for what is more than the whole limit


class Quota(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one limit. `amount` is in units of the measure, nano-dollars for usd. `who` is a name in the scope, "" means
    each of them for itself; without a scope it is everyone together. Empty targets mean any."""

    name: str  # what errors, metrics and the table say
    scope: Scope = ""
    who: str = ""
    route: str = ""
    model: str = ""
    provider: str = ""
    measure: Measure
    amount: int
    period: Period
    over: Over = "refuse"
    degrade: str = ""  # the route that goes on, when `over` is degrade
    notify_at: float = NOTIFY_AT  # share of the amount at which it is told
    assume_output_tokens: int = ASSUMED_OUTPUT_TOKENS
    wait_ms: int = 0  # that a request may wait for room instead of being refused
    excepted: tuple[str, ...] = ()  # of `key: default`: keys that have entries of their own

    @property
    def rate_us(self) -> int:
        """Return the period of a rate in microseconds; 0: it counts in calendar windows."""
        return 0 if self.measure == "usd" else RATE_US.get(self.period, 0)

    def counter_name(self, subject: str) -> str:
        """Return what one subject's counter is kept under. The amount is no part of it: who is granted more goes on from
        what was used."""
        targets = (("route", self.route), ("model", self.model), ("provider", self.provider))
        whose = f"{self.scope}={subject}" if self.scope else "all"
        rest = "".join(f" {kind}={value}" for kind, value in targets if value)
        return f"{whose}{rest} {self.measure}/{self.period}"


class Counter:
    """Hold one quota of one subject: what a store counts. `slot` is the store's own; `deployments` are those it counts,
    None means all; `warned` is the window in which it was last told that it runs out."""

    __slots__ = (
        *(
            "deployments",
            "flat",
            "hard",
            "limit",
            "money",
            "name",
            "near",
            "period",
            "quota",
            "rate_us",
            "slot",
            "subject",
            "told",
            "touched",
            "warned",
        ),
    )

    def __init__(self, quota: Quota, subject: str, deployments: frozenset[str] | None = None) -> None:
        self.quota = quota
        self.subject = subject
        self.name = quota.counter_name(subject)
        self.limit = quota.amount
        self.period = quota.period
        self.rate_us = quota.rate_us
        self.flat = bool(quota.rate_us) and quota.measure == "requests"  # what was taken was used, once it is sent
        self.money = quota.measure == "usd" and deployments is None  # what all attempts cost together
        self.hard = quota.over != "notify"
        self.near = quota.amount - quota.amount * quota.notify_at  # so much left is little
        self.told = Told(quota)
        self.deployments = deployments
        self.slot: int = -1
        self.touched = False  # since the table read it
        self.warned = 0

    def share(self, limit: int) -> Counter:
        """Return the same counter with another limit, for a store of its own."""
        other = Counter(self.quota, self.subject, self.deployments)
        other.limit = limit
        return other


# What a request reserves of one counter: the counter, how much, and whether it is refused when that does not fit. (A plain
# tuple, as it is made for every request.)
Ask = tuple[Counter, int, bool]


class Taken(NamedTuple):
    """Hold how a counter stands after a reservation, or instead of one that was refused: `left` includes it and may be
    negative; `reset_us` until all is free again; `start` is what settling a rate needs."""

    left: int
    reset_us: int
    start: int
    used: int = 0
    held: int = 0


Standing = tuple[int, int, int, int, int]  # the same as a plain tuple, as it is made for every request


class Verdict(NamedTuple):
    """Hold the answer of a store. `refusing` is the place of the ask that opens last, -1: all were reserved; `wait_us` until
    it would fit, NEVER_US: it is more than the whole limit. `local`: a replica decided alone, of its share. `low`: a counter
    may have come near its limit."""

    refusing: int
    wait_us: int
    taken: Sequence[Standing]
    local: bool = False
    low: bool = True


# The settlement of one reservation: the counter, what was reserved, what was used, and the `start` of its Taken. (A plain
# tuple, as it is made for every request.)
End = tuple[Counter, int, int, int]


# --- rates
def rate_start(mark_us: int, now_us: int, rate_us: int) -> int:
    """Return where in time the next taking of a rate begins. A mark further ahead than two periods is of another clock."""
    return mark_us if now_us < mark_us <= now_us + 2 * rate_us else now_us


def rate_left(end_us: int, now_us: int, counter: Counter) -> int:
    """Return how much fits between the end of what is taken and the burst; negative when it is beyond."""
    return (counter.rate_us - (end_us - now_us)) * counter.limit // counter.rate_us if counter.limit else -1


def rate_settled(mark_us: int, now_us: int, end: End) -> int:
    """Return the mark after a settlement: as if the actual amount had been taken at the start. What has drained meanwhile is
    not given back a second time; what was used beyond the reservation is taken now, up to one more period."""
    counter, reserved, actual, start = end
    if not counter.limit:
        return mark_us
    reserved_until = start + reserved * counter.rate_us // counter.limit
    used_until = start + actual * counter.rate_us // counter.limit
    if actual <= reserved:
        return mark_us - max(0, reserved_until - max(now_us, used_until))
    return min(max(mark_us, now_us) + used_until - reserved_until, now_us + 2 * counter.rate_us)


# --- calendar windows
def window_of(period: str, wall_ms: int, zone: tzinfo = UTC) -> tuple[int, int]:
    """Return the first millisecond of the calendar window that `wall_ms` lies in, and that of the next one. Days, weeks
    (from Monday) and months begin at midnight of the zone, so they may have 23 or 25 hours."""
    local = datetime.fromtimestamp(wall_ms // 1000, zone)
    if period in ("s", "m", "h"):
        past_s = {"s": 0, "m": local.second, "h": local.minute * 60 + local.second}[period]
        start = (wall_ms // 1000 - past_s) * 1000
        return start, start + RATE_US[period] // 1000
    day = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if period == "d":
        until = day + timedelta(days=1)
    elif period == "w":
        day -= timedelta(days=day.weekday())
        until = day + timedelta(days=7)
    else:
        day = day.replace(day=1)
        until = (day + timedelta(days=31)).replace(day=1)
    return int(day.timestamp()) * 1000, int(until.timestamp()) * 1000


class Windows:
    """Remember the present window of each period, of one zone."""

    def __init__(self, zone: tzinfo = UTC) -> None:
        self.set_zone(zone)

    def set_zone(self, zone: tzinfo) -> None:
        """Take over another zone."""
        self.zone = zone
        self.present: dict[str, tuple[int, int]] = {}  # as it was last asked for

    def at(self, period: str, wall_ms: int) -> tuple[int, int]:
        """Return the window as `window_of` does."""
        found = self.present.get(period)
        if found is None or not found[0] <= wall_ms < found[1]:
            found = self.present[period] = window_of(period, wall_ms, self.zone)
        return found

    def not_before(self, mark_ms: int, period: str, wall_ms: int) -> tuple[int, int]:
        """Return the present window, or the one that begins at `mark_ms` when that is later: a clock that goes back opens
        no window a second time (fault 86)."""
        found = self.at(period, wall_ms)
        return found if mark_ms <= found[0] else window_of(period, mark_ms, self.zone)


# --- what a request reserves, and what it used
def output_cap(features: Features, route_tokens: int | None, option: Option, assumed_tokens: int) -> int:
    """Return the most output tokens of all choices together: the client's limit, the route's or the rung's, whichever is
    least; without one `assumed_tokens`. Never more than the model gives."""
    said = [one for one in (features.output_tokens, route_tokens) if one is not None]
    least = min(said) if said else assumed_tokens
    return min(least, option.output_cap_tokens, option.max_output_tokens) * features.choices


def reserved(quota: Quota, features: Features, option: Option, route_tokens: int | None, minute: int) -> int:
    """Return what a request reserves of a quota before it is sent to `option`: one request; the estimate of its input; the
    cap of its output; the price of both, 0 when it is unknown. `minute` is that of the UTC day, -1 if no price needs it."""
    measure = quota.measure
    if measure == "requests":
        return 1
    if measure == "input_tokens":
        return features.input_tokens
    output_tokens = output_cap(features, route_tokens, option, quota.assume_output_tokens)
    if measure == "output_tokens":
        return output_tokens
    if measure == "tokens":
        return features.input_tokens + output_tokens
    price = option.price
    if price is None:
        return 0
    rates = price.rates
    if price.tiers or price.windows:
        rates = price.rates_for(features.input_tokens, None, minute) or rates
    nano = features.input_tokens * rates.input + output_tokens * max(rates.output, rates.reasoning or 0)
    return -(-nano // TOKENS_PER_RATE) + rates.request


class Weights(NamedTuple):
    """Hold how `reserved` depends on the request alone: nano-units a million input and output tokens, and per request.
    Without a limit of the client's an answer may have `assumed` tokens, and with one at most `most`."""

    input: int
    output: int
    request: int
    assumed: int
    most: int


def weights_of(quota: Quota, option: Option, route_tokens: int | None) -> Weights | None:
    """Return what `reserved` comes to for every request that goes to `option`; None: the time or the length decides."""
    most = min(option.output_cap_tokens, option.max_output_tokens)
    assumed = min(most, quota.assume_output_tokens if route_tokens is None else route_tokens)
    most = most if route_tokens is None else min(most, route_tokens)
    if quota.measure != "usd":
        counted = {"input_tokens": (1, 0, 0), "output_tokens": (0, 1, 0), "tokens": (1, 1, 0)}
        each, answered, request = counted.get(quota.measure, (0, 0, 1))
        return Weights(each * TOKENS_PER_RATE, answered * TOKENS_PER_RATE, request, assumed, most)
    price = option.price
    if price is None:
        return Weights(0, 0, 0, assumed, most)
    if price.tiers or price.windows:
        return None
    rates = price.rates
    return Weights(rates.input, max(rates.output, rates.reasoning or 0), rates.request, assumed, most)


def used(counter: Counter, reserved: int, rows: Iterable[AttemptRow]) -> int:
    """Return what the attempts of a request used of a counter. One whose usage or cost is unknown used what was reserved
    for it: unknown is not zero (I5)."""
    measure, deployments = counter.quota.measure, counter.deployments
    if measure == "requests":
        return 1 if reserved or any(deployments is None or row.deployment in deployments for row in rows) else 0
    total, unknown = 0, False
    for row in rows:
        if deployments is not None and row.deployment not in deployments:
            continue
        if measure == "usd":
            if row.charge_nano >= 0:
                total += row.charge_nano
            else:
                unknown = True
            continue
        usage = row.usage
        if usage.source == "unknown" and row.charge_state == "unpriced":
            unknown = True
        if measure != "output_tokens":
            total += usage.input_tokens
        if measure != "input_tokens":
            total += usage.output_tokens
    return total + reserved if unknown else total


# --- how it is told
class Told:
    """Hold the header lines that tell a client of a quota, as OpenAI names them: up to what is left, and from there to the
    time until all is free. Empty for money. `requests`: it counts requests, not tokens."""

    __slots__ = ("after", "before", "requests")

    def __init__(self, quota: Quota) -> None:
        self.requests = quota.measure == "requests"
        what = "requests" if self.requests else "tokens"
        money = quota.measure == "usd"
        self.before = "" if money else f"x-ratelimit-limit-{what}: {quota.amount}\r\nx-ratelimit-remaining-{what}: "
        self.after = "" if money else f"\r\nx-ratelimit-reset-{what}: "

    def lines(self, left: int, reset_us: int) -> str:
        """Return the lines, for what is left and the microseconds until all is free."""
        reset = span(reset_us) if reset_us >= 1_000_000 else f"{-(-reset_us // 1000) if reset_us > 0 else 0}ms"
        return f"{self.before}{left if left > 0 else 0}{self.after}{reset}\r\n"


def span(us: int) -> str:
    """Return a time as OpenAI writes it: 12ms, 1s, 6m0s, 1h2m3s. Rounded up to milliseconds, from a second on to seconds."""
    if us < 1_000_000:
        return f"{-(-us // 1000) if us > 0 else 0}ms"
    seconds = -(-us // 1_000_000)
    if seconds < 60:
        return f"{seconds}s"
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{seconds}s" if hours else f"{minutes}m{seconds}s"


def amount_text(measure: Measure, amount: int) -> str:
    """Return an amount with its unit, for people: `0.25 USD`, `60 requests`."""
    if measure != "usd":
        return f"{amount} {measure.replace('_', ' ')}"
    sign, nano = ("-", -amount) if amount < 0 else ("", amount)
    whole, rest = divmod(nano, 1_000_000_000)
    return f"{sign}{whole}.{f'{rest:09d}'.rstrip('0').ljust(2, '0')} USD"


def limit_text(quota: Quota) -> str:
    """Return a quota's limit for people: `100000 tokens a minute`."""
    return f"{amount_text(quota.measure, quota.amount)} a {PERIOD_NAMES[quota.period]}"
