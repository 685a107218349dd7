"""Rules, splits, ladders, objectives and demands become exactly the Policy they say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pointsman.config.compile import version_of
from pointsman.config.load import Loaded
from pointsman.config.transport import decode, encode
from pointsman.core.policy import Arm, Bounds, Objective, Policy, Route, Rule, Rung, Split, Sticky
from pointsman.core.pricing import Rates, Window

Load = Callable[..., Loaded]
DEPLOYMENTS = """
providers: {lab: {dialect: openai, base_url: "http://127.0.0.1:8000/v1"}}
deployments:
  big: {provider: lab, context: 9, price: {input: 3, output: 15}, quality: {code: 0.9, default: 0.85}}
  small: {provider: lab, context: 9, price: {input: 0.1, output: 0.4}, quality: 0.6, modalities: [text]}
  local: {provider: lab, context: 9, price: {input: 0, output: 0}, quality: 0.4, modalities: [text]}
"""
RICH = (
    DEPLOYMENTS
    + """
routes:
  support:
    candidates: [big, small]
    objective: {quality: 0.7, latency: 0.2, cost: 0.1, half_usd: 0.02}
    quality_floor: 0.5
    limits: {ttft_ms_p95: 800, usd_per_request: 0.02, usd_per_day: 50}
    relax: [ttft_ms_p95, quality_floor, usd_per_request, usd_per_day]
    explore: 0.02
    sticky: {by: conversation, ttl: 15m}
    degrade:
      - candidates: [local]
      - max_output: 300
      - candidates: [local]
        max_output: 100
      - cached: {max_age: 24h}
      - reply: "We cannot answer right now."
  drafts:
    candidates: [local, small]
    strategy: cheapest
    params: {temperature: 0.2, stop: ["x"], seed: null}
    prompt_prefix: "Be short."
    max_output: 2000
    tags: [drafts]
    sticky: session
    degrade: [{refuse: {retry_after: 90}}]
"""
)


def routes(loads: Load, text: str) -> dict[str, Route]:
    """Return the routes of a text under `routes:`, without those made of deployments."""
    loaded = loads(f"{DEPLOYMENTS}\nroutes:\n{text}\n")
    return {name: route for name, route in loaded.policy.routes.items() if not route.implicit}


@pytest.fixture
def rich(loads: Load) -> Policy:
    return loads(RICH).policy


def test_an_objective_has_weights_and_the_figures_that_score_a_half(rich: Policy) -> None:
    support = rich.routes["support"]
    assert support.strategy == "objective"
    assert support.objective == Objective(quality=0.7, latency=0.2, cost=0.1, half_nano=20_000_000)
    assert support.explore == 0.02


def test_demands_are_nano_dollars_and_relaxed_in_the_order_written(rich: Policy) -> None:
    assert rich.routes["support"].bounds == Bounds(
        quality_min=0.5,
        ttft_ms_p95=800.0,
        nano_per_request=20_000_000,
        nano_per_day=50_000_000_000,
        relax=("ttft_ms_p95", "quality_min", "nano_per_request", "nano_per_day"),
    )
    assert rich.routes["drafts"].bounds is None


def test_stickiness_is_a_word_or_a_mapping(rich: Policy) -> None:
    assert rich.routes["support"].sticky == Sticky(by="conversation", ttl_s=900.0)
    assert rich.routes["drafts"].sticky == Sticky(by="session", ttl_s=1800.0)


def test_the_ladder_keeps_its_order_and_names_its_rungs(rich: Policy) -> None:
    assert rich.routes["support"].degrade == (
        Rung(name="rung-1", candidates=("local",)),
        Rung(name="smaller", candidates=("big", "small"), max_output_tokens=300),
        Rung(name="rung-3", candidates=("local",), max_output_tokens=100),
        Rung(name="cached", cached_s=86_400.0),
        Rung(name="reply", reply="We cannot answer right now."),
    )
    assert rich.routes["drafts"].degrade == (Rung(name="refuse", refuse=True, retry_after_s=90),)


def test_what_is_sent_otherwise_is_json_and_text(rich: Policy) -> None:
    drafts = rich.routes["drafts"]
    assert drafts.params == {"temperature": b"0.2", "stop": b'["x"]', "seed": b"null"}
    assert (drafts.prompt_prefix, drafts.max_output_tokens, drafts.tags) == ("Be short.", 2000, ("drafts",))


def test_a_rule_uses_a_route_or_becomes_a_hidden_one_that_inherits(loads: Load, tmp_path: Path) -> None:
    found = routes(
        loads,
        """
  a:
    candidates: [small, local]
    attempts: 2
    quality_floor: 0.3
    rules:
      - {when: caller.team == "x", use: big}
      - {when: features.code, candidates: [big], objective: {quality: 1}, tags: [code]}
      - {limits: {ttft_ms_p95: 500}, strategy: fastest}
""",
    )
    assert found["a"].rules == (
        Rule(when='caller.team == "x"', use="big", place=f"{tmp_path / 'p.yaml'}:15"),
        Rule(when="features.code", use="a#2", place=f"{tmp_path / 'p.yaml'}:16"),
        Rule(when="", use="a#3", place=f"{tmp_path / 'p.yaml'}:17"),
    )
    floor = Bounds(quality_min=0.3)
    assert found["a#2"] == Route(
        name="a#2",
        hidden="a",
        candidates=("big",),
        strategy="objective",
        objective=Objective(quality=1.0),
        attempts=2,
        bounds=floor,
        tags=("code",),
    )
    assert found["a#3"] == Route(
        name="a#3",
        hidden="a",
        candidates=("small", "local"),
        strategy="fastest",
        attempts=2,
        bounds=Bounds(quality_min=0.3, ttft_ms_p95=500.0),
    )
    assert (found["a"].bounds, found["a"].hidden) == (floor, "")


def test_a_strategy_of_a_rule_replaces_the_objective_of_its_route(loads: Load) -> None:
    found = routes(
        loads,
        "  a: {candidates: [big], objective: {cost: 1}, rules: [{when: features.code, strategy: fastest}, {tags: [t]}]}",
    )
    assert (found["a#1"].strategy, found["a#1"].objective) == ("fastest", None)
    assert (found["a#2"].strategy, found["a#2"].objective) == ("objective", Objective(cost=1.0))


def test_a_rule_with_other_candidates_leaves_out_the_inherited_rung_that_has_only_these(loads: Load) -> None:
    found = routes(
        loads,
        """
  a:
    candidates: [big]
    degrade: [{candidates: [local]}, {max_output: 50}, {reply: sorry}]
    rules: [{when: features.code, candidates: [local, small]}]
""",
    )
    assert [rung.name for rung in found["a"].degrade] == ["rung-1", "smaller", "reply"]
    assert found["a#1"].degrade == (
        Rung(name="smaller", candidates=("local", "small"), max_output_tokens=50),
        Rung(name="reply", reply="sorry"),
    )


def test_a_rule_that_replaces_limits_keeps_of_relax_what_is_still_demanded(loads: Load) -> None:
    found = routes(
        loads,
        """
  a:
    candidates: [big]
    limits: {ttft_ms_p95: 800, usd_per_day: 3}
    relax: [ttft_ms_p95, usd_per_day]
    rules: [{when: features.code, limits: {ttft_ms_p95: 2000}}]
""",
    )
    assert found["a#1"].bounds == Bounds(ttft_ms_p95=2000.0, relax=("ttft_ms_p95",))


def test_a_route_with_a_rule_that_holds_always_needs_no_candidates(loads: Load) -> None:
    found = routes(loads, "  a: {rules: [{when: features.code, use: big}, {use: b}]}\n  b: {candidates: [small]}")
    assert found["a"].candidates == () and found["a"].rules[1].use == "b"


def test_a_split_has_arms_that_are_routes_or_variants(loads: Load) -> None:
    found = routes(
        loads,
        """
  a:
    candidates: [small]
    split:
      by: user
      arms:
        control: {weight: 90}
        kind: {weight: 9, prompt_prefix: "Be kind.", params: {temperature: 1}}
        big: {weight: 1, use: big}
""",
    )
    arms = (
        Arm(name="control", weight=90.0, use="a@control"),
        Arm(name="kind", weight=9.0, use="a@kind"),
        Arm(name="big", weight=1.0, use="big"),
    )
    assert found["a"].split == Split(by="user", salt="a", arms=arms)
    assert found["a@control"] == Route(name="a@control", hidden="a", candidates=("small",))
    assert (found["a@kind"].prompt_prefix, found["a@kind"].params) == ("Be kind.", {"temperature": b"1"})


def test_a_split_of_its_own_salt_needs_no_candidates(loads: Load) -> None:
    found = routes(
        loads, "  a: {split: {salt: again, arms: {x: {weight: 1, use: big}, y: {weight: 1, candidates: [small]}}}}"
    )
    assert found["a"].candidates == () and found["a"].split is not None
    assert (found["a"].split.salt, found["a"].split.by) == ("again", "request")


def test_hidden_routes_are_no_ones_to_name(loads: Load) -> None:
    text = DEPLOYMENTS + "routes: {a: {candidates: [big], rules: [{tags: [t]}]}}\n"
    assert loads(text + 'keys: [{name: k, key: "0123456789abcdef", tier: gold, routes: [a]}]\n').policy.keys[0].tier
    with pytest.raises(ValueError, match=r'unknown route "a#1"') as caught:
        raise ValueError(failing(loads, text + 'keys: [{name: k, key: "0123456789abcdef", routes: ["a#1"]}]\n'))
    assert "keys[0].routes[0]" in str(caught.value)
    assert 'unknown route "b#1"' in failing(
        loads, DEPLOYMENTS + 'routes: {a: {rules: [{use: "b#1"}]}, b: {candidates: [big], rules: [{tags: [t]}]}}\n'
    )


def failing(loads: Load, text: str) -> str:
    from pointsman.config.problem import ConfigError

    with pytest.raises(ConfigError) as caught:
        loads(text)
    return str(caught.value)


def test_prices_may_have_windows(loads: Load) -> None:
    loaded = loads(
        "providers: {lab: {dialect: openai, base_url: 'http://127.0.0.1:1'}}\n"
        "deployments: {a: {provider: lab, context: 9, price: {input: 2, output: 4, "
        "windows: [{from: '22:00', until: '06:30', input: 1, output: 2, cache_read: 0.5}]}}}\n"
    )
    price = loaded.policy.deployments[0].price
    assert price is not None
    night = Rates(input=1_000_000_000, output=2_000_000_000, cache_read=500_000_000)
    assert price.windows == (Window(22 * 60, 6 * 60 + 30, night),)
    assert price.rates_for(1, None, 0) == night and price.rates_for(1, None, 12 * 60) == price.rates
    plain = loads(DEPLOYMENTS).policy.deployments[0].price
    assert plain is not None and plain.version == "config#fb97d279"  # as before there were windows


def test_quality_is_written_or_from_the_table_with_its_source(loads: Load) -> None:
    loaded = loads(
        DEPLOYMENTS + "  luna: {provider: openai, model: gpt-6-luna}\n"
        "  mine: {provider: openai, model: gpt-6-luna, quality: 1}\n"
        "  dark: {provider: openai, model: no-such-model}\n"
    )
    by_name = {one.name: one for one in loaded.policy.deployments}
    assert by_name["big"].quality == {"code": 0.9, "default": 0.85}
    assert by_name["luna"].quality == {"default": 0.751}
    assert by_name["luna"].facts.sources["quality"].startswith("https://")
    assert (by_name["mine"].quality, by_name["mine"].facts.sources["quality"]) == ({"default": 1.0}, "config")
    assert by_name["dark"].quality == {} and "quality" not in by_name["dark"].facts.sources


def test_the_server_has_a_time_zone_and_headers_for_rules(loads: Load) -> None:
    listener = loads(DEPLOYMENTS + "server: {time_zone: Europe/Berlin, rule_headers: [x-team]}\n").policy.listener
    assert (listener.time_zone, listener.rule_headers) == ("Europe/Berlin", ("x-team",))


def test_a_deployment_that_only_a_rule_or_the_ladder_has_is_used(loads: Load) -> None:
    text = (
        "routes: {a: {candidates: [small], rules: [{when: features.code, use: big}], degrade: [{candidates: [local]}]}}"
    )
    assert loads(DEPLOYMENTS + text).warnings == ()


def test_a_policy_with_all_of_it_goes_through_the_pipe(rich: Policy) -> None:
    assert decode(encode(rich)) == rich


def test_the_version_is_stable_and_covers_every_new_setting(loads: Load) -> None:
    first = loads(RICH).policy
    assert first.version == version_of(first) == "4ae7db12f661"
    changes = {
        "quality: 0.7": "quality: 0.6",
        "half_usd: 0.02": "half_usd: 0.03",
        "quality_floor: 0.5": "quality_floor: 0.4",
        "usd_per_day: 50": "usd_per_day: 51",
        "relax: [ttft_ms_p95, quality_floor,": "relax: [quality_floor, ttft_ms_p95,",
        "explore: 0.02": "explore: 0.03",
        "ttl: 15m": "ttl: 16m",
        "max_output: 300": "max_output: 301",
        "max_age: 24h": "max_age: 25h",
        "right now": "just now",
        "temperature: 0.2": "temperature: 0.3",
        "Be short": "Be brief",
        "tags: [drafts]": "tags: [draft]",
        "max_output: 2000": "max_output: 2001",
        "retry_after: 90": "retry_after: 91",
        "default: 0.85": "default: 0.86",
    }
    versions = {loads(RICH.replace(old, new)).policy.version for old, new in changes.items()}
    assert len(versions | {first.version}) == len(changes) + 1


def test_the_version_does_not_know_the_lines_of_rules(loads: Load) -> None:
    text = "routes: {a: {candidates: [big], rules: [{when: features.code, use: small}]}}\n"
    first, second = loads(DEPLOYMENTS + text).policy, loads(DEPLOYMENTS + "\n\n# moved\n" + text).policy
    assert first.routes["a"].rules[0].place != second.routes["a"].rules[0].place
    assert first.version == second.version
    other = loads(DEPLOYMENTS + text.replace("features.code", "features.tools")).policy
    assert other.version != first.version
