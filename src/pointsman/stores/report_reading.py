"""Reports of every engine in SQL: questions as statements, and rows as the answer. Who holds the rows says how one is run."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from pointsman.stores import report_sql as sql
from pointsman.stores.report import (
    JUDGED,
    MEASURES,
    MOST_ROWS,
    PERCENTS,
    Question,
    Report,
    ReportError,
    Tokens,
    checked,
    columns_of,
)
from pointsman.stores.report_sql import Engine
from pointsman.stores.sql import Values

Row = tuple[Any, ...]
Rows = list[Row]
Sums = dict[str, Any]  # by measure
Judged = dict[tuple[Any, ...], dict[str, int]]  # by group, () for the total
_NEVER = dict.fromkeys(JUDGED, 0)


class Reports:
    """Answer questions (`stores/report.py:Asker`) with statements."""

    _engine: Engine
    _within = ""  # the organisation whose rows alone are seen

    @abstractmethod
    def _rows(self, statement: str, values: Values) -> Iterable[Any]:
        """Return rows, perhaps only as they are found. Both raise LedgerError."""

    @contextlib.contextmanager
    def _at_once(self) -> Iterator[None]:
        """Let every statement inside see the same rows."""
        yield

    @contextlib.contextmanager
    def _over(self, question: Question) -> Iterator[None]:
        """Make ready for the rows that a question is about."""
        yield

    def report(self, question: Question) -> Report:
        """Return the answer to a question. Raise ReportError, LedgerError."""
        q = checked(question)
        most = q.most + 1 if sql.is_ordered(q) else MOST_ROWS + 1
        values = sql.values(q, self._within, most)
        judged: Judged = {(): _NEVER}
        wide = len(q.by) + bool(q.every)
        with self._over(q), self._at_once():
            found, whole = self._summed(q, values, most)
            if sql.judgements(q):
                judged |= self._judged(q, values)
        if len(found) > MOST_ROWS:
            raise ReportError(
                "by", f"more than {MOST_ROWS} groups: ask for a shorter time or fewer groups, or order by a sum"
            )
        rows = [
            (*_named(q, row[:wide]), *_measured(q, _sums_of(q, row[wide:]) | _told(judged.get(row[:wide], _NEVER))))
            for row in found
        ]
        if not sql.is_ordered(q):
            _arrange(rows, wide + q.measures.index(q.order or q.measures[0]), wide)
        total = _measured(q, _sums_of(q, whole) | _told(judged[()]))
        return Report(q, columns_of(q), rows[: q.most], total, len(rows) > q.most)

    def _summed(self, q: Question, values: Mapping[str, Any], most: int) -> tuple[Rows, Row]:
        """Return the sums of the groups, `most` at most, and of all rows."""
        wide = len(q.by) + bool(q.every)
        found: Rows = []
        if wide:
            found = [tuple(row) for row in self._rows(sql.sums_sql(q, self._engine), values)]
        if 0 < len(found) < most and sql.adds_up(q):  # the groups are all there is: no second look at the rows
            columns = list(zip(*found, strict=True))[wide:]
            return found, tuple(sum(int(value or 0) for value in column) for column in columns)
        [row] = self._rows(sql.sums_sql(q, self._engine, total=True), values)
        return found, tuple(row)

    def tokens(self, question: Question, over: tuple[int, ...], moments: tuple[int, ...]) -> list[Tokens]:
        """Return what the requests of a question used, by group, route and class of prices. Raise ReportError, LedgerError."""
        q = checked(question)
        values, wide = sql.values(q, self._within, 0), len(q.by) + bool(q.every)
        with self._over(q):
            found = [tuple(row) for row in self._rows(sql.tokens_sql(q, self._engine, over, moments), values)]
        if len(found) > MOST_ROWS:
            raise ReportError("by", f"more than {MOST_ROWS} groups: ask for a shorter time or fewer groups")
        return [
            Tokens(
                _named(q, row[:wide]),
                row[wide],
                int(row[wide + 1]),
                int(row[wide + 2]),
                int(row[wide + 3]),
                tuple(map(int, row[wide + 4 : wide + 12])),
                int(row[wide + 12]),
                int(row[wide + 13]),
            )
            for row in found
        ]

    def _judged(self, q: Question, values: Mapping[str, Any]) -> Judged:
        found: Judged = {}
        for whole, *rest in map(tuple, self._rows(sql.scores_sql(q, self._engine), values)):
            group, sums = rest[: -len(JUDGED)], [int(each or 0) for each in rest[-len(JUDGED) :]]
            if whole or group:  # without groups the first row is that of the only one
                found[() if whole else tuple(group)] = dict(zip(JUDGED, sums, strict=True))
        return found


def _sums_of(q: Question, row: tuple[Any, ...]) -> Sums:
    """Return what a statement has added up, by measure."""
    made: Sums = {}
    for name, value in zip(sql.aggregates(q), row, strict=True):
        kind, _, column = name.partition(":")
        if column:
            given = value.split(",") if value else [None] * len(PERCENTS)
            for percent, one in zip(PERCENTS, given, strict=True):
                made[f"{kind}:{column}:{percent}"] = None if one is None else int(one)
        else:
            made[name] = int(value or 0)  # PostgreSQL sums to decimals
    return made


def _told(judged: Mapping[str, int]) -> Sums:
    return {f"judged:{name}": value for name, value in judged.items()}


def _measured(q: Question, sums: Sums) -> tuple[Any, ...]:
    return tuple(_value(name, sums) for name in q.measures)


def _value(name: str, sums: Sums) -> Any:
    measure = MEASURES[name]
    if measure.quantile:
        return sums["quantiles:{}:{}".format(*measure.quantile)]
    if measure.judged:
        return sums[f"judged:{measure.judged}"]
    if measure.quotient is None:
        return sums[name]
    upper, lower, times, per = measure.quotient
    above, below = _value(upper, sums), _value(lower, sums)
    return above * times / (below * per) if below else None


def _named(q: Question, group: tuple[Any, ...]) -> tuple[str, ...]:
    """Return the names of a group: a time as ISO text of its begin, in UTC."""
    if not q.every or q.every == "month":
        return tuple(map(str, group))
    at = datetime.fromtimestamp(int(group[0]) / 1000, UTC)
    return (at.strftime("%Y-%m-%dT%H:00Z" if q.every == "hour" else "%Y-%m-%d"), *map(str, group[1:]))


def _arrange(rows: list[tuple[Any, ...]], place: int, wide: int) -> None:
    """Put rows into the order of a measure, the highest first, what is unknown last; then by name."""
    rows.sort(key=lambda row: (row[place] is None, -(row[place] or 0), row[:wide]))
