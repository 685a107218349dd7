"""Live: what flows now, from routes to deployments, and what is wrong with any of it. Pure: values in, HTML out."""

from __future__ import annotations

from typing import Any

import msgspec

from pointsman.control.dashboard.cells import allowed, state_of
from pointsman.control.dashboard.charts import Edge, Node, flow, share
from pointsman.control.dashboard.frame import Shell, framed, moment, to
from pointsman.control.dashboard.providers import failure
from pointsman.control.dashboard.routes import ready
from pointsman.control.figures import clean, count
from pointsman.control.html import Child, Html, el, join, table
from pointsman.control.rates import Alert, Key
from pointsman.core.policy import Policy
from pointsman.core.standing import Standing, Standings, merged
from pointsman.stores.browsing import NO_ERROR

REFRESH_S = 5  # of the page without script
MOST_ROUTES, MOST_DEPLOYMENTS = 12, 14  # on the map, those with most requests


class Live(msgspec.Struct, frozen=True):
    """Hold all that the page shows. `rates` are requests a second over `over_s` seconds."""

    policy: Policy
    parts: list[Standings]
    rates: dict[Key, float]
    over_s: float
    active: int
    lag_bytes: int
    reload: dict[str, Any]
    alerts: list[Alert]


class Rate(msgspec.Struct):
    """Hold requests a second, and of them those that clients saw fail."""

    all: float = 0.0
    failed: float = 0.0

    def add(self, value: float, outcome: str) -> None:
        self.all += value
        self.failed += 0.0 if outcome in NO_ERROR else value

    @property
    def state(self) -> str:
        part = self.failed / self.all if self.all else 0.0
        return "bad" if part >= 0.2 else "warn" if part >= 0.02 else ""

    def __str__(self) -> str:
        if not self.all:
            return "no requests"
        return f"{_figure(self.all)}/s" + (f", {100 * self.failed / self.all:.1f} % errors" if self.failed else "")


def live_page(shell: Shell, live: Live) -> str:
    """Return the page; its script brings `live_part` up to date."""
    note = el("p", id="stale", class_="notice", role="status", hidden="hidden")
    part = el("div", live_part(live), id="live", data_from="/live")
    version = el("span", f"config {live.policy.version} from {clean(live.policy.source)}", class_="quiet small")
    return framed(shell, "Live", note, part, aside=version, refresh_s=REFRESH_S)


def live_part(live: Live) -> Html:
    """Return what changes from second to second."""
    standings = merged(live.parts)
    by_route, by_deployment, by_edge = _summed(live.rates)
    return join(
        *_troubles(live),
        _cards(live, standings),
        el(
            "div",
            _map(live, {one.deployment: one for one, _ in standings}, by_route, by_deployment, by_edge),
            class_="panel",
        ),
        el("h2", "Routes"),
        _routes(live, {one.deployment: one for one, _ in standings}, by_route),
        el("h2", "Deployments"),
        _deployments(live, {one.deployment: (one, away) for one, away in standings}, by_deployment),
        el("h2", "Workers"),
        _workers(live.parts),
        el("h2", "Alerts"),
        _alerts(live.alerts),
    )


def _summed(rates: dict[Key, float]) -> tuple[dict[str, Rate], dict[str, Rate], dict[tuple[str, str], Rate]]:
    routes: dict[str, Rate] = {}
    deployments: dict[str, Rate] = {}
    edges: dict[tuple[str, str], Rate] = {}
    for (route, deployment, outcome), value in rates.items():
        routes.setdefault(route, Rate()).add(value, outcome)
        if deployment:
            deployments.setdefault(deployment, Rate()).add(value, outcome)
            edges.setdefault((route, deployment), Rate()).add(value, outcome)
    return routes, deployments, edges


def _troubles(live: Live) -> list[Html]:
    said = [el("p", clean(str(text)), class_="notice") for text in live.reload.get("restart", ())]
    if not live.reload.get("ok", True):
        at = moment(live.reload["at_ms"])
        said.append(el("p", "Config not changed at ", at, f": {clean(live.reload['error'])}", class_="notice bad"))
    if not live.parts:
        said.append(el("p", "No worker has said anything for five seconds.", class_="notice bad"))
    if live.lag_bytes > 1_000_000:
        said.append(el("p", f"The ledger is {count(live.lag_bytes)} bytes behind the journal.", class_="notice"))
    return said


def _cards(live: Live, standings: list[tuple[Standing, int]]) -> Html:
    total = Rate()
    for (_, _, outcome), value in live.rates.items():
        total.add(value, outcome)
    away = sum(one.breaker != "closed" for one, _ in standings)
    busy = max((part.load.get("pressure", 0.0) for part in live.parts), default=0.0)
    over = f"over the last {live.over_s:.0f} s" if live.over_s else "being measured"
    cards = [
        ("Requests", f"{_figure(total.all)}/s" if live.over_s else "…", over, ""),
        ("Errors", f"{100 * total.failed / total.all:.1f} %" if total.all else "-", "that clients saw", total.state),
        ("Under way", str(live.active), f"on {len(live.parts)} worker{'' if len(live.parts) == 1 else 's'}", ""),
        ("Busy", f"{busy:.0%}", "the busiest worker", "bad" if busy >= 0.95 else "warn" if busy >= 0.7 else ""),
        ("Not healthy", str(away), f"of {len(standings)} deployments", "bad" if away else ""),
    ]
    made = [el("div", el("dt", name), el("dd", big, class_=f"big {state}".strip()), el("dd", small, class_="quiet small"))
            for name, big, small, state in cards]  # fmt: skip
    return el("dl", *made, class_="cards")


def _map(
    live: Live,
    standings: dict[str, Standing],
    by_route: dict[str, Rate],
    by_deployment: dict[str, Rate],
    by_edge: dict[tuple[str, str], Rate],
) -> Html:
    routes = sorted(_written(live.policy, by_route), key=lambda name: -by_route.get(name, Rate()).all)[:MOST_ROUTES]
    wanted = {name for route in routes for name in _candidates(live.policy, route)} | by_deployment.keys()
    names = [one.name for one in live.policy.deployments if one.name in wanted]
    names = sorted(names, key=lambda name: -by_deployment.get(name, Rate()).all)[:MOST_DEPLOYMENTS]
    places = {name: place for place, name in enumerate(names)}
    most = max((rate.all for rate in by_edge.values()), default=0.0)
    edges = []
    for start, route in enumerate(routes):
        seen = dict.fromkeys((*_candidates(live.policy, route), *(end for begin, end in by_edge if begin == route)))
        for name in seen:
            if name in places:
                rate = by_edge.get((route, name), Rate())
                told = f"{clean(route)} to {clean(name)}: {rate}"
                edges.append(Edge(start, places[name], rate.all / most if most else 0.0, rate.state, told))
    boxes = []
    for name in names:
        told, state = state_of(standings.get(name))
        rate = by_deployment.get(name, Rate())
        boxes.append(Node(name, f"{told} · {rate}", state if state != "good" else rate.state or state))
    edges.sort(key=lambda edge: edge.weight)
    return flow(
        [Node(name, str(by_route.get(name, Rate())), by_route.get(name, Rate()).state) for name in routes], boxes, edges
    )


def _written(policy: Policy, by_route: dict[str, Rate]) -> list[str]:
    """Return the routes that the operator wrote, and others that are used."""
    return [name for name, route in policy.routes.items() if not (route.implicit or route.hidden) or name in by_route]


def _candidates(policy: Policy, name: str) -> tuple[str, ...]:
    route = policy.routes.get(name)
    return route.candidates if route is not None else ()


def _routes(live: Live, standings: dict[str, Standing], by_route: dict[str, Rate]) -> Html:
    rows: list[tuple[Child, ...]] = []
    for name in _written(live.policy, by_route)[:200]:
        route = live.policy.routes[name]
        rate = by_route.get(name, Rate())
        rows.append(
            (
                el("a", clean(name), href=to("/routes", route=name)),
                route.how,
                *_rate_cells(rate),
                ready(route, standings),
            )
        )
    return table(
        ("route", "decides by", ">requests", ">errors", "candidates that take requests"), rows, "No routes.", "Routes"
    )


def _rate_cells(rate: Rate) -> tuple[Child, Child]:
    errors = f"{100 * rate.failed / rate.all:.1f} %" if rate.all else "-"
    return f"{_figure(rate.all)}/s" if rate.all else "-", el("span", errors, class_=rate.state)


def _deployments(live: Live, standings: dict[str, tuple[Standing, int]], rates: dict[str, Rate]) -> Html:
    rows: list[tuple[Child, ...]] = []
    for d in live.policy.deployments[:500]:
        one, away = standings.get(d.name, (None, 0))
        told, state = state_of(one)
        if away and len(live.parts) > 1:
            told += f" ({away} of {len(live.parts)} workers)"
        rows.append((
            el("a", clean(d.name), href=to("/providers", deployment=d.name)),
            join(clean(f"{d.provider} · {d.wire.model}"), _unpriced(d.price is None)),
            el("span", told, class_=state), *_rate_cells(rates.get(d.name, Rate())),
            "-" if one is None or one.success is None else f"{one.success:.1%}",
            "-" if one is None or one.measured_s_ago is None else f"{one.ttft_ms:.0f} ms",
            "-" if one is None or one.ttft_p95_ms is None else f"{one.ttft_p95_ms:.0f} ms",
            "-" if one is None or one.tokens_per_s is None else f"{one.tokens_per_s:.0f}",
            "-" if one is None else failure(one), allowed(one),
        ))  # fmt: skip
    head = ("deployment", "provider · model", "state", ">requests", ">errors", ">ok, 30 s", ">first token", ">p95", ">tokens/s",
            "failures", "left at the provider")  # fmt: skip
    return table(head, rows, "No deployments.", "Deployments")


def _unpriced(unknown: bool) -> Child:
    return el("span", " unpriced", class_="warn") if unknown else None


def _workers(parts: list[Standings]) -> Html:
    rows: list[tuple[Child, ...]] = []
    for part in parts:
        load = part.load
        busy = load.get("pressure", 0.0)
        room = f"{load.get('active', 0.0):.0f} of {load.get('room', 0.0):.0f}"
        bar = join(share(busy, "over" if busy >= 0.95 else "near" if busy >= 0.7 else ""), f" {busy:.0%}")
        rows.append(
            (
                str(part.worker),
                part.config,
                bar,
                room,
                f"{load.get('lag_ms', 0.0):.1f} ms",
                f"{load.get('memory', 0.0):.0%}",
            )
        )
    head = ("worker", "config", "busy", ">under way", ">loop lag", ">memory")
    return table(head, rows, "No worker runs.", "Workers")


def _alerts(alerts: list[Alert]) -> Html:
    rows: list[tuple[Child, ...]] = [(moment(one.at_ms), clean(one.about), clean(one.what)) for one in alerts]
    return table(("noticed", "about", "what"), rows, "Nothing was alerted of since this process started.", "Alerts")


def _figure(value: float) -> str:
    return f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < 100 else f"{value:.0f}"
