"""Pages: the read-only status page and the explanation of one request. Pure: values in, HTML out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from pointsman.control.explanation import REASONS, Candidate, Explanation
from pointsman.control.figures import bar, clean, count, dollars, judged, milliseconds, money, told
from pointsman.control.html import Child, Html, el, join, page, table
from pointsman.core.policy import Policy
from pointsman.observe.metrics import BREAKER_VALUES
from pointsman.stores.ledger import UsageRow

REFRESH_S = 5
PERIODS = ("1h", "24h", "7d")
_BREAKER_NAMES = {value: name.replace("_", " ") for name, value in BREAKER_VALUES.items()}
_BREAKER_CLASSES = {"closed": "good", "half open": "warn", "cooling": "warn", "open": "bad"}


class Status(msgspec.Struct, frozen=True):
    """Hold everything the status page shows. `trouble` is said instead of what the ledger could not answer."""

    version: str
    policy: Policy
    since: str
    workers: int
    active: int
    lag_bytes: int
    breakers: dict[str, int]
    total: UsageRow
    routes: dict[str, UsageRow]
    deployments: dict[str, UsageRow]
    recent: list[dict[str, Any]]  # newest first
    reload: dict[str, Any]  # the outcome of the last look at the config: stores.versions.outcome
    trouble: str = ""


def status_page(s: Status) -> str:
    """Return the status page."""
    return page(
        "Pointsman",
        _header(s),
        *_reload(s.reload),
        el("p", s.trouble, class_="bad") if s.trouble else None,
        _cards(s),
        el("h2", "Routes"),
        _routes(s),
        el("h2", "Deployments"),
        _deployments(s),
        el("h2", f"Last {len(s.recent)} requests" if s.recent else "Requests"),
        _recent(s.recent),
        refresh_s=REFRESH_S,
    )


def explain_page(made: Explanation) -> str:
    """Return the page of one request: why it went where it went, and what became of it."""
    figures = [join(el("dt", name), el("dd", text)) for name, text in told(made.request).items()]
    return page(
        f"{made.id} · Pointsman",
        el("header", el("h1", "Request"), el("code", made.id), el("a", "all requests", href="/")),
        *[el("p", clean(sentence)) for sentence in made.why],
        el("h2", "Candidates"),
        _candidates(made.candidates),
        el("h2", "Attempts"),
        _attempts(made),
        *([el("h2", "Feedback"), _feedback(made.feedback)] if made.feedback else []),
        el("h2", "Figures"),
        el("dl", *figures),
    )


def message_page(title: str, text: str) -> str:
    """Return a page that says one thing."""
    return page(f"{title} · Pointsman", el("h1", title), el("p", text), el("p", el("a", "back", href="/")))


def _header(s: Status) -> Html:
    periods = [el("b", p) if p == s.since else el("a", p, href=f"/?since={p}") for p in PERIODS]
    return el(
        "header",
        el("h1", "Pointsman"),
        el("span", f"{s.version} · config {s.policy.version} from {clean(s.policy.source)}", class_="quiet"),
        el("span", f"{s.workers} worker{'' if s.workers == 1 else 's'}", class_="" if s.workers else "bad"),
        el("span", f"{s.active} under way"),
        el("span", f"ledger {count(s.lag_bytes)} bytes behind", class_="warn") if s.lag_bytes > 1_000_000 else None,
        el("span", *[join(p, " ") for p in periods]),
    )


def _reload(last: dict[str, Any]) -> list[Html]:
    """Say what the operator should know of the last reload: why it failed, what waits for a restart."""
    lines = [el("p", clean(str(text)), class_="warn") for text in last.get("restart", ())]
    if not last.get("ok", True):
        when = _moment(last["at_ms"])
        lines.append(el("p", clean(f"Config not changed at {when} UTC: {last['error']}"), class_="bad"))
    return lines


def _cards(s: Status) -> Html:
    t = s.total
    cost = money(t.measured_nano + t.estimated_nano)
    parts = [f"{money(t.estimated_nano)} of it estimated"] if t.estimated_nano else []
    parts += [f"+{count(t.unpriced)} unpriced"] if t.unpriced else []
    cards = [
        ("requests", count(t.requests), f"in {s.since}"),
        ("errors", count(t.errors), _share(t.errors, t.requests)),
        ("failed over", count(t.failovers), _share(t.failovers, t.requests)),
        ("first token p50", milliseconds(t.ttft_p50_us), f"p95 {milliseconds(t.ttft_p95_us)}"),
        ("tokens in", count(t.input_tokens), f"{_share(t.cached_tokens, t.input_tokens)} from cache"),
        ("tokens out", count(t.output_tokens), ""),
        ("cost", cost, ", ".join(parts)),
    ]
    if t.feedback is not None:
        cards.append(("feedback", f"{t.feedback:.2f}", f"mean of {count(t.feedback_count)}"))
    return el(
        "div",
        *[
            el("div", el("span", name, class_="quiet"), el("b", big), el("span", small, class_="quiet"))
            for name, big, small in cards
        ],
        class_="cards",
    )


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


_SUM_HEAD = (">requests", ">errors", ">ttft p50", ">ttft p95", ">tokens in", ">tokens out", ">cost")


def _sums(row: UsageRow | None) -> tuple[Child, ...]:
    if row is None:
        return ("0", *["-"] * (len(_SUM_HEAD) - 1))
    cost = money(row.measured_nano + row.estimated_nano) + (f" +{count(row.unpriced)} unpriced" if row.unpriced else "")
    return (
        count(row.requests),
        el("span", count(row.errors), class_="bad") if row.errors else "-",
        milliseconds(row.ttft_p50_us),
        milliseconds(row.ttft_p95_us),
        count(row.input_tokens),
        count(row.output_tokens),
        cost,
    )


def _routes(s: Status) -> Html:
    routes = s.policy.routes.items()
    written = {name: route for name, route in routes if not (route.implicit or route.hidden) or name in s.routes}
    rows: list[tuple[Child, ...]] = [
        (clean(name), route.how, clean(", ".join(route.candidates[:6])), *_sums(s.routes.get(name)))
        for name, route in list(written.items())[:200]
    ]
    return table(("route", "decides by", "candidates", *_SUM_HEAD), rows, "No routes.")


def _deployments(s: Status) -> Html:
    rows: list[tuple[Child, ...]] = []
    for d in s.policy.deployments[:500]:
        state = _BREAKER_NAMES.get(s.breakers.get(d.name, 0), "closed")
        shown = el("span", "healthy" if state == "closed" else state, class_=_BREAKER_CLASSES[state])
        where = clean(f"{d.provider} · {d.wire.model}")
        price = None if d.price is not None else el("span", " unpriced", class_="warn")
        rows.append((clean(d.name), join(where, price), shown, *_sums(s.deployments.get(d.name))))
    return table(("deployment", "provider · model", "breaker", *_SUM_HEAD), rows, "No deployments.")


def _recent(recent: list[dict[str, Any]]) -> Html:
    rows: list[tuple[Child, ...]] = [
        (
            el("a", _moment(row["at_ms"]), href=f"/requests/{row['id']}"),
            _outcome(row["outcome"]),
            clean(row["route"]),
            clean(row["reason"]),
            clean(row["deployment"]) + (f" ({row['attempts']} sends)" if row["attempts"] > 1 else ""),
            clean(row["key"]),
            f"{row['input_tokens']} / {row['output_tokens']}",
            milliseconds(row["ttft_us"]),
            milliseconds(row["total_us"]),
            ("~" if row["charge_state"] == "estimated" else "") + dollars(row["charge_nano"]),
        )
        for row in recent
    ]
    head = ("at (UTC)", "outcome", "route", "reason", "answered by", "key", ">tokens", ">ttft", ">total", ">cost")
    return table(head, rows, "None yet.")


def _outcome(outcome: str) -> Html:
    return el("span", outcome, class_="good" if outcome == "ok" else "warn" if outcome == "client_gone" else "bad")


def _moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _candidates(candidates: list[Candidate]) -> Html:
    rows: list[tuple[Child, ...]] = [
        (
            str(c.rank or "-"),
            el("b", clean(c.deployment)) if c.rank == 1 else clean(c.deployment),
            "-" if c.probability is None else f"{c.probability:.3f}",
            "-" if c.score is None else f"{c.score:.4g}",
            f"{c.ttft_ms:.0f} ms",
            f"{c.tokens_per_s:.0f}",
            "never: prior" if c.measured_s_ago is None else f"{c.measured_s_ago:.1f} s before",
            REASONS.get(c.reason, c.reason) + (f", last failure {c.last_failure}" if c.last_failure else ""),
        )
        for c in candidates
    ]
    head = (">plan", "deployment", ">probability", ">score", ">ttft expected", ">tokens/s", "measured", "state")
    return table(head, rows, "The decision is not readable any more.")


def _attempts(made: Explanation) -> Html:
    rows: list[tuple[Child, ...]] = [
        (
            a["n"],
            clean(a["deployment"]),
            el("pre", bar(a, made.request["total_us"])),
            milliseconds(a["ttft_us"]),
            milliseconds(a["total_us"]),
            _outcome(a["outcome"]),
            str(a["status"] or "-"),
            dollars(a["charge_nano"]),
            clean(a["message"][:120]),
        )
        for a in made.attempts
    ]
    head = (">n", "deployment", "time line", ">ttft", ">total", "outcome", ">status", ">charge", "message")
    return table(head, rows, "Nothing was sent.")


def _feedback(given: list[dict[str, Any]]) -> Html:
    rows: list[tuple[Child, ...]] = [(_moment(each["at_ms"]), *judged(each)) for each in given]
    return table(("at (UTC)", "about", "score", "from", "words"), rows, "None.")
