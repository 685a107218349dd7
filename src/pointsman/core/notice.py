"""Notice: what an operator wants to be told without looking: what has happened between two looks, once and not again and
again. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import TYPE_CHECKING, Literal

import msgspec

from pointsman.core.secret import Secret

if TYPE_CHECKING:
    from pointsman.core.policy import Policy
    from pointsman.core.pricing import Price

Kind = Literal[
    "deployment",
    "quota",
    "unpriced",
    "counters",
    "journal",
    "ledger",
    "price",
    "retirement",
    "invoice_issued",
    "credit_note_issued",
]
KINDS: tuple[Kind, ...] = (
    "deployment", "quota", "unpriced", "counters", "journal", "ledger", "price", "retirement", "invoice_issued",
    "credit_note_issued",
)  # fmt: skip
RETIRES_DAYS = 30  # before its retirement a model is told of
QUIET_S = 900.0
MOST_QUIET = 10_000  # notices that are remembered
State = Literal["waiting", "delivered", "failed", "held_back"]
US = "\x1f"  # between the label values of a counter
_QUOTAS = {
    "near": "is near its limit",
    "over": "is beyond its limit, which only tells",
    "refused": "has refused a request",
    "degraded": "has sent a request to another route",
}


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """Hold where notices go: a URL that takes JSON, or an SMTP server and addresses. `quiet_s`: the same notice is not told
    again within it."""

    name: str
    format: Literal["json", "slack", "email"]
    url: Secret  # of the webhook, or smtp(s)://[USER:PASSWORD@]HOST[:PORT]
    kinds: tuple[Kind, ...] = KINDS
    to: tuple[str, ...] = ()
    sender: str = ""
    quiet_s: float = QUIET_S


class Notice(msgspec.Struct, frozen=True):
    """Hold one thing to tell: of what kind, about whom, what happened, and a sentence for people."""

    kind: Kind
    subject: str
    what: str
    text: str


class Told(msgspec.Struct, frozen=True):
    """Hold what became of a notice in one channel: `at_ms` since when (Unix milliseconds), after how many tries, and why not;
    held back: the channel was told the same a short time before."""

    state: State
    at_ms: int
    tries: int = 0
    reason: str = ""


class Noted(msgspec.Struct):
    """Hold a notice as it is kept, and what became of it, by channel. `repeated`: how often the same was found again and told
    to nobody, the last time at `last_ms`; Unix milliseconds."""

    id: str
    at_ms: int
    notice: Notice
    last_ms: int
    repeated: int = 0
    told: dict[str, Told] = {}


class Seen(msgspec.Struct, frozen=True):
    """Hold what one look at all workers and the ledger saw; counts are of all time, by label values."""

    alerts: Mapping[str, int] = {}  # deployment, alert
    quotas: Mapping[str, int] = {}  # quota, event
    unpriced: Mapping[str, int] = {}  # deployment
    counters_local: int = 0  # workers that have lost their shared counters
    journal_errors: int = 0
    ledger_up: bool = True


def news(before: Seen, now: Seen) -> list[Notice]:
    """Return what has happened between two looks. Counts that fell are of workers that were started again."""
    found: list[Notice] = []
    for key in _risen(before.alerts, now.alerts):
        deployment, _, what = key.partition(US)
        means = "answers again" if what == "returned" else f"is not asked any more: {what.replace('_', ' ')}"
        found.append(Notice("deployment", deployment, what, f"deployment {deployment} {means}"))
    for key in _risen(before.quotas, now.quotas):
        quota, _, what = key.partition(US)
        if what in _QUOTAS:
            found.append(Notice("quota", quota, what, f"quota `{quota}` {_QUOTAS[what]}"))
    for deployment in _risen(before.unpriced, now.unpriced):
        text = f"deployment {deployment} has answered without a known price: what it costs is not on the bill"
        found.append(Notice("unpriced", deployment, "unpriced", text))
    if bool(now.counters_local) is not bool(before.counters_local):
        alone = f"{now.counters_local} workers count quotas alone, each its share: the shared store is away"
        text = alone if now.counters_local else "quotas are counted in the shared store again"
        found.append(Notice("counters", "counters", "local" if now.counters_local else "shared", text))
    if now.journal_errors > before.journal_errors:
        text = "records could not be written to the journal; what cannot be booked is refused"
        found.append(Notice("journal", "journal", "errors", text))
    if now.ledger_up is not before.ledger_up:
        away = "the ledger cannot be reached; the journal keeps what happens"
        text = "the ledger is back; what the journal kept is being booked" if now.ledger_up else away
        found.append(Notice("ledger", "ledger", "up" if now.ledger_up else "away", text))
    return found


def changes(before: Policy, now: Policy) -> list[Notice]:
    """Return what a new config version means for money: deployments whose price has changed, come or gone."""
    old = {one.name: (one.wire.model, one.price) for one in before.deployments}
    found = []
    for one in now.deployments:
        if one.name not in old or old[one.name][0] != one.wire.model:
            continue
        was, price = old[one.name][1], one.price
        if _rates(was) != _rates(price):
            text = f"the price of deployment {one.name} ({one.wire.model}) is {_told(price)}; it was {_told(was)}"
            found.append(Notice("price", one.name, f"{_told(was)} -> {_told(price)}", text))
    return found


def retiring(policy: Policy, today: date) -> list[Notice]:
    """Return the deployments whose model is retired within RETIRES_DAYS, or was."""
    found = []
    for one in policy.deployments:
        try:
            ends = date.fromisoformat(one.facts.retires or "")
        except ValueError:
            continue  # unknown
        if (ends - today).days <= RETIRES_DAYS:
            when = f"was retired on {ends}" if ends <= today else f"is retired on {ends}"
            text = f"the model of deployment {one.name} ({one.wire.model}) {when}"
            found.append(Notice("retirement", one.name, ends.isoformat(), text))
    return found


class Quiet:
    """Let each notice pass once in `quiet_s`; a return or recovery lets its trouble pass again. Bounded."""

    def __init__(self, quiet_s: float) -> None:
        self._quiet_s = quiet_s
        self._told: dict[tuple[str, str, str], float] = {}

    def passing(self, notices: Iterable[Notice], now_s: float) -> list[Notice]:
        """Return those that were not told lately."""
        found = []
        for one in notices:
            key = one.kind, one.subject, one.what
            if now_s - self._told.get(key, float("-inf")) < self._quiet_s:
                continue
            if one.what in ("returned", "shared", "up"):
                self._told = {k: at for k, at in self._told.items() if k[:2] != key[:2]}
            self._told.pop(key, None)
            self._told[key] = now_s
            if len(self._told) > MOST_QUIET:
                del self._told[next(iter(self._told))]
            found.append(one)
        return found


def _risen(before: Mapping[str, int], now: Mapping[str, int]) -> list[str]:
    return sorted(key for key, count in now.items() if count > before.get(key, 0))


def _rates(price: Price | None) -> object:
    return None if price is None else (price.rates, price.tiers, price.windows, price.variants)


def _told(price: Price | None) -> str:
    if price is None:
        return "unknown"
    return f"{price.rates.input / 1e9:g} / {price.rates.output / 1e9:g} USD per million tokens in / out"
