"""Owed: rows of the audit log of what is done already and cannot be undone, such as an invoice. Where the key store cannot be
written, the row waits in the data folder for the control process. A crash between row and file notes it twice."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path

from pointsman.control import keystore
from pointsman.observe.log import LOG
from pointsman.stores.callers import CallersError
from pointsman.stores.choose import Stores
from pointsman.stores.private import PrivateError
from pointsman.stores.versions import replace

FOLDER = Path("run") / "audit-owed"
MOST_PAID = 100  # at a time


def note(stores: Stores, actor: str, action: str, target: str, after: Mapping[str, object]) -> None:
    """Write a row; if that cannot be now, leave it to the control process, and say so. Nothing is raised."""
    try:
        with keystore.acting(stores, actor) as acting:
            acting.note(action, target, after)
    except (CallersError, PrivateError, OSError) as error:
        later = _left(stores.data, {"actor": actor, "action": action, "target": target, "after": dict(after)})
        LOG.error("audit_failed", f"the audit log has no row of {action} {target}{' yet' if later else ''}: {error}")


def pay(stores: Stores) -> None:
    """Write the rows that wait, oldest first. Raise CallersError, PrivateError, OSError."""
    waiting = sorted((stores.data / FOLDER).glob("*.json"))[:MOST_PAID]
    if not waiting:
        return
    for path in waiting:
        try:
            row = json.loads(path.read_bytes())
            actor, action, target, after = (row[name] for name in ("actor", "action", "target", "after"))
        except (ValueError, KeyError, TypeError):
            os.replace(path, path.with_suffix(".damaged"))
            continue
        with keystore.acting(stores, str(actor)) as acting:
            acting.note(str(action), str(target), after)
        path.unlink()


def _left(data: Path, row: dict[str, object]) -> bool:
    """Leave a row for later; tell whether that could be done."""
    at_ms = time.time_ns() // 1_000_000
    row["after"] = {**row["after"], "done_ms": at_ms}  # type: ignore[dict-item]  # a dict
    try:
        (data / FOLDER).mkdir(parents=True, exist_ok=True, mode=0o700)
        replace(data / FOLDER / f"{at_ms:013d}-{secrets.token_hex(4)}.json", json.dumps(row).encode())
    except OSError:
        return False
    return True
