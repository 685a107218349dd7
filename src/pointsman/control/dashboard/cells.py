"""Cells: figures as pages have them, each with the word or colour that says what to think of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pointsman.control.dashboard.charts import share
from pointsman.control.dashboard.frame import select
from pointsman.control.figures import clean, count, milliseconds, money
from pointsman.control.html import Child, Html, el, join
from pointsman.core.standing import Standing

WARN, BAD = 0.02, 0.2  # shares of errors from which they are shown in colour
NEAR = 0.8  # of a bound
WINDOWS = {"1h": "last hour", "24h": "last 24 hours", "7d": "last 7 days"}  # that figures may be of
STATES = {
    "closed": ("healthy", "good"),
    "half_open": ("half open", "warn"),
    "cooling": ("cooling", "warn"),
    "open": ("open", "bad"),
}
Cards = list[tuple[str, Child, Child, str]]  # name, figure, what stands below it, state


def cards(made: Cards) -> Html:
    """Return figures as cards."""
    each = [
        el("div", el("dt", name), el("dd", big, class_=f"big {state}".strip()), el("dd", small, class_="quiet small"))
        for name, big, small, state in made
    ]
    return el("dl", *each, class_="cards")


def percent(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{100 * value:.{digits}f} %"


def errors(value: float | None) -> Child:
    """Return a share of errors, coloured when there are many."""
    return el("span", percent(value), class_=error_state(value))


def error_state(value: float | None) -> str:
    return "bad" if value is not None and value >= BAD else "warn" if value is not None and value >= WARN else ""


def part(value: float, state: str = "") -> Html:
    """Return a share of something with its bar; `state`: near or over."""
    word = {"over": "bad", "near": "warn"}.get(state, "")
    told = percent(value, 1 if 0.0 < value < 0.01 else 0)
    return el("span", share(value, state), el("span", f" {told}", class_=word), class_="nowrap")


def figure(value: Any, unit: str) -> Child:
    """Return a measure of a report in its unit (`stores/report.py:Column`); None is unknown."""
    if value is None:
        return "-"
    if unit in ("count", "tokens"):
        return count(int(value))
    if unit == "nano":
        return money(round(value))
    if unit == "us":
        return milliseconds(round(value))
    if unit == "share":
        return percent(value)
    return f"{value:.2f}" if unit == "score" else f"{value:.0f}"


def cost(row: Mapping[str, Any]) -> Child:
    """Return what requests cost together, of a report's measured_nano, estimated_nano and unpriced."""
    parts: list[Child] = []
    if row["measured_nano"] or not row["estimated_nano"]:
        parts += [money(row["measured_nano"]), " measured"]
    if row["estimated_nano"]:
        parts += [" + " if parts else "", money(row["estimated_nano"]), el("span", " estimated", class_="warn")]
    if row["unpriced"]:
        parts += [" + ", el("span", f"{count(row['unpriced'])} unpriced", class_="warn")]
    return join(*parts)


def rate(value: float) -> str:
    """Return events a second."""
    return (
        "-" if not value else f"{value:.2f}/s" if value < 1 else f"{value:.1f}/s" if value < 100 else f"{value:.0f}/s"
    )


def state_of(one: Standing | None) -> tuple[str, str]:
    """Return how a deployment is, in words, and as good, warn, bad or nothing."""
    if one is None:
        return "nothing known", ""
    told, state = STATES[one.breaker]
    if one.breaker == "closed" and one.share < 1.0:
        return f"ramping up, {one.share:.0%}", "warn"
    return told + (f" for {one.again_ms / 1000:.0f} s" if one.again_ms else ""), state


def allowed(one: Standing | None) -> Child:
    """Say what the provider said last of our own quota with it."""
    if one is None or not one.allowed:
        return "-"
    return join(*[
        el("span", share(1 - left / limit if limit else 1.0, "near" if limit and left < limit / 5 else ""),
           f" {count(left)} of {count(limit)} {measure} ", class_="nowrap")
        for measure, (limit, left, _) in one.allowed.items()
    ])  # fmt: skip


def windows(path: str, chosen: str, **kept: str) -> Html:
    """Return the choice of the time that figures are of."""
    hidden = [el("input", type="hidden", name=name, value=value) for name, value in kept.items()]
    choice = select("since", "Figures of the", list(WINDOWS.items()), chosen)
    button = el("button", "Show", type="submit")
    return el("form", *hidden, choice, button, method="get", action=path, class_="filter")


def facts(pairs: Mapping[str, Child]) -> Html:
    """Return what is said of one thing, by topic; what is empty is left out."""
    said = [join(el("dt", name), el("dd", value)) for name, value in pairs.items() if value not in ("", None)]
    return el("dl", *said, class_="facts")


def notice(text: str) -> Child:
    """Return what is in the way, if anything is."""
    return el("p", clean(text), class_="notice", role="status") if text else None
