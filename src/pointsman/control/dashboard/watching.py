"""Watching: the rows of the pages that say how the router does: routes, providers, cache, and what they ask for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from pointsman.control.dashboard import asked, cache, deployment, providers, route, routes
from pointsman.control.dashboard.asked import Sources
from pointsman.control.dashboard.frame import shell_of
from pointsman.control.endpoints import Endpoint
from pointsman.control.measures import gather, standings
from pointsman.control.rates import Rates
from pointsman.control.similar import similar_rows
from pointsman.core.policy import Deployment, Route
from pointsman.core.standing import Standing, merged
from pointsman.stores.browsing import FIELDS, HOUR_MS, MOST_SUMS, Sum, Sums
from pointsman.stores.ledger import LedgerError, Reader
from pointsman.stores.price_history import price_history
from pointsman.stores.report import MOST_VALUES, Question

Where = dict[str, tuple[str, ...]]  # conditions of a question
CHART_MS = 24 * HOUR_MS
LONGEST = "7d"  # of cells.WINDOWS
_ZEROS = ("requests", "degraded", "hits", "measured_nano", "estimated_nano", "unpriced")
NOTHING: dict[str, Any] = dict.fromkeys(routes.MEASURES) | dict.fromkeys(_ZEROS, 0)
EMPTY = Sum((), *[0 for _ in Sum.__struct_fields__[1:]])


class Watching:
    """Answer for these pages. A figure that does not come in time is left out, and the page says so."""

    def __init__(self, sources: Sources, rates: Rates) -> None:
        self._from, self._rates = sources, rates

    def endpoints(self) -> list[Endpoint]:
        """Return the rows of the table."""
        return [
            asked.page("/routes", "Routes and their health against their limits; one of them.", self.routes),
            asked.page(
                "/providers", "Providers and deployments, with times, prices and quotas; one of them.", self.providers
            ),
            asked.page("/cache", "Answers given again, and what they saved.", self.cache, bound=True),
        ]

    # --- routes
    def routes(self, request: Request) -> Response:
        """Return all routes, or the one that is named."""
        policy, name = self._from.policy(), asked.given(request).get("route", "")
        if name:
            found = policy.routes.get(name)
            if found is None:
                raise HTTPException(404, "the config that is served has no such route")
            return self._route(request, found)
        window, trouble, figures = asked.window(request), "", None
        today: dict[str, Sum] = {}
        try:
            with self._from.reader(asked.who(request)) as reader:
                today = _grouped(reader, "route", asked.today_ms())
                question = Question(measures=routes.MEASURES, by=("route",), since_ms=asked.since(window))
                figures = asked.by("route", asked.dicts(reader.report(question)))
        except LedgerError as error:
            trouble = asked.trouble(error)
        known = {one.deployment: one for one, _ in merged(standings(self._from.data))}
        made = routes.Routes(policy, known, window, figures, today, trouble)
        return HTMLResponse(routes.routes_page(shell_of(request), made))

    def _route(self, request: Request, found: Route) -> Response:
        window, trouble, of = asked.window(request), "", None
        try:
            with self._from.reader(asked.who(request)) as reader:
                of = _of_route(reader, found, window)
        except LedgerError as error:
            trouble = asked.trouble(error)
        known = {one.deployment: one for one, _ in merged(standings(self._from.data))}
        view = route.View(
            self._from.policy(), found, known, self._rates_of("deployment", found.name), window, of, trouble
        )
        return HTMLResponse(route.route_page(shell_of(request), view))

    def _rates_of(self, what: str, route_name: str = "") -> dict[str, float]:
        """Return requests a second of the last minute by route or deployment, perhaps of one route alone."""
        found: dict[str, float] = {}
        for (name, place, _), value in self._rates.now(gather(self._from.data)[0])[0].items():
            if not route_name or name == route_name:
                key = place if what == "deployment" else name
                found[key] = found.get(key, 0.0) + value
        return found

    # --- providers
    def providers(self, request: Request) -> Response:
        """Return all providers with their deployments, or the deployment that is named."""
        policy, name = self._from.policy(), asked.given(request).get("deployment", "")
        if name:
            found = next((one for one in policy.deployments if one.name == name), None)
            if found is None:
                raise HTTPException(404, "the config that is served has no such deployment")
            return self._deployment(request, found)
        window, trouble, figures = asked.window(request), "", None
        today: dict[str, Sum] = {}
        month: dict[str, Sum] = {}
        try:
            with self._from.reader(asked.who(request)) as reader:
                today = _grouped(reader, "provider", asked.today_ms())
                month = _grouped(reader, "provider", _month_ms())
                figures = asked.by("deployment", asked.dicts(reader.report(Question(
                    measures=providers.MEASURES, by=("deployment",), since_ms=asked.since(window), of="attempts"
                ))))  # fmt: skip
        except LedgerError as error:
            trouble = asked.trouble(error)
        parts = standings(self._from.data)
        known: dict[str, tuple[Standing, int]] = {one.deployment: (one, away) for one, away in merged(parts)}
        made = providers.Providers(
            policy, known, len(parts), self._rates_of("deployment"), window, figures, today, month, trouble
        )
        return HTMLResponse(providers.providers_page(shell_of(request), made))

    def _deployment(self, request: Request, found: Deployment) -> Response:
        policy, window, trouble, of = self._from.policy(), asked.window(request), "", None
        try:
            with self._from.reader(asked.who(request)) as reader:
                of = _of_deployment(reader, found.name, asked.since(window))
        except LedgerError as error:
            trouble = asked.trouble(error)
        metrics, _ = gather(self._from.data)
        alerted = {}
        for key, number in metrics.alerts.items():
            about, _, what = key.partition("\x1f")
            if about == found.name:
                alerted[what] = number
        view = deployment.View(
            deployment=found,
            provider=policy.providers.get(found.provider),
            routes=[one.name for one in policy.routes.values() if _asks(one, found.name)],
            workers=[(part.worker, one) for part in standings(self._from.data) for one in part.deployments
                     if one.deployment == found.name],
            rate=self._rates_of("deployment").get(found.name, 0.0),
            alerts=[one for one in list(self._rates.alerts)[::-1] if one.about == found.name],
            alerted=alerted,
            window=window,
            of=of,
            trouble=trouble,
        )  # fmt: skip
        return HTMLResponse(deployment.deployment_page(shell_of(request), view))

    # --- the cache of answers
    def cache(self, request: Request) -> Response:
        """Return what was given again; what is known of all organisations together, to who is bound to none."""
        who, window, trouble, rows = asked.who(request), asked.window(request, "24h"), "", None
        months: list[Sum] = []
        try:
            with self._from.reader(who) as reader:
                months = list(_grouped(reader, "route", _month_ms()).values())
                question = Question(measures=cache.MEASURES, by=("route", "cache"), since_ms=asked.since(window))
                rows = asked.dicts(reader.report(question))
        except LedgerError as error:
            trouble = asked.trouble(error)
        similar, kept, policy = None, None, self._from.policy()
        if who.organisation:  # the config's routes are those of everybody: only what they used is told
            used = {row["route"] for row in rows or ()}
            seen = {name: one for name, one in policy.routes.items() if name in used}
            policy = msgspec.structs.replace(policy, routes=seen)
        else:
            metrics, _ = gather(self._from.data)
            similar = similar_rows(self._from.data)
            kept = cache.Kept(metrics.cache_entries, metrics.cache_bytes, metrics.cache_errors)
        made = cache.Cache(policy, window, rows, months, similar, kept, trouble)
        return HTMLResponse(cache.cache_page(shell_of(request), made))


def _asks(route: Route, name: str) -> bool:
    """Tell whether a written route may send to a deployment."""
    names = {*route.candidates, *(one for rung in route.degrade for one in rung.candidates)}
    return name in names and not (route.implicit or route.hidden)


def _grouped(reader: Reader, field: str, since_ms: int) -> dict[str, Sum]:
    """Return the sums since the begin of a UTC day by one of FIELDS."""
    rows, _ = reader.sums(Sums((field,), {}, since_ms, MOST_SUMS, whole_days=True))
    return {row.group[0]: row for row in rows}


def _of_route(reader: Reader, found: Route, window: str) -> route.Of:
    arms = {}
    if found.split is not None:  # an arm may go on to another route, which is the one that is booked
        names = tuple(f"{found.name}/{arm.name}" for arm in found.split.arms)[:MOST_VALUES]
        question = Question(measures=route.ARMS, by=("arm",), where={"arm": names}, since_ms=asked.since(window))
        arms = asked.by("arm", asked.dicts(reader.report(question)))
    whole, deployments = _whole(reader, found.name, window)
    return route.Of(
        all=whole,
        deployments=asked.by("deployment", deployments),
        outcomes=_asked(reader, found.name, route.ENDS, "outcome", window)[0],
        rungs=_asked(reader, found.name, route.ENDS, "degraded", window)[0] if found.degrade else [],
        arms=arms,
        hours=_hours(reader, "route", found.name),
        today=_total(reader, "route", found.name, asked.today_ms()),
    )


def _whole(reader: Reader, name: str, window: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return what all requests of a route did, and those of each deployment."""
    rows, total = _asked(reader, name, routes.MEASURES, "deployment", window)
    if total is None:
        found, _ = _asked(reader, name, routes.MEASURES, "", window)
        total = found[0] if found else NOTHING
    return total, rows


def _asked(
    reader: Reader, name: str, measures: tuple[str, ...], by: str, window: str
) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Return measures of a route by something else, and the total, None where it is of other routes too. A condition would
    have the database walk all of the route's rows by their index, not those of the time: it is worth that only where the
    time is long."""
    groups = ("route", *((by,) if by else ()))
    long = window == LONGEST
    where: Where = {"route": (name,)} if long else {}
    found = reader.report(Question(measures=measures, by=groups, where=where, since_ms=asked.since(window)))
    return [row for row in asked.dicts(found) if row["route"] == name], asked.total(found) if long else None


def _of_deployment(reader: Reader, name: str, since_ms: int) -> deployment.Of:
    where: Where = {"deployment": (name,)}
    whole = reader.report(Question(measures=providers.MEASURES, where=where, since_ms=since_ms, of="attempts"))
    ends = reader.report(
        Question(measures=("attempts",), by=("outcome",), where=where, since_ms=since_ms, of="attempts")
    )
    return deployment.Of(
        asked.total(whole),
        asked.dicts(ends),
        _hours(reader, "deployment", name),
        _total(reader, "deployment", name, asked.today_ms()),
        _total(reader, "deployment", name, _month_ms()),
        price_history(reader.ask, name),
    )


def _total(reader: Reader, field: str, name: str, since_ms: int) -> Sum:
    assert field in FIELDS
    _, found = reader.sums(Sums((), {field: name}, since_ms, 1, whole_days=True))
    return found if found.requests else EMPTY


def _hours(reader: Reader, field: str, name: str) -> list[Sum]:
    """Return the sums of the last CHART_MS by hour, the newest first."""
    rows, _ = reader.sums(Sums(("hour",), {field: name}, asked.now_ms() - CHART_MS, MOST_SUMS))
    return rows


def _month_ms() -> int:
    """Return when this UTC month began."""
    return int(datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp() * 1000)
