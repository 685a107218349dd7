"""Routes: every route with what it did of late, held against what it demands. Pure: values in, HTML out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from pointsman.control.dashboard import cells
from pointsman.control.dashboard.frame import Shell, framed, to
from pointsman.control.figures import clean, count, milliseconds, money
from pointsman.control.html import Child, Html, el, table
from pointsman.core.policy import Policy, Route
from pointsman.core.standing import Standing
from pointsman.stores.browsing import Sum

MOST = 300  # listed
MEASURES = (
    *("requests", "error_rate", "failover_rate", "degraded", "nano_per_request", "ttft_p95_us", "total_p95_us"),
    *("measured_nano", "estimated_nano", "unpriced", "hits"),
)  # fmt: skip
Figures = Mapping[str, Any]  # by measure


class Check(msgspec.Struct, frozen=True):
    """Hold one demand of a route against what was measured. `share` is of the bound, None while nothing is known."""

    name: str
    now: str
    bound: str
    share: float | None

    @property
    def state(self) -> str:
        """Return over, near or nothing."""
        if self.share is None or self.share < cells.NEAR:
            return ""
        return "over" if self.share > 1.0 else "near"


class Routes(msgspec.Struct, frozen=True):
    """Hold all that the page shows. `figures` of the window by route, None when they did not come in time; `today`: the sums
    of this UTC day."""

    policy: Policy
    standings: dict[str, Standing]
    window: str
    figures: dict[str, dict[str, Any]] | None
    today: dict[str, Sum]
    trouble: str = ""


def spent(today: Sum | None) -> int:
    """Return what requests cost, measured and estimated, as the data plane counts the money of a day."""
    return 0 if today is None else today.measured_nano + today.estimated_nano


def checks(route: Route, figures: Figures | None, today: Sum | None) -> list[Check]:
    """Return a route's demands that can be held against what was measured, in the order of `core/filters.py:DEMANDS`."""
    bounds, made = route.bounds, []
    if bounds is None:
        return []
    seen: Figures = figures or {}
    if bounds.ttft_ms_p95 is not None:
        us = seen.get("ttft_p95_us")
        least = None if us is None else us / 1000 / bounds.ttft_ms_p95
        made.append(Check("first token, p95", milliseconds(us), f"{bounds.ttft_ms_p95:.0f} ms", least))
    if bounds.nano_per_request is not None:
        nano = seen.get("nano_per_request")
        told = "-" if nano is None else money(round(nano))
        part = None if nano is None else nano / bounds.nano_per_request
        made.append(Check("cost of a request", told, money(bounds.nano_per_request), part))
    if bounds.nano_per_day is not None:
        nano = spent(today)
        made.append(
            Check("money of the day (UTC)", money(nano), money(bounds.nano_per_day), nano / bounds.nano_per_day)
        )
    return made


def written(policy: Policy, used: Mapping[str, object]) -> list[Route]:
    """Return the routes that the operator wrote, and others that are used."""
    return [route for name, route in policy.routes.items() if not route.hidden and (not route.implicit or name in used)]


def routes_page(shell: Shell, routes: Routes) -> str:
    """Return the page."""
    figures = routes.figures or {}
    known = written(routes.policy, figures)
    known.sort(key=lambda route: (-figures.get(route.name, {}).get("requests", 0), route.name))
    rows = [_row(routes, route) for route in known[:MOST]]
    head = ("route", "decides by", "health", ">requests", ">errors", ">failed over", ">by the ladder", ">first token, p95",
            ">cost each", ">spent today", "candidates")  # fmt: skip
    more = el("p", f"The {MOST} with most requests of {len(known)}.", class_="quiet") if len(known) > MOST else None
    parts: list[Child] = [
        cells.windows("/routes", routes.window),
        cells.notice(routes.trouble),
        table(head, rows, "The config has no routes.", "Routes"),
        more,
    ]
    return framed(shell, "Routes", *parts)


def _row(routes: Routes, route: Route) -> tuple[Child, ...]:
    seen, today = (routes.figures or {}).get(route.name), routes.today.get(route.name)
    found: Figures = seen or {}
    each = found.get("nano_per_request")
    return (
        el("a", clean(route.name), href=to("/routes", route=route.name, since=routes.window)),
        route.how or "-",
        health(checks(route, seen, today), found.get("error_rate")),
        count(found.get("requests", 0)) if routes.figures is not None else "-",
        cells.errors(found.get("error_rate")),
        cells.percent(found.get("failover_rate")),
        count(found["degraded"]) if found.get("degraded") else "-",
        milliseconds(found.get("ttft_p95_us")),
        "-" if each is None else money(round(each)),
        money(spent(today)) if today is not None else "-",
        ready(route, routes.standings),
    )


def health(found: list[Check], error_rate: float | None) -> Html:
    """Return in a few words whether a route keeps what it demands, the worst first."""
    over = [check.name for check in found if check.state == "over"]
    near = [check.name for check in found if check.state == "near"]
    if over:
        return el("span", f"over: {', '.join(over)}", class_="bad")
    if cells.error_state(error_rate) == "bad":
        return el("span", "many errors", class_="bad")
    if near:
        return el("span", f"near: {', '.join(near)}", class_="warn")
    if cells.error_state(error_rate):
        return el("span", "errors", class_="warn")
    told = "nothing measured" if error_rate is None else "within its limits" if found else "no limits set"
    return el("span", told, class_="good" if error_rate is not None and found else "quiet")


def ready(route: Route, standings: Mapping[str, Standing]) -> Child:
    """Return how many candidates take requests, and which do not."""
    if not route.candidates:
        return "-"
    away = [name for name in route.candidates if name in standings and standings[name].breaker != "closed"]
    told = f"{len(route.candidates) - len(away)} of {len(route.candidates)}"
    return el("span", f"{told}: not {clean(', '.join(away[:3]))}", class_="bad") if away else told


def span(window: str) -> str:
    """Return the words for a window."""
    return cells.WINDOWS[window]
