"""Limits: how quotas and budgets stand, those that run out first. Pure: values in, HTML out."""

from __future__ import annotations

from collections.abc import Iterable

from pointsman.control.dashboard.charts import share
from pointsman.control.dashboard.frame import Shell, framed, moment
from pointsman.control.figures import clean
from pointsman.control.html import Child, el, join, table
from pointsman.core.policy import Key
from pointsman.core.quotas import PERIOD_NAMES, Quota, amount_text, limit_text
from pointsman.core.reading import Reading, Subject, subjects_of

MOST = 500  # readings shown


def limits_page(shell: Shell, quotas: tuple[Quota, ...], readings: list[Reading]) -> str:
    """Return the page: counters as the workers read them last, and what the config says."""
    near = sorted(readings, key=lambda one: (one.left / one.limit if one.limit else -1.0, one.quota, one.subject))
    rows = [_row(one, quotas) for one in near[:MOST]]
    head = ("quota", "who", "share", ">used", ">held", ">left", ">limit", "free again", "at the limit")
    bound = shell.who is not None and bool(shell.who.organisation)
    none = (
        "No quota is of your organisation, its teams, projects or keys."
        if bound and not quotas
        else "The config has no quotas: `quotas` in it says what callers may use."
        if not quotas
        else "No quota was asked for yet: a counter stands here once a request came that it counts."
    )
    parts: list[Child] = [table(head, rows, none, "Quotas and budgets, the fullest first")]
    if len(near) > MOST:
        parts.append(el("p", f"The {MOST} fullest of {len(near)} counters.", class_="quiet"))
    if quotas:
        parts += [el("h2", "In the config"), _configured(quotas)]
    return framed(shell, "Limits and budgets", *parts)


def given(keys: Iterable[Key]) -> dict[Subject, frozenset[str]]:
    """Return whose the subjects are that the config's keys count on: names of organisations, "" for none."""
    made: dict[Subject, frozenset[str]] = {}
    for key in keys:
        for subject in subjects_of(key.name, key.project, key.team, key.organisation):
            made[subject] = made.get(subject, frozenset()) | {key.organisation}
    return made


def seen(quotas: Iterable[Quota], readings: list[Reading], organisation: str) -> tuple[Quota, ...]:
    """Return the quotas that an organisation may know of: those of it, and those that count some of what it sees."""
    counters = {(one.counter, one.subject) for one in readings}
    return tuple(
        quota for quota in quotas
        if (quota.scope == "organisation" and quota.who in ("", organisation) and organisation not in quota.excepted)
        or any(quota.counter_name(subject) == counter for counter, subject in counters)
    )  # fmt: skip


def _row(one: Reading, quotas: tuple[Quota, ...]) -> tuple[Child, ...]:
    used = (one.used + one.held) / one.limit if one.limit else 1.0
    quota = next((quota for quota in quotas if quota.name == one.quota), None)
    near = quota.notify_at if quota is not None else 0.8
    state = "over" if one.left <= 0 else "near" if used >= near else ""
    unit = "" if one.measure == "usd" else f" {one.measure.replace('_', ' ')}"
    word = {"over": "bad", "near": "warn"}.get(state, "")
    return (
        clean(one.quota),
        clean(one.subject) or "everyone",
        join(share(used, state), el("span", f" {100 * used:.0f} %", class_=word)),
        _amount(one, one.used),
        _amount(one, one.held),
        el("span", _amount(one, one.left), class_=word),
        f"{_amount(one, one.limit)}{unit} per {PERIOD_NAMES.get(one.period, one.period)}",
        moment(one.resets_ms) if one.used or one.held else el("span", "unused", class_="quiet"),
        one.over,
    )


def _amount(one: Reading, amount: int) -> str:
    if one.measure == "usd":
        return amount_text("usd", amount)
    return f"{amount:,}".replace(",", " ")


def _configured(quotas: tuple[Quota, ...]) -> Child:
    rows: list[tuple[Child, ...]] = []
    for quota in quotas:
        whose = f"{quota.scope} {quota.who}" if quota.who else f"each {quota.scope}" if quota.scope else "all together"
        targets = [f"{kind} {value}" for kind, value in _targets(quota) if value]
        then = f"goes on to {quota.degrade}" if quota.over == "degrade" else quota.over
        rows.append(
            (clean(quota.name), clean(whose), limit_text(quota), clean(", ".join(targets)) or "everything", then)
        )
    return table(("quota", "of", ">limit", "counts", "at the limit"), rows, "None.", "Quotas in the config")


def _targets(quota: Quota) -> tuple[tuple[str, str], ...]:
    return ("route", quota.route), ("model", quota.model), ("provider", quota.provider)
