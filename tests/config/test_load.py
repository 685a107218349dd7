"""A good config becomes exactly the Policy it says."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from pointsman.config.load import Loaded, Options, load
from pointsman.config.problem import ConfigError
from pointsman.core.keys import digest
from pointsman.core.policy import Key, Limits, Listener, Policy, Route
from pointsman.core.secret import Secret

Load = Callable[..., Loaded]
ONE = "deployments: {a: {provider: openai, model: gpt-6-luna}}\n"


@pytest.fixture
def policy(full: Path, env: dict[str, str], today: date) -> Policy:
    return load(full, env, Options(today=today)).policy


def test_a_provider_takes_what_is_known_and_what_is_written(policy: Policy) -> None:
    openai, lab, second = (policy.providers[name] for name in ("openai", "lab", "second"))
    assert (openai.dialect, openai.base_url) == ("openai", "https://api.openai.com/v1")
    assert openai.api_key == Secret("sk-canary-openai")
    assert policy.providers["anthropic"].api_key == Secret("sk-canary-anthropic")
    assert (second.base_url, second.quota_group) == (openai.base_url, "other-account")
    assert (lab.base_url, lab.auth, lab.api_key) == ("http://10.0.0.7:8000/v1", "none", None)
    assert lab.headers == {"X-Team": "lab"}


def test_a_known_provider_needs_no_entry_when_its_key_is_set(policy: Policy) -> None:
    assert policy.providers["groq"].api_key == Secret("sk-canary-groq")


def test_an_empty_entry_is_enough_for_a_known_provider(loads: Load) -> None:
    for entry in ("{}", ""):
        loaded = loads(f"providers:\n  groq: {entry}\ndeployments: {{a: {{provider: groq, model: x}}}}\n")
        assert loaded.policy.providers["groq"].base_url == "https://api.groq.com/openai/v1"


def test_a_deployment_has_its_wire_its_price_and_its_facts(policy: Policy) -> None:
    by_name = {one.name: one for one in policy.deployments}
    qwen, haiku = by_name["qwen"], by_name["haiku"]
    assert qwen.wire.rename == {"max_completion_tokens": "max_tokens"}
    assert qwen.wire.drop == ("parallel_tool_calls",)
    assert qwen.price is not None and qwen.price.rates.input == 100_000_000
    assert (qwen.facts.context_tokens, qwen.facts.sources["context"]) == (131072, "config")
    assert (haiku.wire.api_version, haiku.ttft_ms) == ("2023-06-01", 9000)
    assert by_name["gpt-5.4-mini"].wire.model == "gpt-5.4-mini"
    assert by_name["oss"].region == "us"


def test_a_route_has_candidates_strategy_waits_and_weights(policy: Policy) -> None:
    assert policy.routes["support"] == Route(
        name="support", candidates=("luna", "haiku"), strategy="fastest", attempts=2, ttft_ms=800, total_ms=5000
    )
    drafts = policy.routes["drafts"]
    assert (drafts.strategy, drafts.weights, drafts.unpriced) == ("weighted", (3.0, 1.0), "deny")


def test_each_deployment_is_a_route_by_three_names(policy: Policy) -> None:
    for name in ("luna", "openai/gpt-6-luna", "openai/luna"):
        assert policy.routes[name] == Route(name=name, candidates=("luna",), implicit=True)


def test_a_written_route_keeps_its_name(loads: Load) -> None:
    routes = loads(ONE + "routes: {a: {candidates: [a], attempts: 1}}\n").policy.routes
    assert not routes["a"].implicit and routes["a"].attempts == 1


def test_a_client_key_is_kept_as_its_digest_only(policy: Policy) -> None:
    assert policy.keys == (
        Key(name="dev", digest=digest(b"canary-client-key-123"), team="core", routes=("support", "luna")),
    )


def test_limits_and_listener_come_from_file_and_defaults(policy: Policy) -> None:
    assert policy.limits == Limits(attempts=2, idle_ms=45_000)
    assert policy.listener == Listener(port=9000, workers=2)


def test_the_command_line_overrides_the_server_and_is_judged_like_it(loads: Load) -> None:
    assert loads(ONE, port=0, host="::1").policy.listener == Listener(host="::1", port=0, insecure_open=True)
    with pytest.raises(ConfigError, match="there are no keys"):
        loads(ONE, host="0.0.0.0")
    assert loads(ONE, host="0.0.0.0", allow_unauthenticated=True).policy.listener.insecure_open


def test_the_version_is_of_what_decides_and_of_nothing_else(full: Path, env: dict[str, str], today: date) -> None:
    options = Options(today=today)
    first = load(full, env, options).policy.version
    assert len(first) == 12 and int(first, 16) >= 0
    assert load(full, {**env, "OPENAI_API_KEY": "another"}, options).policy.version == first
    moved = full.rename(full.with_name("elsewhere.yaml"))
    assert load(moved, env, options).policy.version == first
    assert load(moved, {**env, "POINTSMAN_KEY": "another-client-key-1"}, options).policy.version != first
    assert load(moved, {**env, "IDLE": "1"}, options).policy.version != first


def test_no_secret_is_in_the_policys_repr(policy: Policy) -> None:
    assert "canary" not in repr(policy)


def test_anchors_and_merges_work_and_own_keys_win(loads: Load) -> None:
    text = (
        "deployments:\n  a: &base {provider: openai, model: gpt-6-luna, region: eu}\n"
        "  b: {<<: *base, region: us}\n  c: {<<: [{region: x}, *base]}\n"
    )
    found = {one.name: (one.wire.model, one.region) for one in loads(text).policy.deployments}
    assert found == {"a": ("gpt-6-luna", "eu"), "b": ("gpt-6-luna", "us"), "c": ("gpt-6-luna", "x")}


def test_a_dollar_brace_can_be_written_plain(loads: Load) -> None:
    loaded = loads('deployments: {a: {provider: openai, region: "$${x}"}}\n')
    assert loaded.policy.deployments[0].region == "${x}"


def test_numbers_and_truth_values_may_come_from_the_environment(loads: Load) -> None:
    loaded = loads('deployments: {a: {provider: openai, tools: "${T:-true}", context: "${C:-99}"}}\n')
    facts = loaded.policy.deployments[0].facts
    assert (facts.tools, facts.context_tokens) == (True, 99)


def test_what_is_allowed_but_doubtful_is_a_warning(loads: Load) -> None:
    loaded = loads(
        "providers: {groq: {}, google: {api_key: x}}\n"
        "deployments:\n"
        "  old: {provider: openai, model: gpt-5-mini}\n"
        "  gone: {provider: openai, model: x, retires: 2026-01-01, price: {input: 1, output: 1}, context: 9}\n"
        "  dark: {provider: openai, model: no-such-model}\n"
        "  soon: {provider: google, model: gemini-4-argon}\n"
        "routes: {r: {candidates: [dark], strategy: cheapest}}\n"
    )
    assert [str(warning).partition(":")[2] for warning in loaded.warnings] == [
        "1:13: providers.groq: unused: no deployment has it.",
        "3:3: deployments.old: its model retires on 2026-12-11.",
        "3:3: deployments.old: unused: no route has it.",
        "4:3: deployments.gone: unused: no route has it.",
        "4:47: deployments.gone.retires: its model was retired on 2026-01-01.",
        "5:3: deployments.dark: its context window is unknown. Write `context`.",
        "5:3: deployments.dark: unpriced: nothing is known of what it costs. Write `price`.",
        "6:3: deployments.soon: its price changes on 2026-12-01. The router follows on that day.",
        "6:3: deployments.soon: unused: no route has it.",
        "7:10: routes.r: cheapest cannot compare: no candidate has a price.",
    ]


def test_a_file_that_cannot_be_read_is_said_to_be_so(tmp_path: Path, env: dict[str, str]) -> None:
    latin, large = tmp_path / "latin.yaml", tmp_path / "large.yaml"
    latin.write_bytes(b"a: 1\nb: \xff\n")
    large.write_bytes(b"#" * (4 * 1024 * 1024 + 1))
    for file, said in [
        (tmp_path / "none.yaml", "none.yaml: no such file."),
        (tmp_path, ": cannot be read: Is a directory."),
        (latin, "latin.yaml:2:1: not UTF-8 text."),
        (large, "large.yaml: larger than 4096 KiB."),
    ]:
        with pytest.raises(ConfigError) as caught:
            load(file, env)
        assert str(caught.value).endswith(said) and caught.value.kind == "unreadable"


def test_a_million_brackets_end_in_an_error(loads: Load) -> None:
    with pytest.raises(ConfigError, match="nested too deeply"):
        loads("a: " + "[" * 1_000_000)


def test_aliases_that_multiply_end_in_an_error(loads: Load) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(ConfigError, match="too many values"):
        loads("\n".join(lines))
