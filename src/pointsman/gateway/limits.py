"""Limits: who has quotas left. Reserves before a request is admitted and settles when it has ended.

A request whose caller has no quota costs a look at one attribute when there are none at all, and a dictionary when there are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import datetime
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from pointsman.core.case import zone_of
from pointsman.core.policy import Key, Policy
from pointsman.core.pricing import TOKENS_PER_RATE
from pointsman.core.quotas import (
    NEVER_US,
    Ask,
    Counter,
    End,
    Quota,
    Standing,
    Taken,
    Verdict,
    Weights,
    Windows,
    amount_text,
    limit_text,
    reserved,
    weights_of,
)
from pointsman.core.reading import Reading, Readings
from pointsman.gateway.answers import Refused
from pointsman.gateway.complaints import COMPLAINTS
from pointsman.gateway.lines import Lines
from pointsman.gateway.reservation import Reservation, headers_of
from pointsman.stores.counters.base import Clock, Counters, CountersError
from pointsman.stores.counters.choose import Place, open_counters

if TYPE_CHECKING:
    from pointsman.core.options import Options
    from pointsman.gateway.clock import Clock as WorkerClock
    from pointsman.gateway.endpoints import Chosen
    from pointsman.observe.metrics import Metrics

MOST_SHEETS = 65_536  # of caller, route and deployment; beyond, all are made anew
MOST_READ = 200  # counters that are read for the table in a second
READ_AT_ONCE = 50  # while the store is locked
MOST_ROWS = 2_000  # of the table
MOST_RETRY_US = 60_000_000  # that an SDK is to wait by itself
READY_S = 3.0  # that a start waits for a shared store
_words = msgspec.json.Encoder(order="deterministic").encode


class Sheet(NamedTuple):
    """Hold the counters that a caller has on a route: of the deployment that is first what each request asks of them, and
    those whose part depends on it; and those of others, which count what failover brings to them."""

    options: Options  # kept, so that nothing else gets their id
    fixed: tuple[Ask, ...]
    counted: tuple[tuple[Counter, Weights | None], ...]
    others: tuple[Counter, ...]


class Quotas:
    """Hold the quotas of the present config and the store that counts them. `active`: there are some."""

    def __init__(self, policy: Policy, clock: WorkerClock) -> None:
        self._clock = Clock(clock.monotonic, clock.wall_ns)
        self._windows = Windows()
        self.store: Counters | None = None
        self._place: Place | None = None
        self._metrics: Metrics | None = None
        self._touched: list[Counter] = []
        self._rows: dict[str, Reading] = {}
        self._alone = False
        self.ended: list[Reservation] = []  # in this turn of the loop
        self.lines = Lines(clock)
        self.at_once = True  # the store answers within the call
        self.policy = policy
        self.adopt(policy)

    def adopt(self, policy: Policy) -> None:
        """Take over a config version's quotas. Raise OSError when these are the first and their store cannot be opened."""
        if policy.quotas and self._place is not None and self.store is None:
            self._open(policy, self._place)
        elif self.store is not None and policy.listener.counters != self.policy.listener.counters:
            text = "server.counters: takes a restart; until then the quotas are counted where they were"
            COMPLAINTS.say(text, "restart_needed")
        self.policy = policy
        self.active = bool(policy.quotas)
        self.lines.most = policy.limits.waiting_requests
        self._windows.set_zone(zone_of(policy.listener.time_zone))
        self._sheets: dict[tuple[str, str, int, int], Sheet] = {}
        self._counters: dict[tuple[int, str], Counter] = {}

    async def open(self, data: Path, number: int, owner: str, metrics: Metrics) -> None:
        """Open the store, if there are quotas; a shared one has READY_S to answer. `owner` is a name that no other worker
        has or will have. Raise OSError when its files cannot be made."""
        self._metrics = metrics
        listener = self.policy.listener
        owner = f"{owner}-{os.urandom(4).hex()}"
        self._place = Place(data, number, listener.workers, listener.replicas, owner, listener.counters_lease_ms)
        if self.active:
            self._open(self.policy, self._place)
            ready = getattr(self.store, "ready", None)
            if ready is not None:
                await ready(READY_S)

    def _open(self, policy: Policy, place: Place) -> None:
        self.store = open_counters(policy.listener.counters.reveal(), place, self._clock, self._windows)
        self.at_once = getattr(self.store, "ready", None) is None

    # --- a request
    def reserve(self, asks: Sequence[Ask], then: Callable[[Verdict], None]) -> Verdict | None:
        """Reserve as the store does. Raise CountersError when it cannot."""
        if self.ended:
            self.settle()
        if self.store is None:
            raise CountersError("the counters are not open")
        return self.store.reserve(asks, then)

    def settle(self) -> None:
        """Settle what has ended in this turn of the loop: it is done together, and before anything is asked for."""
        ended, self.ended = self.ended, []
        by_place: dict[bool, list[End]] = {}
        for reservation in ended:
            reservation.ends(by_place.setdefault(reservation.local, []))
        for local, ends in by_place.items():
            self._settle(ends, local=local)

    def give_back(self, ends: Sequence[End], *, local: bool) -> None:
        """Settle what was reserved in vain, at once."""
        self._settle(ends, local=local)
        if self.store is not None:
            self.store.flush()

    def _settle(self, ends: Sequence[End], *, local: bool) -> None:
        if self.store is None or not ends:
            return
        self.store.settle(ends, local=local)
        if self.lines.count:
            self.lines.freed(ends)
        for end in ends:
            if not end[0].touched:
                self.touch(end[0])

    def flush(self) -> None:
        """Have all who count see what has ended in this turn of the loop."""
        if self.ended:
            self.settle()
        if self.store is not None:
            self.store.flush()

    def touch(self, counter: Counter) -> None:
        """Note that the table has to read a counter."""
        counter.touched = True
        self._touched.append(counter)

    def asks(self, key: Key, chosen: Chosen, *, degraded: bool) -> tuple[list[Ask], tuple[Counter, ...]]:
        """Return what a request reserves, and the counters of other deployments. `degraded`: it came here because a quota was
        used up, so no quota sends it on again."""
        _, name, (options, request, snapshot), _, _, position = chosen
        sheet = self._sheets.get((key.name, name, id(options), position))
        if sheet is None:
            sheet = self._sheet(key, name, options, position)
        asks, features = [*sheet.fixed], request.features
        for counter, weights in sheet.counted:
            if weights is None:
                minute = -1 if snapshot.detail is None else snapshot.detail.minute
                amount = reserved(
                    counter.quota, features, options.options[position], options.route.max_output_tokens, minute
                )
            else:
                each, answered, flat, assumed, most = weights
                said = features.output_tokens
                said = assumed if said is None else said if said < most else most
                weighed = features.input_tokens * each + said * features.choices * answered
                amount = -(-weighed // TOKENS_PER_RATE) + flat
            asks.append((counter, amount, counter.hard))
        for counter, _, _ in asks:
            if not counter.touched:
                self.touch(counter)
        if degraded:
            asks = [(counter, amount, hard and not counter.quota.degrade) for counter, amount, hard in asks]
        return asks, sheet.others

    def _sheet(self, key: Key, asked: str, options: Options, position: int) -> Sheet:
        names, option, route_tokens = (options.label, asked), options.options[position], options.route.max_output_tokens
        subjects = {
            "": "", "key": key.name, "project": key.project, "team": key.team, "organisation": key.organisation
        }  # fmt: skip
        above = {"team": (key.organisation,), "project": (key.organisation, key.team)}
        above |= dict.fromkeys(("", "key", "organisation"), ())
        counters: list[Counter] = []
        others: list[Counter] = []
        for at, quota in enumerate(self.policy.quotas):
            subject = subjects[quota.scope]
            if not _concerns(quota, subject) or quota.route not in ("", *names):
                continue
            # Two organisations may each have a team of one name: each counts for itself.
            subject = "/".join(filter(None, (*above[quota.scope], subject)))
            counter = self._counters.get((at, subject))
            if counter is None:
                counter = self._counters[at, subject] = Counter(quota, subject, deployments_of(quota, self.policy))
            if counter.deployments is None or option.name in counter.deployments:
                counters.append(counter)
            elif not counter.deployments.isdisjoint(options.names):
                others.append(counter)
        if len(self._sheets) >= MOST_SHEETS:
            self._sheets.clear()
        sheet = self._sheets[key.name, asked, id(options), position] = Sheet(
            options,
            tuple((one, 1, one.hard) for one in counters if one.quota.measure == "requests"),
            tuple(
                (one, weights_of(one.quota, option, route_tokens))
                for one in counters
                if one.quota.measure != "requests"
            ),
            tuple(others),
        )
        return sheet

    # --- what is told
    def note(self, quota: Quota, event: str) -> None:
        if self._metrics is not None:
            events, key = self._metrics.quotas, f"{quota.name}\x1f{event}"
            events[key] = events.get(key, 0) + 1

    def look(self, asks: Sequence[Ask], taken: Sequence[Standing]) -> None:
        """Tell, once in each window, of quotas that run out, and count what goes beyond a soft one."""
        for (counter, _, _), one in zip(asks, taken, strict=True):
            if one[0] > counter.near:
                continue
            quota, left, start = counter.quota, one[0], one[2]
            if left < 0:
                self.note(quota, "over")
            window = start // counter.rate_us if counter.rate_us else start
            if counter.warned == window:
                continue
            counter.warned = window
            self.note(quota, "near")
            told = {
                "alert": "quota_near_limit",
                "quota": quota.name,
                "subject": counter.subject,
                "limit": limit_text(quota),
                "left": amount_text(quota.measure, max(0, left)),
            }
            COMPLAINTS.alert(told)

    def tick(self) -> None:
        """Do what is due once a second: the store's own affairs, and the table for `pointsman limits`."""
        store, metrics, place = self.store, self._metrics, self._place
        if store is None or metrics is None or place is None:
            return
        self.flush()
        store.tick()
        metrics.counters_failed, metrics.counters_local = dict(store.failures), int(store.local)
        if store.local is not self._alone:
            self._alone = store.local
            what = "counters_local" if store.local else "counters_shared"
            told = {"alert": what, "failures": store.failures}
            why = getattr(store, "why", "") if store.local else ""
            COMPLAINTS.alert(told | ({"why": why} if why else {}))
        if not self._touched:
            return
        counters, self._touched = self._touched[:MOST_READ], self._touched[MOST_READ:]
        for counter in counters:
            counter.touched = False
        try:
            for at in range(0, len(counters), READ_AT_ONCE):
                part = counters[at : at + READ_AT_ONCE]
                for counter, state in zip(part, store.read(part), strict=True):
                    self._rows.pop(counter.name, None)  # the newest last
                    self._rows[counter.name] = self._reading(counter, state)
            while len(self._rows) > MOST_ROWS:
                del self._rows[next(iter(self._rows))]
            path = place.data / "run" / f"limits-{place.number}.msgpack"
            fresh = path.with_suffix(".new")
            fresh.write_bytes(msgspec.msgpack.encode(Readings(list(self._rows.values()))))
            fresh.replace(path)
        except OSError:
            return  # what people read is a little older

    def _reading(self, counter: Counter, state: tuple[int, int, int, int]) -> Reading:
        quota, (spent, held, left, reset_us), at_ms = counter.quota, state, self._clock.wall_ms()
        return Reading(
            counter.name, quota.name, counter.subject, quota.measure, quota.period, quota.over,
            counter.limit, spent, held, left, at_ms, at_ms + reset_us // 1000
        )  # fmt: skip

    async def close(self) -> None:
        """Let a shared store know what has ended, and close."""
        self.flush()
        finish = getattr(self.store, "finish", None)
        if finish is not None:
            await finish()
        if self.store is not None:
            self.store.close()

    # --- refusals
    def refused(self, asks: Sequence[Ask], verdict: Verdict) -> Refused:
        """Return the refusal of a request that one of its quotas has no room for."""
        ask, one = asks[verdict.refusing], Taken._make(verdict.taken[verdict.refusing])
        counter, amount, _ = ask
        quota, wait_us = counter.quota, verdict.wait_us
        self.note(quota, "refused")
        measure = quota.measure
        left = amount_text(measure, max(0, one.left + amount))
        whose = f" of {quota.scope} {counter.subject}" if counter.subject else ""
        message = f"quota `{quota.name}`{whose}: {left} left of {limit_text(quota)}"
        if one.held:
            message += f", with {amount_text(measure, one.held)} held for requests under way"
        if measure != "requests":
            message += f"; this request reserves {amount_text(measure, amount)}"
        if wait_us == NEVER_US:
            message += ", more than the whole limit: ask for less output, or a smaller input"
        else:
            opens = datetime.fromtimestamp(ceil((self._clock.wall_ms() + wait_us / 1000) / 1000), self._windows.zone)
            message += f"; there is room again at {opens.isoformat()}"
        headers = headers_of(
            asks,
            [(one[0] + amount, *one[1:]) for (_, amount, _), one in zip(asks, verdict.taken, strict=True)],
        )
        wait_s = max(1, ceil(wait_us / 1_000_000))
        if measure == "usd":
            return Refused(429, message, "budget_exceeded", None, wait_s, True, headers)
        final = wait_us == NEVER_US or wait_us > MOST_RETRY_US
        return Refused(429, message, "rate_limit_exceeded", None, wait_s, final, headers)


def _concerns(quota: Quota, subject: str) -> bool:
    if not quota.scope or quota.who:
        return quota.who == subject
    return bool(subject) and subject not in quota.excepted


def deployments_of(quota: Quota, policy: Policy) -> frozenset[str] | None:
    """Return the names of the deployments that a quota counts; None: all."""
    if not quota.model and not quota.provider:
        return None
    return frozenset(
        one.name
        for one in policy.deployments
        if quota.model in ("", one.wire.model) and quota.provider in ("", one.provider)
    )
