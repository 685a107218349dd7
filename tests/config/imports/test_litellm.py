"""`pointsman import litellm`: what is translated is right, and nothing is dropped silently."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from command_line import app
from pointsman.config.imports import litellm_tables as tables
from pointsman.config.imports.litellm import from_litellm
from pointsman.config.imports.litellm_limits import LIMITS
from pointsman.config.imports.litellm_readings import INFO_READINGS, PARAM_READINGS
from pointsman.config.imports.proof import proven
from pointsman.config.imports.source import Result, leaves
from pointsman.config.problem import ConfigError, Place, dotted

GOLDEN = Path(__file__).parent / "golden"
SOURCES = sorted(path.stem for path in GOLDEN.glob("*.yaml") if not path.stem.endswith(".out"))
SECRETS = ("my-openai-key", "sk-123", "sk-1234", "sk-uj6F", "sk-Imn", "eYVX71", "sk-or-1", "not-a-real-one")


def translated(data: Any) -> Result:
    return from_litellm(yaml.safe_dump(data, sort_keys=False), "litellm.yaml")


def ours(data: Any) -> dict[str, Any]:
    """Return the result of a translation as data, after checking that it could be served."""
    result = translated(data)
    assert proven(result, "result.yaml", Path()) == [], result.config
    found: dict[str, Any] = yaml.safe_load(result.config)
    return found


def model(name: str, model: str, info: dict[str, Any] | None = None, **params: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {"model_name": name, "litellm_params": {"model": model, **params}}
    return entry | ({"model_info": info} if info else {})


# --- golden
@pytest.mark.parametrize("name", SOURCES)
def test_configs_of_the_public_documentation_become_what_they_ought_to(name: str) -> None:
    result = from_litellm((GOLDEN / f"{name}.yaml").read_text(), f"{name}.yaml")
    report = "".join(f"{note.kind} {note.line} {note.path}: {note.says}\n" for note in result.notes)
    assert result.config == (GOLDEN / f"{name}.out.yaml").read_text()
    assert report == (GOLDEN / f"{name}.report.txt").read_text()
    assert proven(result, f"{name}.yaml", GOLDEN) == []
    assert not any(f": {secret}" in result.config or f'"{secret}"' in result.config for secret in SECRETS)


# --- everything
VALUES: dict[str, Any] = {
    "model": "openai/gpt-6-luna",
    "api_base": "https://llm.example/v1",
    "custom_llm_provider": "openai",
    "litellm_credential_name": "shared",
    "extra_headers": {"x-shop": "a"},
    "extra_body": {"safety": "high"},
    "organization": "org-1",
    "api_key": "os.environ/EVERYTHING_KEY",
    "region_name": "eu",
    "mode": "chat",
    "id": "the-id",
    "stop": ["x"],
    "response_format": {"type": "text"},
    "user": "u",
    "weight": 3,
}


def everything() -> dict[str, Any]:
    """Return a config with every key of LiteLLM's that is known here."""
    params = {
        key: VALUES.get(key, 7) for key in PARAM_READINGS if key not in ("base_url", "custom_llm_provider", "order")
    }
    params = copy.deepcopy(params)
    params |= dict.fromkeys(tables.PRICES, 0.000001) | dict.fromkeys((*tables.MODEL_IDLE, *tables.MODEL_LOST), "x")
    params |= {"rpm": 7, "tpm": 7, "model": "openai/gpt-6-luna"}
    info = {key: VALUES.get(key, 1000) for key in INFO_READINGS if key not in tables.PRICES}
    info |= dict.fromkeys((*tables.FACTS, *tables.MODALITIES), True)
    settings = dict.fromkeys(tables.IDLE, "x") | dict.fromkeys(tables.LOST, "x")
    return {
        "model_list": [
            {"model_name": "all", "litellm_params": params, "model_info": info, "tpm": 5, "rpm": 6},
            model("all", "anthropic/claude-haiku-5-5", weight=1),
            model("ranked", "openai/gpt-6-luna", order=7),
            model("ranked", "openai/gpt-6-sol", order=10),
            model("plain", "groq/llama-4", api_key="sk-literal-groq-key"),
            model("wild/*", "openai/*"),
            model("vectors", "openai/embed", {"mode": "embedding"}),
        ],
        "credential_list": [{"credential_name": "shared", "credential_values": {"api_key": "sk-literal-shared"}}],
        "router_settings": {
            "routing_strategy": "simple-shuffle",
            "model_group_alias": {"gold": "all", "silver": {"model": "plain", "hidden": True}, "lead": "nobody"},
            "fallbacks": [{"plain": ["all"]}, {"nobody": ["all"]}, "odd"],
            "context_window_fallbacks": [{"plain": ["the-id"]}],
            "default_fallbacks": ["plain"],
            **dict.fromkeys(LIMITS, 1),
        },
        "litellm_settings": settings | {"num_retries": 9, "no_such_setting": {"deep": [1, {"er": 2}]}},
        "general_settings": {"master_key": "sk-literal-master", "infer_model_from_keys": True},
        "environment_variables": {"EVERYTHING_KEY": "sk-literal-variable", "OTHER": 1},
        **{section: {"a": 1} for section in tables.SECTIONS},
        "a_section_of_tomorrow": [1, 2],
    }


def test_the_config_with_everything_is_translated_and_could_be_served() -> None:
    found = ours(everything())
    assert set(found["routes"]) == {"all", "plain", "ranked", "gold", "silver"}
    assert found["deployments"]["the-id"]["price"] == dict.fromkeys(tables.PRICES.values(), 1)
    assert found["deployments"]["the-id"]["modalities"] == ["text", "audio", "file", "image", "video"]
    assert "literal" not in translated(everything()).config


def test_no_known_key_is_reported_as_unknown() -> None:
    unknown = {note.path for note in translated(everything()).notes if "no setting that is known" in note.says}
    beside = {"litellm_settings.no_such_setting", "a_section_of_tomorrow[0]", "a_section_of_tomorrow[1]"}
    assert unknown == beside | {"general_settings.infer_model_from_keys"}


def covered(result: Result, path: str) -> bool:
    """Whether the report lists a value, or what is around it, as lost or without effect."""
    told = [note.path for note in result.notes if note.kind != "translated"]
    return any(path == one or path.startswith((f"{one}.", f"{one}[")) for one in told)


def other(value: Any) -> Any:
    """Return another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return 5 if value == 10 else value * 2
    if value in ("openai/gpt-6-luna", "openai/gpt-6-sol", "anthropic/claude-haiku-5-5", "groq/llama-4"):
        return f"{value}-2"
    known = {"shared": "nobody", "simple-shuffle": "latency-based-routing", "chat": "embedding", "all": "plain"}
    return known.get(value, f"{value}2")


def changed(data: dict[str, Any], path: Place) -> dict[str, Any]:
    fresh = copy.deepcopy(data)
    holder: Any = fresh
    for part in path[:-1]:
        holder = holder[part]
    holder[path[-1]] = other(holder[path[-1]])
    return fresh


def test_every_value_that_is_not_reported_as_lost_makes_a_difference() -> None:
    data = everything()
    before = translated(data)
    silent = []
    for path in leaves(data):
        if covered(before, dotted(path)):
            continue
        after = translated(changed(data, path))
        if after.config == before.config and after.notes == before.notes and after.variables == before.variables:
            silent.append(dotted(path))
    # A secret's text is not copied, so another one differs in nothing.
    assert [path for path in silent if "key" not in path and path != "model_list[0].litellm_params.max_tokens"] == [
        "model_list[0].model_info.max_tokens",  # max_output_tokens beside it says the same
    ]


# --- one by one
@pytest.mark.parametrize(
    ("given", "provider", "model_id"),
    [
        (model("m", "gpt-6-luna"), {"openai": {"api_key": "${OPENAI_API_KEY}"}}, "gpt-6-luna"),
        (model("m", "claude-haiku-5-5"), {"anthropic": {"api_key": "${ANTHROPIC_API_KEY}"}}, "claude-haiku-5-5"),
        (model("m", "gemini/gemini-3-flash"), {"google": {"api_key": "${GEMINI_API_KEY}"}}, "gemini-3-flash"),
        (model("m", "together_ai/a/b"), {"together": {"api_key": "${TOGETHERAI_API_KEY}"}}, "a/b"),
        (model("m", "ollama/q"), {"ollama": {}}, "q"),
        (model("m", "ollama/q", api_base="http://127.0.0.1:1"), {"ollama": {"base_url": "http://127.0.0.1:1/v1"}}, "q"),
        (
            model("m", "q", custom_llm_provider="openai", api_base="https://h.example/v1", api_key="os.environ/K"),
            {"h-example": {"dialect": "openai", "base_url": "https://h.example/v1", "api_key": "${K}"}},
            "q",
        ),
        (
            model("m", "openai/q", api_base="os.environ/BASE", api_key="x" * 20),
            {"openai": {"dialect": "openai", "base_url": "${BASE}", "api_key": "${IMPORTED_OPENAI_KEY}"}},
            "q",
        ),
        (
            model("m", "anthropic/c", api_base="https://proxy.example", api_key="os.environ/K"),
            {"anthropic": {"base_url": "https://proxy.example/v1", "api_key": "${K}"}},
            "c",
        ),
    ],
)
def test_a_models_provider_is_ours(given: dict[str, Any], provider: dict[str, Any], model_id: str) -> None:
    found = ours({"model_list": [given]})
    assert found["providers"] == provider
    assert found["deployments"]["m"] == {"provider": next(iter(provider)), "model": model_id}


def lost(data: Any) -> str:
    return "\n".join(f"{note.path}: {note.says}" for note in translated(data).of("not_translated"))


GOOD = model("good", "openai/gpt-6-luna")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (model("m", "bedrock/anthropic.claude"), "not with AWS keys"),
        (model("m", "vertex_ai/gemini-3"), "not with a service account"),
        (model("m", "no-such-thing"), '"no-such-thing" is no provider that is known here'),
        (model("m", "azure/x"), "azure needs an api_base"),
        (model("m", "openai/*"), "a wildcard"),
        (model("m", "os.environ/MODEL"), "stands in a variable"),
        (model("m", "openai/x", {"mode": "embedding"}), 'mode "embedding"'),
        (model("m", "openai/x", api_base="https://user:pass@h.example"), "must not hold a credential"),
        (model("m", "openai/x", api_key=5), "its api_key is no text"),
        (model("m", "openai/x", litellm_credential_name="no"), 'no credential "no"'),
        ("text", "no mapping with model_name and litellm_params"),
        ({"model_name": 5, "litellm_params": {"model": "x"}}, "must be text"),
    ],
)
def test_a_model_that_cannot_be_used_is_listed_with_its_reason(given: Any, said: str) -> None:
    assert "model_list[1]: left out: " in lost({"model_list": [GOOD, given]})
    assert said in lost({"model_list": [GOOD, given]})


def test_credentials_in_headers_are_not_copied() -> None:
    headers = {"Authorization": "Bearer sk-1", "X-Api-Key": "sk-2", "x-team-token": "sk-3", "x-shop": "a${b}"}
    result = translated({"model_list": [model("m", "openai/x", extra_headers=headers)]})
    assert "sk-" not in result.config
    assert yaml.safe_load(result.config)["providers"]["openai"]["headers"] == {
        "x-team-token": "${IMPORTED_M_X_TEAM_TOKEN_KEY}",
        "x-shop": "a$${b}",
    }
    assert [note.path.rpartition(".")[2] for note in result.of("not_translated")] == ["Authorization", "X-Api-Key"]


def test_order_makes_a_route_of_priorities_and_no_weight_a_rung() -> None:
    ordered = [model("r", f"openai/{name}", order=order) for name, order in (("b", 2), ("a", 1))]
    weighed = [model("w", "openai/a", weight=5), model("w", "openai/b", weight=0)]
    routes = ours({"model_list": [*ordered, *weighed]})["routes"]
    assert routes == {
        "r": {"candidates": ["r-2", "r-1"]},
        "w": {"candidates": ["w-1"], "degrade": [{"candidates": ["w-2"]}]},
    }


def test_names_that_are_taken_or_no_names_are_changed_and_told() -> None:
    models = [
        model("a", "openai/x"),
        model("a", "openai/y"),
        model("a-1", "openai/z"),
        model("my model (new)", "openai/q"),
    ]
    found = ours({"model_list": models})
    assert set(found["deployments"]) == {"a-1", "a-1-2", "a-2", "my-model-new"}
    assert found["routes"]["a-1"] == {"candidates": ["a-1"]} and "my-model-new" in found["routes"]
    assert "clients must write my-model-new" in lost({"model_list": models})


def test_what_is_not_the_same_for_all_models_of_a_route_is_listed() -> None:
    models = [model("a", "openai/x", temperature=0.1, seed=4), model("a", "openai/y", temperature=0.2, seed=4)]
    found = ours({"model_list": models})
    assert found["routes"]["a"]["params"] == {"seed": 4}
    assert lost({"model_list": models}).count("not all models of a say the same") == 2


@pytest.mark.parametrize(
    ("strategy", "ours_"), [("latency-based-routing", "fastest"), ("cost-based-routing", "cheapest")]
)
def test_strategies_that_have_one_like_them_here(strategy: str, ours_: str) -> None:
    data = {
        "model_list": [model("a", "openai/gpt-6-luna", rpm=1), model("a", "openai/y")],
        "router_settings": {"routing_strategy": strategy},
    }
    assert ours(data)["routes"]["a"] == {"candidates": ["a-1", "a-2"], "strategy": ours_}


# --- hostile
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected a mapping with `model_list:`"),
        ("- a", "expected a mapping with `model_list:`"),
        ("model_list: [", "not valid YAML"),
        ("a: &a [*a]", "holds itself"),
        ("x: 1", "no model in it can be used"),
        ("model_list: 5", "is not a list of models"),
        ("a: !!python/object:os.system x", "is not supported"),
        ("model_list: " + "[" * 200, "not valid YAML"),
    ],
)
def test_what_is_no_such_config_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("[", r"\[").replace("`", ".")):
        from_litellm(text, "litellm.yaml")


def test_anchors_and_merges_are_followed() -> None:
    text = """
base: &base {api_key: os.environ/K, temperature: 0.5}
model_list:
  - {model_name: a, litellm_params: {<<: *base, model: openai/gpt-6-luna}}
  - {model_name: b, litellm_params: {<<: *base, model: openai/gpt-6-sol, temperature: 0.7}}
"""
    routes = yaml.safe_load(from_litellm(text, "x").config)["routes"]
    assert [route["params"]["temperature"] for route in routes.values()] == [0.5, 0.7]


def test_a_bomb_of_aliases_and_a_huge_list_are_bounded() -> None:
    bomb = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9))
    with pytest.raises(ConfigError, match="too many values"):
        from_litellm(bomb, "x")
    many = {"model_list": [model(f"m{n}", "openai/gpt-6-luna") for n in range(2_000)]}
    assert len(yaml.safe_load(translated(many).config)["routes"]) == 2_000


ODD: list[Any] = [
    None,
    True,
    -1,
    10**30,
    1.5,
    float("nan"),
    float("inf"),
    "",
    "x",
    "${X}",
    "os.environ/9 a",
    [],
    {},
    [{}],
]
ODD += ["a\u0007b", "ü" * 300, {"x": None}, {"model": 5}, [["a"]], {"\u200b": "${"}, "os.environ/", "# {]:"]


def places() -> Iterator[Place]:
    yield from leaves(everything())
    yield from [
        ("model_list", 0),
        ("model_list", 0, "litellm_params"),
        ("router_settings",),
        ("environment_variables",),
    ]
    yield from [("credential_list",), ("router_settings", "fallbacks"), ("model_list", 0, "model_info")]
    yield from [("router_settings", "model_group_alias"), ("model_list", 0, "model_name"), ("model_list", 0)]


@pytest.mark.parametrize(("turn", "value"), list(enumerate(ODD)))
def test_a_wrong_value_anywhere_is_told_and_the_rest_goes_on(turn: int, value: Any) -> None:
    found = list(places())[turn % 9 :: 9]  # all values at all places take too long
    for number, path in enumerate(found):
        data: Any = everything()
        holder = data
        for part in path[:-1]:
            holder = holder[part]
        holder[path[-1]] = value
        result = translated(data)
        if number == 0:  # each takes a while
            assert proven(result, "result.yaml", Path()) == [], (path, value)


trees = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["all", "openai/x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=8) | st.sampled_from([*VALUES, *LIMITS, "fallbacks"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(trees, trees, trees)
def test_whatever_it_holds_it_is_translated_or_refused(params: Any, settings: Any, entry: Any) -> None:
    named = {"model": "openai/x", **params} if isinstance(params, dict) else params
    data = {
        "model_list": [GOOD, {"model_name": "all", "litellm_params": named}, entry],
        "router_settings": settings,
        "litellm_settings": settings,
        "credential_list": entry,
    }
    try:
        result = translated(data)
    except ConfigError:
        return
    assert proven(result, "result.yaml", Path()) == [], result.config


# --- the command
def test_the_command_prints_the_config_and_reports_beside_it(tmp_path: Path) -> None:
    file, out = GOLDEN / "reliability.yaml", tmp_path / "pointsman.yaml"
    said = CliRunner().invoke(app, ["import", "litellm", str(file)])
    assert said.exit_code == 0 and yaml.safe_load(said.stdout)["routes"]
    assert (
        "not translated (2):" in said.stderr and f"{file}:38: litellm_settings.content_policy_fallbacks" in said.stderr
    )
    assert "AZURE_API_BASE: as before, with no / at its end" in said.stderr
    written = CliRunner().invoke(app, ["import", "litellm", str(file), "-o", str(out)])
    assert written.exit_code == 0 and written.stdout == "" and out.read_text() == said.stdout
    out.write_text("mine")
    refused = CliRunner().invoke(app, ["import", "litellm", str(file), "-o", str(out)])
    assert refused.exit_code == 2 and out.read_text() == "mine" and "--force" in refused.stderr
    forced = CliRunner().invoke(app, ["import", "litellm", str(file), "-o", str(out), "--force"])
    assert forced.exit_code == 0 and out.read_text() == said.stdout
    told = json.loads(CliRunner().invoke(app, ["import", "litellm", str(file), "--json"]).stdout)
    assert told["ok"] and told["config"] == said.stdout and len(told["not_translated"]) == 2
    assert told["variables"]["AZURE_API_BASE"]["kind"] == "url" and told["problems"] == []


def test_the_command_says_what_is_no_file_or_no_config(tmp_path: Path) -> None:
    missing = CliRunner().invoke(app, ["import", "litellm", str(tmp_path / "no.yaml")])
    assert missing.exit_code == 2 and "no such file" in missing.output
    (tmp_path / "odd.yaml").write_text("model_list: []")
    odd = CliRunner().invoke(app, ["import", "litellm", str(tmp_path / "odd.yaml")])
    assert odd.exit_code == 1 and "no model in it can be used" in odd.output
    nowhere = CliRunner().invoke(
        app, ["import", "litellm", str(GOLDEN / "wildcards.yaml"), "-o", str(tmp_path / "no" / "x.yaml")]
    )
    assert nowhere.exit_code == 2 and "cannot be written" in nowhere.output
