"""Deployment: one deployment: how each worker sees it, how its sends end, what it costs. Pure: values in, HTML out."""

from __future__ import annotations

from typing import Any

import msgspec

from pointsman.control.dashboard import cells
from pointsman.control.dashboard.frame import Shell, framed, moment, to
from pointsman.control.dashboard.money import sum_of
from pointsman.control.dashboard.requests import outcome_of
from pointsman.control.dashboard.routes import spent
from pointsman.control.dashboard.usage import hours_chart
from pointsman.control.figures import clean, count, dollars, milliseconds, money
from pointsman.control.html import Child, Html, el, table
from pointsman.control.rates import Alert
from pointsman.core.policy import Deployment, Provider
from pointsman.core.pricing import Price, Rates
from pointsman.core.standing import Standing
from pointsman.stores.browsing import Sum
from pointsman.stores.price_history import Noted

MOST_PRICES = 20  # listed, the newest
RATES = {
    "input": "input",
    "output": "output",
    "cache_read": "input from the provider's cache",
    "cache_write_5m": "input kept for 5 minutes",
    "cache_write_1h": "input kept for an hour",
    "reasoning": "thinking",
    "input_audio": "audio in",
    "output_audio": "audio out",
}


class Of(msgspec.Struct, frozen=True):
    """Hold what the ledger says of one deployment: all its sends, how they ended, the requests that it answered by hour."""

    all: dict[str, Any]
    ends: list[dict[str, Any]]
    hours: list[Sum]
    today: Sum
    month: Sum
    prices: list[Noted]


class View(msgspec.Struct, frozen=True):
    """Hold all that the page shows. `workers`: number of a worker, and how it sees the deployment; `alerted`: how often it was
    alerted of since the workers started, by what. `of` is None when it did not come in time."""

    deployment: Deployment
    provider: Provider | None
    routes: list[str]
    workers: list[tuple[int, Standing]]
    rate: float
    alerts: list[Alert]
    alerted: dict[str, int]
    window: str
    of: Of | None
    trouble: str = ""


def deployment_page(shell: Shell, view: View) -> str:
    """Return the page."""
    one, of = view.deployment, view.of
    parts: list[Child] = [cells.windows("/providers", view.window, deployment=one.name), cells.notice(view.trouble)]
    if of is not None:
        parts += [_cards(view, of), el("div", hours_chart(of.hours), class_="panel") if of.hours else None]
        parts += [el("h2", "How sends ended"), _ends(view, of), el("h2", "Times"), _times(of)]
    parts += [
        el("h2", "Breaker, as each worker has it"),
        _breakers(view),
        el("h2", "Alerts"),
        _alerts(view),
        el("h2", "Price"),
        *_prices(one.price),
        _history(of.prices) if of is not None and of.prices else None,
        el("h2", "Facts"),
        _facts(view),
    ]
    links = el(
        "span",
        el("a", "requests that it answered", href=to("/requests", deployment=one.name)),
        " · ",
        el("a", "its usage", href=to("/usage", deployment=one.name, by="route")),
        " · ",
        el("a", "all providers", href=to("/providers", since=view.window)),
    )
    return framed(shell, f"Deployment {clean(one.name)}", *parts, aside=links)


def _cards(view: View, of: Of) -> Html:
    wrong = of.all["attempt_error_rate"]
    return cells.cards([
        ("Sends", count(of.all["attempts"]), cells.WINDOWS[view.window], ""),
        ("Now", cells.rate(view.rate), "of the last minute", ""),
        ("Errors", cells.percent(wrong), "of the sends", cells.error_state(wrong)),
        ("First token", milliseconds(of.all["ttft_p95_us"]), "95th percentile", ""),
        ("Tokens", cells.figure(of.all["tokens_per_s"], "tokens_per_s"), "a second, of streams", ""),
        ("Today", money(spent(of.today)), sum_of(of.today), ""),
        ("This month", money(spent(of.month)), sum_of(of.month), ""),
    ])  # fmt: skip


def _ends(view: View, of: Of) -> Html:
    whole = sum(row["attempts"] for row in of.ends)
    rows: list[tuple[Child, ...]] = []
    for row in sorted(of.ends, key=lambda each: -each["attempts"]):
        asked = to("/requests", q=view.deployment.name, outcome=row["outcome"], since=view.window)
        number = count(row["attempts"])
        rows.append((outcome_of(row["outcome"]), el("a", number, href=asked), cells.part(row["attempts"] / whole)))
    empty = f"Nothing was sent to it in the {cells.WINDOWS[view.window]}."
    return table(("outcome", ">sends", "share"), rows, empty, "How sends ended")


def _times(of: Of) -> Html:
    names = {"ttft": "first token", "total": "total"}
    rows: list[tuple[Child, ...]] = [
        (told, *[milliseconds(of.all[f"{name}_p{percent}_us"]) for percent in (50, 95, 99)])
        for name, told in names.items()
    ]
    return table(("time", ">p50", ">p95", ">p99"), rows, "None.", "Times")


def _breakers(view: View) -> Html:
    rows: list[tuple[Child, ...]] = []
    for number, one in view.workers:
        told, state = cells.state_of(one)
        rows.append((
            str(number), el("span", told, class_=state), str(one.failures), str(one.unreachable), str(one.ejections),
            clean(one.last_failure) or "-", cells.percent(one.success),
            "-" if one.measured_s_ago is None else f"{one.ttft_ms:.0f} ms",
            "never" if one.measured_s_ago is None else f"{one.measured_s_ago:.1f} s ago", cells.allowed(one),
        ))  # fmt: skip
    head = ("worker", "state", ">failures in a row", ">unreachable", ">ejections", "last failure", ">ok, 30 s",
            ">first token expected", "measured", "left of our quota")  # fmt: skip
    return table(head, rows, "No worker has said anything for five seconds.", "Breaker")


def _alerts(view: View) -> Html:
    rows: list[tuple[Child, ...]] = [(moment(one.at_ms), clean(one.what), "") for one in view.alerts]
    rows += [("since the workers started", clean(what), f"{number} times") for what, number in view.alerted.items()]
    return table(("noticed", "what", "how often"), rows, "It was not alerted of since the workers started.", "Alerts")


def _prices(price: Price | None) -> list[Child]:
    if price is None:
        told = "What it costs is not known: requests to it are booked as unpriced."
        return [el("p", told, class_="empty")]
    kinds: list[tuple[str, Rates]] = [("always", price.rates)] if not (price.tiers or price.windows) else []
    if not kinds:
        kinds.append(("else", price.rates))
    kinds += [(f"over {tier.over_input_tokens:,} tokens in".replace(",", " "), tier.rates) for tier in price.tiers]
    kinds += [(f"{_clock(one.start)} to {_clock(one.until)} UTC", one.rates) for one in price.windows]
    kinds += [(f"service tier {clean(name)}", rates) for name, rates in price.variants.items()]
    shown = [name for name in RATES if any(getattr(rates, name) is not None for _, rates in kinds)]
    calls = any(rates.request for _, rates in kinds)
    rows: list[tuple[Child, ...]] = [
        (
            when,
            *["-" if getattr(rates, name) is None else dollars(getattr(rates, name), 6) for name in shown],
            *([dollars(rates.request, 9)] if calls else []),
        )
        for when, rates in kinds
    ]
    head = ("holds", *[f">{RATES[name]}" for name in shown], *([">a call"] if calls else []))
    told = f"For a million tokens, from {clean(price.source)}, version {clean(price.version)}."
    return [table(head, rows, "None.", "Price"), el("p", told, class_="quiet")]


def _history(noted: list[Noted]) -> Html:
    """Return which price was in force since when, the newest first."""
    rows: list[tuple[Child, ...]] = []
    for one in noted[::-1][:MOST_PRICES]:
        rates = None if one.price is None else one.price.rates
        rows.append((
            moment(one.at_ms),
            "unpriced" if rates is None else dollars(rates.input, 6),
            "-" if rates is None else dollars(rates.output, 6),
            clean(one.source) or "-",
            el("code", clean(one.version)),
            clean(one.note),
            el("code", clean(one.config_version)),
        ))  # fmt: skip
    head = ("in force since", ">input", ">output", "from", "version", "note", "config")
    return table(head, rows, "None.", "Prices over time")


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _facts(view: View) -> Html:
    one, facts = view.deployment, view.deployment.facts
    known = {
        "context": facts.context_tokens,
        "output at most": facts.max_output_tokens,
        "reads": None if facts.modalities is None else ", ".join(facts.modalities),
        "tools": facts.tools,
        "JSON schema": facts.json_schema,
        "thinks": facts.reasoning,
        "retires": facts.retires,
    }
    told = {name: _plain(value) for name, value in known.items()}
    routes: list[Child] = []
    for name in view.routes:
        routes += [", " if routes else "", el("a", clean(name), href=to("/routes", route=name))]
    sources = ", ".join(sorted(set(facts.sources.values())))
    return cells.facts({
        "provider": clean(one.provider),
        "speaks": "" if view.provider is None else view.provider.dialect,
        "model": clean(one.wire.model),
        "region": clean(one.region),
        "at a time": "" if one.concurrency is None else str(one.concurrency),
        "routes": el("span", *routes) if routes else "",
        "quality": ", ".join(f"{name} {value:g}" for name, value in one.quality.items()),
        **told,
        "known from": clean(sources),
    })  # fmt: skip


def _plain(value: object) -> str:
    if value is None:
        return "unknown"
    return ("yes" if value else "no") if isinstance(value, bool) else clean(str(value))
