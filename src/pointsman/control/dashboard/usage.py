"""Usage: what was used and what it cost, by two things at a time, each a way further in. Pure: values in, HTML out.

What the sums of hours and days can answer they answer, over any time; all else is asked of the query layer of reports
(`dashboard/explore.py`), which looks at each request and has two seconds for it.
"""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec

from pointsman.control.dashboard import explore
from pointsman.control.dashboard.charts import Point, columns, share
from pointsman.control.dashboard.frame import Shell, field, framed, select, to
from pointsman.control.dashboard.money import sum_of
from pointsman.control.figures import clean, count, money
from pointsman.control.html import Child, Html, el, join, table
from pointsman.core.pricing import usd
from pointsman.stores.browsing import FIELDS, HOUR_MS, TIMES, Sum, Sums
from pointsman.stores.report import END_MS, TAG, Question, Report

PERIODS = {"24h": "last 24 hours", "7d": "last 7 days", "30d": "last 30 days", "90d": "last 90 days"}
HOURLY_MS = 3 * 24 * HOUR_MS  # periods up to this are drawn by hour
MOST_COLUMNS = 120
MOST_CSV = 20_000
CHOICES = (*FIELDS, *TIMES)
Found = tuple[list[Sum], Sum, list[Sum]]  # groups, total, and the same over time
Told = tuple[Report, Report]  # groups, and the same over time


class Wish(msgspec.Struct, frozen=True):
    """Hold what somebody looks for, as it stands in the address. `by`: at most two of CHOICES, `explore.MORE` and tags;
    `until`: when it ends, "" for now; `show`: one of `explore.SHOWN`."""

    by: tuple[str, ...] = ("route",)
    since: str = "7d"
    where: dict[str, str] = {}
    until: str = ""
    show: str = "cost"

    @property
    def is_sum(self) -> bool:
        """Tell whether the sums of hours and days can answer it."""
        return self.show == "cost" and not self.until and {*self.by} <= {*CHOICES} and self.where.keys() <= {*FIELDS}

    def sums(self, since_ms: int, now_ms: int, most: int = 100) -> Sums:
        """Return it as a question to the ledger."""
        return Sums(self.by, self.where, since_ms, most, now_ms - since_ms > HOURLY_MS)

    def line(self, since_ms: int, now_ms: int) -> Sums:
        """Return the question for the chart over time."""
        longer = now_ms - since_ms > HOURLY_MS
        return Sums(("day",) if longer else ("hour",), self.where, since_ms, MOST_COLUMNS, longer)

    def question(self, since_ms: int, until_ms: int, most: int = 100) -> Question:
        """Return it as a question to the query layer."""
        grain = next((name for name in self.by if name in TIMES), "")
        by = tuple(name for name in self.by if name not in TIMES)
        return explore.asked_for(self._given(since_ms, until_ms), self.show, by, grain, most)

    def question_line(self, since_ms: int, until_ms: int, now_ms: int) -> Question:
        """Return the question for the chart over time."""
        longer = min(until_ms, now_ms) - since_ms > HOURLY_MS
        return explore.line_for(self._given(since_ms, until_ms), self.show, "day" if longer else "hour", MOST_COLUMNS)

    def _given(self, since_ms: int, until_ms: int) -> dict[str, Any]:
        where = {name: (value,) for name, value in self.where.items()}
        return {"where": where, "since_ms": since_ms, "until_ms": until_ms or END_MS}

    def link(self, path: str = "/usage", **changes: str) -> str:
        first, second = (*self.by, "", "")[:2]
        show = "" if self.show == "cost" else self.show
        said = {"by": first, "then": second, "since": self.since, "until": self.until, "show": show, **self.where}
        return to(path, **(said | changes))

    def within(self, at: str) -> str:
        """Return the way into an hour or a day, by the UTC time of its begin as ISO text."""
        begin = datetime.fromisoformat(at).replace(tzinfo=UTC)
        hours = 1 if "T" in at else 24
        end = datetime.fromtimestamp(begin.timestamp() + hours * 3600, UTC)
        form = "%Y-%m-%dT%H:%MZ"
        by = tuple(name for name in self.by if name not in TIMES) or ("route",)
        first, second = (*by, "", "")[:2]
        return self.link(since=begin.strftime(form), until=end.strftime(form), by=first, then=second)


def usage_page(shell: Shell, wish: Wish, found: Found | Told | None, trouble: str = "") -> str:
    """Return the page; without `found`, the trouble that is in the way."""
    parts: list[Child] = [_form(wish), _chips(wish)]
    if found is None:
        parts.append(el("p", trouble, class_="empty", role="alert"))
        return framed(shell, "Usage and cost", *parts)
    made = _of_sums(wish, found) if len(found) == 3 else _of_report(wish, found)
    if not made:
        parts.append(el("p", "No request was booked in this time.", class_="empty"))
        return framed(shell, "Usage and cost", *parts)
    files = el(
        "span",
        "Download as ",
        el("a", "CSV", href=wish.link("/usage.csv"), download="usage.csv"),
        " or ",
        el("a", "JSON", href=wish.link("/usage.json"), download="usage.json"),
        class_="quiet",
    )
    return framed(shell, "Usage and cost", *parts, *made, aside=files)


def _of_sums(wish: Wish, found: Found) -> list[Child]:
    rows, total, line = found
    if not total.requests:
        return []
    more = len(rows) < total.requests and len(rows) == wish.sums(0, 0).most
    return [
        _cards(total),
        el("div", hours_chart(line, wish), class_="panel"),
        el("h2", "By " + " and ".join(wish.by)),
        _table(wish, rows, total),
        el("p", f"The {len(rows)} groups that cost most; the file has more.", class_="quiet") if more else None,
    ]


def _of_report(wish: Wish, found: Told) -> list[Child]:
    report, line = found
    if not report.rows and not report.total[0]:
        return []
    return [
        explore.of_all(wish.show, report),
        el("div", explore.chart(wish.show, line, wish.within), class_="panel"),
        el("h2", clean(f"{explore.SHOWN[wish.show].told.capitalize()} by {' and '.join(wish.by)}")),
        explore.groups(wish.show, report, partial(_cell, wish)),
        explore.told(report),
    ]


def plain(wish: Wish, rows: list[Sum]) -> dict[str, Any]:
    """Return the groups as one object: charges in nano-dollars, times in Unix milliseconds."""
    made = []
    for row in rows:
        values = msgspec.to_builtins(row)
        named = [int(one) if kind in TIMES else one for kind, one in zip(wish.by, values.pop("group"), strict=True)]
        made.append(dict(zip(wish.by, named, strict=True)) | values)
    return {"by": wish.by, "since": wish.since, "where": wish.where, "rows": made}


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
    choices = [(name, name.replace("_", " ")) for name in (*CHOICES, *explore.MORE)]
    tags = [(name, clean(name)) for name in wish.by if name.startswith(TAG)]
    kept = [el("input", type="hidden", name=name, value=value) for name, value in wish.where.items()]
    times = list(PERIODS.items())
    if wish.since not in PERIODS:
        times.insert(0, (wish.since, clean(f"from {wish.since}")))
        kept.append(el("input", type="hidden", name="until", value=wish.until))
    return el(
        "form",
        select("show", "Show", [(name, one.told) for name, one in explore.SHOWN.items()], wish.show),
        select("by", "By", [*tags, *choices], first),
        select("then", "and", [("", "nothing else"), *tags, *choices], second),
        field("tag", "or by the tag", placeholder="customer", maxlength="64"),
        select("since", "Time", times, wish.since),
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
    if wish.until:
        told = clean(f"{wish.since} to {wish.until} ")
        away = el("a", "×", href=wish.link(since="7d", until=""), aria_label="without this time")
        chips.append(el("span", told, away, class_="chip"))
    if not chips:
        return None
    known = {name: value for name, value in wish.where.items() if name in (*FIELDS, "outcome")}
    words = {
        "q": " ".join(f"{name.removeprefix(TAG)}:{value}" for name, value in wish.where.items() if name.startswith(TAG))
    }
    since = wish.since if wish.since in PERIODS else ""
    return el("p", *chips, el("a", "the requests", href=to("/requests", **known, **words, since=since)))


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


def hours_chart(line: list[Sum], wish: Wish | None = None) -> Html:
    """Draw the cost over time, or the requests where nothing has a price; `line`: the newest first."""
    rows = line[::-1]
    costs = any(row.measured_nano + row.estimated_nano for row in rows)
    hourly = len(rows) > 1 and int(rows[1].group[0]) - int(rows[0].group[0]) < 24 * HOUR_MS
    points = []
    for row in rows:
        begin = datetime.fromtimestamp(int(row.group[0]) / 1000, UTC)
        at = begin.strftime("%d %b %H:00" if hourly else "%d %b")
        low, high = (row.measured_nano, row.estimated_nano) if costs else (row.requests - row.errors, row.errors)
        cost = f"{money(row.measured_nano)} measured, {money(row.estimated_nano)} estimated"
        told = f"{at} UTC: {cost}, {count(row.requests)} requests, {row.errors} errors"
        href = wish.within(begin.strftime("%Y-%m-%dT%H:00Z" if hourly else "%Y-%m-%d")) if wish is not None else ""
        points.append(Point(at, low, high, told, href))
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
    if kind in TIMES or kind == "time":
        return el("a", text, href=wish.within(_iso(kind, value)))
    if kind in wish.where or not value:
        return text
    further = next(
        name for name in ("model", "key", "route", "deployment", "team") if name != kind and name not in wish.where
    )
    by = {"by": further, "then": ""} if len(wish.by) == 1 else {}
    return el("a", text, href=wish.link(**{kind: value}, **by))


def _iso(kind: str, value: str) -> str:
    """Return when an hour or a day began, as ISO text."""
    if kind == "time":
        return value
    at = datetime.fromtimestamp(int(value) / 1000, UTC)
    return at.strftime("%Y-%m-%d" if kind == "day" else "%Y-%m-%dT%H:00Z")


def _named(kind: str, value: str) -> str:
    if kind not in TIMES:
        return value
    return datetime.fromtimestamp(int(value) / 1000, UTC).strftime(
        "%Y-%m-%d" if kind == "day" else "%Y-%m-%d %H:00 UTC"
    )
