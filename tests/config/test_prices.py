"""Prices come out of the library exact, whitelisted and kept."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from genai_prices.types import ConditionalPrice, ModelInfo, ModelPrice, PriceVariant, StartDateConstraint
from hypothesis import given
from hypothesis import strategies as st

from pointsman.config import prices
from pointsman.core.pricing import Price, Rates, charge, nano_of
from pointsman.core.usage import Usage

TODAY = date(2026, 11, 22)


def _price(provider: str, model: str, today: date = TODAY) -> Price:
    price = prices.rows([(provider, model)], today)[provider, model].price
    assert price is not None
    return price


@given(st.integers(0, 10**15))
def test_usd_become_nano_dollars_exactly(nano: int) -> None:
    assert prices.nano(Decimal(nano) / 10**9) == nano


@pytest.mark.parametrize("usd", ["-1", "NaN", "Infinity", "0.0000000001"])
def test_a_figure_that_is_no_whole_number_of_nano_dollars_is_refused(usd: str) -> None:
    assert prices.nano(Decimal(usd)) is None


@given(st.floats(0, 1e6, allow_subnormal=False).map(lambda value: round(value, 6)))
def test_a_written_price_means_its_decimal(usd: float) -> None:
    price = prices.from_usd({"input": usd, "output": 0}, "config")
    assert price is not None and price.rates.input == int(Decimal(repr(usd)) * 10**9)


@pytest.mark.parametrize(
    ("provider", "model"), [("openai", "gpt-5.4"), ("anthropic", "claude-haiku-5-5"), ("google", "gemini-2.5-pro")]
)
@pytest.mark.parametrize("tokens", [1_000, 99_999, 100_001, 199_999, 200_001, 271_999, 272_001, 900_000])
def test_our_charge_is_the_librarys(provider: str, model: str, tokens: int) -> None:
    from datetime import UTC, datetime

    from genai_prices import Usage as Theirs
    from genai_prices import calc_price

    theirs = calc_price(
        Theirs(input_tokens=tokens, cache_read_tokens=tokens // 2, output_tokens=777),
        model,
        provider_id=provider,
        genai_request_timestamp=datetime(2026, 11, 22, 12, tzinfo=UTC),
    ).total_price
    ours = charge(Usage(input_tokens=tokens, cache_read_tokens=tokens // 2, output_tokens=777), _price(provider, model))
    assert ours.nano is not None and abs(Decimal(ours.nano) - theirs * 10**9) <= Decimal("0.5")


def test_only_variants_the_model_lists_are_priced() -> None:
    mini = _price("openai", "gpt-5-mini")
    assert mini.rates_for(10, "flex") == mini.variants["flex"] != mini.rates
    assert set(mini.variants) == {"flex", "priority", "fast", "batch"}
    assert set(_price("groq", "openai/gpt-oss-120b").variants) == {"batch"}
    assert _price("x-ai", "grok-4.7").variants == {}


def test_no_variant_is_the_full_price_under_another_name() -> None:
    """The library answers an unknown context with the full price: each variant must be one that the model lists."""
    found = prices._providers()
    wanted = [(name, model.id) for name in ("anthropic", "groq", "mistral", "x-ai") for model in found[name].models]
    checked = 0
    for (provider, model_id), row in prices.rows(wanted, TODAY).items():
        model = found[provider].find_model(model_id)
        listed = [variant.when for variant in (model and model.price_variants) or ()]
        for name in row.price.variants if row.price else ():
            key, value = prices._VARIANTS[name]
            assert {key: value} in listed, (provider, model_id, name)
            checked += 1
    assert checked > 10


def test_a_variant_tiered_by_size_is_left_unpriced() -> None:
    sol = _price("openai", "gpt-6-sol")
    assert sol.tiers and "flex" not in sol.variants
    assert charge(Usage(input_tokens=1), sol, "flex").state == "unpriced"


def test_a_price_holds_from_its_day() -> None:
    before, after = (_price("google", "gemini-4-argon", day) for day in (TODAY, date(2026, 12, 1)))
    assert after.rates.input == 2 * before.rates.input
    rows = prices.rows([("google", "gemini-4-argon")], TODAY)
    assert rows["google", "gemini-4-argon"].changes == "2026-12-01"


def test_a_price_by_the_hour_is_the_dearest_and_says_so() -> None:
    price = _price("deepseek", "deepseek-flash")
    assert price.source.endswith(" peak") and price.rates.input == 300_000_000


def test_images_at_another_rate_leave_a_model_unpriced() -> None:
    assert prices.rows([("google", "gemini-2.5-flash-image")], TODAY)["google", "gemini-2.5-flash-image"].price is None


def test_an_unknown_model_or_provider_has_no_row() -> None:
    assert prices.rows([("openai", "no-such-model"), ("no-such", "gpt-5"), ("", "gpt-5")], TODAY) == {}


def test_tiers_of_different_classes_are_joined() -> None:
    from genai_prices.types import Tier, TieredPrices

    one = TieredPrices(base=Decimal(1), tiers=[Tier(start=100, price=Decimal(2))])
    two = TieredPrices(base=Decimal(3), tiers=[Tier(start=200, price=Decimal(4))])
    found = prices._tiered(ModelPrice(input_mtok=one, output_mtok=two))
    assert found is not None
    sizes = [(tier.over_input_tokens, tier.rates.input // 10**9, tier.rates.output // 10**9) for tier in found[1]]
    assert sizes == [(100, 2, 3), (200, 2, 4)]


def test_a_variant_before_its_day_does_not_count() -> None:
    later = StartDateConstraint(start_date=date(2027, 1, 1))
    model = ModelInfo(
        id="m",
        match=None,  # type: ignore[arg-type]
        prices=[ConditionalPrice(prices=ModelPrice(input_mtok=Decimal(2), output_mtok=Decimal(2)))],
        price_variants=[PriceVariant({"service_tier": "flex"}, ModelPrice(input_mtok=Decimal(1)), later)],
    )
    price = prices._price(model, TODAY, "x", variants=True)
    assert price is not None and price.variants == {}


def test_a_fee_for_each_call_is_part_of_the_price() -> None:
    price = _price("perplexity", "sonar")
    assert price.rates.request > 0
    assert nano_of(Usage(), price.rates) == price.rates.request


def test_kept_rows_are_used_and_a_spoilt_file_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [("openai", "gpt-5-mini"), ("openai", "no-such-model")]
    first = prices.rows(wanted, TODAY, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(prices, "_ask", lambda *_: pytest.fail("the library was asked again"))
        assert prices.rows(wanted, TODAY, tmp_path) == first
    (tmp_path / "prices.json").write_bytes(b'{"key": 1')
    assert prices.rows(wanted, TODAY, tmp_path) == first
    monkeypatch.setattr(prices, "library_version", lambda: "9.9.9")
    assert prices.rows(wanted, TODAY, tmp_path)["openai", "gpt-5-mini"].price != first["openai", "gpt-5-mini"].price


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert prices.rows([("openai", "gpt-5-mini")], TODAY, tmp_path / "file" / "below")


def test_the_version_of_a_price_names_every_figure() -> None:
    one, two = (prices.versioned(Rates(input=figure, output=1), "config") for figure in (1, 2))
    assert one.version != two.version and one.version.startswith("config#")
