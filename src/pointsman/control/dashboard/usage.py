"""Usage: what was used and what it cost, by two things at a time, each a way further in. Pure: values in, HTML out."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime

import msgspec

from pointsman.control.dashboard.charts import columns, share
from pointsman.control.dashboard.frame import Shell, framed, select, to
from pointsman.control.dashboard.money import sum_of
from pointsman.control.figures import clean, count, money
from pointsman.control.html import Child, Html, el, join, table
from pointsman.core.pricing import usd
from pointsman.stores.browsing import FIELDS, HOUR_MS, TIMES, Sum, Sums

PERIODS = {"24h": "last 24 hours", "7d": "last 7 days", "30d": "last 30 days", "90d": "last 90 days"}
HOURLY_MS = 3 * 24 * HOUR_MS  # periods up to this are drawn by hour
MOST_COLUMNS = 120
MOST_CSV = 20_000
CHOICES = (*FIELDS, *TIMES)


class Wish(msgspec.Struct, frozen=True):
    """Hold what somebody looks for, as it stands in the address. `by`: at most two of CHOICES."""

    by: tuple[str, ...] = ("route",)
    since: str = "7d"
    where: dict[str, str] = {}

    def sums(self, since_ms: int, now_ms: int, most: int = 100) -> Sums:
        """Return it as a question to the ledger."""
        return Sums(self.by, self.where, since_ms, most, now_ms - since_ms > HOURLY_MS)

    def line(self, since_ms: int, now_ms: int) -> Sums:
        """Return the question for the chart over time."""
        longer = now_ms - since_ms > HOURLY_MS
        return Sums(("day",) if longer else ("hour",), self.where, since_ms, MOST_COLUMNS, longer)

    def link(self, path: str = "/usage", **changes: str) -> str:
        first, second = (*self.by, "", "")[:2]
        return to(path, **({"by": first, "then": second, "since": self.since, **self.where} | changes))


def usage_page(shell: Shell, wish: Wish, found: tuple[list[Sum], Sum, list[Sum]] | None, trouble: str = "") -> str:
    """Return the page; `found`: groups, total, and the same over time."""
    parts: list[Child] = [_form(wish), _chips(wish)]
    if found is None:
        parts.append(el("p", trouble, class_="empty", role="alert"))
        return framed(shell, "Usage and cost", *parts)
    rows, total, line = found
    if not total.requests:
        parts.append(el("p", "No request was booked in this time.", class_="empty"))
        return framed(shell, "Usage and cost", *parts)
    parts += [
        _cards(total),
        el("div", _chart(line), class_="panel"),
        el("h2", "By " + " and ".join(wish.by)),
        _table(wish, rows, total),
    ]
    if len(rows) < total.requests and len(rows) == wish.sums(0, 0).most:
        parts.append(el("p", f"The {len(rows)} groups that cost most; the file has more.", class_="quiet"))
    return framed(
        shell,
        "Usage and cost",
        *parts,
        aside=el("a", "Download as CSV", href=wish.link("/usage.csv"), download="usage.csv"),
    )


def csv_of(wish: Wish, rows: list[Sum]) -> str:
    """Return the groups as CSV (RFC 4180), money in US dollars. What a spreadsheet would take for a formula is quoted."""
    out = io.StringIO()
    writer = csv.writer(out)
    sums = [name for name in Sum.__struct_fields__ if name != "group"]
    writer.writerow([*wish.by, *(name.replace("_nano", "_usd") for name in sums)])
    for row in rows:
        named = [_safe(_named(kind, value)) for kind, value in zip(wish.by, row.group, strict=True)]
        amounts = [usd(getattr(row, name), 9) if name.endswith("_nano") else getattr(row, name) for name in sums]
        writer.writerow([*named, *amounts])
    return out.getvalue()


def _safe(text: str) -> str:
    return "'" + text if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _form(wish: Wish) -> Html:
    first, second = (*wish.by, "", "")[:2]
    kept = [el("input", type="hidden", name=name, value=value) for name, value in wish.where.items()]
    return el(
        "form",
        select("by", "By", [(name, name) for name in CHOICES], first),
        select("then", "and", [("", "nothing else"), *((name, name) for name in CHOICES)], second),
        select("since", "Time", list(PERIODS.items()), wish.since),
        *kept,
        el("button", "Show", type="submit", class_="primary"),
        method="get",
        action="/usage",
        class_="filter",
    )


def _chips(wish: Wish) -> Child:
    chips = [
        el("span", clean(f"{name}: {_named(name, value) or 'none'} "),
           el("a", "×", href=wish.link(**{name: ""}), aria_label=f"without {name}"), class_="chip")
        for name, value in wish.where.items()
    ]  # fmt: skip
    return (
        el("p", *chips, el("a", "the requests", href=to("/requests", **wish.where, since=wish.since)))
        if chips
        else None
    )


def _cards(total: Sum) -> Html:
    cards: list[tuple[str, Child, Child]] = [
        ("Cost", money(total.measured_nano + total.estimated_nano), sum_of(total)),
        ("Saved", money(total.saved_nano), f"by {count(total.hits)} answers given again"),
        ("Requests", count(total.requests), f"{100 * total.errors / total.requests:.1f} % errors"),
        ("Failed over", count(total.failovers), f"{100 * total.failovers / total.requests:.1f} %"),
        (
            "Tokens in",
            count(total.input_tokens),
            f"{100 * total.cached_tokens / (total.input_tokens or 1):.0f} % from cache",
        ),
        ("Tokens out", count(total.output_tokens), ""),
    ]
    made = [
        el("div", el("dt", name), el("dd", big, class_="big"), el("dd", small, class_="quiet small"))
        for name, big, small in cards
    ]
    return el("dl", *made, class_="cards")


def _chart(line: list[Sum]) -> Html:
    """Draw the cost over time, or the requests where nothing has a price."""
    rows = line[::-1]
    costs = any(row.measured_nano + row.estimated_nano for row in rows)
    hourly = len(rows) > 1 and int(rows[1].group[0]) - int(rows[0].group[0]) < 24 * HOUR_MS
    points = []
    for row in rows:
        at = datetime.fromtimestamp(int(row.group[0]) / 1000, UTC).strftime("%d %b %H:00" if hourly else "%d %b")
        low, high = (row.measured_nano, row.estimated_nano) if costs else (row.requests - row.errors, row.errors)
        cost = f"{money(row.measured_nano)} measured, {money(row.estimated_nano)} estimated"
        told = f"{at} UTC: {cost}, {count(row.requests)} requests"
        points.append((at, low, high, told))
    each = "hour" if hourly else "day"
    return columns(
        f"Cost of each {each} (UTC): measured, above it estimated" if costs else f"Requests of each {each} (UTC)",
        points,
    )


def _table(wish: Wish, rows: list[Sum], total: Sum) -> Html:
    whole = total.measured_nano + total.estimated_nano
    made: list[tuple[Child, ...]] = []
    for row in rows:
        names = [_cell(wish, kind, value) for kind, value in zip(wish.by, row.group, strict=True)]
        part = (row.measured_nano + row.estimated_nano) / whole if whole else 0.0
        often = "bad" if row.errors * 20 > row.requests else ""
        made.append(
            (
                *names,
                sum_of(row),
                join(share(part), f" {100 * part:.0f} %"),
                count(row.requests),
                el("span", f"{100 * row.errors / row.requests:.1f} %", class_=often),
                count(row.failovers),
                count(row.input_tokens),
                count(row.output_tokens),
                money(row.saved_nano) if row.hits else "-",
            )
        )
    head = (
        *wish.by,
        ">cost",
        "share of cost",
        ">requests",
        ">errors",
        ">failed over",
        ">tokens in",
        ">tokens out",
        ">saved",
    )
    return table(head, made, "Nothing.", "Usage and cost")


def _cell(wish: Wish, kind: str, value: str) -> Child:
    """Return a group's name: the way to what is in it."""
    text = clean(_named(kind, value)) or el("span", "none", class_="quiet")
    if kind in TIMES or kind in wish.where or not value:
        return text
    further = next(name for name in ("model", "key", "route", "deployment") if name != kind and name not in wish.where)
    by = {"by": further, "then": ""} if len(wish.by) == 1 else {}
    return el("a", text, href=wish.link(**{kind: value}, **by))


def _named(kind: str, value: str) -> str:
    if kind not in TIMES:
        return value
    return datetime.fromtimestamp(int(value) / 1000, UTC).strftime(
        "%Y-%m-%d" if kind == "day" else "%Y-%m-%d %H:00 UTC"
    )
