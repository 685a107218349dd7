"""Prices change while the router runs: a contract begins, another list comes into force; each row has the price of its time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from serving import Serving, Upstream, until
from typer.testing import CliRunner

from command_line import app
from pointsman.config.price_list import bundled, encoded
from pointsman.stores.versions import Versions, outcome

Start = Callable[..., Serving]


def test_a_contract_begins_and_a_list_comes_into_force_without_a_restart(
    serve: Start, upstream: Upstream, tmp_path: Path
) -> None:
    text = (
        f'providers: {{up: {{like: openai, base_url: "http://127.0.0.1:{upstream.server_port}/v1", api_key: "sk-012345"}}}}\n'
        "deployments: {mini: {provider: up, model: gpt-5-mini}}\n"
    )
    (tmp_path / "router.yaml").write_text(text)
    router = serve()
    begins_s = time.time() + 10
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(begins_s))
    (tmp_path / "router.yaml").write_text(f'{text}prices: {{contracts: [{{name: acme, off: 50, from: "{moment}"}}]}}\n')
    until(lambda: outcome(router.data)["reloads"] == 1, 9)
    assert router.chat("mini", "list")[0] == 200
    assert time.time() < begins_s - 1, "the machine was too slow"
    until(lambda: outcome(router.data)["reloads"] == 2, 60)
    assert time.time() >= begins_s - 1 and outcome(router.data)["trigger"] == "prices"
    assert router.chat("mini", "contract")[0] == 200

    providers = json.loads(encoded(bundled()))["providers"]
    for provider in providers:
        for model in provider["models"]:
            if (provider["id"], model["id"]) == ("openai", "gpt-5-mini"):
                model["prices"]["input_mtok"] = 0.5
    (tmp_path / "newer.json").write_text(json.dumps(providers))
    words = ["prices", "refresh", "--from", str(tmp_path / "newer.json"), "--write", "--data", str(router.data)]
    assert CliRunner().invoke(app, words).exit_code == 0
    until(lambda: outcome(router.data)["reloads"] == 3, 60)
    assert router.chat("mini", "refreshed")[0] == 200
    assert router.stop() == 0

    rows = {row["client_id"]: row for row in router.rows(3)}
    # 100 tokens in and 10 out: at 0.25 / 2.00, at half of it, at half of 0.50 / 2.00
    assert {name: row["charge_nano"] for name, row in rows.items()} == {
        "list": 45_000,
        "contract": 22_500,
        "refreshed": 35_000,
    }
    assert (
        len({row["price_version"] for row in rows.values()})
        == len({row["config_version"] for row in rows.values()})
        == 3
    )
    assert rows["contract"]["price_version"].startswith("contract acme#") and all(
        row["planned"] for row in rows.values()
    )
    assert [one["trigger"] for one in Versions(router.data).entries()] == ["start", "file", "prices", "prices"]
    words = ["prices", "history", "mini", "--json", "--data", str(router.data)]
    noted = json.loads(CliRunner().invoke(app, words).output)
    assert [one["version"] for one in noted] == [
        rows[name]["price_version"] for name in ("list", "contract", "refreshed")
    ]
    assert noted[1]["note"] == "list 0.25 / 2.00, contract acme -50 %: 0.125 / 1.00"
    assert router.said.count("config reloaded") == 3 and "Traceback" not in router.said
