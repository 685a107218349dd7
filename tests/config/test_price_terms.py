"""The section `prices`: contracts and currencies become the prices in force at a moment, and what is wrong is told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from pointsman.config.load import Loaded, Options, load_text
from pointsman.config.problem import ConfigError
from pointsman.core.pricing import Price

ENV = {"OPENAI_API_KEY": "sk-0123456789"}
HEAD = """
providers: {openai: {}}
deployments:
  mini: {provider: openai, model: gpt-5-mini}
  eu: {provider: openai, model: gpt-5-mini, region: eu}
  own: {provider: openai, model: x, context: 9, price: {input: 3, output: 9.5, currency: EUR, windows: [
    {from: "00:00", until: "06:00", input: 1, output: 1}]}}
prices:
"""
FULL = (
    HEAD
    + """
  exchange: {EUR: [{rate: 1.08}, {rate: 1.1, from: 2026-12-01}]}
  contracts:
    - {name: acme, provider: openai, off: 12.5, from: 2026-11-10, until: "2026-11-20T06:00:00+02:00"}
"""
)


def at(text: str, moment: str) -> Loaded:
    now = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    return load_text(text, "f.yaml", ENV, Options(now=now))


def price(loaded: Loaded, name: str = "mini") -> Price:
    found = next(one for one in loaded.policy.deployments if one.name == name)
    assert found.price is not None
    return found.price


def test_a_contract_holds_from_its_begin_to_before_its_end() -> None:
    moments = ["2026-11-09T23:59:59", "2026-11-10", "2026-11-20T03:59:59", "2026-11-20T04:00:00"]
    found = [price(at(FULL, moment)) for moment in moments]
    assert [one.rates.input for one in found] == [250_000_000, 218_750_000, 218_750_000, 250_000_000]
    assert found[1].note == "list 0.25 / 2.00, contract acme -12.5 %: 0.21875 / 1.75"
    assert at(FULL, moments[1]).policy.deployments[0].facts.sources["price"] == "contract acme"
    versions = [at(FULL, moment).policy.version for moment in moments]
    assert versions[0] == versions[3] != versions[1] == versions[2]


def test_the_next_moment_at_which_a_price_is_another_is_known() -> None:
    def next_of(moment: str) -> str:
        return datetime.fromtimestamp(at(FULL, moment).price_change_ms / 1000, UTC).isoformat()

    assert next_of("2026-11-01").startswith("2026-11-10T00:00")
    assert next_of("2026-11-10").startswith("2026-11-20T04:00")
    assert next_of("2026-11-21").startswith("2026-12-01T00:00")  # the rate of exchange
    assert at(FULL, "2026-12-01").price_change_ms == 0


def test_a_price_in_euro_is_in_dollars_at_the_rate_in_force() -> None:
    found = price(at(FULL, "2026-11-09"), "own")
    assert (found.rates.input, found.rates.output) == (3_240_000_000, 10_260_000_000)
    assert found.windows[0].rates.input == 1_080_000_000
    assert found.note == "3 / 9.5 EUR, 1 EUR = 1.08 USD" and found.source == "config EUR"
    later = price(at(FULL, "2026-12-01"), "own")
    assert later.rates.input == 3_300_000_000 and later.note.endswith(
        "1 EUR = 1.1 USD from 2026-12-01".replace("1.1 ", "1.10 ")
    )
    assert later.version != found.version


def test_contracts_by_region_and_service_tier() -> None:
    text = HEAD.replace(", currency: EUR", "") + (
        "  contracts:\n"
        "    - {name: up, region: eu, off: -10}\n"
        "    - {name: batch, service_tier: batch, price: {input: 0.01, output: 0.02}}\n"
    )
    loaded = at(text, "2026-11-09")
    assert price(loaded, "eu").rates.input == 275_000_000 and price(loaded, "eu").variants["batch"].input == 137_500_000
    assert price(loaded).rates.input == 250_000_000 and price(loaded).variants["batch"].input == 10_000_000
    assert price(loaded, "own").source == "config"  # what is written at a deployment holds


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("  contracts: [{name: a}]", "prices.contracts[0]: expected either off or price."),
        ("  contracts: [{name: a, off: 1, price: {input: 1, output: 1}}]", "expected either off or price."),
        ("  contracts: [{name: a, off: 1}, {name: a, off: 2}]", '"a" is the name of two.'),
        ("  contracts: [{name: a, off: 1, provider: opnai}]", 'unknown provider "opnai". Did you mean "openai"?'),
        ("  contracts: [{name: a, off: 101}]", "must be -100 to 100."),
        ("  contracts: [{name: a, off: 0.00001}]", "expected a percentage with four decimal places at most."),
        ("  contracts: [{name: a, off: 1, from: soon}]", "expected a date or a moment"),
        ("  contracts: [{name: a, off: 1, from: 2026-02-01, until: 2026-01-01}]", "ends before it begins."),
        ("  exchange: {EUR: [{rate: 0}]}", "must be more than 0."),
        ("  exchange: {EUR: [{rate: 1}, {rate: 2}]}", "begins with another of this currency."),
        ("  exchange: {euro: [{rate: 1}]}", "expected a currency of three letters"),
        ("  exchange: {USD: [{rate: 1}]}", "is what rates are told in."),
        ("  exchange: {CHF: [{rate: 1.1}]}", 'unknown currency "EUR".'),
        ("  exchange: {EUR: [{rate: 1, from: 2027-01-01}]}", "has no rate of exchange yet at 2026-11-09."),
        ("  refresh: 24h", "has nowhere to look. Set `from`."),
        ('  from: "http://prices.example.com/x"', "whoever is between could change prices. Use https://."),
    ],
)
def test_what_is_wrong_is_told(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        at(HEAD + text, "2026-11-09")
    assert any(said in str(problem) for problem in caught.value.problems), str(caught.value)


def test_contracts_that_change_nothing_are_warned_of() -> None:
    text = HEAD.replace(", currency: EUR", "") + (
        "  contracts:\n    - {name: idle, model: gpt-9, off: 1}\n    - {name: over, off: 1, until: 2026-01-01}\n"
    )
    told = [str(one) for one in at(text, "2026-11-09").warnings]
    assert any("prices.contracts[0]: no deployment with a list price is covered by it." in one for one in told)
    assert any("prices.contracts[1]: ended at 2026-01-01." in one for one in told)


def test_where_a_new_list_is_and_how_often_it_is_looked_for(tmp_path: Path, loads: Callable[..., Loaded]) -> None:
    text = HEAD.replace(", currency: EUR", "") + "  from: lists/new.json\n  refresh: 6h\n  accept: auto\n"
    settings = load_text(text, "f.yaml", ENV, beside=tmp_path).policy.listener.prices
    assert settings.origin is not None and settings.origin.reveal() == str(tmp_path / "lists/new.json")
    assert (settings.refresh_s, settings.accept) == (21_600.0, "auto")
    plain = loads("deployments: {a: {provider: openai, model: gpt-5-mini}}\n").policy.listener.prices
    assert plain == msgspec.convert({}, type(plain))
