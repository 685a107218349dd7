"""What every ledger in SQL answers, and how: the questions of stores.ledger.Reader as statements."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import msgspec

from pointsman.core.decide import Decision
from pointsman.core.entry import FORMAT, WHOLE, Recorded, decode_in_block, decode_recorded
from pointsman.core.reconcile import Booked
from pointsman.stores import ledger_browsing as browsing
from pointsman.stores import ledger_decisions, ledger_feedback, ledger_spans, report_sql
from pointsman.stores import ledger_schema as sql
from pointsman.stores.browsing import LATE_MS, LOOKED, Found, Search, Sum, Sums
from pointsman.stores.invoices_sql import SqlInvoices
from pointsman.stores.ledger import Entry, FeedbackCounts, UsageQuery, UsageRow
from pointsman.stores.report import Question
from pointsman.stores.report_reading import Reports
from pointsman.stores.sql import Values

MOST_FOUND = 10
MOST_FEEDBACK = 100  # shown of one request, the newest


class SqlReader(Reports, SqlInvoices):
    """Answer questions with statements; how they are run is a back end's."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None: ...

    def of(self, organisation: str) -> Self:
        """See the requests and feedback of one organisation alone from now on; "" changes nothing."""
        self._within = organisation or self._within
        return self

    def usage(self, query: UsageQuery) -> tuple[list[UsageRow], UsageRow]:
        """Return the groups and the total over all rows, those beyond `query.most` included."""
        found = self.report(Question(_USAGE, query.by, since_ms=query.since_ms, most=query.most))
        wide = len(query.by)
        return [UsageRow(row[:wide], *row[wide:]) for row in found.rows], UsageRow((), *found.total)

    def newest_policy(self) -> bytes | None:
        """Return what decides in the config version of the newest request, as it was kept; None: it is not known."""
        versions = self._all(report_sql.NEWEST_POLICY, ())
        blobs = self._all(sql.SELECT_POLICY, (versions[0][0],)) if versions else []
        return bytes(blobs[0][0]) if blobs else None

    def booked(self, providers: tuple[str, ...], first_day: str, last_day: str) -> list[Booked]:
        """Return sums of the attempts at some providers, by UTC day (both included) of their requests."""
        values = {"first": first_day, "last": last_day, "within": self._within}
        values |= sql.provider_values(providers)
        rows = self._all(sql.booked_sql(len(providers)), values)
        return [Booked(*row[:6], *map(int, row[6:])) for row in map(tuple, rows)]

    def feedback_counts(self, since_ms: int) -> FeedbackCounts:
        """Return how many feedbacks were given since then, and how many of them name nothing that is here."""
        [row] = self._all(ledger_feedback.COUNTS_SQL, {"since": since_ms, "within": self._within})
        return FeedbackCounts(*row)

    def find(self, text: str) -> list[str]:
        """Return the ids a text may mean: the id itself, else ids it begins, else requests with that client id."""
        values = {"text": text, "end": text + "\uffff", "most": MOST_FOUND, "within": self._within}
        for statement in (sql.FIND_EXACT, sql.FIND_PREFIX, sql.FIND_CLIENT):
            found = [row[0] for row in self._all(statement, values)]
            if found:
                return found
        return []

    def entry(self, id: str) -> Entry | None:
        """Return everything known of one request."""
        rows = self._all(sql.SELECT_REQUEST, {"id": id, "within": self._within})
        if not rows:
            return None
        attempts = [dict(row) for row in self._all(sql.SELECT_ATTEMPTS, (id,))]
        row = dict(rows[0])
        feedback = self._all(ledger_feedback.OF_REQUEST, {**row, "most": MOST_FEEDBACK})
        made = Entry(row, attempts, None, [dict(each) for each in reversed(feedback)])
        return self._decided(made)

    def _decided(self, entry: Entry) -> Entry:
        """Return an entry with its Decision, or with what it is made again from, unless neither can be read."""
        seq = entry.request["seq"]
        rows = self._all(sql.SELECT_DECISION, (entry.request["id"],))
        rows = rows or self._all(ledger_decisions.FIND, {"seq": seq})
        for format, blob, *first in map(tuple, rows):
            with contextlib.suppress(ValueError):  # MsgspecError among them
                if format == WHOLE:
                    return msgspec.structs.replace(entry, decision=msgspec.msgpack.decode(blob, type=Decision))
                if format == FORMAT:
                    return self._recorded(
                        entry, decode_in_block(blob, seq - first[0]) if first else decode_recorded(blob)
                    )
        return entry

    def _recorded(self, entry: Entry, recorded: Recorded | None) -> Entry:
        kept = self._all(sql.SELECT_POLICY, (entry.request["config_version"],))
        return msgspec.structs.replace(entry, recorded=recorded, policy=bytes(kept[0][0]) if kept else None)

    def recent(self, count: int, after: int | None = None) -> list[dict[str, Any]]:
        """Return the newest rows, oldest first; or the oldest ones booked after a `seq`."""
        values = {"most": count, "within": self._within}
        if after is not None:
            return [dict(row) for row in self._all(sql.AFTER, values | {"after": after})]
        return [dict(row) for row in reversed(self._all(sql.RECENT, values))]

    def search(self, query: Search) -> Found:
        """Return one page of requests, the newest first."""
        before = query.before or self._all(browsing.NEWEST, ())[0][0] + 1
        floor = 0 if browsing.leads(query) and not self._within else max(0, before - 1 - LOOKED)
        rows: list[dict[str, Any]] = []
        for after, until in self._stretches(query, floor, before):
            values = browsing.search_values(query, self._within, after, until)
            rows += [dict(row) for row in self._rows(browsing.search_sql(query), values)]
            if len(rows) > query.most:
                break
        if len(rows) > query.most:
            return Found(rows[: query.most], rows[query.most - 1]["seq"])
        older = self._all(browsing.AT_FLOOR, {"floor": floor}) if floor else []
        cut = bool(older) and older[0][0] >= query.since_ms - LATE_MS
        return Found(rows, floor + 1 if cut else 0, cut)

    def _stretches(self, query: Search, floor: int, before: int) -> Iterator[tuple[int, int]]:
        """Return the bounds in `seq` to search between, both left out, the latest first."""
        field = next((name for name in ledger_spans.FIELDS if name in query.where), "")
        if not field:
            return iter([(floor, before)])
        span = ledger_spans.SPAN
        bounds = {"field": field, "value": query.where[field], "first": (floor + 1) // span, "last": before // span}
        return ledger_spans.stretches([row[0] for row in self._rows(ledger_spans.FIND, bounds)], floor, before)

    def sums(self, query: Sums) -> tuple[list[Sum], Sum]:
        """Return sums of hours by group, and of all."""
        found = self._all(browsing.sums_sql(query), browsing.sums_values(query, self._within))
        wide = 1 + len(query.by)
        made = [
            Sum(tuple(map(str, row[1:wide])), *[int(each or 0) for each in row[wide:]]) for row in map(tuple, found)
        ]
        return made[1:], made[0]

    def ask(self, statement: str, values: Values) -> list[Any]:
        """Return the rows of a statement that reads, written as `stores/sql.py` says. Raise LedgerError."""
        return self._all(statement, values)

    def _all(self, statement: str, values: Values) -> list[Any]:
        return list(self._rows(statement, values))


# The measures of a UsageRow, in its order.
_NAMES = {"feedback": "feedback_score", "implicit": "implicit_score"}
_USAGE = tuple(_NAMES.get(name, name) for name in UsageRow.__struct_fields__ if name != "group")
