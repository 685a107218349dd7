"""The SQL of reports (`stores/report.py`), for every engine: written once, as SQLite takes it, from one table of measures and
dimensions. An Engine holds the few phrases that differ.

`r` is a request, or an attempt with what is known of its request beside it (ATTEMPTS). Names in a statement are ours alone:
what somebody asks for is looked up in the tables, values are parameters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import product
from string import ascii_lowercase
from typing import Any

import msgspec

from pointsman.stores import ledger_feedback
from pointsman.stores.ledger import ATTEMPT_COLUMNS, TOKEN_COLUMNS
from pointsman.stores.ledger_attempts import sent
from pointsman.stores.report import GROUPS, JUDGED, MADE, MEASURES, MOST_ROWS, PERCENTS, TAG, Question

Named = tuple[str, str]  # what a column is called, and its expression over `r`


_REST = "substr({tags}, instr({tags}, {begin}) + length({begin}))"
_TAGGED = f"substr({_REST}, 1, instr({_REST}, ',') - 1)"


class Engine(msgspec.Struct, frozen=True):
    """Hold how an engine says it. `quantiles`: PERCENTS of the positive values of a column, in one text with commas, NULL when
    there are none; `micro`: a score in millionths, rounded half up; `divide`: whole numbers, to a whole one; `attempts`: the
    table of attempts beside what is known of their requests, "" where there is none; `tagged`: what follows the first `NAME:`
    in a text that has one, of the parameters of `place`."""

    quantiles: str
    micro: str
    divide: str = "/"
    attempts: str = ""
    tagged: str = _TAGGED


_SHARES = ", ".join(f"{percent / 100:g}" for percent in PERCENTS)
OF_REQUEST = (
    *("seq", "at_ms", "day", "key", "project", "team", "organisation", "kind", "stream", "asked_model", "route"),
    *("strategy", "config_version", "arm", "session", "tags"),
)
# An attempt with what is known of its request: what is asked for of attempts, and what an export holds of them.
ATTEMPTS = " UNION ALL ".join(sent(OF_REQUEST))
_NAMED = re.compile(r"\br\.(\w+)")
SQLITE = Engine(
    quantiles="percentiles({column})",  # an aggregate of our own, as SQLite has none
    micro="CAST(f.score * 1000000 + 0.5 AS INTEGER)",  # a CAST cuts off
)
POSTGRES = Engine(
    quantiles=f"array_to_string(percentile_disc(ARRAY[{_SHARES}]) WITHIN GROUP (ORDER BY {{column}})"
    " FILTER (WHERE {column} > 0), ',')",
    micro="CAST(floor(f.score * 1000000 + 0.5) AS BIGINT)",  # a CAST rounds
)
DUCKDB = Engine(
    quantiles="",  # `stores/report_duck_sql.py`
    micro="CAST(floor(f.score * 1000000 + 0.5) AS BIGINT)",
    divide="//",  # `/` is of fractions
    attempts="attempts",  # an export holds them so
    tagged="regexp_extract({tags}, :pattern_{place}, 1)",  # of one column: once for each text of a file, not for each row
)

_COUNTS = (*[name for name in TOKEN_COLUMNS if name != "usage_source"], "charge_nano")
_WITHIN = "(:within = '' OR r.organisation = :within)"
_DAY, _WEEK = 86_400_000, 7 * 86_400_000
_FIRST_MONDAY = 3 * _DAY  # 1970-01-01 was a Thursday
TIMES = {
    "hour": "r.at_ms - r.at_ms % 3600000",
    "day": f"r.at_ms - r.at_ms % {_DAY}",
    "week": f"r.at_ms - (r.at_ms + {_FIRST_MONDAY}) % {_WEEK}",
    "month": "substr(r.day, 1, 7)",
}


def named(question: Question, engine: Engine) -> list[Named]:
    """Return what a question groups by: time first."""
    made = [("t", TIMES[question.every])] if question.every else []
    return [
        *made,
        *((f"g_{place}", _dimension(name, place, engine)) for name, place in zip(question.by, "ab", strict=False)),
    ]


def parts(question: Question) -> list[str]:
    """Return the measures that SQL adds up for a question, in the order of its columns."""
    return list(dict.fromkeys(part for name in question.measures for part in _parts(name) if not MEASURES[part].judged))


def judgements(question: Question) -> bool:
    """Tell whether a question asks for feedback."""
    return any(MEASURES[part].judged for name in question.measures for part in _parts(name))


def sums_sql(question: Question, engine: Engine, *, total: bool = False) -> str:
    """Return the statement of the groups of a question, or of its total; parameters are those of `values`. Columns are those
    of `named`, then `parts`, quantiles of a column together where its first one stands."""
    groups = [] if total else named(question, engine)
    chosen = [f"{expression} AS {name}" for name, expression in groups]
    chosen += [aggregate(column, engine) for column in aggregates(question)]
    numbers = ", ".join(str(n + 1) for n in range(len(groups)))
    chosen_of, where = f"SELECT {', '.join(chosen)} FROM", f"r WHERE {condition(question, engine)}"
    by = f" GROUP BY {numbers}" if groups else ""
    if question.of == "requests" or engine.attempts:
        text = f"{chosen_of} {engine.attempts if question.of == 'attempts' else 'requests'} {where}{by}"
    else:
        tables = _attempts(f"{chosen_of} {where}")
        if adds_up(question):  # sums of sums: neither is put together row by row
            parts = " UNION ALL ".join(f"{chosen_of} ({table}) {where}{by}" for table in tables)
            sums = [name for name, _ in groups] + [f"SUM(m_{name})" for name in aggregates(question)]
            text = f"SELECT {', '.join(sums)} FROM ({parts}) summed{by}"  # noqa: S608  names of ours
        else:
            text = f"{chosen_of} ({' UNION ALL '.join(tables)}) {where}{by}"
    return f"{text} ORDER BY {order_of(question, groups)} LIMIT :most" if groups else text


def _attempts(text: str) -> tuple[str, str]:
    """Return the statements of attempts with the columns that a statement names."""
    found = set(_NAMED.findall(text))
    return sent([n for n in OF_REQUEST if n in found], [n for n in ATTEMPT_COLUMNS if n in found])


def aggregates(question: Question) -> list[str]:
    """Return what a statement selects beside groups: names of measures, `quantiles:COLUMN` once for each column."""
    found: dict[str, None] = {}
    for part in parts(question):
        quantile = MEASURES[part].quantile
        found[f"quantiles:{quantile[0]}" if quantile else part] = None
    return list(found) or ["requests" if question.of == "requests" else "attempts"]


def adds_up(question: Question) -> bool:
    """Tell whether what a statement selects of all rows is the sum of what it selects of the groups."""
    return all(name in MEASURES and "DISTINCT" not in MEASURES[name].sql for name in aggregates(question))


def is_ordered(question: Question) -> bool:
    """Tell whether the database can put the groups into the order that is asked for."""
    order = question.order or ("" if question.every else question.measures[0])
    return not (order in MEASURES and not MEASURES[order].sql)


def scores_sql(question: Question, engine: Engine) -> str:
    """Return the statement of what feedback said of a question's groups and in all; see `ledger_feedback.scores_sql`."""
    return ledger_feedback.scores_sql(named(question, engine), condition(question, engine), engine.micro)


def tokens_sql(question: Question, engine: Engine, over: tuple[int, ...], moments: tuple[int, ...]) -> str:
    """Return the statement of tokens by group, route and class of prices (`report.Tokens`); `over` and `moments` are numbers
    of our own, of prices."""
    groups = named(question, engine)
    minute = f"(r.at_ms % {_DAY} - r.at_ms % 60000) {engine.divide} 60000"
    tier = " + ".join(f"CASE WHEN r.input_tokens > {bound} THEN 1 ELSE 0 END" for bound in over) or "0"
    window = " + ".join(f"CASE WHEN {minute} >= {moment} THEN 1 ELSE 0 END" for moment in moments) or "0"
    fit = "r.charge_state = 'measured' AND r.usage_source = 'measured' AND r.attempts > 0"
    sums = ", ".join(f"COALESCE(SUM(CASE WHEN {fit} THEN r.{name} END), 0)" for name in _COUNTS)
    chosen = [
        *(f"{expression} AS {name}" for name, expression in groups),
        "r.route",
        f"{tier} AS tier",
        f"{window} AS part",
    ]
    numbers = ", ".join(str(n + 1) for n in range(len(chosen)))
    return (
        f"SELECT {', '.join(chosen)}, COUNT(*) FILTER (WHERE {fit}), {sums}, COUNT(*) FILTER (WHERE NOT ({fit}))"  # noqa: S608
        f" FROM requests r WHERE {condition(question, engine)} GROUP BY {numbers} ORDER BY {numbers} LIMIT {MOST_ROWS + 1}"
    )


NEWEST_POLICY = "SELECT config_version FROM requests WHERE config_version <> '' ORDER BY seq DESC LIMIT 1"


def condition(question: Question, engine: Engine) -> str:
    """Return which rows a question is about."""
    made = ["r.at_ms >= :since", "r.at_ms < :until", _WITHIN]
    for place, (name, values) in zip(_PLACES, question.where.items(), strict=False):
        listed = ", ".join(f":w_{place}_{letter}" for letter, _ in zip(ascii_lowercase, values, strict=False))
        made.append(f"{_dimension(name, f'w_{place}', engine)} IN ({listed})")
    return " AND ".join(made)


def values(question: Question, within: str, most: int) -> dict[str, Any]:
    """Return the parameters of the statements; each takes those that it names."""
    made: dict[str, Any] = {"since": question.since_ms, "until": question.until_ms, "within": within, "most": most}
    for name, place in zip(question.by, "ab", strict=False):
        made |= _tag_values(name, place)
    for place, (name, wanted) in zip(_PLACES, question.where.items(), strict=False):
        made |= _tag_values(name, f"w_{place}")
        made |= {f"w_{place}_{letter}": value for letter, value in zip(ascii_lowercase, wanted, strict=False)}
    return made


def judged_of(row: Mapping[str, int], name: str) -> int:
    """Return one of what feedback said."""
    return row[MEASURES[name].judged]


_PLACES = tuple("".join(two) for two in product("xyz", "xyz"))  # names of parameters are letters


def _parts(name: str) -> Iterator[str]:
    """Yield what a measure is made of: itself, or the two of a quotient."""
    quotient = MEASURES[name].quotient
    yield from quotient[:2] if quotient else (name,)


def aggregate(column: str, engine: Engine) -> str:
    kind, _, of = column.partition(":")
    return engine.quantiles.format(column=f"r.{of}") if of else f"{MEASURES[kind].sql} AS m_{kind}"


def order_of(question: Question, groups: list[Named], before: int = 0) -> str:
    """Return the order of the groups: what is asked for, then their names; the names alone where SQL does not know it.
    `before`: columns before those of the groups."""
    order = question.order or ("time" if question.every else question.measures[0])
    first = []
    if order in MEASURES and MEASURES[order].sql and order in parts(question):
        first = [f"{1 + before + len(groups) + aggregates(question).index(order)} DESC"]
    elif order in question.by:
        first = [str(1 + before + len(groups) - len(question.by) + question.by.index(order))]
    return ", ".join((*first, *(str(1 + before + n) for n in range(len(groups)))))


def _dimension(name: str, place: str, engine: Engine) -> str:
    """Return the expression of a dimension. KeyError for a name that is none."""
    if name.startswith(TAG):
        return _tag("r.tags", place, engine)
    return MADE[name].format(divide=engine.divide) if name in MADE else f"r.{GROUPS[name]}"


def _tag_values(name: str, place: str) -> dict[str, str]:
    if not name.startswith(TAG):
        return {}
    tag = name.removeprefix(TAG)
    return {
        f"begin_{place}": f",{tag}:",
        f"whole_{place}": f",{tag},",
        f"name_{place}": tag,
        f"pattern_{place}": f",{re.escape(tag)}:([^,]*),",
    }


def _tag(tags: str, place: str, engine: Engine) -> str:
    """Return what follows the first `NAME:` among tags; NAME if it is one itself; else ''."""
    begin = f"CAST(:begin_{place} AS TEXT)"
    return (
        f"CASE WHEN instr({tags}, {begin}) > 0 THEN {engine.tagged.format(tags=tags, begin=begin, place=place)}"
        f" WHEN instr({tags}, CAST(:whole_{place} AS TEXT)) > 0 THEN CAST(:name_{place} AS TEXT) ELSE '' END"
    )


assert set(JUDGED) >= {measure.judged for measure in MEASURES.values() if measure.judged}
