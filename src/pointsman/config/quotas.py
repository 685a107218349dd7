"""Quotas: the `quotas` section as core Quotas."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pointsman.config import schema
from pointsman.config.build import Build
from pointsman.config.quota_schema import NANO, Quota
from pointsman.core import quotas
from pointsman.core.policy import Deployment, Key
from pointsman.core.quotas import MEASURES, Measure, Period, Scope

DEFAULT = "default"  # who: each that no other quota names
SCOPES: tuple[Scope, ...] = ("organisation", "team", "project", "key")
MOST_NANO = 1_000_000 * NANO  # a million dollars, or of anything else what a rate's microseconds can tell apart


class Known(NamedTuple):
    """Hold what quotas may name."""

    routes: Iterable[str]
    deployments: Sequence[Deployment]
    keys: Sequence[Key]


def compile_quotas(build: Build, config: schema.Config, known: Known) -> tuple[quotas.Quota, ...]:
    """Return the quotas of the file in its order; what is wrong or doubtful is noted."""
    named = {
        scope: [who for one in config.quotas if (who := getattr(one, scope)) not in (None, DEFAULT)] for scope in SCOPES
    }
    made: list[quotas.Quota] = []
    counted: dict[tuple[str, str], int] = {}
    names: set[str] = set()
    for index, given in enumerate(config.quotas):
        scope = _scope(build, index, given)
        _check_names(build, index, given, known)
        measures = [measure for measure in MEASURES if getattr(given, measure) is not None]
        if not measures:
            build.problem(("quotas", index), f"has no amount: expected one of {', '.join(MEASURES)}.")
        for measure in measures:
            one = _quota(build, index, given, (scope, measure), tuple(named[scope]) if scope else ())
            if one is None:
                continue
            place = (one.counter_name(one.who), one.who)
            if place in counted:
                build.problem(("quotas", index), f"counts the same as quotas[{counted[place]}].", "Leave one out.")
            elif one.name in names:
                build.problem(("quotas", index, "name"), f'"{one.name}" is the name of two quotas.')
            counted.setdefault(place, index)
            names.add(one.name)
            made.append(one)
    _warn_of_unpriced(build, made, known.deployments)
    return tuple(made)


def _scope(build: Build, index: int, given: Quota) -> Scope:
    found = [scope for scope in SCOPES if getattr(given, scope) is not None]
    if len(found) > 1:
        build.problem(("quotas", index, found[1]), f'goes not with "{found[0]}".', "Write two quotas.", key=True)
    return found[0] if found else ""


def _check_names(build: Build, index: int, given: Quota, known: Known) -> None:
    routes, models = set(known.routes), {one.wire.model for one in known.deployments}
    valid = (
        ("route", routes),
        ("degrade", routes),
        ("model", models),
        ("provider", {one.provider for one in known.deployments}),
    )
    for setting, names in valid:
        name = getattr(given, setting)
        if name is not None and name not in names:
            build.unknown(("quotas", index, setting), "route" if setting == "degrade" else setting, name, names)
    if given.degrade is not None and given.over == "notify":
        build.problem(("quotas", index, "degrade"), "contradicts over: notify.", key=True)
    if given.wait_ms and given.over == "notify":
        build.problem(("quotas", index, "wait_ms"), "contradicts over: notify.", "Nothing is refused then.", key=True)
    if given.degrade is not None and given.degrade == given.route:
        build.problem(("quotas", index, "degrade"), "is the route that has no room.")
    keys = {one.name for one in known.keys}
    if given.key not in (None, DEFAULT) and known.keys and given.key not in keys:
        said = f"no key of this file is called {build.document.shown(('quotas', index, 'key'), given.key)}."
        build.warn(("quotas", index, "key"), said)


def _quota(
    build: Build, index: int, given: Quota, what: tuple[Scope, Measure], named: tuple[str, ...]
) -> quotas.Quota | None:
    scope, measure = what
    billionths, period = getattr(given, measure)
    at = ("quotas", index, measure)
    amount = billionths
    if measure == "usd":
        if period == "s":
            build.problem(at, "money is counted by the minute or longer.")
            return None
    elif billionths % NANO:
        build.problem(at, f"expected a whole number of {measure.replace('_', ' ')}.")
        return None
    else:
        amount = billionths // NANO
    most = MOST_NANO if measure == "usd" else quotas.RATE_US.get(period, MOST_NANO)
    if not 0 < amount <= most:
        shown = "1000000 USD" if measure == "usd" else f"{most}"
        build.problem(at, f"must be more than 0 and at most {shown} in that time.")
        return None
    who = (getattr(given, scope) if scope else "") or ""
    each = who == DEFAULT
    return quotas.Quota(
        name=_name(given, scope, measure, period),
        scope=scope,
        who="" if each else who,
        route=given.route or "",
        model=given.model or "",
        provider=given.provider or "",
        measure=measure,
        amount=amount,
        period=_period(period),
        over="degrade" if given.degrade else given.over,
        degrade=given.degrade or "",
        notify_at=given.notify_at,
        assume_output_tokens=given.assume_output,
        wait_ms=given.wait_ms,
        excepted=named if each else (),
    )


def _period(period: str) -> Period:
    return period  # type: ignore[return-value]  # of quota_schema, which has the same


def _name(given: Quota, scope: str, measure: str, period: str) -> str:
    several = sum(getattr(given, one) is not None for one in MEASURES) > 1
    if given.name is not None:
        return f"{given.name} {measure}" if several else given.name
    who = getattr(given, scope) if scope else None
    whose = "all" if who is None else f"each {scope}" if who == DEFAULT else f"{scope} {who}"
    targets = " ".join(name for name in (given.route, given.model, given.provider) if name is not None)
    return f"{whose} {targets + ' ' if targets else ''}{measure}/{period}"


def _warn_of_unpriced(build: Build, made: Sequence[quotas.Quota], deployments: Sequence[Deployment]) -> None:
    unpriced = [one.name for one in deployments if one.price is None]
    if unpriced and any(one.measure == "usd" and one.over != "notify" for one in made):
        said = f"money cannot be counted at deployments without a price: {', '.join(unpriced[:5])}."
        build.warn(("quotas",), said, "Give them a `price`, or their routes `unpriced: deny`.", key=True)
