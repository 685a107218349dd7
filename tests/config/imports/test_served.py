"""What was imported serves: a LiteLLM config goes through the command, `pointsman serve` and a client's call."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "cli"))

from serving import Serving, Upstream, environment

LITELLM = """
model_list:
  - model_name: chat
    litellm_params: {{model: openai/broken-1, api_base: os.environ/UPSTREAM, api_key: os.environ/UP_SECRET}}
  - model_name: spare
    litellm_params: {{model: openai/fast-1, api_base: "http://127.0.0.1:{port}/v1", api_key: sk-literal-0123456789}}
router_settings:
  fallbacks: [{{chat: [spare]}}]
  model_group_alias: {{gpt-4: chat}}
general_settings: {{master_key: os.environ/MASTER}}
"""
MASTER = "sk-master-0123456789abcdef"


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    found = Upstream()
    yield found
    found.shutdown()
    found.server_close()


def test_an_imported_config_answers_its_clients(upstream: Upstream, tmp_path: Path) -> None:
    source, config = tmp_path / "litellm.yaml", tmp_path / "pointsman.yaml"
    source.write_text(LITELLM.format(port=upstream.server_port))
    command = [sys.executable, "-m", "pointsman.cli", "import", "litellm", str(source), "-o", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=60)
    assert done.returncode == 0 and "IMPORTED_OPENAI_KEY" in done.stderr, done.stderr
    given = {
        "UPSTREAM": f"http://127.0.0.1:{upstream.server_port}/v1",
        "UP_SECRET": "sk-a-0123456789",
        "IMPORTED_OPENAI_KEY": "sk-b-0123456789",
        "MASTER": MASTER,
    }
    router = Serving(tmp_path, str(config), env=environment(**given))
    try:
        answered = {name: _ask(router.port, name) for name in ("chat", "gpt-4", "spare")}
    finally:
        router.kill()
    assert answered == {"chat": ("spare", "rung-1"), "gpt-4": ("spare", "rung-1"), "spare": ("spare", "no")}


def _ask(port: int, model: str) -> tuple[str, str]:
    """Return the deployment that answered, and what of the ladder it was."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}]})
    headers = {"content-type": "application/json", "authorization": f"Bearer {MASTER}"}
    connection.request("POST", "/v1/chat/completions", body, headers)
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    connection.close()
    return answer.headers["x-pointsman-deployment"], answer.headers["x-pointsman-degraded"]
