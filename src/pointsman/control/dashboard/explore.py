"""Explore: what usage asks of the query layer of reports: times, errors, satisfaction, tags, and any span of time. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from pointsman.control.dashboard import cells
from pointsman.control.dashboard.charts import Point, columns, share
from pointsman.control.figures import clean
from pointsman.control.html import Child, Html, el, join, table
from pointsman.stores.report import MEASURES, Question, Report

_COST = ("measured_nano", "estimated_nano", "unpriced")
PERCENTILES = tuple(f"{what}_p{percent}_us" for what in ("ttft", "total") for percent in (50, 95, 99))


class Shown(msgspec.Struct, frozen=True):
    """Hold a choice of measures: `drawn` over time, `cards` in front of the page, all in the table."""

    told: str
    drawn: str
    measures: tuple[str, ...]
    cards: tuple[str, ...]


SHOWN = {
    "cost": Shown(
        "cost",
        "measured_nano",
        ("requests", *_COST, "error_rate", "failover_rate", "input_tokens", "output_tokens", "saved_nano"),
        ("requests", "error_rate", "input_tokens", "output_tokens", "saved_nano"),
    ),
    "times": Shown(
        "times",
        "ttft_p95_us",
        ("requests", *PERCENTILES, "tokens_per_s"),
        ("requests", "ttft_p50_us", "ttft_p95_us", "ttft_p99_us", "total_p95_us", "tokens_per_s"),
    ),
    "errors": Shown(
        "errors",
        "error_rate",
        ("requests", "errors", "error_rate", "failovers", "failover_rate", "degraded", "recovered"),
        ("requests", "errors", "error_rate", "failover_rate", "degraded"),
    ),
    "cache": Shown(
        "cache",
        "hit_rate",
        ("requests", "looked", "hits", "hit_rate", "saved_nano", "saved_unpriced", "cached_tokens"),
        ("requests", "looked", "hits", "hit_rate", "saved_nano"),
    ),
    "satisfaction": Shown(
        "satisfaction",
        "feedback_score",
        ("requests", "feedback_count", "feedback_score", "thumbs", "thumbs_up_share"),
        ("requests", "feedback_count", "feedback_score", "thumbs", "thumbs_up_share"),
    ),
}
MORE = ("outcome", "cache", "degraded", "arm", "stream", "asked", "served", "session", "config")  # dimensions
TITLES = {
    "error_rate": "errors", "failover_rate": "failed over", "failovers": "failed over", "degraded": "by the ladder",
    "input_tokens": "tokens in", "output_tokens": "tokens out", "saved_nano": "saved", "tokens_per_s": "tokens/s",
    "looked": "looked for", "hits": "given again", "hit_rate": "of these", "saved_unpriced": "saved, unpriced",
    "cached_tokens": "tokens from the provider's cache", "feedback_count": "judged", "feedback_score": "score",
    "thumbs_up_share": "thumbs up", "recovered": "worker died", "errors": "failed",
    **{f"ttft_p{n}_us": f"first token, p{n}" for n in (50, 95, 99)},
    **{f"total_p{n}_us": f"total, p{n}" for n in (50, 95, 99)},
}  # fmt: skip


def title(measure: str) -> str:
    return TITLES.get(measure, measure)


def asked_for(given: dict[str, Any], show: str, by: tuple[str, ...], grain: str, most: int) -> Question:
    """Return the question of the table; with a `grain`, groups are of time too. `given`: conditions and times."""
    every: Any = grain or None
    return Question(measures=SHOWN[show].measures, by=by, every=every, most=most, **given)


def line_for(given: dict[str, Any], show: str, grain: str, most: int) -> Question:
    """Return the question of the chart."""
    every: Any = grain
    return Question(measures=(SHOWN[show].drawn, "requests"), every=every, most=most, **given)


def of_all(show: str, report: Report) -> Html:
    """Return the cards of all rows."""
    found = dict(zip(report.question.measures, report.total, strict=True))
    made: cells.Cards = []
    if show == "cost":
        made.append(("Cost", cells.figure(found["measured_nano"], "nano"), cells.cost(found), ""))
    for name in SHOWN[show].cards:
        state = cells.error_state(found[name]) if name == "error_rate" else ""
        made.append((title(name).capitalize(), cells.figure(found[name], MEASURES[name].unit), "", state))
    return cells.cards(made)


def chart(show: str, report: Report, link: Callable[[str], str]) -> Html:
    """Return the chart over time; `link` leads from a time to what is in it."""
    drawn = SHOWN[show].drawn
    points = []
    for at, value, requests in report.rows:
        text = cells.figure(value, MEASURES[drawn].unit)
        told = f"{at.replace('T', ' ').removesuffix('Z')} UTC: {title(drawn)} {text}, {requests} requests"
        points.append(Point(at[5:].replace("T", " ").removesuffix("Z"), value or 0, 0, told, link(at)))
    names = {"measured_nano": "Measured cost", "feedback_score": "Mean score, 0 to 1"}
    return columns(f"{names.get(drawn, title(drawn).capitalize())} of each {report.question.every} (UTC)", points)


def groups(show: str, report: Report, name_cell: Callable[[str, str], Child]) -> Html:
    """Return the table of groups; `name_cell` makes a cell of a dimension's value."""
    names = [column.name for column in report.columns]
    wide = len(names) - len(report.total)
    measures = [name for name in report.question.measures if name not in _COST]
    whole = dict(zip(report.question.measures, report.total, strict=True))
    rows: list[tuple[Child, ...]] = []
    for row in report.rows:
        found = dict(zip(names, row, strict=True))
        made: list[Child] = [name_cell(name, str(found[name])) for name in names[:wide]]
        if show == "cost":
            spent, all_spent = (one["measured_nano"] + one["estimated_nano"] for one in (found, whole))
            part = spent / all_spent if all_spent else 0.0
            made += [cells.cost(found), join(share(part), f" {100 * part:.0f} %")]
        made += [
            cells.errors(found[name]) if name == "error_rate" else cells.figure(found[name], MEASURES[name].unit)
            for name in measures
        ]
        rows.append(tuple(made))
    costs = (">cost", "share of cost") if show == "cost" else ()
    head = (*[clean(name) for name in names[:wide]], *costs, *[f">{title(name)}" for name in measures])
    return table(head, rows, "Nothing.", "Usage")


def told(report: Report) -> Child:
    """Say that there is more than what is shown."""
    if not report.cut:
        return None
    return el("p", f"The first {len(report.rows)} groups; the file has more.", class_="quiet")
