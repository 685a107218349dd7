"""Story: one request: why it went where it went, what was tried, and what that cost. Pure: values in, HTML out."""

from __future__ import annotations

from typing import Any

from pointsman.control.dashboard.charts import time_line
from pointsman.control.dashboard.frame import Shell, framed, moment, to
from pointsman.control.dashboard.money import charge_of
from pointsman.control.dashboard.requests import outcome_of
from pointsman.control.explanation import REASONS, Candidate, Explanation
from pointsman.control.figures import clean, dollars, judged, milliseconds, told
from pointsman.control.html import Child, Html, el, join, table
from pointsman.core.pricing import Price, Rates

TOKENS_PER_RATE = 1_000_000
# Class of tokens -> its column, its rate, and the classes that are told of by themselves and are part of it.
CLASSES: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("input", "input_tokens", "input",
     ("cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "input_audio_tokens")),
    ("input from the provider's cache", "cache_read_tokens", "cache_read", ()),
    ("input written to its cache, 5 min", "cache_write_5m_tokens", "cache_write_5m", ()),
    ("input written to its cache, 1 h", "cache_write_1h_tokens", "cache_write_1h", ()),
    ("audio input", "input_audio_tokens", "input_audio", ()),
    ("output", "output_tokens", "output", ("reasoning_tokens", "output_audio_tokens")),
    ("thinking", "reasoning_tokens", "reasoning", ()),
    ("audio output", "output_audio_tokens", "output_audio", ()),
)  # fmt: skip


def story_page(shell: Shell, made: Explanation, prices: dict[str, Price], *, stores_bodies: bool = False) -> str:
    """Return the page; `prices` are those of the deployments in the config that is served; `stores_bodies`: this one may be
    stored."""
    row = made.request
    state = join(outcome_of(row["outcome"]), f" · {milliseconds(row['total_us'])} · ", charge_of(row, 9))
    return framed(
        shell,
        "Request",
        el("p", el("code", made.id), " at ", moment(row["at_ms"]), " · ", state),
        el("h2", "Why"),
        *[el("p", clean(sentence)) for sentence in made.why],
        el("h2", "Attempts"),
        el("div", time_line(made.attempts, row["total_us"]), class_="panel") if made.attempts else None,
        _attempts(made.attempts),
        el("h2", "Candidates"),
        _candidates(made.candidates),
        el("h2", "Cost"),
        *_costs(made.attempts, prices),
        *([el("h2", "Feedback"), _feedback(made.feedback)] if made.feedback else []),
        el("h2", "Figures"),
        el("dl", *[join(el("dt", name), el("dd", text)) for name, text in told(row).items()], class_="facts"),
        _like(row),
        el("details", el("summary", "What the decision looked at"), _facts(made.facts)) if made.facts else None,
        *(_stored(made.id) if stores_bodies and shell.may_read_bodies else ()),
        aside=el("a", "All requests", href="/requests"),
    )


def _stored(id: str) -> tuple[Html, Html]:
    link = el("a", "What is stored of it", href=f"/requests/{id}/bodies")
    return el("h2", "Request and answer"), el("p", link, "; that you looked goes into the audit log.")


def _attempts(attempts: list[dict[str, Any]]) -> Html:
    rows: list[tuple[Child, ...]] = [
        (
            a["n"],
            clean(a["deployment"]),
            clean(f"{a['provider']} · {a['model']}"),
            outcome_of(a["outcome"]),
            str(a["status"] or "-"),
            milliseconds(a["connect_us"]),
            milliseconds(a["ttft_us"]),
            milliseconds(a["total_us"]),
            charge_of(a),
            clean(a["message"][:160]) or "-",
        )
        for a in attempts
    ]
    head = (
        ">n",
        "deployment",
        "provider · model",
        "outcome",
        ">status",
        ">connect",
        ">first token",
        ">total",
        ">cost",
        "message",
    )
    return table(head, rows, "Nothing was sent.", "Attempts")


def _candidates(candidates: list[Candidate]) -> Html:
    rows: list[tuple[Child, ...]] = [
        (
            str(c.rank or "-"),
            el("b", clean(c.deployment)) if c.rank == 1 else clean(c.deployment),
            "-" if c.probability is None else f"{c.probability:.3f}",
            "-" if c.score is None else f"{c.score:.4g}",
            f"{c.ttft_ms:.0f} ms",
            f"{c.tokens_per_s:.0f}",
            "never: a guess" if c.measured_s_ago is None else f"{c.measured_s_ago:.1f} s before",
            REASONS.get(c.reason, c.reason) + (f", last failure {c.last_failure}" if c.last_failure else ""),
        )
        for c in candidates
    ]
    head = (">plan", "deployment", ">probability", ">score", ">first token expected", ">tokens/s", "measured", "state")
    return table(head, rows, "The decision is not readable any more.", "Candidates")


def _costs(attempts: list[dict[str, Any]], prices: dict[str, Price]) -> list[Child]:
    """Return what each class of tokens cost, where the price that is served now accounts for the charge; else the sum alone."""
    rows: list[tuple[Child, ...]] = []
    whole = True
    for a in attempts:
        parts = _parts(a, prices.get(a["deployment"]))
        nano = [part[3] for part in parts if part[3] is not None]
        adds_up = abs(sum(nano) - (a["charge_nano"] or 0)) <= len(parts)  # each is rounded
        whole = whole and (adds_up or not a["charge_nano"])
        for name, tokens, rate, cost in parts:
            told = (dollars(rate, 6), dollars(cost, 9)) if adds_up and rate is not None else ("-", "-")
            rows.append((a["n"], clean(a["deployment"]), name, f"{tokens:,}".replace(",", " "), *told))
        rows.append((a["n"], clean(a["deployment"]), el("b", "charged"), "", "", el("b", charge_of(a, 9))))
    head = (">attempt", "deployment", "tokens of", ">count", ">a million", ">cost")
    made: list[Child] = [table(head, rows, "Nothing was sent, so nothing was charged.", "Cost")]
    if not whole:
        why = (
            "Where the price has changed since, or depends on size, time of day or service tier, only the sum is shown."
        )
        made.append(el("p", why, class_="quiet"))
    return made


def _parts(attempt: dict[str, Any], price: Price | None) -> list[tuple[str, int, int | None, int | None]]:
    """Return each class of tokens that an attempt used: its name, how many, what a million cost, what these cost."""
    rates = price.rates if price is not None and price.version == attempt["price_version"] else None
    found: list[tuple[str, int, int | None, int | None]] = []
    for name, column, rate_name, within in CLASSES:
        tokens = attempt[column] - sum(attempt[part] for part in within)
        rate = _rate(rates, rate_name)
        if tokens > 0:
            found.append((name, tokens, rate, None if rate is None else tokens * rate // TOKENS_PER_RATE))
    if rates is not None and rates.request and found:
        found.append(("the call itself", 1, rates.request, rates.request))
    return found


def _rate(rates: Rates | None, name: str) -> int | None:
    """Return the rate of a class: one that has none of its own costs what the class costs that contains it."""
    if rates is None:
        return None
    own: int | None = getattr(rates, name)
    if own is not None:
        return own
    return rates.output if name in ("reasoning", "output_audio") else rates.input


def _feedback(given: list[dict[str, Any]]) -> Html:
    rows: list[tuple[Child, ...]] = [(moment(each["at_ms"]), *judged(each)) for each in given]
    return table(("at", "about", "score", "from", "words"), rows, "None.", "Feedback")


def _like(row: dict[str, Any]) -> Html:
    fields = ("route", "key", "session")
    links = [el("a", f"of this {name}", href=to("/requests", **({"q": row[name]} if name == "session" else {name: row[name]})))
             for name in fields if row[name]]  # fmt: skip
    return el("p", "Other requests: ", *[join(link, " · ") for link in links[:-1]], links[-1]) if links else el("p")


def _facts(facts: dict[str, Any]) -> Html:
    parts = [join(el("dt", name.replace("_", " ")), el("dd", clean(_plain(value)))) for name, value in facts.items()]
    return el("dl", *parts, class_="facts")


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} = {_plain(one)}" for name, one in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_plain, value)) or "none"
    return "not given" if value is None else str(value)
