"""Reports over an export in Parquet, by DuckDB: the same questions as of a ledger, and the same answers for the days it has."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pointsman.stores import report_sql
from pointsman.stores.duck import Bounds, Duck, quoted
from pointsman.stores.export_columns import POLICIES, TABLES, Part, exported
from pointsman.stores.report import Question
from pointsman.stores.report_duck_sql import FEW_GROUPS, answer_sql, groups_sql
from pointsman.stores.report_reading import Reports, Row, Rows
from pointsman.stores.report_sql import DUCKDB
from pointsman.stores.sql import Values


class ParquetReader(Reports):
    """Answer questions over a folder that `pointsman ledger export` has written. No statement takes longer than `limit_s`."""

    _engine = DUCKDB

    def __init__(self, folder: Path, limit_s: float = 600.0, bounds: Bounds | None = None) -> None:
        self._folder, self._manifest = folder, exported(folder)
        self._duck = Duck([folder], bounds or Bounds(), limit_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._duck.close()

    def interrupt(self) -> None:
        """End the question under way, from another thread."""
        self._duck.interrupt()

    def of(self, organisation: str) -> Self:
        """See the requests of one organisation alone from now on; "" changes nothing."""
        self._within = organisation or self._within
        return self

    def days(self) -> tuple[str, str]:
        """Return the first and the last UTC day there are requests of; "" when there are none."""
        found = [part.day for part in self._manifest.parts if part.table == "requests"]
        return (min(found), max(found)) if found else ("", "")

    def newest_policy(self) -> bytes | None:
        """Return what decides in the config version of the newest request, as it was kept; None: it is not known."""
        with self._over(Question(())):
            found = self._rows(report_sql.NEWEST_POLICY, {})
        with contextlib.suppress(OSError):
            return (self._folder / POLICIES / found[0][0]).read_bytes() if found else None
        return None

    @contextlib.contextmanager
    def _over(self, question: Question) -> Iterator[None]:
        # Feedback names the last request before it with a client's id, which may be one after the time that is asked for.
        until_ms = question.until_ms if not question.measures or not report_sql.judgements(question) else 1 << 62
        for table, columns in TABLES.items():
            since_ms = 0 if table == "feedback" else question.since_ms
            parts = [part for part in self._manifest.parts if part.table == table and _within(part, since_ms, until_ms)]
            self._duck.run(f"CREATE OR REPLACE TEMP VIEW {table} AS {self._select(columns, parts)}")
        yield

    def _select(self, columns: dict[str, str], parts: list[Part]) -> str:
        if not parts:
            return (
                f"SELECT {', '.join(f'CAST(NULL AS {kind}) AS {name}' for name, kind in columns.items())} WHERE FALSE"
            )
        listed = ", ".join(f"'{quoted(self._folder.resolve() / part.path)}'" for part in parts)
        return f"SELECT * FROM read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"  # noqa: S608

    def _summed(self, q: Question, values: Mapping[str, Any], most: int) -> tuple[Rows, Row]:
        count = groups_sql(q)
        many = bool(count) and self._rows(count, values)[0][0] > FEW_GROUPS
        *steps, last = answer_sql(q, many=many)
        for step in steps:
            self._rows(step, values)
        (_, *whole), *found = self._rows(last, values)
        wide = len(q.by) + bool(q.every)
        return [row[1:] for row in found], tuple(whole[wide : wide + len(report_sql.aggregates(q))])

    def _rows(self, statement: str, values: Values) -> list[tuple[Any, ...]]:
        return self._duck.run(statement, values)


def _within(part: Part, since_ms: int, until_ms: int) -> bool:
    """Tell whether a file may have rows of a time."""
    begins_ms = int(datetime.fromisoformat(part.day).replace(tzinfo=UTC).timestamp()) * 1000
    return begins_ms < until_ms and begins_ms + 86_400_000 > since_ms
