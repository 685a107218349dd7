"""Attempts in the ledger: a row for each send, but where one follows from its request's row, which is nearly always.

Such a request has its LONE_COLUMNS; the other attempts are rows of `sends`. The view `attempts` gives both alike. Questions
about many requests ask for what `sent` says: SQLite would put all rows of a view together before it joined them with anything.
"""

from __future__ import annotations

from collections.abc import Sequence

from pointsman.stores.ledger import ATTEMPT_COLUMNS, LONE_COLUMNS

_LONE = {  # what is not the request's column of the same name
    "request_id": "{r}id",
    "n": "1",
    "started_us": "{r}lone_started_us",
    "ttft_us": "{r}lone_ttft_us",
    "total_us": "{r}lone_total_us",
    "message": "''",
}
IS_LONE = "lone_started_us IS NOT NULL"
# Where attempts `a` of requests `r` come from, and where those that follow from `r`.
STORED = "requests r JOIN sends a ON a.request_id = r.id WHERE TRUE"
MADE = f"requests r WHERE r.{IS_LONE}"


def _of_request(r: str, names: Sequence[str]) -> str:
    """Return columns of the attempt that follows from a request."""
    return ", ".join(f"{_LONE.get(name, '{r}' + name).format(r=r)} AS {name}" for name in names)


# A renamed table keeps its rows where they are; new columns are not written into old rows.
_ADDED = "".join(f"ALTER TABLE requests ADD COLUMN {name} INTEGER;\n" for name in LONE_COLUMNS)
MIGRATION = f"""{_ADDED}ALTER TABLE attempts RENAME TO sends;
CREATE VIEW attempts AS SELECT {", ".join(ATTEMPT_COLUMNS)} FROM sends
    UNION ALL SELECT {_of_request("", ATTEMPT_COLUMNS)} FROM requests WHERE {IS_LONE};
"""  # noqa: S608  our own tables


def sent(of_request: Sequence[str], own: Sequence[str] = ATTEMPT_COLUMNS) -> tuple[str, str]:
    """Return the statements of the attempts that are stored and of those that are not, each with some columns of its request
    and of its own. Of two statements together SQLite makes every column that is listed, wanted or not."""
    listed = ", ".join(f"r.{name}" for name in of_request)
    stored, made = ", ".join(f"a.{name}" for name in own), _of_request("r.", own)
    return f"SELECT {listed}, {stored} FROM {STORED}", f"SELECT {listed}, {made} FROM {MADE}"  # noqa: S608  our own
