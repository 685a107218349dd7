"""Deployments: the `deployments` section as core Deployments, with what the catalog knows filled in."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

import msgspec

from pointsman.config import catalog, schema
from pointsman.config.build import Build
from pointsman.config.known import KnownProvider
from pointsman.config.price_terms import Terms, price_of
from pointsman.config.providers import template
from pointsman.core.policy import Deployment, ModelFacts, Wire

DEFAULT_MAX_OUTPUT_TOKENS = 8192
SOON = timedelta(days=60)


def wanted(config: schema.Config, name: str) -> catalog.Wanted:
    """Return what to ask the catalog for a deployment."""
    given = config.deployments[name]
    base = template(given.provider, config.providers.get(given.provider))
    return catalog.Wanted(
        provider=base.name if base else "", prices=base.prices if base else "", model=given.model or name
    )


def compile_deployment(
    build: Build, config: schema.Config, name: str, found: catalog.Known, terms: Terms
) -> Deployment:
    """Return the Deployment of a name whose provider is compiled; note doubtful facts as warnings."""
    given = config.deployments[name]
    provider = config.providers.get(given.provider)
    facts = _facts(build, name, given, found)
    price = price_of(build, terms, name, given, found)
    if price is not None:
        facts = msgspec.structs.replace(facts, sources={**facts.sources, "price": price.source})
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
        whole_ms=given.whole_ms,
        quality=found.quality if given.quality is None else _by_category(given.quality),
        kind=given.kind,
        concurrency=given.concurrency,
        listed=found.listed if given.price is None else "",
    )


def _by_category(quality: float | Mapping[schema.Category, float]) -> dict[str, float]:
    return dict(quality.items()) if isinstance(quality, Mapping) else {"default": quality}


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
        prefill=given.prefill or "",
    )


def _facts(build: Build, name: str, given: schema.Deployment, found: catalog.Known) -> ModelFacts:
    facts = msgspec.to_builtins(found.facts)
    for short, long in catalog.FACTS.items():
        value = getattr(given, short)
        if value is not None:
            facts[long] = value
            facts["sources"][short] = "config"
    facts["sources"] |= {"quality": "config"} if given.quality is not None else {}
    _retirement(build, name, facts["retires"])
    if not facts["context_tokens"] and given.kind == "chat":
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
