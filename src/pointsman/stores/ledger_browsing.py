"""The SQL of browsing (`stores/browsing.py`), for both databases.

The tables `hours` and `days` are brought up to date in the transaction that brings the requests, from those rows alone that
are new in it: they are the ones with a higher `seq` than any before.
"""

from __future__ import annotations

from collections.abc import Iterable

from pointsman.stores import ledger_spans
from pointsman.stores.browsing import DAY_MS, FIELDS, HOUR_MS, NO_ERROR, TIMES, Search, Sums
from pointsman.stores.ledger import SHOWN_COLUMNS
from pointsman.stores.sql import Db

WELL = "ok"  # the outcome that is no news
_OK = ", ".join(f"'{outcome}'" for outcome in NO_ERROR)
MEASURES = {
    "requests": "COUNT(*)",
    "errors": f"COUNT(*) FILTER (WHERE outcome NOT IN ({_OK}))",
    "failovers": "COUNT(*) FILTER (WHERE attempts > 1 AND deployment <> planned AND planned <> '')",
    "degraded": "COUNT(*) FILTER (WHERE degraded <> '')",
    "hits": "COUNT(*) FILTER (WHERE cache IN ('hit', 'semantic'))",
    "unpriced": "COUNT(*) - COUNT(charge_nano)",
    "input_tokens": "SUM(input_tokens)",
    "output_tokens": "SUM(output_tokens)",
    "cached_tokens": "SUM(cache_read_tokens)",
    "measured_nano": "SUM(CASE WHEN charge_state = 'measured' THEN COALESCE(charge_nano, 0) ELSE 0 END)",
    "estimated_nano": "SUM(CASE WHEN charge_state = 'estimated' THEN COALESCE(charge_nano, 0) ELSE 0 END)",
    "saved_nano": "SUM(COALESCE(saved_nano, 0))",
}
SHOWN = ", ".join(("seq", *SHOWN_COLUMNS))
_KEYS = ("begins_ms", *FIELDS)
_UNITS = {"hours": HOUR_MS, "days": DAY_MS}


def _table(name: str) -> str:
    texts = ", ".join(f"{field} TEXT NOT NULL" for field in FIELDS)
    counts = ", ".join(f"{measure} INTEGER NOT NULL" for measure in MEASURES)
    keys = ", ".join(_KEYS)
    return f"CREATE TABLE {name} (begins_ms INTEGER NOT NULL, {texts}, {counts}, PRIMARY KEY ({keys})) WITHOUT ROWID"


def _added(name: str, what: str) -> str:
    """Return the statement that adds rows to the sums."""
    keys = ", ".join(_KEYS)
    sums = ", ".join(f"{measure} = {name}.{measure} + excluded.{measure}" for measure in MEASURES)
    return f"INSERT INTO {name} ({keys}, {', '.join(MEASURES)}) {what} ON CONFLICT ({keys}) DO UPDATE SET {sums}"


def _fold(name: str, after: str) -> str:
    """Return the statement that adds the requests with a `seq` after this one to the sums."""
    unit, ordinals = _UNITS[name], ", ".join(str(n + 1) for n in range(len(_KEYS)))
    chosen = f"at_ms / {unit} * {unit}, {', '.join((*FIELDS, *MEASURES.values()))}"
    return _added(name, f"SELECT {chosen} FROM requests WHERE seq > {after} GROUP BY {ordinals}")  # noqa: S608  our own


# One row of `stores/ledger_folding.py`, and all that is after the highest `seq` before.
ADDS = {name: _added(name, f"VALUES ({', '.join('?' * (len(_KEYS) + len(MEASURES)))})") for name in _UNITS}
FOLDS = tuple(_fold(name, "?") for name in _UNITS)
_IS_BOOKED = "SELECT COUNT(*) FROM requests WHERE id = :id"
NEWEST = "SELECT COALESCE(MAX(seq), 0) FROM requests"

# What a list leads to at once; outcome: what went wrong is rare, and looked for.
_INDEXES = "".join(
    f"CREATE INDEX requests_{name} ON requests ({name}, seq);\n" for name in ("route", "deployment", "key", "outcome")
)
MIGRATION = "".join(f"{_table(name)};\n{_fold(name, '0')};\n" for name in _UNITS) + _INDEXES

# Each with the organisation that alone is seen, '' for all.
_WITHIN = "(:within = '' OR organisation = :within)"
_TEXT = (
    "id || ' ' || client_id || ' ' || route || ' ' || deployment || ' ' || provider || ' ' || model || ' ' || served_model"
    " || ' ' || asked_model || ' ' || key || ' ' || outcome || ' ' || reason || ' ' || path || ' ' || session || ' ' || tags"
)
_LED = frozenset({*ledger_spans.FIELDS, "outcome"})


def leads(query: Search) -> bool:
    """Tell whether an index or spans lead to what is asked for, so that next to nothing has to be passed over."""
    one = len(query.where) <= 1 and query.where.keys() <= _LED and query.where.get("outcome") != WELL
    return one and not (query.words or query.failed or query.since_ms)


def search_sql(query: Search) -> str:
    """Return the statement of a search; parameters are those of `search_values`. KeyError for a name that is none."""
    known = {name: name for name in (*FIELDS, "outcome")}
    parts = [f"{known[name]} = :w_{name}" for name in query.where]
    if query.where.get("outcome", WELL) != WELL:
        parts.append(f"outcome <> '{WELL}'")  # as the index has it
    parts += [
        f"(instr(lower({_TEXT}), :word_{letter}) > 0 OR ((attempts > 1 OR outcome <> 'ok') AND EXISTS (SELECT 1"  # noqa: S608
        f" FROM sends a WHERE a.request_id = requests.id AND instr(lower(a.message), :word_{letter}) > 0)))"
        for letter, _ in zip("abcd", query.words, strict=False)
    ]
    if query.failed:
        parts.append(f"outcome NOT IN ({_OK})")
    parts.append(
        "seq > :floor AND seq < :before AND +at_ms >= :since"
    )  # +: not by the index of times, which is in no such order
    return f"SELECT {SHOWN} FROM requests WHERE {' AND '.join(parts)} AND {_WITHIN} ORDER BY seq DESC LIMIT :most"  # noqa: S608


def search_values(query: Search, within: str, floor: int, before: int) -> dict[str, object]:
    """Return the parameters of `search_sql`: rows between two `seq`, both left out."""
    made: dict[str, object] = {f"w_{name}": value for name, value in query.where.items()}
    made |= {f"word_{letter}": word.lower() for letter, word in zip("abcd", query.words, strict=False)}
    return made | {
        "floor": floor, "before": before, "since": query.since_ms, "within": within, "most": query.most + 1
    }  # fmt: skip


def _table_of(query: Sums) -> str:
    return "days" if query.whole_days and "hour" not in query.by else "hours"


def sums_sql(query: Sums) -> str:
    """Return the statement of sums: first the total, with 1 in front, then the groups. KeyError for a name that is none."""
    known = {name: name for name in FIELDS} | {
        "hour": "begins_ms",
        "day": f"begins_ms / {DAY_MS} * {DAY_MS}",
    }
    names = [f"g{n}" for n in range(len(query.by))]
    groups = "".join(f"{known[name]} AS {place}, " for name, place in zip(query.by, names, strict=True))
    sums = ", ".join(f"SUM({name}) AS {name}" for name in MEASURES)
    where = "".join(f" AND {known[name]} = :w_{name}" for name in query.where if name in FIELDS)
    ordinals = ", ".join(str(n + 1) for n in range(len(names)))
    timely = bool(query.by) and query.by[0] in TIMES
    order = "g0 DESC" if timely else "measured_nano + estimated_nano DESC, requests DESC"
    listed = ", ".join((*names, *MEASURES))
    none = "".join("NULL, " for _ in names)
    return f"""
        WITH found AS (
            SELECT {groups}{sums} FROM {_table_of(query)} WHERE begins_ms >= :since AND {_WITHIN}{where}
            {f"GROUP BY {ordinals}" if names else ""}
        )
        SELECT 1, {none}{", ".join(f"SUM({name})" for name in MEASURES)} FROM found
        UNION ALL
        SELECT * FROM (SELECT 0, {listed} FROM found ORDER BY {order} LIMIT :most) placed"""  # noqa: S608  names of our own


# When the last request was admitted of those that are passed over.
AT_FLOOR = "SELECT at_ms FROM requests WHERE seq <= :floor ORDER BY seq DESC LIMIT 1"


def sums_values(query: Sums, within: str) -> dict[str, object]:
    """Return the parameters of `sums_sql`; its hours or days are whole."""
    unit = _UNITS[_table_of(query)]
    made: dict[str, object] = {f"w_{name}": value for name, value in query.where.items()}
    return made | {"since": query.since_ms // unit * unit, "within": within, "most": query.most}


def booked(db: Db, ids: Iterable[str]) -> list[str]:
    """Return those of these requests that have a row."""
    return [id for id in ids if db.execute(_IS_BOOKED, {"id": id}).fetchone()[0]]
