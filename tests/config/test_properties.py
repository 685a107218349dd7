"""Whatever the text, a Policy or a ConfigError comes out, and no secret with it."""

from __future__ import annotations

from datetime import date
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pointsman.config.explain import settings_at
from pointsman.config.load import Loaded, Options, load_text
from pointsman.config.problem import ConfigError

ENV = {"OPENAI_API_KEY": "sk-canary-openai", "K": "canary-client-key-123"}
OPTIONS = Options(today=date(2026, 11, 22))
WORDS = st.sampled_from(
    [
        *("providers", "deployments", "routes", "keys", "limits", "server", "openai", "a", "r", "<<"),
        *settings_at(("providers", "x")),
        *settings_at(("deployments", "x")),
        *settings_at(("routes", "x")),
        *settings_at(("routes", "x", "rules", 0)),
        *settings_at(("routes", "x", "degrade", 0)),
        *settings_at(("routes", "x", "limits")),
        *settings_at(("keys", 0)),
        *settings_at(("server",)),
    ]
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    WORDS,
    st.text(max_size=8),
    st.sampled_from(["${K}", "${NOPE}", "${K:-x}", "${", "http://10.0.0.1", "https://u:p@h", "2026-12-01", "fastest"]),
    st.sampled_from(["features.code", 'caller.team == "a"', "features.cod", "objective", "session", "30s", "openai"]),
)
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4), max_leaves=20
)
FILES = st.fixed_dictionaries(
    {"deployments": st.dictionaries(WORDS, TREES, max_size=3)},
    optional=dict.fromkeys(("providers", "routes", "keys", "limits", "server"), TREES),
)


def _outcome(text: str) -> Loaded | ConfigError:
    try:
        return load_text(text, "p.yaml", ENV, OPTIONS)
    except ConfigError as error:
        return error


def _holds(text: str) -> None:
    outcome = _outcome(text)
    if isinstance(outcome, ConfigError):
        assert outcome.problems
    assert "canary" not in str(outcome) and "canary" not in repr(outcome)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=200))
def test_any_text_is_judged(text: str) -> None:
    _holds(text)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(FILES)
def test_any_tree_of_known_words_is_judged(tree: dict[str, Any]) -> None:
    _holds(yaml.safe_dump(tree, allow_unicode=True))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(alphabet="ab:-[]{}&*!|>'\"#%@`,?\n\t <0.$", max_size=80))
def test_any_punctuation_is_judged(text: str) -> None:
    _holds(text)
