"""Reservation: what a request has reserved of its caller's quotas, until it has ended, and what the client is told of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pointsman.core.entry import AttemptRow
from pointsman.core.quotas import Ask, Counter, End, Taken, Told, Verdict, span, used

if TYPE_CHECKING:
    from pointsman.gateway.limits import Quotas


class Reservation:
    """Hold what a request has reserved, until it is settled. `headers` are lines for the client; `tag` is for the books."""

    __slots__ = ("_asks", "_local", "_others", "_quotas", "_taken", "headers", "tag")

    def __init__(self, quotas: Quotas, asks: Sequence[Ask], others: tuple[Counter, ...], verdict: Verdict) -> None:
        self._quotas = quotas
        self._asks = asks
        self._others = others
        self._taken = verdict.taken
        self._local = verdict.local
        self.headers = headers_of(asks, verdict.taken)
        self.tag = ""

    def settle(self, rows: Sequence[AttemptRow], *, sent: bool) -> None:
        """Book what the attempts used and give back the rest; all of it when nothing was `sent`."""
        ends: list[End] = [
            (counter, amount, used(counter, amount, rows) if sent else 0, one[2])
            for (counter, amount, _), one in zip(self._asks, self._taken, strict=True)
            if not (sent and counter.flat)
        ]
        for counter in self._others if sent else ():
            amount = used(counter, 0, rows)
            if amount:
                ends.append((counter, 0, amount, 0))
        if ends:
            self._quotas.settle(ends, local=self._local)


def headers_of(asks: Sequence[Ask], taken: Sequence[Taken]) -> str:
    """Return the header lines that tell what is left: of requests and of tokens, each by the quota that has the least left."""
    requests = tokens = None
    for (counter, _, _), one in zip(asks, taken, strict=True):
        told = counter.told
        if told.requests:
            if requests is None or one[0] < requests[1][0]:
                requests = told, one
        elif told.before and (tokens is None or one[0] < tokens[1][0]):
            tokens = told, one
    lines = "" if requests is None else _lines(*requests)
    return lines if tokens is None else lines + _lines(*tokens)


def _lines(told: Told, one: Taken) -> str:
    left = one[0]
    return f"{told.before}{left if left > 0 else 0}{told.after}{span(one[1])}\r\n"
