"""Reservation: what a request has reserved of its caller's quotas, until it has ended, and what the client is told of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pointsman.core.entry import AttemptRow
from pointsman.core.quotas import Ask, Counter, End, Standing, Verdict, used

if TYPE_CHECKING:
    from pointsman.gateway.limits import Quotas


class Reservation:
    """Hold what a request has reserved, until it is settled. `headers` are lines for the client; `tag` is for the books."""

    __slots__ = ("_asks", "_others", "_quotas", "_taken", "headers", "local", "rows", "tag")

    def __init__(self, quotas: Quotas, asks: Sequence[Ask], others: tuple[Counter, ...], verdict: Verdict) -> None:
        self._quotas = quotas
        self._asks = asks
        self._others = others
        self._taken = verdict.taken
        self.local = verdict.local
        self.headers = headers_of(asks, verdict.taken)
        self.tag = ""

    def settle(self, rows: Sequence[AttemptRow], *, sent: bool) -> None:
        """Book what the attempts used and give back the rest, before this turn of the loop ends; all of it, and at once, when
        nothing was `sent`."""
        if sent:
            self.rows = rows
            self._quotas.ended.append(self)
        else:
            ends = [(ask[0], ask[1], 0, one[2]) for ask, one in zip(self._asks, self._taken, strict=True)]
            self._quotas.give_back(ends, local=self.local)

    def ends(self, ends: list[End]) -> None:
        """Add how each counter is settled."""
        rows = self.rows
        for at, (counter, amount, _) in enumerate(self._asks):
            if not counter.flat:
                # As `used` says, of the most frequent ones.
                plain = counter.money and len(rows) == 1 and rows[0].charge_nano >= 0
                ends.append(
                    (counter, amount, rows[0].charge_nano if plain else used(counter, amount, rows), self._taken[at][2])
                )
        for counter in self._others:
            amount = used(counter, 0, rows)
            if amount:
                ends.append((counter, 0, amount, 0))


def headers_of(asks: Sequence[Ask], taken: Sequence[Standing]) -> str:
    """Return the header lines that tell what is left: of requests and of tokens, each by the quota that has the least left."""
    requests = tokens = ""
    requests_left = tokens_left = 0
    for at, (counter, _, _) in enumerate(asks):
        told = counter.told
        if told.before:  # it is not money
            left, reset_us, _, _, _ = taken[at]
            if told.requests:
                if not requests or left < requests_left:
                    requests, requests_left = told.lines(left, reset_us), left
            elif not tokens or left < tokens_left:
                tokens, tokens_left = told.lines(left, reset_us), left
    return requests + tokens
