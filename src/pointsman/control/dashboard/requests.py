"""Requests: the list of them, by what one looks for. Pure: values in, HTML out."""

from __future__ import annotations

from typing import Any

import msgspec

from pointsman.control.dashboard.frame import Shell, field, framed, moment, select, to
from pointsman.control.dashboard.money import charge_of
from pointsman.control.figures import clean, count, milliseconds
from pointsman.control.html import Child, Html, el, join, table
from pointsman.core.outcome import Kind
from pointsman.stores.browsing import LOOKED, MOST_WORDS, Found, Search

PERIODS = {"1h": "last hour", "24h": "last 24 hours", "7d": "last 7 days", "30d": "last 30 days", "": "any time"}
FAILED = "failed"  # not an outcome, but all those that clients saw as a failure
FILTERS = ("route", "deployment", "model", "provider", "key", "team", "project", "organisation")
OUTCOMES = tuple(dict.fromkeys((*(kind.value for kind in Kind), "degraded", "recovered")))


class Wish(msgspec.Struct, frozen=True):
    """Hold what somebody looks for, as it stands in the address."""

    q: str = ""
    since: str = ""
    outcome: str = ""
    where: dict[str, str] = {}
    before: int = 0

    def search(self, since_ms: int) -> Search:
        """Return it as a question to the ledger."""
        where = dict(self.where)
        if self.outcome and self.outcome != FAILED:
            where["outcome"] = self.outcome
        words = tuple(self.q.split()[:MOST_WORDS])
        return Search(where, words, self.outcome == FAILED, since_ms, self.before)

    def link(self, **changes: Any) -> str:
        """Return the address of the list with something else in it."""
        said = {
            "q": self.q,
            "since": self.since,
            "outcome": self.outcome,
            "before": self.before,
            **self.where,
        } | changes
        return to("/requests", **said)


def requests_page(shell: Shell, wish: Wish, found: Found | None, trouble: str = "") -> str:
    """Return the page; without `found`, the trouble that is in the way."""
    parts: list[Child] = [_form(wish), _chips(wish)]
    if found is None:
        parts.append(el("p", trouble, class_="empty", role="alert"))
    else:
        parts += [_list(found.rows, wish), _more(found, wish)]
    return framed(shell, "Requests", *parts)


def _form(wish: Wish) -> Html:
    kept = [
        el("input", type="hidden", name=name, value=value) for name, value in wish.where.items() if name not in _FIELDS
    ]
    outcomes = [("", "any"), (FAILED, "failed, of any kind"), *((one, one.replace("_", " ")) for one in OUTCOMES)]
    return el(
        "form",
        field(
            "q", "Text or id", wish.q, type="search", placeholder="id, model, session, tag, message", maxlength="200"
        ),
        *[field(name, name.capitalize(), wish.where.get(name, ""), maxlength="128") for name in _FIELDS],
        select("outcome", "Outcome", outcomes, wish.outcome),
        select("since", "Time", list(PERIODS.items()), wish.since),
        *kept,
        el("button", "Find", type="submit", class_="primary"),
        method="get",
        action="/requests",
        class_="filter",
        role="search",
    )


_FIELDS = ("route", "deployment", "key")


def _chips(wish: Wish) -> Child:
    said = {**({"text": wish.q} if wish.q else {}), **({"outcome": wish.outcome} if wish.outcome else {}), **wish.where}
    if not said:
        return None
    names = {"text": "q"}
    chips = [
        el("span", clean(f"{name}: {value} "), el("a", "×", href=wish.link(**{names.get(name, name): "", "before": 0}),
                                                   aria_label=f"without {name}"), class_="chip")
        for name, value in said.items()
    ]  # fmt: skip
    return el("p", *chips)


def _list(rows: list[dict[str, Any]], wish: Wish) -> Html:
    nothing = not (wish.q or wish.outcome or wish.where or wish.since or wish.before)
    empty = "No request was booked yet. The first one stands here some seconds after it ended." if nothing else (
        "None is like that."
    )  # fmt: skip
    head = (
        "at",
        "outcome",
        "route",
        "answered by",
        "key",
        ">tokens in",
        ">out",
        ">first token",
        ">total",
        ">cost",
    )
    return table(head, [_row(row) for row in rows], empty, "Requests, the newest first")


def _row(row: dict[str, Any]) -> tuple[Child, ...]:
    sends = el("span", f" {row['attempts']} sends", class_="tag") if row["attempts"] > 1 else None
    return (
        el("a", moment(row["at_ms"]), href=f"/requests/{row['id']}"),
        outcome_of(row["outcome"]),
        clean(row["route"]),
        join(clean(row["deployment"]) or "nobody", sends),
        clean(row["key"]),
        count(row["input_tokens"]),
        count(row["output_tokens"]),
        milliseconds(row["ttft_us"]),
        milliseconds(row["total_us"]),
        charge_of(row),
    )


def outcome_of(outcome: str) -> Html:
    """Return an outcome, coloured by whether it is one that a client wanted."""
    state = "good" if outcome == "ok" else "warn" if outcome in ("client_gone", "degraded") else "bad"
    return el("span", clean(outcome.replace("_", " ")), class_=state)


def _more(found: Found, wish: Wish) -> Child:
    links: list[Child] = []
    if wish.before:
        links.append(el("a", "Newest", href=wish.link(before=0)))
    if found.next:
        links.append(
            el("a", "Look further back" if found.cut else "Older", href=wish.link(before=found.next), rel="next")
        )
    cut = (
        el("p", f"Looked at {LOOKED:,} requests; there are older ones.".replace(",", " "), class_="quiet")
        if found.cut
        else None
    )
    return join(cut, el("p", *links, class_="pager")) if links else None
