"""The SQL of reports for DuckDB: groups, times and total of a question come of one look at the rows.

Sums come by GROUPING SETS. A quantile is found in two steps, neither of which holds the values themselves: how many rows of
each group lie in each range of values (`_RANGE`, some thousands of them, narrow where values are small), then how often each
value occurs in the few ranges that have a rank that is asked for. Both are hash aggregates, which spill; the answer is exact,
nearest rank as everywhere, and the total's counts are those of the groups, added up.
"""

from __future__ import annotations

from pointsman.stores.report import PERCENTS, Question
from pointsman.stores.report_sql import DUCKDB, aggregate, aggregates, condition, named, order_of

# The range of a value above 0. A square root is rounded correctly (IEEE 754), so a higher value never has a lower range.
_RANGE = "CAST(sqrt({column}) AS BIGINT) // 8"
FEW_GROUPS = 5_000  # beyond, groups have so few values that to hold them all is quicker
_RANK = "(p * every + 99) // 100"  # the p-th percentile of `every` values


def groups_sql(question: Question) -> str:
    """Return the statement that counts the groups of a question with quantiles; "": there is no need to."""
    groups = named(question, DUCKDB)
    if not groups or not any(":" in column for column in aggregates(question)):
        return ""
    table = DUCKDB.attempts if question.of == "attempts" else "requests"
    by = ", ".join(f"{expression} AS {name}" for name, expression in groups)
    return f"SELECT COUNT(*) FROM (SELECT DISTINCT {by} FROM {table} r WHERE {condition(question, DUCKDB)})"  # noqa: S608


def answer_sql(question: Question, *, many: bool = False) -> list[str]:
    """Return the statements of a question, of which the last answers; parameters are those of `report_sql.values`. `many`: it
    has more than FEW_GROUPS. Columns are whether the row is the total, the groups, and `report_sql.aggregates`; the total comes
    first."""
    groups = named(question, DUCKDB)
    names = [name for name, _ in groups]
    table = DUCKDB.attempts if question.of == "attempts" else "requests"
    made = "".join(f", {expression} AS {name}" for name, expression in groups)
    given = f"given AS NOT MATERIALIZED (SELECT r.*{made} FROM {table} r WHERE {condition(question, DUCKDB)})"  # noqa: S608
    steps, parts = [], {"sums": _sums_sql(question, names)}
    chosen, joins = [], ""
    for column in aggregates(question):
        kind, _, of = column.partition(":")
        chosen.append(f"q_{of}.told" if of else f"s.m_{kind}")
        if of:
            steps += [] if many else _range_steps(given, of, names)
            parts |= {f"q_{of}": _held(of, names)} if many else _quantile_parts(of, names)
            joins += f" LEFT JOIN q_{of} ON {_same(f'q_{of}', 's', ['whole', *names])}"
    listed = ", ".join(["s.whole", *(f"s.{name}" for name in names), *chosen])
    asked = ", ".join(f"{name} AS MATERIALIZED ({text})" for name, text in parts.items())
    ordered = f" ORDER BY 1 DESC, {order_of(question, groups, 1)}" if groups else ""
    return [*steps, f"WITH {given}, {asked} SELECT {listed} FROM sums s{joins}{ordered} LIMIT :most + 1"]  # noqa: S608


def _sums_sql(question: Question, names: list[str]) -> str:
    """Return the sums of the groups and of all rows."""
    sums = [aggregate(column, DUCKDB) for column in aggregates(question) if ":" not in column]
    if not names:
        return f"SELECT {', '.join(['1 AS whole', *sums, 'COUNT(*) AS every'])} FROM given r"  # noqa: S608
    listed = ", ".join([f"GROUPING(r.{names[0]}) AS whole", *(f"r.{name}" for name in names), *sums])
    by = ", ".join(f"r.{name}" for name in names)
    return f"SELECT {listed} FROM given r GROUP BY GROUPING SETS (({by}), ())"  # noqa: S608


def _held(column: str, names: list[str]) -> str:
    """Return quantiles of many groups, of few values each: by holding the values."""
    by = ", ".join(f"r.{name}" for name in names)
    shares = ", ".join(f"{percent / 100:g}" for percent in PERCENTS)
    held = f"quantile_disc(r.{column}, [{shares}]) FILTER (WHERE r.{column} > 0)"
    listed = f"GROUPING(r.{names[0]}) AS whole, {by}, array_to_string({held}, ',') AS told"
    return f"SELECT {listed} FROM given r GROUP BY GROUPING SETS (({by}), ())"  # noqa: S608


def _range_steps(given: str, column: str, names: list[str]) -> list[str]:
    """Return statements that make `ranges_COLUMN` (rows by group and range), `wanted_COLUMN` (which range has each rank, and
    which of its values in ascending order is the one) and `few_COLUMN` (the groups and ranges of these). They are tables, so
    that it is known how small they are: the rows are then held against them, and not the other way round."""
    both = ["whole", *names]
    by, of_r = "".join(f"{name}, " for name in names), "".join(f"r.{name}, " for name in names)
    ranges, wanted, part = f"ranges_{column}", f"wanted_{column}", f"PARTITION BY {', '.join(both)}"
    percents = ", ".join(f"({percent})" for percent in PERCENTS)
    few = f"SELECT {by}b FROM {ranges} WHERE b IN (SELECT b FROM {wanted} WHERE whole = 1)"  # noqa: S608  names of ours
    if names:
        few += f" UNION SELECT {by}b FROM {wanted} WHERE whole = 0"  # noqa: S608
    ranked = (
        f"SELECT *, SUM(n) OVER ({part} ORDER BY b) AS upto, SUM(n) OVER ({part}) AS every"  # noqa: S608
        f" FROM ({_with_total(ranges, names, 'b')})"
    )
    return [
        f"CREATE OR REPLACE TEMP TABLE {ranges} AS WITH {given} SELECT {of_r}{_range(column)} AS b, COUNT(*) AS n"  # noqa: S608
        f" FROM given r WHERE r.{column} > 0 GROUP BY ALL",
        f"CREATE OR REPLACE TEMP TABLE {wanted} AS SELECT {', '.join(both)}, b, p, {_RANK} - (upto - n) AS k"  # noqa: S608
        f" FROM ({ranked}), (VALUES {percents}) asked(p) WHERE {_RANK} > upto - n AND {_RANK} <= upto",
        f"CREATE OR REPLACE TEMP TABLE few_{column} AS {few}",
    ]


def _quantile_parts(column: str, names: list[str]) -> dict[str, str]:
    """Return the steps to `q_COLUMN`: by group and in all, PERCENTS of the positive values in one text."""
    both, of_r = ["whole", *names], "".join(f"r.{name}, " for name in names)
    alike = "".join(f" AND few.{name} IS NOT DISTINCT FROM r.{name}" for name in names)
    fine = f"fine_{column}"
    counted = f"SELECT *, SUM(n) OVER (PARTITION BY {', '.join(both)}, b ORDER BY v) AS upto"
    counted += f" FROM ({_with_total(fine, names, 'b, v')})"
    found = (
        f"SELECT {', '.join(f'w.{name}' for name in both)}, w.p, MIN(f.v) AS v FROM wanted_{column} w"  # noqa: S608
        f" JOIN ({counted}) f ON {_same('f', 'w', both)} AND f.b = w.b AND f.upto >= w.k GROUP BY ALL"
    )
    return {
        fine: f"SELECT {of_r}{_range(column)} AS b, r.{column} AS v, COUNT(*) AS n FROM given r"  # noqa: S608
        f" SEMI JOIN few_{column} few ON few.b = {_range(column)}{alike} WHERE r.{column} > 0 GROUP BY ALL",
        f"q_{column}": f"SELECT {', '.join(both)}, string_agg(CAST(v AS VARCHAR), ',' ORDER BY p) AS told"  # noqa: S608
        f" FROM ({found}) GROUP BY ALL",
    }


def _range(column: str) -> str:
    return _RANGE.format(column=f"r.{column}")


def _with_total(table: str, names: list[str], of: str) -> str:
    """Return the counts of groups by the columns `of`, and those of all rows."""
    nobody = "".join(f"NULL AS {name}, " for name in names)
    total = f"SELECT 1 AS whole, {nobody}{of}, SUM(n) AS n FROM {table} GROUP BY {of}"  # noqa: S608
    if not names:
        return total
    return f"SELECT 0 AS whole, {', '.join(names)}, {of}, n FROM {table} UNION ALL {total}"  # noqa: S608


def _same(one: str, other: str, names: list[str]) -> str:
    return " AND ".join(f"{one}.{name} IS NOT DISTINCT FROM {other}.{name}" for name in names)
