"""What the pages tell readers to write and to run works as it stands there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import typer.main
import yaml
from doc_pages import ROOT, Block, blocks, page

from command_line import app
from pointsman.config.document import parse
from pointsman.config.load import load_text
from pointsman.core.policy import Policy
from pointsman.core.request import Features
from pointsman.dialects.providers import PROVIDERS
from pointsman.lab.policytest import read, run
from pointsman.strategies import STRATEGIES

if TYPE_CHECKING:
    from gateway_lab import Lab
    from gateway_router import Router

DUMMY = "dummy-0123456789abcdef"
PROGRAMS = {"make", "pip", "pointsman", ".venv/bin/python"}  # what a line of console may begin with


def ids(block: Block) -> str:
    return block.id


def of_kind(member: str) -> list[Block]:
    """Return the YAML blocks that have this member: `tests` of a policy, `jobs` of a CI service."""
    return [block for block in blocks("yaml") if re.search(rf"^{member}:", block.text, re.MULTILINE)]


CONFIGS = [block for block in blocks("yaml") if block not in (*of_kind("tests"), *of_kind("jobs"))]


@pytest.mark.parametrize("block", CONFIGS, ids=ids)
def test_every_config_of_the_pages_loads(block: Block, tmp_path: Path) -> None:
    assert _policy(block, tmp_path).deployments


def _policy(block: Block, tmp_path: Path) -> Policy:
    asked = re.findall(r"\$\{(\w+)", block.text)
    env = dict.fromkeys([*asked, *(name for known in PROVIDERS.values() for name in known.key_env)], DUMMY)
    env |= {name: f"{name}-{DUMMY}" for name in asked}  # no two keys alike
    for secret in re.findall(r"\{file: ([\w.]+)\}", block.text):
        (tmp_path / secret).write_text(DUMMY)
    return load_text(block.text, block.id, env, beside=tmp_path).policy


@pytest.mark.parametrize("block", of_kind("tests"), ids=ids)
def test_every_policy_test_of_the_pages_passes_on_the_config_above_it(block: Block, tmp_path: Path) -> None:
    above = [config for config in CONFIGS if config.page == block.page and config.line < block.line][-1]
    results = list(run(_policy(above, tmp_path), read(parse(block.text, block.id))))
    assert results and [(result.name, result.problems) for result in results if result.problems] == []


@pytest.mark.parametrize("block", of_kind("jobs"), ids=ids)
def test_every_command_of_a_ci_snippet_exists(block: Block) -> None:
    (job,) = yaml.safe_load(block.text)["jobs"].values()
    commands = [step["run"].split() for step in job["steps"] if "run" in step]
    assert {words[0] for words in commands} == {"pip", "pointsman"}
    for words in commands:
        if words[0] == "pointsman":
            check_command(words[1:])


@pytest.mark.parametrize("block", blocks("json"), ids=ids)
def test_every_json_of_the_pages_is_json(block: Block) -> None:
    json.loads(block.text)


def test_the_readme_config_is_short_and_valid_without_a_warning() -> None:
    config = blocks("yaml", "README.md")[0]
    assert len(config.text.splitlines()) <= 15
    env = {"OPENAI_API_KEY": DUMMY, "ANTHROPIC_API_KEY": DUMMY, "POINTSMAN_KEY": DUMMY}
    assert load_text(config.text, config.id, env).warnings == ()


def test_the_readme_begins_with_its_two_commands() -> None:
    first_screen = page("README.md").splitlines()[:12]
    assert [line.split("#")[0].strip() for line in first_screen if line.startswith("$")] == [
        "$ make demo",
        "$ make test",
    ]


@pytest.fixture
def readme_router(lab: Lab, start_router: Callable[..., Router]) -> Router:
    """A worker with the config of the README, its providers played by the lab."""
    from gateway_lab import deployment, provider

    block = blocks("yaml", "README.md")[0]
    config = yaml.safe_load(block.text)
    played = {name: provider(lab, name) for name in config["providers"]}
    deployments = {name: deployment(given["provider"], "m") for name, given in config["deployments"].items()}
    return start_router({"providers": played, "deployments": deployments, "routes": config["routes"]})


def test_the_readme_client_gets_an_answer(readme_router: Router) -> None:
    from gateway_router import KEY

    (block,) = blocks("python", "README.md")
    assert "http://127.0.0.1:8080/v1" in block.text
    code = block.text.replace("http://127.0.0.1:8080", readme_router.url)
    environment = os.environ | {"POINTSMAN_KEY": KEY}
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=30)
    assert said.returncode == 0 and said.stdout.strip(), said.stderr
    assert [booked.outcome for booked in readme_router.all_settled()] == ["ok"]


def test_the_strategy_of_the_guide_works() -> None:
    from policy_makers import NOW_MS, deployment, options, snapshot

    from pointsman.core.health import State

    (block,) = blocks("python", "CONTRIBUTING.md")
    before = set(STRATEGIES)
    try:
        exec(compile(block.text, block.id, "exec"), {})
        (name,) = set(STRATEGIES) - before
        even = STRATEGIES[name]
    finally:
        for new in set(STRATEGIES) - before:
            del STRATEGIES[new]
    chosen = options([deployment(f"d{i}") for i in range(4)])
    states = (State(measured_ms=NOW_MS),) * 4
    drawn = []
    for i in range(1000):
        found = snapshot(states, i / 1000)
        ranking = even.rank(chosen, (0, 1, 3), Features(10), found)
        assert sorted(ranking.order) == [0, 1, 3] and sum(ranking.probabilities) == pytest.approx(1.0)
        assert even.draw(chosen, (0, 1, 3), Features(10), found) == ranking.order[0]
        drawn.append(ranking.order[0])
    assert {p: drawn.count(p) / 1000 for p in (0, 1, 3)} == pytest.approx(dict.fromkeys((0, 1, 3), 1 / 3), abs=0.01)


def test_the_plug_ins_of_the_page_work(tmp_path: Path) -> None:
    import tomllib

    from gateway_plugins import Installed

    (about,), (module, test), (config,) = (blocks(kind, "docs/plugins.md") for kind in ("toml", "python", "yml"))
    site = Installed(tmp_path / "site", empty=True)
    site.put("acme_routing", module.text, tomllib.loads(about.text)["project"]["entry-points"])
    (site.folder / "test_acme_routing.py").write_text(test.text)
    (site.folder / "pointsman.yaml").write_text(config.text)
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(site.folder), str(site.folder)],
        capture_output=True, text=True, env=site.environment(), cwd=site.folder, timeout=60,
    )  # fmt: skip
    assert tested.returncode == 0 and "1 passed" in tested.stdout, tested.stdout
    for customer, reason in (("c-1", "only:haiku"), ("c-9", "steady:haiku")):
        body = {"model": "chat", "messages": [{"role": "user", "content": "hi"}], "metadata": {"customer": customer}}
        (site.folder / "body.json").write_text(json.dumps(body))
        done = site.run("route", "pointsman.yaml", "chat", "--body", "body.json", "--json")
        assert done.returncode == 0 and json.loads(done.stdout)["reason"] == reason, done.stdout + done.stderr


def test_every_python_block_is_run_by_a_test_here() -> None:
    assert [block.page for block in blocks("python")] == ["CONTRIBUTING.md", "README.md", *["docs/plugins.md"] * 2]


def commands_of(block: Block) -> list[list[str]]:
    """Return the words of each command a block tells to run."""
    lines = [line.removeprefix("$ ").split("#")[0] for line in block.text.splitlines() if line.startswith("$ ")]
    return [line.split() for line in lines]


@pytest.mark.parametrize("block", blocks("console"), ids=ids)
def test_every_command_of_the_pages_exists(block: Block) -> None:
    found = commands_of(block)
    assert found
    for words in found:
        assert words[0] in PROGRAMS, words
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", page("Makefile"), re.MULTILINE), words
        elif words[0] == "pointsman":
            check_command(words[1:])
        elif words[0] == ".venv/bin/python":
            assert (ROOT / words[1]).exists()


def check_command(words: list[str]) -> None:
    """Fail when the command line has no such command or option."""
    command = typer.main.get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]  # type: ignore[attr-defined]
    assert not hasattr(command, "commands"), words
    known = {option for given in command.params for option in (*given.opts, *given.secondary_opts)}
    assert {word.partition("=")[0] for word in words if word.startswith("-")} <= known
