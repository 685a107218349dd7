"""Price lists: read, written, merged and put in force; a list that is none changes nothing."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pointsman.config import price_list, prices
from pointsman.config.load import Options, load_text
from pointsman.config.price_list import ListError, PriceList, bundled, encoded, in_force, merged, read_list
from pointsman.config.problem import ConfigError

TODAY = date(2026, 11, 22)


def edited(**models: dict[str, Any] | None) -> PriceList:
    """Return the library's list with other prices of OpenAI's models; None: without the model."""
    plain = deepcopy(bundled())
    for provider in plain.providers:
        if provider["id"] == "openai":
            kept = [one for one in provider["models"] if models.get(one["id"].replace("-", "_"), 1) is not None]
            for one in kept:
                one["prices"].update(models.get(one["id"].replace("-", "_")) or {}) if isinstance(
                    one["prices"], dict
                ) else None
            provider["models"] = kept
    return plain


def test_the_librarys_list_survives_being_written_and_read() -> None:
    """Every model of it costs the same, to the nano-dollar, and is found by the same names."""
    before, after = prices._providers(), read_list(encoded(bundled()), "x").parsed()
    assert list(before) == list(after)
    models = 0
    for name, provider in before.items():
        for one, other in zip(provider.models, after[name].models, strict=True):
            assert (one.id, one.match, one.context_window) == (other.id, other.match, other.context_window)
            assert prices.price_of(provider, one, TODAY, "s") == prices.price_of(after[name], other, TODAY, "s")
            models += 1
    assert models > 2_000


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"nonsense", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"{}", "expected a list of providers"),
        (b"[]", "has no models"),
        (b'[{"id": "x"}]', "has no models"),
        (b'[{"models": []}]', "a provider has no id"),
        (b'[{"id": "x", "models": [{}]}]', "a model of x has no id"),
        (
            b'[{"id": "x", "models": [{"id": "m", "prices": {"input_mtok": "dear"}}]}]',
            "is not of the format of genai-prices",
        ),
        (b'{"format": 9, "providers": []}', "is of format 9"),
        (b'{"at_ms": "x", "providers": [{"id": "x", "models": [{"id": "m"}]}]}', "is not as this program writes it"),
    ],
)
def test_what_is_no_list_is_said_to_be_none(data: bytes, said: str) -> None:
    with pytest.raises(ListError, match=said):
        read_list(data, "x")


def test_a_model_without_any_price_has_none() -> None:
    model = {"id": "m", "match": {"equals": "m"}, "prices": []}
    data = json.dumps([{"id": "x", "name": "X", "api_pattern": "x", "models": [model]}]).encode()
    provider = read_list(data, "x").parsed()["x"]
    assert prices.price_of(provider, provider.models[0], TODAY, "s") is None


def test_what_is_held_or_gone_keeps_its_price() -> None:
    new = edited(gpt_5_mini={"input_mtok": 0}, gpt_5_nano={"input_mtok": 0.04}, gpt_5=None)
    made = merged(bundled(), new, {"openai/gpt-5-mini": "goes to zero"}, TODAY)
    found = dict(made.models())
    assert found["openai", "gpt-5-mini"]["prices"]["input_mtok"] == 0.25
    assert found["openai", "gpt-5-nano"]["prices"]["input_mtok"] == 0.04
    assert made.stale == {"openai/gpt-5": "2026-11-22"} and ("openai", "gpt-5") in found
    again = merged(made, new, {}, date(2026, 12, 24))
    assert again.stale == made.stale and dict(again.models())["openai", "gpt-5-mini"]["prices"]["input_mtok"] == 0
    without = msgspec.structs.replace(new, providers=[one for one in new.providers if one["id"] != "groq"])
    assert any(key[0] == "groq" for key, _ in merged(bundled(), without, {}, TODAY).models())


def test_the_list_in_force_is_what_a_config_is_priced_by(tmp_path: Path) -> None:
    file = tmp_path / price_list.FILE
    file.write_bytes(encoded(merged(bundled(), edited(gpt_5_mini={"input_mtok": 0.2}, gpt_5=None), {}, TODAY)))
    text = "deployments: {a: {provider: openai, model: gpt-5-mini}, b: {provider: openai, model: gpt-5}}"
    for cache in (None, tmp_path / "cache", tmp_path / "cache"):
        options = Options(today=TODAY, price_list=file, cache_dir=cache)
        one, two = load_text(text, "f", {"OPENAI_API_KEY": "x"}, options).policy.deployments
        assert one.price is not None and two.price is not None
        assert one.price.rates.input == 200_000_000 and one.price.source == "genai-prices refreshed"
        assert (
            one.listed == "openai/gpt-5-mini" and two.price.note == "stale: not in the list any more since 2026-11-22"
        )
    file.unlink()
    back = load_text(text, "f", {"OPENAI_API_KEY": "x"}, options).policy.deployments[0]
    assert back.price is not None and back.price.rates.input == 250_000_000


def test_a_list_in_force_that_is_broken_is_a_problem_with_its_file(tmp_path: Path) -> None:
    file = tmp_path / price_list.FILE
    file.write_text("[")
    with pytest.raises(
        ConfigError, match=r"the price list .*prices\.json is not JSON\. Put another there, or delete it\."
    ):
        load_text(
            "deployments: {a: {provider: openai}}", "f", {"OPENAI_API_KEY": "x"}, Options(today=TODAY, price_list=file)
        )
    with pytest.raises(ListError):
        in_force(file)


def test_figures_that_no_float_has_are_kept_as_text() -> None:
    data = json.dumps(
        [
            {
                "id": "x",
                "name": "X",
                "api_pattern": "x",
                "models": [
                    {
                        "id": "m",
                        "match": {"equals": "m"},
                        "prices": {"input_mtok": "0.1000000000000000000001", "output_mtok": 1},
                    }
                ],
            }
        ]
    ).encode()
    first = read_list(data, "x")
    assert dict(read_list(encoded(first), "x").models()) == dict(first.models())
