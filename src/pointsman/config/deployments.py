"""Deployments: the `deployments` section as core Deployments, with what the catalog knows filled in."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

import msgspec

from pointsman.config import catalog, prices, schema
from pointsman.config.build import Build
from pointsman.config.known import KnownProvider
from pointsman.config.problem import Place
from pointsman.config.providers import template
from pointsman.core.policy import Deployment, ModelFacts, Wire
from pointsman.core.pricing import Price, Window

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
        whole_ms=given.whole_ms,
        quality=found.quality if given.quality is None else _by_category(given.quality),
        kind=given.kind,
        concurrency=given.concurrency,
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
    facts["sources"] |= {name: "config" for name in ("price", "quality") if getattr(given, name) is not None}
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


def _price(build: Build, name: str, given: schema.Deployment, found: catalog.Known) -> Price | None:
    at = ("deployments", name)
    if given.price is not None:
        return _written_price(build, given.price, (*at, "price"))
    if found.price is None:
        build.warn(at, "unpriced: nothing is known of what it costs.", "Write `price`.", key=True)
    elif found.price_changes and date.fromisoformat(found.price_changes) - build.today <= SOON:
        build.warn(at, f"its price changes on {found.price_changes}.", "Reload on that day.", key=True)
    return found.price


def _written_price(build: Build, given: schema.Price, at: Place) -> Price | None:
    price = prices.from_usd(given.model_dump(exclude={"windows"}), "config")
    windows: list[Window] = []
    taken: set[int] = set()
    for index, wanted in enumerate(given.windows):
        rates = prices.from_usd(wanted.model_dump(exclude={"start", "until"}), "config")
        if rates is None:
            build.problem((*at, "windows", index), "has a figure finer than a billionth of a dollar.")
            continue
        window = Window(wanted.start, wanted.until, rates.rates)
        minutes = {minute for minute in range(24 * 60) if window.holds(minute)}
        if wanted.start == wanted.until:
            build.problem((*at, "windows", index), "begins when it ends.")
        elif minutes <= taken:
            build.problem((*at, "windows", index), "is dead: the windows above it hold at all its times.")
        taken |= minutes
        windows.append(window)
    if price is None:
        build.problem(at, "has a figure finer than a billionth of a dollar.")
        return None
    return prices.versioned(price.rates, price.source, windows=tuple(windows))
