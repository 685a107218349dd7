"""A config that uses most settings, and the means to load texts without touching the clock or the real environment."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from pointsman.config.load import Loaded, Options, load

FULL = """
providers:
  openai: {api_key: "${OPENAI_API_KEY}"}
  anthropic:
    api_key: {file: anthropic.key}
    api_version: "2026-10-21"
  second:
    like: openai
    api_key: sk-canary-literal
    quota_group: other-account
  lab:
    dialect: openai
    base_url: "http://10.0.0.7:8000/v1/"
    rename: {max_completion_tokens: max_tokens}
    drop: [parallel_tool_calls]
    headers: {X-Team: lab}
deployments:
  luna: {provider: openai, model: gpt-6-luna}
  haiku: {provider: anthropic, model: claude-haiku-5-5, api_version: "2023-06-01", ttft_ms: 9000}
  gpt-5.4-mini: {provider: second}
  qwen: {provider: lab, model: qwen3-32b, price: {input: 0.1, output: 0.2}, context: 131072, tools: true}
  oss: {provider: groq, model: openai/gpt-oss-20b, region: us}
routes:
  support: {candidates: [luna, haiku], strategy: fastest, attempts: 2, timeouts: {ttft_ms: 800, total_ms: 5000}}
  drafts: {candidates: [{qwen: 3}, luna], unpriced: deny}
  spare: {candidates: [gpt-5.4-mini, oss], strategy: cheapest}
keys:
  - {name: dev, key: "${POINTSMAN_KEY}", team: core, routes: [support, luna]}
limits: {attempts: 2, idle_ms: "${IDLE:-45000}"}
server: {port: 9000, workers: 2}
"""
ENV = {
    "OPENAI_API_KEY": "sk-canary-openai",
    "GROQ_API_KEY": "sk-canary-groq",
    "POINTSMAN_KEY": "canary-client-key-123",
}
TODAY = date(2026, 11, 22)

Load = Callable[..., Loaded]


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """A file with most settings, its secrets beside it."""
    (tmp_path / "anthropic.key").write_text("sk-canary-anthropic\n")
    file = tmp_path / "pointsman.yaml"
    file.write_text(FULL)
    return file


@pytest.fixture
def env() -> dict[str, str]:
    return dict(ENV)


@pytest.fixture
def loads(tmp_path: Path) -> Load:
    """Load a YAML text as a file would be."""

    def run(text: str, **server: object) -> Loaded:
        file = tmp_path / "p.yaml"
        file.write_text(text)
        return load(file, ENV, Options(today=TODAY, server=server))

    return run


@pytest.fixture
def today() -> date:
    return TODAY
