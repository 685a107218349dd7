"""Compile: a checked configuration becomes one frozen Policy."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from pointsman.config import catalog, known, schema
from pointsman.config.billing import Known as KnownNames
from pointsman.config.billing import compile_billing
from pointsman.config.build import Build
from pointsman.config.demands import check_demands
from pointsman.config.deployments import compile_deployment, wanted
from pointsman.config.price_list import ListError
from pointsman.config.price_terms import Terms, compile_settings
from pointsman.config.providers import compile_provider
from pointsman.config.quotas import Known, compile_quotas
from pointsman.config.routes import check_kinds, implicit_routes, warn_of_routes
from pointsman.config.rules import check_cycles, compile_routes
from pointsman.config.server import compile_keys, compile_listener
from pointsman.core.policy import Deployment, Limits, Policy, Provider, Route
from pointsman.core.secret import Secret

VERSION_CHARACTERS = 12


def compile(
    build: Build, config: schema.Config, cache_dir: Path | None = None, price_list: Path | None = None
) -> Policy:
    """Return the Policy of `config`; what is wrong or doubtful is noted in `build`, so look there before using it."""
    for section in ("providers", "deployments", "routes"):
        build.check_names(section)
    if not build.named("deployments"):
        build.problem(("deployments",), "is empty: there is nothing to route to.")
    providers = _providers(build, config)
    terms = Terms(build, config.prices)
    deployments = _deployments(build, config, providers, (cache_dir, price_list), terms)
    implicit = implicit_routes(deployments, config.routes)
    usable = {*implicit, *build.named("routes"), *build.named("deployments")}
    made = compile_routes(build, config, usable)
    routes = {**made.routes, **implicit}
    check_cycles(build, routes, made.spots)
    check_kinds(build, routes, made.spots, deployments)
    check_demands(build, routes, made.spots, {one.name: one for one in deployments})
    keys = compile_keys(build, config, usable)
    quotas = compile_quotas(build, config, Known(usable, deployments, keys))
    if not build.problems:
        warn_of_routes(build, routes, made.spots, deployments)
    policy = Policy(
        version="",
        source=build.document.file,
        providers=providers,
        deployments=deployments,
        routes=routes,
        keys=keys,
        quotas=quotas,
        limits=Limits(**config.limits.model_dump()),
        listener=msgspec.structs.replace(
            compile_listener(build, config, usable),
            prices=compile_settings(build, config.prices, terms),
            billing=compile_billing(build, config.billing, terms.rates, _named(providers, deployments, usable)),
        ),
    )
    return msgspec.structs.replace(policy, version=version_of(policy))


def _named(providers: Iterable[str], deployments: Iterable[Deployment], routes: Iterable[str]) -> KnownNames:
    """Return what billing rules may name."""
    return KnownNames(frozenset(providers), frozenset(one.wire.model for one in deployments), frozenset(routes))


def version_of(policy: Policy) -> str:
    """Return the first 12 hex digits of the SHA-256 of all that decides, without the values of the providers' keys.

    Client keys count by their digests. The file's name and lines do not count: the same words elsewhere are the same
    version.
    """
    routes = {name: _unplaced(route) for name, route in policy.routes.items()}
    bare = msgspec.structs.replace(policy, version="", source="", routes=routes)
    text = msgspec.json.encode(bare, enc_hook=_hidden, order="sorted")
    return hashlib.sha256(text).hexdigest()[:VERSION_CHARACTERS]


def _unplaced(route: Route) -> Route:
    rules = tuple(msgspec.structs.replace(rule, place="") for rule in route.rules)
    return msgspec.structs.replace(route, rules=rules) if rules else route


def _hidden(value: object) -> str:
    if isinstance(value, Secret):
        return "secret"
    raise NotImplementedError(type(value).__name__)


def _providers(build: Build, config: schema.Config) -> dict[str, Provider]:
    providers: dict[str, Provider] = {}
    for name, given in config.providers.items():
        provider = compile_provider(build, name, given, ("providers", name))
        if provider is not None:
            providers[name] = provider
    for deployment, written in config.deployments.items():
        name, at = written.provider, ("deployments", deployment, "provider")
        if name in providers or name in build.named("providers"):
            continue
        if name not in known.PROVIDERS:
            build.unknown(at, "provider", name, {*build.named("providers"), *known.PROVIDERS})
        elif (provider := compile_provider(build, name, None, at)) is not None:
            providers[name] = provider
    return providers


def _deployments(
    build: Build,
    config: schema.Config,
    providers: dict[str, Provider],
    files: tuple[Path | None, Path | None],
    terms: Terms,
) -> tuple[Deployment, ...]:
    names = [name for name, given in config.deployments.items() if given.provider in providers]
    asked = {name: wanted(config, name) for name in names}
    try:
        found = catalog.lookup(dict.fromkeys(asked.values()), build.today, *files)
    except ListError as error:
        build.problem((), f"the price list {files[1]} {error}.", "Put another there, or delete it.")
        found = dict.fromkeys(asked.values(), catalog.Known())
    made = tuple(compile_deployment(build, config, name, found[asked[name]], terms) for name in names)
    terms.warn_of_idle()
    build.price_change_ms = terms.change_ms()
    return made
