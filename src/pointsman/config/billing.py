"""Billing: the section `billing` as core Billing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from pointsman.config import billing_schema as schema
from pointsman.config.build import Build
from pointsman.config.document import Document, parse
from pointsman.config.environment import expand
from pointsman.config.explain import problems_of
from pointsman.config.fields import NAME
from pointsman.config.price_terms import rates_of
from pointsman.config.problem import ConfigError, Place
from pointsman.config.schema import Config
from pointsman.core import billing
from pointsman.core.billing import CALLER_FACTS, CUSTOMER, MOST_TAGS, TAG, Where
from pointsman.core.exchange import USD, Rate


class Known(NamedTuple):
    """Hold what rules may name: what they name else may have been in an earlier config."""

    provider: frozenset[str]
    model: frozenset[str]
    route: frozenset[str]


def compile_billing(
    build: Build, given: schema.Billing, rates: tuple[Rate, ...], known: Known | None
) -> billing.Billing:
    """Return the rules; what is wrong or doubtful with them is noted."""
    made = billing.Billing(
        customers=_customers(build, given, rates),
        rates=tuple(rate for rate in rates if rate.currency in {one.currency for one in given.customers.values()}),
        markups=tuple(_markup(build, given, n, one, known) for n, one in enumerate(given.markup)),
        discounts=tuple(_discount(build, given, n, one, known) for n, one in enumerate(given.discounts)),
        cost_centres=tuple(dict.fromkeys(given.cost_centres)),
        issuer=billing.Issuer(
            title=given.issuer.name or "",
            address=tuple(given.issuer.address),
            email=given.issuer.email or "",
            tax_id=given.issuer.tax_id or "",
        ),
        prefix=given.prefix,
        credit_prefix=given.credit_prefix,
        notes=given.notes,
        print_markup=given.print_markup,
        font=build.file(("billing", "font"), given.font) if given.font and known else given.font or "",
    )
    if given.prefix == given.credit_prefix:
        build.problem(("billing", "credit_prefix"), "is the prefix of invoices, too.")
    if sum(name.startswith(TAG) for name in made.facts) > MOST_TAGS:
        build.problem(("billing",), f"looks at more than {MOST_TAGS} different tags.")
    return made


def rules_of(text: str, name: str, env: Mapping[str, str]) -> billing.Billing:
    """Return the rules in the text of a config, whatever else is in it. Raise ConfigError."""
    document = parse(text, name)
    expand(document, env)
    document.problems = [one for one in document.problems if one.path.startswith(("billing", "prices.exchange"))]
    build = Build(document, env, Path(), datetime.now(UTC))
    build.problems += document.problems
    found = _section(build, document)
    made = billing.Billing()
    if found is not None:
        made = compile_billing(build, found.billing, rates_of(build, found.prices), None)
    if build.problems:
        raise ConfigError(build.problems)
    return made


def _section(build: Build, document: Document) -> Config | None:
    """Return a config of what billing looks at: its own section, and the rates of exchange."""
    prices = document.data.get("prices")
    exchange = {"exchange": prices["exchange"]} if isinstance(prices, dict) and "exchange" in prices else {}
    given = {"deployments": {}, "billing": document.data.get("billing", {}), "prices": exchange}
    try:
        return Config.model_validate(given)
    except ValidationError as error:
        build.problems += problems_of(error, document)
        return None


def _customers(build: Build, given: schema.Billing, rates: tuple[Rate, ...]) -> tuple[billing.Customer, ...]:
    made: list[billing.Customer] = []
    one_each = everybody = ""
    for name, one in given.customers.items():
        at: Place = ("billing", "customers", name)
        if not NAME.fullmatch(name):
            build.problem(at, "a name is 1 to 128 of the characters A-Z a-z 0-9 . _ : / @ -", key=True)
        if everybody:
            build.problem(at, f'is never reached: "{everybody}" has all that is left.', key=True)
        where = [(fact, value) for fact in CALLER_FACTS if (value := getattr(one, fact)) is not None]
        each: str = one.each or ""
        if one.tag is not None and ":" not in one.tag:
            if each:
                build.problem(
                    (*at, "each"), "and a tag without a value are both one customer for each value.", key=True
                )
            each = TAG + one.tag
        elif one.tag is not None:
            where.append(_tag(one.tag))
        if each and one_each:
            build.problem(
                at, f'is, as "{one_each}", one customer for each value.', "There can be one of these.", key=True
            )
        if not where and not each:
            everybody = name
        one_each = name if each else one_each
        _priced(build, at, one, rates)
        if each and one.name is not None:
            build.problem((*at, "name"), "would be that of many customers.", key=True)
        made.append(
            billing.Customer(
                name=name,
                where=tuple(where),
                each=each,
                title=one.name or "",
                address=tuple(one.address),
                email=one.email or "",
                tax_id=one.tax_id or "",
                currency=one.currency,
                rate_nano=one.exchange_rate or 0,
                tax_basis_points=one.tax_basis_points,
            )
        )
    return tuple(made)


def _priced(build: Build, at: Place, one: schema.Customer, rates: tuple[Rate, ...]) -> None:
    """Note what is wrong with the currency of a customer."""
    if one.exchange_rate is not None and one.currency == USD:
        build.problem((*at, "exchange_rate"), "is of another currency than USD: name it with `currency`.")
    elif one.exchange_rate == 0:
        build.problem((*at, "exchange_rate"), "must be more than 0.")
    elif one.currency != USD and one.exchange_rate is None and all(rate.currency != one.currency for rate in rates):
        build.problem(
            (*at, "currency"), "has no rate of exchange.", f"Write prices.exchange.{one.currency}, or `exchange_rate`."
        )


def _markup(build: Build, given: schema.Billing, n: int, one: schema.Markup, known: Known | None) -> billing.Markup:
    at: Place = ("billing", "markup", n)
    name = _named(build, at, one.name or f"markup {n + 1}", (each.name for each in given.markup[:n]))
    if not (one.percent or one.per_request_usd or one.per_mtok_usd or one.min_usd):
        build.warn(at, "adds nothing.")
    return billing.Markup(
        name=name,
        where=_where(build, at, given, one, known),
        ppm=one.percent,
        per_request_nano=one.per_request_usd,
        per_mtok_nano=one.per_mtok_usd,
        min_nano=one.min_usd,
    )


def _discount(
    build: Build, given: schema.Billing, n: int, one: schema.Discount, known: Known | None
) -> billing.Discount:
    at: Place = ("billing", "discounts", n)
    name = _named(build, at, one.name or f"discount {n + 1}", (each.name for each in given.discounts[:n]))
    if sum(value is not None for value in (one.percent, one.tiers, one.credit_usd)) != 1:
        build.problem(at, "expected one of percent, tiers and credit_usd.")
    tiers = tuple(billing.Tier(tier.over_usd, tier.percent) for tier in one.tiers or ())
    for number, (before, tier) in enumerate(pairwise(tiers), 1):
        if tier.over_nano <= before.over_nano:
            build.problem((*at, "tiers", number, "over_usd"), "is not more than that of the tier before.")
    return billing.Discount(
        name=name,
        where=_where(build, at, given, one, known),
        period=one.period or "",
        ppm=one.percent or 0,
        tiers=tiers,
        credit_nano=one.credit_usd or 0,
    )


def _named(build: Build, at: Place, name: str, before: Iterable[str | None]) -> str:
    if name in before:
        build.problem((*at, "name"), "is the name of two.")
    return name


def _where(
    build: Build, at: Place, given: schema.Billing, one: schema.Markup | schema.Discount, known: Known | None
) -> Where:
    """Return the conditions of a rule. A customer has to be there; what else is named may have been in an earlier config."""
    made = [
        (fact, value) for fact in (CUSTOMER, "provider", "model", "route") if (value := getattr(one, fact)) is not None
    ]
    many = any(each.each or (each.tag and ":" not in each.tag) for each in given.customers.values())
    if one.customer is not None and one.customer not in given.customers and not many:
        build.unknown((*at, CUSTOMER), "customer", one.customer, given.customers)
    for fact in ("provider", "model", "route") if known else ():
        value = getattr(one, fact)
        if value is not None and value not in getattr(known, fact):
            build.warn((*at, fact), f"there is no such {fact} in this config.")
    return (*made, _tag(one.tag)) if one.tag is not None else tuple(made)


def _tag(tag: str) -> tuple[str, str]:
    """Return the fact that a tag is asked by, and its value."""
    name, _, value = tag.partition(":")
    return TAG + name, value or name
