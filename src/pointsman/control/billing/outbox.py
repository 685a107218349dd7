"""Outbox: word of what was issued, left in the data folder for the control process, whose notices tell of it: so that also what
a command issues is told, once, by the router of the folder in which it was issued."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from pointsman.core.invoice import CREDIT_NOTE, Kept, currency_of, money
from pointsman.core.notice import Notice
from pointsman.stores.versions import replace

FOLDER = Path("run") / "issued"
MOST_TAKEN = 100  # at a time


def announce(data: Path, kept: Kept) -> None:
    """Leave word of a document. That it cannot be left does not undo the document: nothing is raised."""
    credit = kept.kind == CREDIT_NOTE
    about = f" {'against' if credit else 'correcting'} {kept.credits}" if kept.credits else ""
    due = money(kept.due_nano, currency_of(kept.document))
    text = f"{kept.number}: {'credit note' if credit else 'invoice'} of {due} to {kept.customer}{about}"
    told = {"number": kept.number, "credit": credit, "text": f"{text} for {kept.period}"}
    with contextlib.suppress(OSError):
        (data / FOLDER).mkdir(parents=True, exist_ok=True, mode=0o700)
        replace(data / FOLDER / f"{kept.seq:012d}.json", json.dumps(told).encode())


def taken(data: Path) -> list[Notice]:
    """Return what was issued since the last time, oldest first, and take it away."""
    found: list[Notice] = []
    with contextlib.suppress(OSError):
        for path in sorted((data / FOLDER).glob("*.json"))[:MOST_TAKEN]:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                told = json.loads(path.read_bytes())
                kind = "credit_note_issued" if told["credit"] else "invoice_issued"
                found.append(Notice(kind, str(told["number"]), "issued", str(told["text"])))  # type: ignore[arg-type]
            path.unlink(missing_ok=True)
    return found
