"""The SQL of invoices: what every ledger in SQL does for `stores/invoices.py`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from pointsman.core.billing import Consumption, digest
from pointsman.core.invoice import GENESIS, Kept, chain_of, number_of
from pointsman.stores import invoices_schema as sql
from pointsman.stores.invoices import MOST_LISTED, Consumed, Order, Stale
from pointsman.stores.sql import Db, Values


def add(db: Db, order: Order) -> tuple[Kept, bool]:
    """Keep a document, inside a transaction that is alone. As InvoiceWriter.issue."""
    if order.upto_seq:
        found = db.execute(sql.OF_PERIOD, (order.customer, order.period)).fetchone()
        if found is not None:
            return kept_of(found), False
    last = db.execute(sql.LAST, ()).fetchone()
    seq, chain = (int(last[0]), str(last[1])) if last is not None else (0, GENESIS)
    if order.seen not in (None, seq):
        raise Stale
    n = int(db.execute(sql.LAST_OF_SERIES, (order.series,)).fetchone()[0]) + 1
    related = [kept_of(row) for row in db.execute(sql.RELATED, {"number": order.credits})] if order.credits else []
    number = number_of(order.series, n)
    document, due_nano = order.make(number, related)
    sha = digest(order.membership) if order.membership else ""
    made = Kept(
        seq=seq + 1,
        number=number,
        kind=order.kind,
        series=order.series,
        n=n,
        customer=order.customer,
        organisation=order.organisation,
        period=order.period,
        credits=order.credits,
        issued_at_ms=order.at_ms,
        actor=order.actor,
        upto_seq=order.upto_seq,
        membership=sha,
        due_nano=due_nano,
        document=document,
        sha256=digest(document),
        chain="",
    )
    made = msgspec.structs.replace(made, chain=chain_of(chain, made))
    if order.membership:
        db.execute(sql.ADD_MEMBERSHIP, (sha, order.membership))
    db.execute(sql.ADD, msgspec.structs.astuple(made))
    return made, True


def kept_of(row: Iterable[Any]) -> Kept:
    """Return a document as a row has it."""
    values = dict(zip(sql.COLUMNS, tuple(row), strict=True))
    return Kept(**values | {"document": bytes(values["document"])})


class SqlInvoices:
    """Answer with statements; mixed into a reader that has `_all` and `_within`."""

    _within = ""

    def _all(self, statement: str, values: Values) -> list[Any]:
        raise NotImplementedError

    def consumed(self, query: Consumed) -> list[Consumption]:
        """Return sums, by month, facts and state of the charge."""
        values: dict[str, object] = {
            "begin": query.begin_ms,
            "end": query.end_ms,
            "after": query.after,
            "upto": query.upto,
            "within": self._within,
        }
        values |= sql.fact_values(query.facts)
        if query.reckoning:
            values["reckoning"] = query.reckoning
        rows = self._all(sql.consumption_sql(query.facts, reckoned=bool(query.reckoning)), values)
        return [_consumption(query.facts, tuple(row)) for row in rows]

    def newest(self) -> int:
        """Return the last row that is booked, 0 when there is none."""
        return int(self._all(sql.NEWEST, ())[0][0])

    def documents(
        self, customer: str = "", period: str = "", kind: str = "", after: int = 0, most: int = MOST_LISTED
    ) -> list[Kept]:
        """Return invoices and credit notes in the order of issue; "" means any."""
        values = {"customer": customer, "period": period, "kind": kind, "after": after, "most": most}
        return [kept_of(row) for row in self._all(sql.LISTED, values | {"within": self._within})]

    def document(self, number: str) -> Kept | None:
        """Return a document by its number."""
        found = self._all(sql.ONE, {"number": number, "within": self._within})
        return kept_of(found[0]) if found else None

    def membership(self, sha256: str) -> bytes | None:
        """Return what decided whose a request was for invoices of this digest."""
        found = self._all(sql.MEMBERSHIP, (sha256,))
        return bytes(found[0][0]) if found else None


def _consumption(facts: Sequence[str], row: tuple[Any, ...]) -> Consumption:
    month, state, epoch, *rest = row
    values, sums = rest[: len(facts)], [int(value) for value in rest[len(facts) :]]
    requests, answered, input_tokens, output_tokens, cost_nano = sums
    return Consumption(
        month=month,
        facts=dict(zip(facts, map(str, values), strict=True)),
        state=state,
        epoch=int(epoch),
        requests=requests,
        answered=answered,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cost_nano=cost_nano,
    )
