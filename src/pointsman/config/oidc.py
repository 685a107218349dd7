"""OIDC: the entries of `server.oidc` as core Issuers."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from urllib.parse import urlsplit

from pointsman.config import oidc_schema
from pointsman.config.addresses import issuer_url_fault
from pointsman.config.build import Build
from pointsman.config.problem import Place
from pointsman.core.issuer import Claims, Issuer
from pointsman.core.priority import RANKS

LIBRARIES = ("jwt", "cryptography")  # of the extra `oidc`
BOUND = ("organisation_viewer", "organisation_admin")


def compile_issuers(build: Build, given: list[oidc_schema.Issuer], routes: Iterable[str]) -> tuple[Issuer, ...]:
    """Return the issuers; what is wrong with them is noted."""
    if given and not all(map(find_spec, LIBRARIES)):
        build.problem(("server", "oidc"), "needs a library that is not installed.", "pip install 'pointsman[oidc]'")
    valid, names = set(routes), set[str]()
    made = []
    for index, one in enumerate(given):
        at: Place = ("server", "oidc", index)
        issuer = _issuer(build, at, one)
        if issuer.name in names:
            build.problem((*at, "name" if one.name else "issuer"), f'"{issuer.name}" is the name of two.', "Set name.")
        names.add(issuer.name)
        for number, route in enumerate(one.routes or ()):
            if route not in valid:
                build.unknown((*at, "routes", number), "route", route, valid)
        _check(build, at, one)
        made.append(issuer)
    return tuple(made)


def _issuer(build: Build, at: Place, given: oidc_schema.Issuer) -> Issuer:
    for setting in ("issuer", "jwks_url"):
        url = getattr(given, setting)
        fault, hint = issuer_url_fault(url) if url is not None else ("", "")
        if fault:
            build.problem((*at, setting), fault, hint)
    claims = {name: value for name, value in given.claims.model_dump().items() if value is not None}
    return Issuer(
        name=given.name or _host(given.issuer),
        url=given.issuer,
        audiences=tuple(given.audience),
        jwks_url=given.jwks_url or "",
        ca_file=build.file((*at, "ca_file"), given.ca_file) if given.ca_file else "",
        algorithms=tuple(given.algorithms),
        leeway_ms=given.leeway_s * 1000,
        required=given.required_claims,
        claims=Claims(**claims),
        organisation=given.organisation or "",
        routes=None if given.routes is None else tuple(given.routes),
        route_prefix=given.route_prefix or "",
        roles=given.roles,
        concurrency=given.concurrency,
        rank=RANKS[given.priority],
        tags=tuple(given.tags),
        denied=tuple(given.denied),
    )


def _check(build: Build, at: Place, given: oidc_schema.Issuer) -> None:
    """Note settings that say nothing without another, or two that say the same."""
    if given.roles and not given.claims.roles:
        build.problem((*at, "roles"), "says nothing: no claim of roles is named.", "Set claims.roles.", key=True)
    if given.route_prefix and not given.claims.routes:
        build.problem((*at, "route_prefix"), "says nothing: no claim of routes is named.", "Set claims.routes.")
    if given.organisation and given.claims.organisation:
        build.problem((*at, "organisation"), "contradicts claims.organisation.", "Name one of them.")
    if any(grant in BOUND for grant in given.roles.values()) and not (given.organisation or given.claims.organisation):
        build.problem((*at, "roles"), "grants in an organisation, and none is named.", "Set organisation.", key=True)


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
