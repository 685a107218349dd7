"""Route: one route: its limits, candidates, arms, rules and ladder, with what each did of late. Pure: values in, HTML out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from pointsman.control.dashboard import cells
from pointsman.control.dashboard.frame import Shell, framed, to
from pointsman.control.dashboard.requests import outcome_of
from pointsman.control.dashboard.routes import Check, checks, span, spent
from pointsman.control.dashboard.usage import hours_chart
from pointsman.control.figures import clean, count, milliseconds, money
from pointsman.control.html import Child, Html, el, table
from pointsman.core.policy import Policy, Route, Rung
from pointsman.core.standing import Standing
from pointsman.stores.browsing import Sum

ARMS = ("requests", "error_rate", "ttft_p95_us", "nano_per_request", "feedback_score", "feedback_count")
ENDS = ("requests",)


class Of(msgspec.Struct, frozen=True):
    """Hold what the ledger says of one route: all of it, by deployment, outcome, rung, arm and hour."""

    all: dict[str, Any]
    deployments: dict[str, dict[str, Any]]
    outcomes: list[dict[str, Any]]
    rungs: list[dict[str, Any]]
    arms: dict[str, dict[str, Any]]
    hours: list[Sum]
    today: Sum | None


class View(msgspec.Struct, frozen=True):
    """Hold all that the page shows. `of` is None when it did not come in time; `rates`: requests a second by deployment."""

    policy: Policy
    route: Route
    standings: dict[str, Standing]
    rates: dict[str, float]
    window: str
    of: Of | None
    trouble: str = ""


def route_page(shell: Shell, view: View) -> str:
    """Return the page."""
    route, of = view.route, view.of
    parts: list[Child] = [cells.windows("/routes", view.window, route=route.name), cells.notice(view.trouble)]
    if of is not None:
        parts += [_cards(of, view.window), el("div", hours_chart(of.hours), class_="panel") if of.hours else None]
    found = checks(route, of.all if of is not None else None, of.today if of is not None else None)
    parts += [el("h2", "Limits"), *_limits(view, found), el("h2", "Candidates"), _candidates(view)]
    if route.rules:
        parts += [el("h2", "Rules"), _rules(route)]
    if route.split is not None:
        parts += [el("h2", "Arms"), _arms(view)]
    if route.degrade:
        parts += [el("h2", "Ladder"), _ladder(view)]
    parts += [el("h2", "Outcomes"), _outcomes(view), el("h2", "Settings"), _settings(route)]
    links = el(
        "span",
        el("a", "its requests", href=to("/requests", route=route.name)),
        " · ",
        el("a", "its usage", href=to("/usage", route=route.name, by="model")),
        " · ",
        el("a", "all routes", href=to("/routes", since=view.window)),
    )
    return framed(shell, f"Route {clean(route.name)}", *parts, aside=links)


def _cards(of: Of, window: str) -> Html:
    one, each = of.all, of.all["nano_per_request"]
    return cells.cards([
        ("Requests", count(one["requests"]), span(window), ""),
        ("Errors", cells.percent(one["error_rate"]), "that clients saw", cells.error_state(one["error_rate"])),
        ("Failed over", cells.percent(one["failover_rate"]), "ended by another than drawn", ""),
        ("By the ladder", count(one["degraded"]), "answered by a rung", "warn" if one["degraded"] else ""),
        ("First token", milliseconds(one["ttft_p95_us"]), "95th percentile", ""),
        ("Cost each", "-" if each is None else money(round(each)), cells.cost(one), ""),
        ("Today", money(spent(of.today)), "spent since midnight UTC", ""),
    ])  # fmt: skip


def _limits(view: View, found: list[Check]) -> list[Child]:
    rows: list[tuple[Child, ...]] = [
        (
            check.name,
            check.now,
            check.bound,
            cells.part(check.share, check.state) if check.share is not None else "nothing measured",
        )
        for check in found
    ]
    bounds = view.route.bounds
    if bounds is not None and bounds.quality_min is not None:
        known = {one.name: one.quality for one in view.policy.deployments}
        good = [
            name for name in view.route.candidates if (known.get(name) or {}).get("default", 0.0) >= bounds.quality_min
        ]
        rows.append(
            ("quality", f"{len(good)} of {len(view.route.candidates)} candidates", f"{bounds.quality_min:g}", "")
        )
    made = table(("demand", ">now", ">bound", "of the bound"), rows, "This route demands nothing.", "Limits")
    if bounds is None or not bounds.relax:
        return [made]
    order = ", then ".join(name.replace("_", " ") for name in bounds.relax)
    return [made, el("p", f"Given up where nobody meets them all: {order}.", class_="quiet")]


def _candidates(view: View) -> Html:
    route, found = view.route, view.of.deployments if view.of is not None else {}
    known = {one.name: one for one in view.policy.deployments}
    weights = dict(zip(route.candidates, route.weights or (1.0,) * len(route.candidates), strict=True))
    whole = sum(row["requests"] for row in found.values())
    names = dict.fromkeys((*route.candidates, *(name for name in found if name)))
    rows: list[tuple[Child, ...]] = []
    for name in names:
        row, one, deployment = found.get(name), view.standings.get(name), known.get(name)
        told, state = cells.state_of(one)
        weight = weights.get(name)
        asked = to("/requests", route=route.name, deployment=name, since=view.window)
        rows.append((
            el("a", clean(name), href=to("/providers", deployment=name, since=view.window)) if deployment else clean(name),
            clean(f"{deployment.provider} · {deployment.wire.model}") if deployment is not None else "not in the config",
            el("span", told, class_=state),
            "-" if weight is None else f"{weight:g}",
            cells.part(row["requests"] / whole) if row is not None and whole else "-",
            cells.rate(view.rates.get(name, 0.0)),
            el("a", count(row["requests"]), href=asked) if row is not None else "-",
            cells.errors(row["error_rate"]) if row is not None else "-",
            milliseconds(row["ttft_p95_us"]) if row is not None else "-",
            _each(row),
        ))  # fmt: skip
    head = ("deployment", "provider · model", "state", ">weight", "share of traffic", ">now", ">requests", ">errors",
            ">first token, p95", ">cost each")  # fmt: skip
    return table(head, rows, "Its rules or arms name other routes.", "Candidates")


def _each(row: Mapping[str, Any] | None) -> str:
    nano = None if row is None else row["nano_per_request"]
    return "-" if nano is None else money(round(nano))


def _rules(route: Route) -> Html:
    rows: list[tuple[Child, ...]] = [
        (str(n), el("code", clean(rule.when)) if rule.when else "always", _to_route(route, rule.use), clean(rule.place))
        for n, rule in enumerate(route.rules, 1)
    ]
    return table((">n", "when", "goes on to", "written in"), rows, "None.", "Rules")


def _to_route(route: Route, name: str) -> Child:
    if name.startswith(route.name) and name != route.name:
        return el("span", "what it sets itself", class_="quiet")
    return el("a", clean(name), href=to("/routes", route=name))


def _arms(view: View) -> Html:
    split = view.route.split
    assert split is not None
    found = view.of.arms if view.of is not None else {}
    whole, weights = sum(row["requests"] for row in found.values()), sum(arm.weight for arm in split.arms)
    rows: list[tuple[Child, ...]] = []
    for arm in split.arms:
        row = found.get(f"{view.route.name}/{arm.name}")
        score = None if row is None else row["feedback_score"]
        rows.append((
            clean(arm.name),
            _to_route(view.route, arm.use),
            cells.percent(arm.weight / weights if weights else 0.0, 0),
            cells.part(row["requests"] / whole) if row is not None and whole else "-",
            count(row["requests"]) if row is not None else "-",
            cells.errors(row["error_rate"]) if row is not None else "-",
            milliseconds(row["ttft_p95_us"]) if row is not None else "-",
            _each(row),
            "-" if row is None or score is None else f"{score:.2f} of {count(row['feedback_count'])}",
        ))  # fmt: skip
    head = ("arm", "route", ">weight", "share of traffic", ">requests", ">errors", ">first token, p95", ">cost each",
            ">satisfaction")  # fmt: skip
    return table(head, rows, "None.", f"Arms, by {split.by}")


def _ladder(view: View) -> Html:
    counts = {row["degraded"]: row["requests"] for row in view.of.rungs} if view.of is not None else {}
    whole = sum(counts.values())
    rows: list[tuple[Child, ...]] = [
        (
            str(n),
            clean(rung.name),
            clean(_does(rung)),
            count(counts.get(rung.name, 0)),
            cells.part(counts.get(rung.name, 0) / whole, "near" if counts.get(rung.name) else "") if whole else "-",
        )
        for n, rung in enumerate(view.route.degrade, 1)
    ]
    return table((">n", "rung", "does", ">requests", "share"), rows, "None.", "Ladder")


def _does(rung: Rung) -> str:
    if rung.candidates:
        most = f", at most {rung.max_output_tokens} tokens" if rung.max_output_tokens is not None else ""
        return f"asks {', '.join(rung.candidates)}{most}"
    if rung.cached_s is not None:
        return f"gives an answer again that is at most {rung.cached_s:g} s old"
    return "gives a fixed reply" if rung.reply is not None else "refuses"


def _outcomes(view: View) -> Html:
    counts = {row["outcome"]: row["requests"] for row in view.of.outcomes} if view.of is not None else {}
    whole = sum(counts.values())
    rows: list[tuple[Child, ...]] = []
    for name, number in sorted(counts.items(), key=lambda pair: -pair[1]):
        asked = to("/requests", route=view.route.name, outcome=name, since=view.window)
        rows.append((outcome_of(name), el("a", count(number), href=asked), cells.part(number / whole)))
    return table(("outcome", ">requests", "share"), rows, f"No request in the {span(view.window)}.", "Outcomes")


def _settings(route: Route) -> Html:
    objective, hedge, cache = route.objective, route.hedge, route.cache
    wants = "" if objective is None else ", ".join(
        f"{name} {value:g}" for name, value in (("quality", objective.quality), ("latency", objective.latency),
                                                 ("cost", objective.cost)) if value
    )  # fmt: skip
    return cells.facts({
        "decides by": route.how,
        "objective": wants,
        "sends at most": "" if route.attempts is None else str(route.attempts),
        "explores": cells.percent(route.explore) if route.explore else "",
        "stays": "" if route.sticky is None else f"by {route.sticky.by}, {route.sticky.ttl_s:g} s",
        "hedges": "" if hedge is None else f"{cells.percent(hedge.share, 0)} of the requests at most",
        "answers kept": "" if cache is None else f"{cache.ttl_s:g} s for each {cache.scope}",
        "without a price": "not asked" if route.unpriced == "deny" else "allowed",
        "tags": clean(", ".join(route.tags)),
    })  # fmt: skip
