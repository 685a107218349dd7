"""The SQL of browsing (`stores/browsing.py`), for both databases.

The table `hours` is brought up to date in the transaction that brings the requests, from those rows alone that are new in
it: they are the ones with a higher `seq` than any before.
"""

from __future__ import annotations

from pointsman.stores.browsing import FIELDS, HOUR_MS, TIMES, Search, Sums

NO_ERROR = ("ok", "client_gone", "degraded")  # as stores.ledger has it, which imports this
_OK = ", ".join(f"'{outcome}'" for outcome in NO_ERROR)
MEASURES = {
    "requests": "COUNT(*)",
    "errors": f"COUNT(*) FILTER (WHERE outcome NOT IN ({_OK}))",
    "failovers": "COUNT(*) FILTER (WHERE attempts > 1 AND deployment <> planned AND planned <> '')",
    "degraded": "COUNT(*) FILTER (WHERE degraded <> '')",
    "hits": "COUNT(*) FILTER (WHERE cache = 'hit')",
    "unpriced": "COUNT(*) - COUNT(charge_nano)",
    "input_tokens": "SUM(input_tokens)",
    "output_tokens": "SUM(output_tokens)",
    "cached_tokens": "SUM(cache_read_tokens)",
    "measured_nano": "SUM(CASE WHEN charge_state = 'measured' THEN COALESCE(charge_nano, 0) ELSE 0 END)",
    "estimated_nano": "SUM(CASE WHEN charge_state = 'estimated' THEN COALESCE(charge_nano, 0) ELSE 0 END)",
    "saved_nano": "SUM(COALESCE(saved_nano, 0))",
}
_KEYS = ("hour", *FIELDS)

_TABLE = (
    "CREATE TABLE hours (\n    hour INTEGER NOT NULL,\n    "
    + ",\n    ".join(f"{name} TEXT NOT NULL" for name in FIELDS)
    + ",\n    "
    + ",\n    ".join(f"{name} INTEGER NOT NULL" for name in MEASURES)
    + f",\n    PRIMARY KEY ({', '.join(_KEYS)})\n) WITHOUT ROWID"
)
_FOLDED = (
    f"INSERT INTO hours ({', '.join((*_KEYS, *MEASURES))}) "  # noqa: S608  names of our own tables
    f"SELECT at_ms / {HOUR_MS}, {', '.join((*FIELDS, *MEASURES.values()))} FROM requests WHERE seq > {{}} "
    f"GROUP BY {', '.join(str(n + 1) for n in range(len(_KEYS)))} ON CONFLICT ({', '.join(_KEYS)}) DO UPDATE SET "
    + ", ".join(f"{name} = hours.{name} + excluded.{name}" for name in MEASURES)
)
FOLD = _FOLDED.format("?")  # the highest `seq` before
NEWEST = "SELECT COALESCE(MAX(seq), 0) FROM requests"

# What a list leads to at once; outcome: what went wrong is rare, and looked for.
_INDEXES = "".join(
    f"CREATE INDEX requests_{name} ON requests ({name}, seq);\n" for name in ("route", "deployment", "key", "outcome")
)
MIGRATION = f"{_TABLE};\n{_FOLDED.format(0)};\n{_INDEXES}"

# Each with the organisation that alone is seen, '' for all.
_WITHIN = "(:within = '' OR organisation = :within)"
_TEXT = " || ' ' || ".join(
    "id client_id route deployment provider model served_model asked_model key outcome reason path session tags".split()
)
_INDEXED = frozenset({"route", "deployment", "key", "outcome"})


def leads(query: Search) -> bool:
    """Tell whether an index leads to what is asked for, so that nothing has to be passed over."""
    return not query.words and not query.failed and not query.since_ms and query.where.keys() <= _INDEXED and (
        len(query.where) <= 1
    )


def search_sql(query: Search) -> str:
    """Return the statement of a search; parameters are those of `search_values`. KeyError for a name that is none."""
    known = {name: name for name in (*FIELDS, "outcome")}
    parts = [f"{known[name]} = :w_{name}" for name in query.where]
    parts += [
        f"(instr(lower({_TEXT}), :word_{letter}) > 0 OR ((attempts > 1 OR outcome <> 'ok') AND EXISTS (SELECT 1"
        f" FROM attempts a WHERE a.request_id = requests.id AND instr(lower(a.message), :word_{letter}) > 0)))"
        for letter, _ in zip("abcd", query.words, strict=False)
    ]
    if query.failed:
        parts.append(f"outcome NOT IN ({_OK})")
    parts.append("seq > :floor AND seq < :before AND at_ms >= :since")
    return f"SELECT * FROM requests WHERE {' AND '.join(parts)} AND {_WITHIN} ORDER BY seq DESC LIMIT :most"  # noqa: S608


def search_values(query: Search, within: str, floor: int, before: int) -> dict[str, object]:
    """Return the parameters of `search_sql`: rows between two `seq`, both left out."""
    made: dict[str, object] = {f"w_{name}": value for name, value in query.where.items()}
    made |= {f"word_{letter}": word.lower() for letter, word in zip("abcd", query.words, strict=False)}
    return made | {
        "floor": floor, "before": before, "since": query.since_ms, "within": within, "most": query.most + 1
    }  # fmt: skip


def sums_sql(query: Sums) -> str:
    """Return the statement of sums: first the total, with 1 in front, then the groups. KeyError for a name that is none."""
    known = {name: name for name in FIELDS} | {
        "hour": f"hour * {HOUR_MS}",
        "day": f"hour / 24 * {24 * HOUR_MS}",
    }
    names = [f"g{n}" for n in range(len(query.by))]
    groups = "".join(f"{known[name]} AS {place}, " for name, place in zip(query.by, names, strict=True))
    sums = ", ".join(f"SUM({name}) AS {name}" for name in MEASURES)
    where = "".join(f" AND {known[name]} = :w_{name}" for name in query.where if name in FIELDS)
    ordinals = ", ".join(str(n + 1) for n in range(len(names)))
    order = "g0, 2" if query.by[:1] and query.by[0] in TIMES else "measured_nano + estimated_nano DESC, requests DESC"
    most = "ORDER BY g0 DESC" if order[0] == "g" else f"ORDER BY {order}"
    listed = ", ".join((*names, *MEASURES))
    none = "".join("NULL, " for _ in names)
    return f"""
        WITH found AS (
            SELECT {groups}{sums} FROM hours WHERE hour >= :since AND {_WITHIN}{where}
            {f"GROUP BY {ordinals}" if names else ""}
        )
        SELECT 1, {none}{", ".join(f"SUM({name})" for name in MEASURES)} FROM found
        UNION ALL
        SELECT * FROM (SELECT 0, {listed} FROM found {most} LIMIT :most) placed"""  # noqa: S608  names of our own


def sums_values(query: Sums, within: str) -> dict[str, object]:
    """Return the parameters of `sums_sql`; its hours are whole."""
    made: dict[str, object] = {f"w_{name}": value for name, value in query.where.items()}
    return made | {"since": query.since_ms // HOUR_MS, "within": within, "most": query.most}
