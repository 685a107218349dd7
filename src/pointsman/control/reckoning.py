"""Reckoning: what past attempts would have cost at other prices, attempt by attempt, so that the same prices give the same
charges to the nano-dollar. Rows of the ledger are read, never changed.

An attempt's service tier is not in its row. It is found by the charge: the tier at which the price that it was booked with
gives exactly what was booked. Where none does, because that price is not known or there was none, it is taken for standard and
counted as assumed. An end that no provider bills stays free; an attempt without counted tokens stays as it was booked.
"""

from __future__ import annotations

import hashlib
import secrets
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from pointsman.core.pricing import ChargeState, Price, charge
from pointsman.stores.ledger import Reader
from pointsman.stores.price_history import price_of_version
from pointsman.stores.reckonings import Line, Reckoning, Sent, Sums, sent

MINUTE_MS = 60_000
STATES: tuple[ChargeState, ...] = ("measured", "estimated", "unpriced")  # of several, a request has the last
Place = tuple[str, str, str, str]  # day, provider, model, deployment
Book = Callable[[Sent], Price | None]


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what is to be reckoned: requests admitted in a time (Unix milliseconds), up to a row of the ledger."""

    since_ms: int
    until_ms: int
    upto_seq: int
    origin: str  # where the prices are from, for people
    actor: str = ""


class Timeline:
    """Hold prices by deployment, each set from a moment on. Rows of before the first one have its prices."""

    def __init__(self, parts: Iterable[tuple[int, Mapping[str, Price | None]]]) -> None:
        ordered = sorted(parts, key=lambda part: part[0])
        self._begins = [at_ms for at_ms, _ in ordered]
        self._prices = [prices for _, prices in ordered]

    def __call__(self, one: Sent) -> Price | None:
        """Return the price of an attempt: of its deployment, else of its model at its provider."""
        prices = self._prices[max(0, bisect_right(self._begins, one.at_ms) - 1)]
        if one.deployment in prices:
            return prices[one.deployment]
        return prices.get(f"{one.provider}/{one.model}")


class Charges:
    """Hold what requests come to whose charge is another than was booked: 17 bytes each. Attempts of a request come one after
    the other."""

    def __init__(self) -> None:
        self._seqs, self._nano, self._states = array("q"), array("q"), bytearray()
        self._seq = 0
        self._booked: list[int | None] = []
        self._reckoned: list[tuple[int | None, int]] = []  # and the place of the state among STATES

    def __len__(self) -> int:
        self._close()
        return len(self._seqs)

    def __iter__(self) -> Iterator[tuple[int, int | None, str]]:
        """Yield `seq`, nano-dollars and state of each."""
        self._close()
        for seq, nano, state in zip(self._seqs, self._nano, self._states, strict=True):
            yield seq, None if STATES[state] == "unpriced" else nano, STATES[state]

    def add(self, one: Sent, nano: int | None) -> None:
        """Add what an attempt comes to."""
        if one.seq != self._seq:
            self._close()
            self._seq = one.seq
        self._booked.append(one.charge_nano)
        estimated = one.usage.source == "estimated" or (one.usage.source == "unknown" and one.recovered)
        self._reckoned.append((nano, 2 if nano is None else int(estimated)))

    def _close(self) -> None:
        if [nano for nano, _ in self._reckoned] != self._booked:
            state = max(state for _, state in self._reckoned)
            self._seqs.append(self._seq)
            self._nano.append(sum(nano or 0 for nano, _ in self._reckoned))
            self._states.append(state)
        self._booked, self._reckoned = [], []


class Reckoner:
    """Add up attempts at the prices of a book. `known` gives the price of a version that rows were booked with."""

    def __init__(self, book: Book, known: Callable[[str], Price | None]) -> None:
        self.sums: dict[Place, Sums] = {}
        self.charges = Charges()
        self.met: set[str] = set()  # price versions that were reckoned with
        self._book, self._known = book, known
        self._versions: dict[str, Price | None] = {}

    def add(self, one: Sent) -> None:
        """Add one attempt."""
        place = (one.day, one.provider, one.model, one.deployment)
        sums = self.sums.get(place)
        if sums is None:
            sums = self.sums[place] = Sums()
        if not one.n and not one.recovered:
            return  # nothing was sent: a cached answer, or nobody could answer
        sums.attempts += 1
        if one.charge_nano is None:
            sums.booked_unpriced += 1
        else:
            sums.booked_nano += one.charge_nano
        nano = self._reckoned(one, sums)
        self.charges.add(one, nano)
        if nano is None:
            sums.unpriced += 1
            return
        sums.reckoned_nano += nano
        if one.charge_nano is None:
            sums.newly_priced += 1
            sums.newly_priced_nano += nano

    def _reckoned(self, one: Sent, sums: Sums) -> int | None:
        if one.usage.source == "unknown":
            sums.carried += one.charge_nano is not None and one.recovered
            return one.charge_nano
        price = self._book(one)
        if price is None:
            return None
        tier, minute = self._tier(one), one.at_ms // MINUTE_MS % 1440
        if tier is None:
            sums.assumed += 1
        self.met.add(price.version)
        return charge(one.usage, price, tier, minute).nano

    def _tier(self, one: Sent) -> str | None:
        """Return the service tier that an attempt was booked with, "" for standard; None: it is not known."""
        booked = self._version(one.price_version)
        if booked is None or one.charge_nano is None:
            return None
        minute = one.at_ms // MINUTE_MS % 1440
        for tier in ("", *booked.variants):
            for moment in {minute, -1}:
                if charge(one.usage, booked, tier, moment).nano == one.charge_nano:
                    return tier
        return None

    def _version(self, version: str) -> Price | None:
        if version not in self._versions:
            self._versions[version] = self._known(version) if version else None
        return self._versions[version]

    def lines(self) -> list[Line]:
        """Return the sums by day, provider, model and deployment."""
        return [
            Line(day=day, provider=provider, model=model, deployment=deployment, sums=sums)
            for (day, provider, model, deployment), sums in sorted(self.sums.items())
            if sums.attempts
        ]


def known_versions(reader: Reader) -> Callable[[str], Price | None]:
    """Return what finds a price version in the history of prices."""

    def find(version: str) -> Price | None:
        noted = price_of_version(reader.ask, version)
        return noted.price if noted is not None else None

    return find


def reckon(reader: Reader, wish: Wish, book: Book) -> Reckoner:
    """Return what attempts cost at the prices of a book. Raise LedgerError."""
    made = Reckoner(book, known_versions(reader))
    for one in sent(reader.ask, wish.since_ms, wish.until_ms, wish.upto_seq):
        made.add(one)
    return made


def reckoning_of(made: Reckoner, wish: Wish, now_ms: int) -> Reckoning:
    """Return the head of a reckoning, with a new id."""
    sums = total(made.lines())
    return Reckoning(
        id=f"rck_{now_ms:012x}{secrets.token_hex(4)}",
        made_ms=now_ms,
        actor=wish.actor,
        since_ms=wish.since_ms,
        until_ms=wish.until_ms,
        upto_seq=wish.upto_seq,
        origin=wish.origin,
        sha256=hashlib.sha256(msgspec.json.encode(sorted(made.met))).hexdigest(),
        attempts=sums.attempts,
        booked_nano=sums.booked_nano,
        booked_unpriced=sums.booked_unpriced,
        reckoned_nano=sums.reckoned_nano,
        unpriced=sums.unpriced,
        charges=len(made.charges),
    )


def total(lines: Iterable[Line]) -> Sums:
    """Return the sum of lines."""
    made: dict[str, Any] = dict.fromkeys(Sums.__struct_fields__, 0)
    for line in lines:
        for name in made:
            made[name] += getattr(line.sums, name)
    return Sums(**made)
