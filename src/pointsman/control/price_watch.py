"""Price watch: looks for a newer price list as often as `prices.refresh` says, in a thread of the control process.

With `accept: auto` what is within bounds is put in force, and the supervisor's look at the file has the config compiled again;
with `manual` it waits in the data folder for a person. Either way the channels of `notify` are told what it means.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from pointsman.config import price_list
from pointsman.config.price_list import ListError, PriceList
from pointsman.control.price_refresh import OFFERED, Found, Impact, check, impacts, put_in_force, read
from pointsman.core.notice import Notice
from pointsman.core.policy import Policy
from pointsman.core.price_change import Change
from pointsman.core.pricing import usd
from pointsman.observe.log import LOG
from pointsman.stores.choose import Stores
from pointsman.stores.ledger import LedgerError
from pointsman.stores.private import PrivateError
from pointsman.stores.versions import replace

FIRST_S = 20.0  # after the start
LOOK_S = 2.0  # between two looks at the setting
IMPACT_S = 30.0  # for one question to the ledger
MOST_TOLD = 20  # models in one notice


class Counts(msgspec.Struct):
    """Hold what was done since the control process started."""

    price_refreshes: int = 0
    price_refresh_failures: int = 0
    prices_held: int = 0  # models whose new price was held back at the last look


class PriceWatch(threading.Thread):
    """Look for newer prices as long as this process lives. `tell` takes what the channels are to be told."""

    def __init__(
        self,
        stores: Stores,
        policy: Callable[[], Policy],
        tell: Callable[[Notice], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name="price-watch", daemon=True)
        self.counts = Counts()
        self._stores, self._policy, self._tell, self._clock = stores, policy, tell, clock
        self._last_s: float | None = None  # when it was looked last
        self._begun_s = clock()
        self._said = ""

    def run(self) -> None:
        while True:
            time.sleep(LOOK_S)
            self.step()

    def step(self) -> bool:
        """Look if it is time to; return whether it was. Never raises."""
        settings, now_s = self._policy().listener.prices, self._clock()
        if settings.origin is None or not settings.refresh_s:
            return False
        due_s = self._begun_s + FIRST_S if self._last_s is None else self._last_s + settings.refresh_s
        if now_s < due_s:
            return False
        self._last_s = now_s
        try:
            self._refresh(settings.origin.reveal(), auto=settings.accept == "auto")
            self.counts.price_refreshes += 1
            self._said = ""
        except (ListError, OSError) as error:
            self.counts.price_refresh_failures += 1
            why = f"the price list of `prices.from` {error}; what was in force stays"
            if why != self._said:
                self._said = why
                LOG.warning("price_refresh_failed", why)
        return True

    def _refresh(self, origin: str, *, auto: bool) -> None:
        now, data = datetime.now(UTC), self._stores.data
        old = price_list.in_force(data / price_list.FILE)
        new = read(origin)
        found = check(old, new, now)
        self.counts.prices_held = len(found.held)
        if found.result.providers == old.providers and found.result.held == old.held:
            return
        known = self._is_known(old, new, auto=auto)
        if auto:
            put_in_force(data, found.result)
        elif not known:
            replace(data / OFFERED, price_list.encoded(new))
        used = {one.listed for one in self._policy().deployments if one.listed}
        changes = [one for one in found.changes if one.model in used]
        if changes and not known:
            self._tell(_notice(found, changes, self._impacts(old, new, now), data, auto=auto))

    def _is_known(self, old: PriceList, new: PriceList, *, auto: bool) -> bool:
        """Tell whether this list was told of before."""
        if auto:
            return old.sha256 == new.sha256
        try:
            return price_list.in_force(self._stores.data / OFFERED).sha256 == new.sha256
        except ListError:
            return False

    def _impacts(self, old: PriceList, new: PriceList, now: datetime) -> dict[str, Impact]:
        try:
            with self._stores.reader(IMPACT_S) as reader:
                return impacts(reader, old, new, now)
        except (LedgerError, PrivateError):
            return {}  # it is told without


def _notice(found: Found, changes: list[Change], impacts: Mapping[str, Impact], data: Path, *, auto: bool) -> Notice:
    lines = [line_of(one, impacts.get(one.model)) for one in changes[:MOST_TOLD]]
    more = [f"and {len(changes) - MOST_TOLD} more"] if len(changes) > MOST_TOLD else []
    how = "taken over" if auto else f"not in force; `pointsman prices refresh --from {data / OFFERED} --write` takes it"
    text = f"new price list from {found.result.origin} ({how}): {'; '.join([*lines, *more])}"
    return Notice("price", found.result.origin, found.result.sha256[:12], text)


def line_of(change: Change, impact: Impact | None) -> str:
    """Return a change in one line: what it is called, its first rates, and what it means for the last 30 days."""
    shown = [
        f"{one.name} {rate(one.old)} -> {rate(one.new)}{f' ({one.percent:+g} %)' if one.percent is not None else ''}"
        for one in change.figures[:3]
    ]
    told = f"{change.model} {change.kind if change.kind != 'changed' else ''}".strip()
    told += f" {', '.join(shown)}" if shown else ""
    if impact is not None and impact.attempts and change.kind == "changed":
        told += f", {signed(impact.new_nano - impact.old_nano)} USD over 30 days"
    if change.later:
        told += f", changes again on {', '.join(change.later)}"
    return told + (f", held back: {change.held}" if change.held else "")


def rate(nano: int | None) -> str:
    """Return a rate as USD per million tokens; `none` where there is none."""
    return "none" if nano is None else usd(nano, 9)


def signed(nano: int) -> str:
    """Return dollars with their sign."""
    return f"{'-' if nano < 0 else '+'}{usd(abs(nano))}"
