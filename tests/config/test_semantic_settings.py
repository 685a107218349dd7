"""Settings of similar questions: what they become, and the exact words about what is wrong with them."""

from __future__ import annotations

from datetime import date

import pytest

from pointsman.config.load import Loaded, Options, load_text
from pointsman.config.problem import ConfigError
from pointsman.core.policy import Semantic

D = """deployments:
  a: {provider: openai, price: {input: 1, output: 2}, context: 9}
  v: {provider: openai, model: e, kind: embeddings, price: {input: 1, output: 0}}
routes:
"""


def load(routes: str) -> Loaded:
    return load_text(D + routes, "p.yaml", {"OPENAI_API_KEY": "sk-canary-1"}, Options(today=date(2026, 11, 22)))


def semantic(routes: str) -> Semantic | None:
    cache = load(routes).policy.routes["r"].cache
    assert cache is not None
    return cache.semantic


def test_what_is_left_out_has_a_default_that_fits_the_vectors() -> None:
    assert semantic("  r: {candidates: [a], cache: 1h}") is None
    own = semantic("  r: {candidates: [a], cache: {ttl: 1h, semantic: {}}}")
    assert own == Semantic(embeddings="local", threshold=0.7, wrong_hits=0.01, check=0.05, max_entries=500)
    other = semantic("  r: {candidates: [a], cache: {ttl: 1h, semantic: {embeddings: v, wrong_hits: 0.02}}}")
    assert other == Semantic(embeddings="v", threshold=0.92, wrong_hits=0.02)


def test_a_maker_of_vectors_is_no_route_and_not_unused() -> None:
    loaded = load("  r: {candidates: [a], cache: {ttl: 1h, semantic: {embeddings: v}}}")
    assert set(loaded.policy.routes) == {"r", "a", "openai/a"}
    assert not [warning for warning in loaded.warnings if "deployments.v" in str(warning)]


@pytest.mark.parametrize(
    ("route", "said"),
    [
        ("{candidates: [a, v]}", '"v" is of kind embeddings: it answers nothing.'),
        ("{candidates: [a], degrade: [{candidates: [v]}]}", '"v" is of kind embeddings: it answers nothing.'),
        ("{candidates: [a], on: {timeout: [v]}}", '"v" is of kind embeddings: it answers nothing.'),
        ("{candidates: [a], cache: {ttl: 1h, semantic: {embeddings: a}}}", '"a" makes no vectors.'),
        ("{candidates: [a], cache: {ttl: 1h, semantic: {embeddings: w}}}", 'unknown deployment "w"'),
        ("{candidates: [a], cache: {ttl: 1h, semantic: {check: 2}}}", "must be at most 1."),
        ("{candidates: [a], cache: {ttl: 1h, semantic: {threshold: 0.2}}}", "must be at least 0.5."),
        ("{candidates: [a], cache: {ttl: 1h, semantic: {wrong_hits: 0}}}", "must be at least 0.0001."),
        ("{candidates: [a], cache: {ttl: 1h, semantic: {max_entries: 5000}}}", "must be at most 2000."),
    ],
)
def test_what_cannot_work_is_refused(route: str, said: str) -> None:
    with pytest.raises(ConfigError) as failure:
        load(f"  r: {route}")
    assert said in str(failure.value) and "p.yaml:5" in str(failure.value)
