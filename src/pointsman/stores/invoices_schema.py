"""The tables of invoices in the ledger, and their statements, for both databases (`stores/sql.py`).

A row of `invoices` is an invoice or a credit note. The tables take no change and no deletion.
"""

from __future__ import annotations

from collections.abc import Sequence

from pointsman.core.billing import FACTS, TAG
from pointsman.core.invoice import Kept
from pointsman.stores.browsing import NO_ERROR

# seq: place in the chain, 1, 2, 3 ...; n: place in the series; upto_seq: the last request that an invoice has looked at;
# membership: the digest of what decided whose a request was, kept in its own table as that is the same for most.
MIGRATION = """
CREATE TABLE invoices (
    seq INTEGER PRIMARY KEY,
    number TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    series TEXT NOT NULL,
    n INTEGER NOT NULL,
    customer TEXT NOT NULL,
    organisation TEXT NOT NULL,
    period TEXT NOT NULL,
    credits TEXT NOT NULL,
    issued_at_ms INTEGER NOT NULL,
    actor TEXT NOT NULL,
    upto_seq INTEGER NOT NULL,
    membership TEXT NOT NULL,
    due_nano INTEGER NOT NULL,
    document BLOB NOT NULL,
    sha256 TEXT NOT NULL,
    chain TEXT NOT NULL,
    UNIQUE (series, n)
);
CREATE UNIQUE INDEX invoices_once ON invoices (customer, period) WHERE kind = 'invoice';
CREATE INDEX invoices_credits ON invoices (credits) WHERE credits <> '';
CREATE INDEX invoices_upto ON invoices (upto_seq);
CREATE TABLE invoice_memberships (sha256 TEXT PRIMARY KEY, blob BLOB NOT NULL) WITHOUT ROWID;
CREATE TRIGGER invoices_are_not_changed BEFORE UPDATE ON invoices BEGIN SELECT RAISE(ABORT, 'what was issued is not changed'); END;
CREATE TRIGGER invoices_are_not_deleted BEFORE DELETE ON invoices BEGIN SELECT RAISE(ABORT, 'what was issued is not deleted'); END;
CREATE TRIGGER memberships_are_not_changed BEFORE UPDATE ON invoice_memberships BEGIN SELECT RAISE(ABORT, 'what invoices rest on is not changed'); END;
CREATE TRIGGER memberships_are_not_deleted BEFORE DELETE ON invoice_memberships BEGIN SELECT RAISE(ABORT, 'what invoices rest on is not deleted'); END;
"""  # noqa: E501  a statement with a semicolon inside has to stand on one line

# An invoice that corrects another, which `credits` names then, is of the same customer and period.
AGAIN = """
DROP INDEX invoices_once;
CREATE UNIQUE INDEX invoices_once ON invoices (customer, period) WHERE kind = 'invoice' AND credits = '';
"""

COLUMNS = Kept.__struct_fields__
_ALL = ", ".join(COLUMNS)
_MINE = "(:within = '' OR organisation = :within)"
ADD = f"INSERT INTO invoices ({_ALL}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608  names of our own table
ADD_MEMBERSHIP = "INSERT INTO invoice_memberships (sha256, blob) VALUES (?, ?) ON CONFLICT DO NOTHING"
LAST = "SELECT seq, chain FROM invoices ORDER BY seq DESC LIMIT 1"
LAST_OF_SERIES = "SELECT COALESCE(MAX(n), 0) FROM invoices WHERE series = ?"
OF_PERIOD = f"SELECT {_ALL} FROM invoices WHERE kind = 'invoice' AND credits = '' AND customer = ? AND period = ?"  # noqa: S608
RELATED = f"SELECT {_ALL} FROM invoices WHERE number = :number OR credits = :number ORDER BY seq"  # noqa: S608
ONE = f"SELECT {_ALL} FROM invoices WHERE number = :number AND {_MINE}"  # noqa: S608
LISTED = f"""SELECT {_ALL} FROM invoices WHERE seq > :after AND (:customer = '' OR customer = :customer)
    AND (:period = '' OR period = :period) AND (:kind = '' OR kind = :kind) AND {_MINE} ORDER BY seq LIMIT :most"""  # noqa: S608
MEMBERSHIP = "SELECT blob FROM invoice_memberships WHERE sha256 = ?"
NEWEST = "SELECT COALESCE(MAX(seq), 0) FROM requests"

_ANSWERED = ", ".join(f"'{outcome}'" for outcome in NO_ERROR)
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def consumption_sql(facts: Sequence[str], *, reckoned: bool = False) -> str:
    """Return the statement of sums by month, facts, state and epoch; parameters are those of `fact_values` and `begin`, `end`
    (Unix milliseconds), `after`, `upto` (seq, the first left out), `within`. `reckoned`: at the charges of the reckoning
    `:reckoning`. KeyError for a name that is no fact."""
    columns = {name: name for name in FACTS}
    tags = iter(_LETTERS)
    groups = [_tag(next(tags)) if name.startswith(TAG) else columns[name] for name in facts]
    numbers = ", ".join(str(i + 1) for i in range(len(groups) + 3))
    listed = "".join(f", {expression} AS g_{_LETTERS[i]}" for i, expression in enumerate(groups))
    state, nano, table = "charge_state", "charge_nano", "requests"
    if reckoned:
        state = "COALESCE(reckoned_state, charge_state)"
        nano = "CASE WHEN row_seq IS NULL THEN charge_nano ELSE reckoned_nano END"
        table = "requests LEFT JOIN reckoning_charges ON reckoning = :reckoning AND row_seq = seq"
    return f"""
SELECT substr(day, 1, 7) AS month, {state} AS state, COALESCE((
        SELECT i.upto_seq FROM invoices i WHERE i.upto_seq >= requests.seq ORDER BY i.upto_seq LIMIT 1
    ), 0) AS epoch{listed},
    COUNT(*), COUNT(*) FILTER (WHERE outcome IN ({_ANSWERED})), SUM(input_tokens), SUM(output_tokens),
    COALESCE(SUM({nano}), 0)
FROM {table} WHERE at_ms >= :begin AND at_ms < :end AND seq > :after AND seq <= :upto AND {_MINE}
GROUP BY {numbers} ORDER BY {numbers}"""  # noqa: S608


def fact_values(facts: Sequence[str]) -> dict[str, str]:
    """Return the parameters of the tags among facts."""
    made: dict[str, str] = {}
    for letter, name in zip(_LETTERS, [one for one in facts if one.startswith(TAG)], strict=False):
        tag = name.removeprefix(TAG)
        made |= {f"begin_{letter}": f",{tag}:", f"whole_{letter}": f",{tag},", f"name_{letter}": tag}
    return made


def _tag(letter: str) -> str:
    """Return what follows the first `NAME:` among the tags; NAME if it is one itself; else ''."""
    begin = f"CAST(:begin_{letter} AS TEXT)"
    rest = f"substr(tags, instr(tags, {begin}) + length({begin}))"
    return (
        f"CASE WHEN instr(tags, {begin}) > 0 THEN substr({rest}, 1, instr({rest}, ',') - 1)"
        f" WHEN instr(tags, CAST(:whole_{letter} AS TEXT)) > 0 THEN CAST(:name_{letter} AS TEXT) ELSE '' END"
    )
