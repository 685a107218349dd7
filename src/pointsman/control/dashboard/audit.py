"""Audit: who changed what, the newest first, by what one looks for. Pure: values in, HTML out."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec

from pointsman.control.dashboard.frame import Shell, field, framed, moment, select, to
from pointsman.control.dashboard.requests import PERIODS
from pointsman.control.figures import clean
from pointsman.control.html import Child, Html, el, join, table
from pointsman.stores.callers import MOST_LISTED, AuditRow, Page

LISTED = 50
LOOKED = 10_000  # rows that one page passes over at most
MOST_SEQ = 1 << 40

Listed = Callable[[Page], list[AuditRow]]  # rows after one of these numbers, oldest first


class Wish(msgspec.Struct, frozen=True):
    """Hold what somebody looks for. Texts stand anywhere in what they are of, large or small letters; `before`: only rows
    with a lower number, 0 for all."""

    actor: str = ""
    action: str = ""
    target: str = ""
    since: str = ""
    before: int = 0

    def fits(self, row: AuditRow, since_ms: int) -> bool:
        pairs = (
            (self.actor, row.actor),
            (self.action, row.action),
            (self.target, f"{row.target} {row.before} {row.after}"),
        )
        return row.at_ms >= since_ms and all(word.lower() in text.lower() for word, text in pairs)

    def link(self, before: int) -> str:
        said = {name: getattr(self, name) for name in self.__struct_fields__}
        return to("/audit", **(said | {"before": before}))


class Found(msgspec.Struct, frozen=True):
    """Hold a page of the log. `next`: `before` of the next one, 0 when nothing is left; `cut`: it ends where LOOKED numbers
    had been looked at, not because it is full."""

    rows: list[AuditRow]
    next: int = 0
    cut: bool = False


def newest(listed: Listed, wish: Wish, since_ms: int) -> Found:
    """Return the newest rows that fit. The log is read from its begin on, and numbered without a gap: its end is found by
    halving, and then it is read backwards in pieces."""
    before = wish.before or _end(listed) + 1
    floor, rows = max(0, before - 1 - LOOKED), []
    while before > floor + 1:
        after = max(floor, before - 1 - MOST_LISTED)
        piece = [row for row in listed(Page(after, MOST_LISTED)) if row.seq < before]
        for row in reversed(piece):
            if wish.fits(row, since_ms):
                rows.append(row)
            if len(rows) > LISTED:
                return Found(rows[:LISTED], rows[LISTED - 1].seq)
        if piece and piece[0].at_ms < since_ms:
            return Found(rows)
        before = after + 1
    return Found(rows, floor + 1 if floor else 0, cut=bool(floor))


def _end(listed: Listed) -> int:
    """Return the number of the last row, 0 when there is none."""
    low, high = 0, 1
    while high < MOST_SEQ and listed(Page(high - 1, 1)):
        low, high = high, high * 2
    while low < high - 1:
        middle = (low + high) // 2
        low, high = (middle, high) if listed(Page(middle - 1, 1)) else (low, middle)
    return low


def audit_page(shell: Shell, wish: Wish, found: Found) -> str:
    """Return the page."""
    looked = wish.actor or wish.action or wish.target or wish.since
    empty = "None is like that." if looked or wish.before else "Nothing was changed yet."
    head = (">number", "at", "who", "did", "to what", "organisation", "changed")
    parts: list[Child] = [
        _form(wish),
        table(head, [_row(row) for row in found.rows], empty, "Changes, the newest first"),
    ]
    if found.cut:
        told = f"Looked at {LOOKED:,} rows; there are older ones.".replace(",", " ")
        parts.append(el("p", told, class_="quiet"))
    links: list[Child] = [el("a", "Newest", href=wish.link(0))] if wish.before else []
    if found.next:
        text = "Look further back" if found.cut else "Older"
        links.append(el("a", text, href=wish.link(found.next), rel="next"))
    parts.append(el("p", *links, class_="pager") if links else None)
    return framed(shell, "Audit log", *parts)


def _form(wish: Wish) -> Html:
    return el(
        "form",
        field("target", "What, or words of the change", wish.target, type="search", maxlength="128"),
        field("actor", "Who", wish.actor, maxlength="128"),
        field("action", "Did", wish.action, maxlength="128", placeholder="key.revoke"),
        select("since", "Time", list(PERIODS.items()), wish.since),
        el("button", "Find", type="submit", class_="primary"),
        method="get",
        action="/audit",
        class_="filter",
        role="search",
    )


def _row(row: AuditRow) -> tuple[Child, ...]:
    return (
        str(row.seq),
        moment(row.at_ms),
        clean(row.actor),
        clean(row.action),
        el("code", clean(row.target)),
        clean(row.organisation) or "-",
        _change(row),
    )


def _change(row: AuditRow) -> Child:
    """Return what differs between before and after, each member of it."""
    before, after = _members(row.before), _members(row.after)
    names = [name for name in dict.fromkeys((*before, *after)) if before.get(name) != after.get(name)]
    if not names:
        return "-"
    lines = [join(el("dt", clean(name)), el("dd", f"{_plain(before, name)} → {_plain(after, name)}")) for name in names]
    told = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return el("details", el("summary", clean(told)), el("dl", *lines, class_="facts"))


def _members(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {"": text}
    if found is None:
        return {}
    return found if isinstance(found, dict) else {"": found}


def _plain(members: dict[str, Any], name: str) -> str:
    if name not in members:
        return "nothing"
    return clean(json.dumps(members[name], ensure_ascii=False)[:500])
