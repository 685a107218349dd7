"""A start without a file serves what the environment's keys allow, or says what to do."""

from __future__ import annotations

from datetime import date

import pytest

from pointsman.config import known
from pointsman.config.discover import from_environment
from pointsman.config.load import Options, load_text
from pointsman.config.overlay import overlay
from pointsman.config.problem import ConfigError

OPTIONS = Options(today=date(2026, 11, 22))


def test_every_key_found_brings_its_models_into_one_route() -> None:
    loaded = from_environment({"OPENAI_API_KEY": "sk-canary-1", "GROQ_API_KEY": "sk-canary-2"}, OPTIONS)
    policy = loaded.policy
    assert set(policy.providers) == {"openai", "groq"}
    assert policy.source == "environment"
    auto = policy.routes["auto"]
    assert auto.strategy == "cheapest"
    assert auto.candidates == tuple(one.name for one in policy.deployments)
    assert {one.wire.model for one in policy.deployments} == {
        *overlay().automatic("openai"),
        *overlay().automatic("groq"),
    }
    assert policy.listener.insecure_open and policy.listener.host == "127.0.0.1"
    assert "canary" not in repr(loaded)


@pytest.mark.parametrize("provider", [name for name in overlay().models if overlay().automatic(name)])
def test_any_one_key_is_enough(provider: str) -> None:
    variable = known.PROVIDERS[provider].key_env[0]
    loaded = from_environment({variable: "sk-canary-1"}, OPTIONS)
    assert 1 <= len(loaded.policy.deployments) <= 3
    assert all(one.price for one in loaded.policy.deployments)


def test_a_client_key_of_the_environment_closes_the_door() -> None:
    loaded = from_environment({"OPENAI_API_KEY": "a", "POINTSMAN_KEY": "0123456789abcdef"}, OPTIONS)
    assert [key.name for key in loaded.policy.keys] == ["default"]
    assert not loaded.policy.listener.insecure_open


def test_without_a_client_key_it_does_not_listen_beyond_loopback() -> None:
    with pytest.raises(ConfigError, match="there are no keys"):
        from_environment({"OPENAI_API_KEY": "a"}, Options(server={"host": "0.0.0.0"}))


def test_without_any_key_it_says_what_to_do_next() -> None:
    with pytest.raises(ConfigError) as caught:
        from_environment({"OPENAI_API_KEY": "  "}, OPTIONS)
    said = str(caught.value)
    assert said.startswith("environment: no provider's key is set. Set one, for example `export OPENAI_API_KEY=...`")
    assert "pointsman serve FILE" in said and "ANTHROPIC_API_KEY" in said


def test_the_dialects_of_the_config_are_those_of_the_registry() -> None:
    registry = pytest.importorskip("pointsman.dialects.registry", exc_type=ImportError)
    assert set(known.DIALECTS) == set(registry.DIALECTS)


def test_every_known_provider_can_be_configured_with_nothing_but_its_key_and_its_parts() -> None:
    for name, one in known.PROVIDERS.items():
        parts = "".join(f"{part}: x, " for part in one.parameters)
        text = f"providers: {{{name}: {{api_key: y, parameters: {{{parts}}}}}}}\ndeployments: {{a: {{provider: {name}}}}}\n"
        provider = load_text(text, "p.yaml", {}, OPTIONS).policy.providers[name]
        assert (provider.dialect, provider.auth) == (one.dialect, one.auth)
