"""The catalog: our facts over the library's, each with a source, and nothing in it that is not a fact."""

from __future__ import annotations

from datetime import date

from pointsman.config import known
from pointsman.config.catalog import FACTS, Wanted, lookup
from pointsman.config.overlay import overlay
from pointsman.config.quality import table
from pointsman.core.request import CATEGORIES

TODAY = date(2026, 11, 22)


def test_the_overlay_goes_over_the_price_library() -> None:
    wanted = Wanted(provider="openai", prices="openai", model="gpt-4.1")
    facts = lookup([wanted], TODAY)[wanted].facts
    assert facts.context_tokens == 1_047_576  # the library rounds it to a million
    assert facts.sources["context"] == "overlay"
    assert facts.sources["price"].startswith("genai-prices ")


def test_a_fact_of_the_library_alone_says_so() -> None:
    wanted = Wanted(provider="openai", prices="openai", model="gpt-5-nano")
    facts = lookup([wanted], TODAY)[wanted].facts
    assert facts.context_tokens == 400_000 and facts.sources["context"].startswith("genai-prices ")
    assert facts.tools is None and "tools" not in facts.sources


def test_an_unknown_model_is_unknown() -> None:
    wanted = Wanted(provider="", prices="", model="anything")
    found = lookup([wanted], TODAY)[wanted]
    assert found.price is None and found.facts.context_tokens is None and found.facts.sources == {}


def test_a_dated_snapshot_and_an_alias_have_the_facts_of_their_model() -> None:
    found = overlay()
    assert found.find("anthropic", "claude-sonnet-4-5-20250929") == found.find("anthropic", "claude-sonnet-4-5")
    assert found.find("openai", "gpt-4o-2024-11-20") == found.find("openai", "gpt-4o")
    assert found.find("mistral", "mistral-medium-2604") == found.find("mistral", "mistral-medium-3-5")
    assert found.find("openai", "gpt-4o-other") is None


def test_every_entry_has_a_source_a_fact_and_sense() -> None:
    for provider, models in overlay().models.items():
        for model, entry in models.items():
            where = (provider, model)
            assert entry.source.startswith("https://"), where
            assert all(url.startswith("https://") for url in entry.sources.values()), where
            assert set(entry.sources) <= set(FACTS), where
            assert any(getattr(entry, fact) is not None for fact in FACTS), where
            assert all(getattr(entry, fact) is not None for fact in entry.sources), where
            assert entry.retires is None or date.fromisoformat(entry.retires), where
            if entry.context and entry.max_output:
                assert entry.max_output <= entry.context, where


def test_every_provider_of_the_overlay_is_known() -> None:
    assert set(overlay().models) <= set(known.PROVIDERS)


def test_the_overlay_was_seen_on_a_day() -> None:
    assert date.fromisoformat(overlay().seen) <= date.fromisoformat("2026-11-22")


def test_automatic_models_are_few_priced_and_not_about_to_retire() -> None:
    for provider in overlay().models:
        names = overlay().automatic(provider)
        assert len(names) <= 3, provider
        for name in names:
            wanted = Wanted(provider=provider, prices=known.PROVIDERS[provider].prices, model=name)
            found = lookup([wanted], TODAY)[wanted]
            assert found.price is not None, (provider, name)
            assert found.facts.retires is None, (provider, name)


def test_every_quality_is_a_share_of_a_known_category_with_a_page() -> None:
    assert date.fromisoformat(table().seen) <= TODAY and len(table().models) > 20
    for model, prior in table().models.items():
        assert prior.source.startswith("https://") and prior.source.endswith(".md"), model
        assert prior.by_category and set(prior.by_category) <= {*CATEGORIES, "default"}, model
        assert all(0.0 < figure < 1.0 for figure in prior.by_category.values()), model


def test_a_model_has_its_quality_whoever_serves_it_and_whatever_its_date() -> None:
    found = table().find("gpt-oss-120b")
    assert found is not None and found == table().find("openai/gpt-oss-120b")
    dated = table().find("claude-sonnet-4-5-20250929")
    assert dated is not None and dated == table().find("claude-sonnet-4-5")
    assert table().find("claude-sonnet-4") is None
    wanted = Wanted(provider="groq", prices="groq", model="openai/gpt-oss-120b")
    assert lookup([wanted], TODAY)[wanted].quality == found.by_category


def test_every_model_with_a_quality_is_one_the_overlay_knows() -> None:
    names = {name.rpartition("/")[2] for models in overlay().models.values() for name in models}
    assert set(table().models) <= names
