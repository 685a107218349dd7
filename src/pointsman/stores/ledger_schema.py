"""The schema of the ledger, as migrations, and its statements: one script a version, applied in order, each in one
transaction. For SQLite as they stand, for PostgreSQL through `stores/sql.py`."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_lowercase

from pointsman.stores import (
    invoices_schema,
    ledger_attempts,
    ledger_browsing,
    ledger_decisions,
    ledger_signals,
    ledger_spans,
    notices,
    price_history,
    reckonings,
)
from pointsman.stores.ledger import ATTEMPT_COLUMNS, FEEDBACK_COLUMNS, REQUEST_COLUMNS
from pointsman.stores.ledger_attempts import MADE, STORED
from pointsman.stores.ledger_browsing import SHOWN

APPLICATION_ID = 0x504D4C47  # "PMLG", so that any other SQLite file is refused

_V1 = """
CREATE TABLE requests (
    seq INTEGER PRIMARY KEY,          -- the order of booking
    id TEXT NOT NULL UNIQUE,
    client_id TEXT NOT NULL,
    at_ms INTEGER NOT NULL,           -- Unix milliseconds
    day TEXT NOT NULL,                -- UTC
    key TEXT NOT NULL,
    project TEXT NOT NULL,
    team TEXT NOT NULL,
    organisation TEXT NOT NULL,
    kind TEXT NOT NULL,
    stream INTEGER NOT NULL,
    asked_model TEXT NOT NULL,
    route TEXT NOT NULL,
    strategy TEXT NOT NULL,
    planned TEXT NOT NULL,            -- the deployment that was drawn
    deployment TEXT NOT NULL,         -- the one that answered last
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    served_model TEXT NOT NULL,
    outcome TEXT NOT NULL,
    status INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,    -- all tokens: sums over attempts
    output_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL,
    cache_write_5m_tokens INTEGER NOT NULL,
    cache_write_1h_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    input_audio_tokens INTEGER NOT NULL,
    output_audio_tokens INTEGER NOT NULL,
    usage_source TEXT NOT NULL,       -- measured, estimated, unknown
    charge_nano INTEGER,              -- NULL: unpriced
    charge_state TEXT NOT NULL,       -- measured, estimated, unpriced
    hold_nano INTEGER,                -- NULL: unpriced
    price_version TEXT NOT NULL,
    config_version TEXT NOT NULL,
    reason TEXT NOT NULL,
    probability REAL,                 -- NULL: nothing was drawn
    queue_us INTEGER NOT NULL,
    decide_us INTEGER NOT NULL,
    connect_us INTEGER NOT NULL,
    ttft_us INTEGER NOT NULL,         -- 0: no content
    total_us INTEGER NOT NULL,
    overhead_us INTEGER NOT NULL,
    recovered INTEGER NOT NULL
);
CREATE INDEX requests_at ON requests (at_ms);
CREATE INDEX requests_client ON requests (client_id) WHERE client_id <> '';

CREATE TABLE attempts (
    request_id TEXT NOT NULL,
    n INTEGER NOT NULL,               -- from 1
    deployment TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    served_model TEXT NOT NULL,
    outcome TEXT NOT NULL,
    status INTEGER NOT NULL,          -- 0: no answer came
    started_us INTEGER NOT NULL,      -- since the receipt of the request; the others since the start of the attempt
    connect_us INTEGER NOT NULL,
    ttft_us INTEGER NOT NULL,
    total_us INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL,
    cache_write_5m_tokens INTEGER NOT NULL,
    cache_write_1h_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    input_audio_tokens INTEGER NOT NULL,
    output_audio_tokens INTEGER NOT NULL,
    usage_source TEXT NOT NULL,
    charge_nano INTEGER,
    charge_state TEXT NOT NULL,
    price_version TEXT NOT NULL,
    message TEXT NOT NULL,
    PRIMARY KEY (request_id, n)
) WITHOUT ROWID;

CREATE TABLE decisions (
    request_id TEXT PRIMARY KEY,
    format INTEGER NOT NULL,          -- core.entry.FORMAT
    blob BLOB NOT NULL                -- MessagePack of core.decide.Decision
) WITHOUT ROWID;

CREATE TABLE policies (
    version TEXT PRIMARY KEY,
    blob BLOB NOT NULL                -- MessagePack of what decides in it; no credentials
) WITHOUT ROWID;

CREATE TABLE marks (
    segment TEXT PRIMARY KEY,         -- file name in DIR/journal
    needed INTEGER NOT NULL,          -- the oldest byte not yet booked
    skipped INTEGER NOT NULL          -- damaged bytes met so far
) WITHOUT ROWID;
"""

# path: rules and arms taken to the route; arm: route/arm of the split, its probability NULL without one; degraded: the
# ladder's rung that answered; tags: `,tag,tag,`.
_V2 = """
ALTER TABLE requests ADD COLUMN path TEXT NOT NULL DEFAULT '';
ALTER TABLE requests ADD COLUMN arm TEXT NOT NULL DEFAULT '';
ALTER TABLE requests ADD COLUMN arm_probability REAL;
ALTER TABLE requests ADD COLUMN degraded TEXT NOT NULL DEFAULT '';
ALTER TABLE requests ADD COLUMN session TEXT NOT NULL DEFAULT '';
ALTER TABLE requests ADD COLUMN tags TEXT NOT NULL DEFAULT '';
"""

# Feedback names a request, by our id or the client's, or a session; the indexes find it from either side.
_V3 = """
CREATE TABLE feedback (
    seq INTEGER PRIMARY KEY,          -- the order of booking
    id TEXT NOT NULL UNIQUE,
    at_ms INTEGER NOT NULL,           -- Unix milliseconds
    key TEXT NOT NULL,                -- who gave it
    project TEXT NOT NULL,
    team TEXT NOT NULL,
    organisation TEXT NOT NULL,
    request_id TEXT NOT NULL,         -- as it was given; empty: it is about the session
    session TEXT NOT NULL,
    score REAL,                       -- 0 to 1; NULL: none was given
    thumbs TEXT NOT NULL,
    label TEXT NOT NULL,
    comment TEXT NOT NULL,
    correction TEXT NOT NULL,
    source TEXT NOT NULL
);
CREATE INDEX feedback_at ON feedback (at_ms);
CREATE INDEX feedback_request ON feedback (request_id) WHERE request_id <> '';
CREATE INDEX feedback_session ON feedback (session, key) WHERE session <> '';
CREATE INDEX requests_session ON requests (session, key, at_ms) WHERE session <> '';
DROP INDEX requests_client;
CREATE INDEX requests_client ON requests (client_id, key, at_ms) WHERE client_id <> '';
"""

# cache: hit, semantic, miss, refresh, check, off, empty where the route keeps no answers; cached_id: the request whose answer
# was given again; saved_nano: what that had cost, NULL: unpriced, or nothing was given again.
_V4 = """
ALTER TABLE requests ADD COLUMN cache TEXT NOT NULL DEFAULT '';
ALTER TABLE requests ADD COLUMN cached_id TEXT NOT NULL DEFAULT '';
ALTER TABLE requests ADD COLUMN cached_ms INTEGER;
ALTER TABLE requests ADD COLUMN saved_nano INTEGER;
"""

# hours, days: sums of requests, so that a look at a month does not read each; indexes by which lists are found.
_V5 = ledger_browsing.MIGRATION

# invoices: what was issued, with a chain of hashes over it.
_INVOICES = invoices_schema.MIGRATION

# exports: up to which `seq` all rows are in an export, so that retention may delete them.
_EXPORTS = """
CREATE TABLE exports (
    place TEXT PRIMARY KEY,           -- its folder
    requests_seq INTEGER NOT NULL,
    feedback_seq INTEGER NOT NULL,
    at_ms INTEGER NOT NULL            -- Unix milliseconds
) WITHOUT ROWID;
"""

# prices: which price was in force for each deployment, and since when.
_PRICES = price_history.MIGRATION

# reckonings: what past requests would have cost at other prices.
_RECKONINGS = reckonings.MIGRATION

# footprints: what requests left, as long as another one may say something of their answers.
_SIGNALS = ledger_signals.MIGRATION

# notices: what was told to whom, and what became of it.
_NOTICES = notices.MIGRATION

# Invoices that correct others; what each request costs in a reckoning.
_AGAIN = invoices_schema.AGAIN + reckonings.CHARGES

# spans: where a route, a deployment or a key occurs, in place of an index on each.
_SPANS = ledger_spans.MIGRATION

# sends: the attempts that do not follow from their request's row; attempts: a view of all. decision_blocks: what decisions of
# many requests were made from.
_BLOCKS = ledger_attempts.MIGRATION + ledger_decisions.MIGRATION

MIGRATIONS: tuple[str, ...] = (
    _V1, _V2, _V3, _V4, _V5, _INVOICES, _EXPORTS, _PRICES, _RECKONINGS, _SIGNALS, _NOTICES, _AGAIN, _SPANS, _BLOCKS,
)  # fmt: skip


def _insert(table: str, columns: tuple[str, ...]) -> str:
    names, marks = ", ".join(columns), ", ".join("?" * len(columns))
    return f"INSERT INTO {table} ({names}) VALUES ({marks}) ON CONFLICT DO NOTHING"  # noqa: S608  names of our own tables


INSERT_REQUEST = _insert("requests", REQUEST_COLUMNS)
INSERT_ATTEMPT = _insert("sends", ATTEMPT_COLUMNS)
INSERT_DECISION = _insert("decisions", ("request_id", "format", "blob"))
INSERT_FEEDBACK = _insert("feedback", FEEDBACK_COLUMNS)
REPLACE_MARK = """INSERT INTO marks (segment, needed, skipped) VALUES (?, ?, ?)
    ON CONFLICT (segment) DO UPDATE SET needed = excluded.needed, skipped = excluded.skipped"""
INSERT_POLICY = _insert("policies", ("version", "blob"))
SELECT_POLICY = "SELECT blob FROM policies WHERE version = ?"
SELECT_MARKS = "SELECT segment, needed, skipped FROM marks"
DELETE_MARK = "DELETE FROM marks WHERE segment = ?"

# `:within` is the organisation whose rows alone are seen; '': all are. No question about requests goes without it (S4).
WITHIN = "(:within = '' OR organisation = :within)"
FIND_EXACT = f"SELECT id FROM requests WHERE id = :text AND {WITHIN}"  # noqa: S608
FIND_PREFIX = f"SELECT id FROM requests WHERE id >= :text AND id < :end AND {WITHIN} ORDER BY id LIMIT :most"  # noqa: S608
FIND_CLIENT = f"""
    SELECT id FROM requests WHERE seq IN (
        SELECT seq FROM requests WHERE client_id = :text AND client_id <> '' AND {WITHIN} ORDER BY seq DESC LIMIT :most
    ) ORDER BY seq DESC"""  # noqa: S608
SELECT_REQUEST = f"SELECT {SHOWN} FROM requests WHERE id = :id AND {WITHIN}"  # noqa: S608
SELECT_ATTEMPTS = "SELECT * FROM attempts WHERE request_id = ? ORDER BY n"
SELECT_DECISION = "SELECT format, blob FROM decisions WHERE request_id = ?"
RECENT = f"SELECT {SHOWN} FROM requests WHERE {WITHIN} ORDER BY seq DESC LIMIT :most"  # noqa: S608
AFTER = f"SELECT {SHOWN} FROM requests WHERE seq > :after AND {WITHIN} ORDER BY seq LIMIT :most"  # noqa: S608


def booked_sql(providers: int) -> str:
    """Return the statement of sums of attempts by day and model; parameters `first`, `last`, `within` and those of
    `provider_values`, for so many providers."""
    names = ", ".join(f":{name}" for name in provider_values(("",) * providers))
    # Sums of sums: SQLite would make a row of all columns of each attempt before it added up what comes of two tables.
    parts = [
        f"""SELECT r.day, {of}.model, {of}.served_model, {of}.usage_source, {of}.charge_state, {of}.outcome, COUNT(*) AS sends,
    SUM({of}.input_tokens) AS input, SUM({of}.cache_read_tokens) AS cached, SUM({of}.output_tokens) AS output,
    COALESCE(SUM({of}.charge_nano), 0) AS nano
FROM {table} AND r.day >= :first AND r.day <= :last AND {of}.provider IN ({names})
    AND ({of}.status <> 0 OR {of}.usage_source <> 'unknown') AND (:within = '' OR r.organisation = :within)
GROUP BY 1, 2, 3, 4, 5, 6"""  # noqa: S608
        for of, table in (("a", STORED), ("r", MADE))
    ]
    return f"""
SELECT day, model, served_model, usage_source, charge_state, outcome,
    SUM(sends), SUM(input), SUM(cached), SUM(output), SUM(nano)
FROM ({" UNION ALL ".join(parts)}) summed GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6"""  # noqa: S608


def provider_values(providers: Sequence[str]) -> dict[str, str]:
    """Return the parameters of providers; of some twenty at most, as names of parameters are letters."""
    return {f"provider_{letter}": name for letter, name in zip(ascii_lowercase, providers, strict=False)}
