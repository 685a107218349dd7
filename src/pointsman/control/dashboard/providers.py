"""Providers: each with what it costs, and each deployment with how it does now and did of late. Pure: values in, HTML out."""

from __future__ import annotations

from typing import Any

import msgspec

from pointsman.control.dashboard import cells
from pointsman.control.dashboard.frame import Shell, framed, to
from pointsman.control.dashboard.money import sum_of
from pointsman.control.figures import clean, count, milliseconds
from pointsman.control.html import Child, Html, el, table
from pointsman.core.policy import Deployment, Policy
from pointsman.core.pricing import usd
from pointsman.core.standing import Standing
from pointsman.stores.browsing import Sum

MOST = 500  # deployments listed
MEASURES = (
    *("attempts", "attempt_error_rate", "ttft_p50_us", "ttft_p95_us", "ttft_p99_us"),
    *("total_p50_us", "total_p95_us", "total_p99_us", "tokens_per_s"),
)
TIMES = MEASURES[2:8]


class Providers(msgspec.Struct, frozen=True):
    """Hold all that the page shows. `standings`: the worst that a worker says of a deployment, and how many say that it is
    away; `rates`: requests a second by deployment; `figures` of the window by deployment, None when they did not come in
    time; `today` and `month`: sums of this UTC day and month by provider."""

    policy: Policy
    standings: dict[str, tuple[Standing, int]]
    workers: int
    rates: dict[str, float]
    window: str
    figures: dict[str, dict[str, Any]] | None
    today: dict[str, Sum]
    month: dict[str, Sum]
    trouble: str = ""


def providers_page(shell: Shell, given: Providers) -> str:
    """Return the page."""
    parts: list[Child] = [
        cells.notice(given.trouble),
        _providers(given),
        el("h2", "Deployments"),
        _deployments(given),
        el("h2", "Sends"),
        cells.windows("/providers", given.window),
        _sends(given),
        el("p", "Figures are of sends: one that failed counts here, though another may have answered.", class_="quiet"),
    ]
    return framed(shell, "Providers", *parts)


def _providers(given: Providers) -> Html:
    rows: list[tuple[Child, ...]] = []
    for name, provider in given.policy.providers.items():
        own = [one.name for one in given.policy.deployments if one.provider == name]
        away = [one for one in own if one in given.standings and given.standings[one][0].breaker != "closed"]
        told = f"{len(own) - len(away)} of {len(own)}"
        rows.append((
            el("a", clean(name), href=to("/usage", provider=name, by="model", since="30d")),
            provider.dialect,
            el("span", told + (f": not {clean(', '.join(away[:3]))}" if away else ""), class_="bad" if away else ""),
            cells.rate(sum(given.rates.get(one, 0.0) for one in own)),
            _sum(given.today.get(name)),
            _sum(given.month.get(name)),
        ))  # fmt: skip
    head = (
        "provider",
        "speaks",
        "deployments that take requests",
        ">now",
        ">today",
        ">this month",
    )
    return table(head, rows, "The config has no providers.", "Providers")


def _sum(found: Sum | None) -> Child:
    return "-" if found is None else sum_of(found)


def _deployments(given: Providers) -> Html:
    rows: list[tuple[Child, ...]] = []
    for one in given.policy.deployments[:MOST]:
        standing, away = given.standings.get(one.name, (None, 0))
        told, state = cells.state_of(standing)
        if away and given.workers > 1:
            told += f" ({away} of {given.workers} workers)"
        rows.append((
            _name(given, one),
            clean(f"{one.provider} · {one.wire.model}"),
            el("span", told, class_=state),
            cells.rate(given.rates.get(one.name, 0.0)),
            "-" if standing is None else cells.percent(standing.success),
            failure(standing),
            cells.allowed(standing),
            price_of(one),
        ))  # fmt: skip
    head = ("deployment", "provider · model", "state", ">now", ">ok, 30 s", "failures", "left of our quota",
            "a million tokens, in / out")  # fmt: skip
    return table(head, rows, "The config has no deployments.", "Deployments")


def _sends(given: Providers) -> Html:
    rows: list[tuple[Child, ...]] = []
    for one in given.policy.deployments[:MOST]:
        seen = (given.figures or {}).get(one.name)
        if seen is not None:
            times = [milliseconds(seen[name]) for name in TIMES]
            speed = cells.figure(seen["tokens_per_s"], "tokens_per_s")
            wrong = cells.errors(seen["attempt_error_rate"])
            rows.append((_name(given, one), count(seen["attempts"]), wrong, *times, speed))
    head = ("deployment", ">sends", ">errors", ">first token p50", ">p95", ">p99", ">total p50", ">p95", ">p99",
            ">tokens/s")  # fmt: skip
    return table(head, rows, f"Nothing was sent in the {cells.WINDOWS[given.window]}.", "Sends")


def _name(given: Providers, one: Deployment) -> Html:
    return el("a", clean(one.name), href=to("/providers", deployment=one.name, since=given.window))


def price_of(one: Deployment) -> Child:
    """Return what a million tokens cost, in and out."""
    if one.price is None:
        return el("span", "unpriced", class_="warn")
    rates = one.price.rates
    more = one.price.tiers or one.price.windows or one.price.variants
    told = f"${usd(rates.input, 4)} / ${usd(rates.output, 4)}"
    return el("span", told, el("span", " and more", class_="quiet") if more else None, title=clean(one.price.source))


def failure(one: Standing | None) -> str:
    if one is None:
        return "-"
    return clean(f"{one.failures} × {one.last_failure}" if one.failures else one.last_failure or "-")
