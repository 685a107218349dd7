"""The `billing` section: what it makes, exactly as it is written, and what it refuses with its line."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
import yaml

from pointsman.config.billing import rules_of
from pointsman.config.load import Loaded, Options, load_text
from pointsman.config.problem import ConfigError
from pointsman.core.billing import Billing, Customer, Discount, Issuer, Markup, Tier
from pointsman.core.exchange import Rate

BASE = {
    "providers": {"p": {"dialect": "openai", "base_url": "http://127.0.0.1:1/v1"}},
    "deployments": {"a": {"provider": "p", "model": "m"}},
}
FULL = {
    "issuer": {"name": "Us", "address": ["Street 1"], "email": "us@example.com", "tax_id": "DE1"},
    "customers": {
        "acme": {"organisation": "acme", "team": "web", "name": "Acme Ltd", "tax_basis_points": 1900},
        "plan": {"tag": "plan:pro"},
        "resold": {"tag": "customer", "tax_basis_points": 700},
        "rest": {},
    },
    "markup": [
        {"name": "acme", "customer": "acme", "percent": 12.3456},
        {
            "provider": "p",
            "model": "m",
            "route": "a",
            "tag": "beta",
            "per_request_usd": 0.000000001,
            "per_mtok_usd": 1.5,
        },
        {"percent": "${MARKUP}", "min_usd": 5},
    ],
    "discounts": [
        {"name": "volume", "tiers": [{"over_usd": 0, "percent": 0}, {"over_usd": 1000, "percent": 2.5}]},
        {"customer": "c7", "credit_usd": 50, "period": "2026-11"},
        {"percent": 100},
    ],
    "cost_centres": ["team", "tag:env"],
    "prefix": "ACME",
    "notes": "Thanks",
    "print_markup": True,
}


def loaded(billing: Any) -> Loaded:
    text = yaml.safe_dump(BASE | {"billing": billing}, sort_keys=False)
    return load_text(text, "t.yaml", {"MARKUP": "20"}, Options(today=date(2026, 11, 22)))


def test_rules_are_what_is_written_to_the_last_digit() -> None:
    made = loaded(FULL).policy.listener.billing
    assert made == Billing(
        issuer=Issuer(title="Us", address=("Street 1",), email="us@example.com", tax_id="DE1"),
        customers=(
            Customer(
                name="acme", where=(("organisation", "acme"), ("team", "web")), title="Acme Ltd", tax_basis_points=1900
            ),
            Customer(name="plan", where=(("tag:plan", "pro"),)),
            Customer(name="resold", each="tag:customer", tax_basis_points=700),
            Customer(name="rest"),
        ),
        markups=(
            Markup(name="acme", where=(("customer", "acme"),), ppm=123_456),
            Markup(
                name="markup 2",
                where=(("provider", "p"), ("model", "m"), ("route", "a"), ("tag:beta", "beta")),
                per_request_nano=1,
                per_mtok_nano=1_500_000_000,
            ),
            Markup(name="markup 3", ppm=200_000, min_nano=5_000_000_000),
        ),
        discounts=(
            Discount(name="volume", tiers=(Tier(0, 0), Tier(1_000_000_000_000, 25_000))),
            Discount(name="discount 2", where=(("customer", "c7"),), period="2026-11", credit_nano=50_000_000_000),
            Discount(name="discount 3", ppm=1_000_000),
        ),
        cost_centres=("team", "tag:env"),
        prefix="ACME",
        notes="Thanks",
        print_markup=True,
    )


def test_the_rules_of_a_text_need_nothing_else_of_it() -> None:
    text = yaml.safe_dump({"providers": {"p": {"api_key": "${NOWHERE}"}}, "billing": FULL}, sort_keys=False)
    assert rules_of(text, "t.yaml", {"MARKUP": "20"}) == loaded(FULL).policy.listener.billing
    assert rules_of("deployments: {}", "t.yaml", {}) == Billing()
    with pytest.raises(ConfigError, match="MARKUP"):
        rules_of(text, "t.yaml", {})


def test_a_currency_has_its_own_rate_or_those_of_the_prices() -> None:
    given = {"customers": {"a": {"team": "a", "currency": "EUR"}, "b": {"currency": "JPY", "exchange_rate": 0.0067}}}
    exchange = {"EUR": [{"rate": 1.08}, {"rate": 1.1, "from": "2026-12-01"}], "GBP": [{"rate": 1.3}]}
    text = yaml.safe_dump(BASE | {"billing": given, "prices": {"exchange": exchange}}, sort_keys=False)
    made = load_text(text, "t.yaml", {}, Options(today=date(2026, 11, 22))).policy.listener.billing
    assert [(one.currency, one.rate_nano) for one in made.customers] == [("EUR", 0), ("JPY", 6_700_000)]
    assert made.rates == (Rate("EUR", 1_080_000_000), Rate("EUR", 1_100_000_000, 1_796_083_200_000))
    assert rules_of(text, "t.yaml", {}) == made
    wrong = text.replace("rate: 1.08", "rate: x")
    with pytest.raises(ConfigError, match=r"prices\.exchange\.EUR\[0\]\.rate"):
        rules_of(wrong, "t.yaml", {})


WRONG: list[tuple[Any, str]] = [
    ({"customers": {"a b": {}}}, "billing.customers.a b: a name is 1 to 128 of the characters"),
    ({"customers": {"all": {}, "acme": {"team": "x"}}}, 'billing.customers.acme: is never reached: "all" has all'),
    (
        {"customers": {"a": {"tag": "x"}, "b": {"each": "team"}}},
        'billing.customers.b: is, as "a", one customer for each',
    ),
    (
        {"customers": {"a": {"tag": "x", "each": "team"}}},
        "billing.customers.a.each: and a tag without a value are both",
    ),
    ({"customers": {"a": {"each": "team", "name": "A"}}}, "billing.customers.a.name: would be that of many"),
    (
        {"customers": {"a": {"currency": "EUR"}}},
        "billing.customers.a.currency: has no rate of exchange. Write prices.exch",
    ),
    ({"customers": {"a": {"currency": "euro"}}}, "billing.customers.a.currency: is not valid"),
    (
        {"customers": {"a": {"exchange_rate": 1.1}}},
        "billing.customers.a.exchange_rate: is of another currency than USD",
    ),
    (
        {"customers": {"a": {"currency": "EUR", "exchange_rate": 0}}},
        "billing.customers.a.exchange_rate: must be more than 0",
    ),
    ({"customers": {"a": {"tax_basis_points": 19.5}}}, "expected a whole number"),
    ({"markup": [{"customer": "nobody", "percent": 1}]}, 'billing.markup[0].customer: unknown customer "nobody"'),
    ({"markup": [{"percent": 1.00001}]}, "billing.markup[0].percent: expected a percentage with four decimal places"),
    ({"markup": [{"percent": -1}]}, "billing.markup[0].percent: must be 0 to 1000"),
    ({"markup": [{"per_request_usd": 0.0000000001}]}, "expected dollars with nine decimal places at most"),
    ({"markup": [{"percent": "12"}]}, "billing.markup[0].percent: expected a number"),
    (
        {"markup": [{"name": "x", "percent": 1}, {"name": "x", "percent": 1}]},
        "billing.markup[1].name: is the name of two",
    ),
    ({"discounts": [{"percent": 1, "credit_usd": 1}]}, "billing.discounts[0]: expected one of percent, tiers and"),
    ({"discounts": [{"name": "x"}]}, "billing.discounts[0]: expected one of percent, tiers and"),
    ({"discounts": [{"percent": 101}]}, "billing.discounts[0].percent: must be 0 to 100"),
    (
        {"discounts": [{"tiers": [{"over_usd": 5, "percent": 1}, {"over_usd": 5, "percent": 2}]}]},
        "billing.discounts[0].tiers[1].over_usd: is not more than that of the tier before",
    ),
    ({"discounts": [{"percent": 1, "period": "2026"}]}, "billing.discounts[0].period: is not valid"),
    ({"cost_centres": ["tem"]}, "billing.cost_centres[0]: is not valid"),
    ({"prefix": "CN"}, "billing.credit_prefix: is the prefix of invoices, too"),
    ({"font": "nowhere.ttf"}, "billing.font: no such file"),
    ({"customers": {f"c{n}": {"tag": f"t{n}:x"} for n in range(17)}}, "billing: looks at more than 16 different tags"),
]


@pytest.mark.parametrize(("billing", "said"), WRONG, ids=[said for _, said in WRONG])
def test_what_is_wrong_is_told_with_its_place(billing: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(billing)
    assert said in str(caught.value) and str(caught.value).startswith("t.yaml:")


def test_what_is_doubtful_is_a_warning() -> None:
    found = loaded({"markup": [{"provider": "gone", "percent": 1}, {"name": "nothing"}]})
    assert [(one.path, one.message) for one in found.warnings if one.path.startswith("billing")] == [
        ("billing.markup[0].provider", "there is no such provider in this config."),
        ("billing.markup[1]", "adds nothing."),
    ]
