"""Deployments: the `deployments` section as core Deployments, with what the catalog knows filled in."""

from __future__ import annotations

from datetime import date, timedelta

import msgspec

from pointsman.config import catalog, prices, schema
from pointsman.config.build import Build
from pointsman.config.known import KnownProvider
from pointsman.config.providers import template
from pointsman.core.policy import Deployment, ModelFacts, Wire
from pointsman.core.pricing import Price

DEFAULT_MAX_OUTPUT_TOKENS = 8192
SOON = timedelta(days=60)


def wanted(config: schema.Config, name: str) -> catalog.Wanted:
    """Return what to ask the catalog for a deployment."""
    given = config.deployments[name]
    base = template(given.provider, config.providers.get(given.provider))
    return catalog.Wanted(
        provider=base.name if base else "", prices=base.prices if base else "", model=given.model or name
    )


def compile_deployment(build: Build, config: schema.Config, name: str, found: catalog.Known) -> Deployment:
    """Return the Deployment of a name whose provider is compiled; note doubtful facts as warnings."""
    given = config.deployments[name]
    provider = config.providers.get(given.provider)
    facts = _facts(build, name, given, found)
    price = _price(build, name, given, found)
    default = given.default_max_output or min(
        DEFAULT_MAX_OUTPUT_TOKENS, facts.max_output_tokens or DEFAULT_MAX_OUTPUT_TOKENS
    )
    return Deployment(
        name=name,
        provider=given.provider,
        wire=_wire(given, provider, template(given.provider, provider), given.model or name, default),
        price=price,
        facts=facts,
        region=given.region or "",
        ttft_ms=given.ttft_ms,
    )


def _wire(
    given: schema.Deployment, provider: schema.Provider | None, base: KnownProvider | None, model: str, default: int
) -> Wire:
    written = provider or schema.Provider()
    start = base or KnownProvider(name="", dialect="", base_url="")
    asked = written.stream_usage
    return Wire(
        model=model,
        rename={**start.rename, **written.rename},
        drop=tuple(dict.fromkeys((*start.drop, *written.drop))),
        reasoning_field=start.reasoning_field if written.reasoning_field is None else written.reasoning_field,
        stream_usage=start.stream_usage if asked is None else asked,
        api_version=given.api_version or written.api_version or "",
        default_max_output_tokens=default,
    )


def _facts(build: Build, name: str, given: schema.Deployment, found: catalog.Known) -> ModelFacts:
    facts = msgspec.to_builtins(found.facts)
    for short, long in catalog.FACTS.items():
        value = getattr(given, short)
        if value is not None:
            facts[long] = value
            facts["sources"][short] = "config"
    if given.price is not None:
        facts["sources"]["price"] = "config"
    _retirement(build, name, facts["retires"])
    if not facts["context_tokens"]:
        build.warn(("deployments", name), "its context window is unknown.", "Write `context`.", key=True)
    return msgspec.convert(facts, ModelFacts)


def _retirement(build: Build, name: str, text: str | None) -> None:
    if text is None:
        return
    written = build.document.data["deployments"][name].get("retires") is not None
    at = ("deployments", name, "retires") if written else ("deployments", name)
    try:
        day = date.fromisoformat(text)
        if len(text) != 10:
            raise ValueError
    except ValueError:
        build.problem(at, "expected a date, YYYY-MM-DD.")
        return
    if day <= build.today:
        build.warn(at, f"its model was retired on {text}.", key=not written)
    elif day - build.today <= SOON:
        build.warn(at, f"its model retires on {text}.", key=not written)


def _price(build: Build, name: str, given: schema.Deployment, found: catalog.Known) -> Price | None:
    at = ("deployments", name)
    if given.price is not None:
        price = prices.from_usd(given.price.model_dump(), "config")
        if price is None:
            build.problem((*at, "price"), "has a figure finer than a billionth of a dollar.")
        return price
    if found.price is None:
        build.warn(at, "unpriced: nothing is known of what it costs.", "Write `price`.", key=True)
    elif found.price_changes and date.fromisoformat(found.price_changes) - build.today <= SOON:
        build.warn(at, f"its price changes on {found.price_changes}.", "Reload on that day.", key=True)
    return found.price
