"""`pointsman import endpoints`: a plain list of servers becomes a config."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from command_line import app
from pointsman.config.imports.endpoints import from_endpoints
from pointsman.config.imports.proof import proven
from pointsman.config.problem import ConfigError

LINES = """\
# our machines
big, http://10.0.0.5:8000/v1, qwen-3-235b
small, http://10.0.0.6:8000/v1, qwen-3-8b
small  https://llm.example/v1  qwen-3-8b  LLM_KEY   # the same model elsewhere

odd, not-a-url, x
"""
LISTED = """\
- {name: big, base_url: "http://10.0.0.5:8000/v1", model: qwen-3-235b}
- {name: small, base_url: "http://10.0.0.6:8000/v1", model: qwen-3-8b}
- {name: small, base_url: "https://llm.example/v1", model: qwen-3-8b, key: os.environ/LLM_KEY}
- {name: odd, base_url: not-a-url, model: x}
"""


@pytest.mark.parametrize("text", [LINES, LISTED, "endpoints:\n" + LISTED])
def test_lines_and_yaml_become_the_same_config(text: str) -> None:
    result = from_endpoints(text, "servers.txt")
    assert proven(result, "x", Path()) == []
    assert yaml.safe_load(result.config) == {
        "providers": {
            "10-0-0-5-8000": {"dialect": "openai", "base_url": "http://10.0.0.5:8000/v1"},
            "10-0-0-6-8000": {"dialect": "openai", "base_url": "http://10.0.0.6:8000/v1"},
            "llm-example": {"dialect": "openai", "base_url": "https://llm.example/v1", "api_key": "${LLM_KEY}"},
        },
        "deployments": {
            "big": {"provider": "10-0-0-5-8000", "model": "qwen-3-235b"},
            "small-1": {"provider": "10-0-0-6-8000", "model": "qwen-3-8b"},
            "small-2": {"provider": "llm-example", "model": "qwen-3-8b"},
        },
        "routes": {"big": {"candidates": ["big"]}, "small": {"candidates": [{"small-1": 1}, {"small-2": 1}]}},
    }
    assert ["base_url" in note.says for note in result.of("not_translated")] == [True]


def test_lines_of_the_source_are_told() -> None:
    assert [note.line for note in from_endpoints(LINES, "x").notes] == [2, 3, 4, 6]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a, https://h.example/v1", "needs name, base_url and model"),
        ("a, https://h.example/v1, m, sk-not/a/variable", "keys themselves do not belong"),
        ("a, https://h.example/v1, m, KEY, more", "has more as well"),
        ("a b, https://h.example/v1, m", "base_url expected a URL"),
        ('- {name: "a b", base_url: "https://h.example/v1", model: m}', "a name is 1 to 128"),
        ("- 5", "needs name, base_url and model"),
        ("[]", "no endpoint in it can be used"),
        ("", "Write NAME, BASE_URL"),
        ("endpoints: 5", "no endpoint in it can be used"),
        ("- [", "not valid YAML"),
    ],
)
def test_what_cannot_be_used_is_told(line: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        from_endpoints(line, "x")


def test_a_bad_one_does_not_spoil_the_others() -> None:
    result = from_endpoints(LINES + "a, https://h.example/v1, m, sk-no/variable\n", "x")
    assert "sk-no" not in result.config and len(result.of("not_translated")) == 2


@given(st.text(max_size=200))
def test_any_text_is_translated_or_refused(text: str) -> None:
    try:
        result = from_endpoints(text, "x")
    except ConfigError:
        return
    assert proven(result, "x", Path()) == []


def test_the_command(tmp_path: Path) -> None:
    file = tmp_path / "servers.txt"
    file.write_text(LINES)
    said = CliRunner().invoke(app, ["import", "endpoints", str(file)])
    assert said.exit_code == 0 and set(yaml.safe_load(said.stdout)["routes"]) == {"big", "small"}
    assert f"{file}:6: endpoints[3]: left out" in said.stderr and "LLM_KEY" in said.stderr
