"""The columns of an export, and how a file of them is found: one folder a table, in it one a UTC day, in it parts.

DIR/manifest.json                                what is there, with counts and sums; a file that it does not name is none
DIR/requests/day=2026-11-18/part-0001.parquet    also attempts, feedback
DIR/policies/VERSION                             what decided in a config version, for prices
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from pointsman.stores.ledger import ATTEMPT_COLUMNS, FEEDBACK_COLUMNS, SHOWN_COLUMNS, LedgerError, LedgerMissing
from pointsman.stores.ledger_schema import MIGRATIONS
from pointsman.stores.report_sql import ATTEMPTS, OF_REQUEST

FORMAT = 1
MANIFEST, POLICIES = "manifest.json", "policies"
_DUCKDB = {"TEXT": "VARCHAR", "INTEGER": "BIGINT", "REAL": "DOUBLE"}
_COLUMN = re.compile(r"^\s*(?:ALTER TABLE \w+ ADD COLUMN )?(\w+) (TEXT|INTEGER|REAL)\b", re.M)
_TYPES = {name: _DUCKDB[kind] for script in MIGRATIONS for name, kind in _COLUMN.findall(script)}


def _typed(*names: str) -> dict[str, str]:
    return {name: _TYPES[name] for name in names}


TABLES: Mapping[str, dict[str, str]] = {  # column -> type
    "requests": _typed("seq", *SHOWN_COLUMNS),
    "attempts": _typed(*OF_REQUEST, *ATTEMPT_COLUMNS),
    "feedback": _typed("seq", *FEEDBACK_COLUMNS),
}
# Where the rows of a table come from in a ledger, and the sums that are compared before a file counts.
SOURCES = {"requests": "requests", "attempts": f"({ATTEMPTS})", "feedback": "feedback"}
CHECKED: Mapping[str, tuple[str, ...]] = {
    "requests": ("charge_nano", "input_tokens", "output_tokens"),
    "attempts": ("charge_nano", "input_tokens", "output_tokens"),
    "feedback": (),
}


class Part(msgspec.Struct, frozen=True):
    """Hold one file: rows of one table and UTC day, with `seq` from `first_seq` to `last_seq`. `sums` are those of CHECKED."""

    table: str
    day: str
    path: str
    rows: int
    first_seq: int
    last_seq: int
    bytes: int
    sums: dict[str, int]


class Manifest(msgspec.Struct):
    """Hold what an export has. `days`: of each table, up to which `seq` the rows of a day are there; `swept`: of each table, up
    to which `seq` all rows are, of whatever day."""

    format: int = FORMAT
    parts: list[Part] = []
    days: dict[str, dict[str, int]] = {}
    swept: dict[str, int] = {}


def manifest_at(folder: Path) -> Manifest | None:
    """Return the manifest of a folder; None: there is none. Raise LedgerError."""
    path = folder / MANIFEST
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise LedgerError(f"{path} cannot be read: {error}") from None
    if found.format != FORMAT:
        raise LedgerError(f"{path} was written by another version of pointsman (format {found.format})")
    return found


def exported(folder: Path) -> Manifest:
    """Return the manifest of an export. Raise LedgerMissing, LedgerError."""
    found = manifest_at(folder)
    if found is None:
        raise LedgerMissing(f"there is no export at {folder}")
    return found
