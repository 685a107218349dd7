"""The SQLite schema of the ledger, as migrations: one script a version, applied in order, each in one transaction."""

from __future__ import annotations

from pointsman.stores.ledger import ATTEMPT_COLUMNS, FEEDBACK_COLUMNS, GROUPS, NO_ERROR, REQUEST_COLUMNS, UsageQuery

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

# cache: hit, miss, refresh, off, empty where the route keeps no answers; cached_id: the request whose answer was given again;
# saved_nano: what that had cost, NULL: unpriced, or nothing was given again.
_V4 = """
ALTER TABLE requests ADD COLUMN cache TEXT NOT NULL DEFAULT '';
ALTER TABLE requests ADD COLUMN cached_id TEXT NOT NULL DEFAULT '';
ALTER TABLE requests ADD COLUMN cached_ms INTEGER;
ALTER TABLE requests ADD COLUMN saved_nano INTEGER;
"""

MIGRATIONS: tuple[str, ...] = (_V1, _V2, _V3, _V4)


def _insert(table: str, columns: tuple[str, ...]) -> str:
    names, marks = ", ".join(columns), ", ".join("?" * len(columns))
    return f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})"  # noqa: S608  names of our own tables


INSERT_REQUEST = _insert("requests", REQUEST_COLUMNS)
INSERT_ATTEMPT = _insert("attempts", ATTEMPT_COLUMNS)
INSERT_DECISION = _insert("decisions", ("request_id", "format", "blob"))
INSERT_FEEDBACK = _insert("feedback", FEEDBACK_COLUMNS)
REPLACE_MARK = "INSERT OR REPLACE INTO marks (segment, needed, skipped) VALUES (?, ?, ?)"
INSERT_POLICY = _insert("policies", ("version", "blob"))
SELECT_POLICY = "SELECT blob FROM policies WHERE version = ?"
SELECT_MARKS = "SELECT segment, needed, skipped FROM marks"
DELETE_MARK = "DELETE FROM marks WHERE segment = ?"

FIND_EXACT = "SELECT id FROM requests WHERE id = ?"
FIND_PREFIX = "SELECT id FROM requests WHERE id >= ? AND id < ? ORDER BY id LIMIT ?"
FIND_CLIENT = """
    SELECT id FROM requests WHERE seq IN (
        SELECT seq FROM requests WHERE client_id = ? AND client_id <> '' ORDER BY seq DESC LIMIT ?
    ) ORDER BY seq DESC"""
SELECT_REQUEST = "SELECT * FROM requests WHERE id = ?"
SELECT_ATTEMPTS = "SELECT * FROM attempts WHERE request_id = ? ORDER BY n"
SELECT_DECISION = "SELECT format, blob FROM decisions WHERE request_id = ?"
RECENT = "SELECT * FROM requests ORDER BY seq DESC LIMIT ?"
AFTER = "SELECT * FROM requests WHERE seq > ? ORDER BY seq LIMIT ?"

_SUMS = """
    COUNT(*), SUM(input_tokens), SUM(output_tokens), SUM(cache_read_tokens),
    SUM(CASE WHEN charge_state = 'measured' THEN charge_nano END),
    SUM(CASE WHEN charge_state = 'estimated' THEN charge_nano END),
    SUM(charge_nano IS NULL), SUM(outcome NOT IN (?, ?, ?)),
    SUM(attempts > 1 AND deployment <> planned AND planned <> ''), SUM(degraded <> ''), SUM(recovered),
    SUM(cache = 'hit'), SUM(saved_nano),
    percentiles(ttft_us)
    FROM requests WHERE at_ms >= ?"""
assert _SUMS.count("?") == len(NO_ERROR) + 1


def usage_sql(query: UsageQuery) -> str:
    """Return the statement of a query's groups. Only column names of GROUPS get into it; KeyError for any other."""
    columns = ", ".join(GROUPS[name] for name in query.by)
    numbers = ", ".join(str(i + 1) for i in range(len(query.by)))
    return f"SELECT {columns}, {_SUMS} GROUP BY {numbers} ORDER BY {len(query.by) + 1} DESC, {numbers} LIMIT ?"


TOTAL_SQL = "SELECT " + _SUMS
