"""The commands `prices` and `reprice`, as people use them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from records import AT_MS, admitted, attempt, decided, policy, request_row, settled
from typer.testing import CliRunner, Result

from command_line import app
from pointsman.config import price_list
from pointsman.config.price_list import bundled, encoded
from pointsman.core.pricing import Rates, versioned
from pointsman.core.usage import Usage
from pointsman.stores.ledger import Batch, attempt_rows
from pointsman.stores.price_history import note_prices
from pointsman.stores.sqlite import FILE, SqliteReader, SqliteWriter

NOW_S = (time.time_ns() // 1_000_000 - AT_MS) // 1000  # as records count
MINI = versioned(Rates(input=250_000_000, output=2_000_000_000), "overlay")
CHEAP = versioned(Rates(input=200_000_000, output=2_000_000_000), "genai-prices refreshed")
USED = Usage(1_000_000, 1_000)


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def ok(*words: str, code: int = 0) -> str:
    found = run(*words)
    assert found.exit_code == code, found.output
    return found.output


@pytest.fixture
def data(tmp_path: Path) -> str:
    """A ledger with a model that had no price for its first three requests."""
    import msgspec

    writer = SqliteWriter(tmp_path / FILE)
    made = policy()
    for at_s, price in ((NOW_S - 9_000, None), (NOW_S - 4_000, MINI), (NOW_S - 100, CHEAP)):
        large = msgspec.structs.replace(made.deployments[1], price=price, listed="openai/gpt-5-mini")
        with writer.changing() as db:
            note_prices(db, msgspec.structs.replace(made, deployments=(large,)), AT_MS + at_s * 1000)
    batch = Batch()
    for n in range(5):
        price = None if n < 3 else MINI
        sent = attempt(
            usage=USED,
            charge_nano=-1 if price is None else 252_000_000,
            charge_state="unpriced" if price is None else "measured",
            price_version=price.version if price else "",
        )
        done = settled(NOW_S - 8_000 + n * 1_500, sent)
        batch.requests.append(request_row(admitted(NOW_S - 8_000 + n * 1_500), done, decided().head, {}))
        batch.attempts += attempt_rows(done)
    writer.write(batch)
    writer.close()
    return str(tmp_path)


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    providers: list[dict[str, Any]] = json.loads(encoded(bundled()))["providers"]
    for provider in providers:
        for model in provider["models"]:
            if (provider["id"], model["id"]) == ("openai", "gpt-5-mini"):
                model["prices"]["input_mtok"] = 0.2
            if (provider["id"], model["id"]) == ("openai", "gpt-5-nano"):
                model["prices"]["input_mtok"] = 5
    file = tmp_path / "newer.json"
    file.write_text(json.dumps(providers))
    return file


def test_the_prices_in_force_and_of_the_past(data: str) -> None:
    assert "large 0.20 2.00" in " ".join(ok("prices", "list", "--data", data).split())
    found = json.loads(ok("prices", "list", "--json", "--data", data))
    assert found["prices"][0]["version"] == CHEAP.version and found["list"]["origin"].startswith("genai-prices ")
    rows = json.loads(ok("prices", "history", "openai/gpt-5-mini", "--json", "--data", data))
    assert [row["version"] for row in rows] == ["", MINI.version, CHEAP.version]
    assert "unpriced" in ok("prices", "history", "large", "--data", data)
    shown = json.loads(ok("prices", "show", MINI.version.rpartition("#")[2][:6], "--data", data))
    assert shown["price"]["input"] == "0.25" and shown["price"]["cache_read"] == "0.25"
    assert "-20 %" in ok("prices", "diff", MINI.version, CHEAP.version, "--data", data, code=1)
    ok("prices", "diff", MINI.version, MINI.version, "--data", data)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("prices", "history", "none"), "No price of none was noted"),
        (("prices", "show", "zz"), "no such price version or file"),
        (("prices", "diff", "bundled", "zz"), "cannot be compared"),
        (("prices", "refresh"), "Expected either --from FILE or --url URL."),
        (("prices", "refresh", "--from", "none.json"), "The price list cannot be read: No such file or directory."),
        (("prices", "refresh", "--url", "prices.json"), "expected an https:// URL"),
        (("prices", "refresh", "--url", "http://prices.example.com/"), "expected an https:// URL"),
        (("reprice", "run", "--since", "soon"), "--since soon: expected a length of time"),
        (("reprice", "run", "--since", "1d", "--until", "2d"), "--until is not after --since."),
        (("reprice", "run", "--version", "zz"), "no such price version"),
        (("reprice", "run", "--version", "zz", "--config", "c"), "--version goes without"),
        (("reprice", "run", "--prices", "none.json"), "none.json cannot be read"),
        (("reprice", "show", "rck_zz"), "No one reckoning"),
    ],
)
def test_what_cannot_be_done_is_said_without_a_traceback(data: str, words: tuple[str, ...], said: str) -> None:
    assert said in " ".join(ok(*words, "--data", data, code=2).split())


def test_a_newer_list_is_shown_then_put_in_force(data: str, newer: Path, tmp_path: Path) -> None:
    shown = ok("prices", "refresh", "--from", str(newer), "--data", data, code=1)
    assert "openai/gpt-5-mini input 0.25 -> 0.20 (-20 %), -0.25 USD over 30 days" in shown
    assert "openai/gpt-5-nano input 0.05 -> 5.00 (+9900 %), held back: input changes by a factor of 100.0" in shown
    assert "1 changed, 0 added, 0 gone, 1 held back." in shown and not (tmp_path / price_list.FILE).exists()
    told = json.loads(ok("prices", "refresh", "--from", str(newer), "--write", "--json", "--data", data, code=1))
    assert told["written"] and told["impact"]["openai/gpt-5-mini"]["attempts"] == 5
    assert told["list"]["held"] == {"openai/gpt-5-nano": "input changes by a factor of 100.0"}
    assert "1 held back" in ok("prices", "list", "--data", data)
    rows = json.loads(ok("models", "--json", "--all", "--data", data))
    found = {(row["provider"], row["model"]): row["price"] for row in rows}
    nano, mini = found["openai", "gpt-5-nano"], found["openai", "gpt-5-mini"]
    assert (nano["input"], mini["input"], mini["source"]) == ("0.05", "0.20", "genai-prices refreshed")
    ok("prices", "refresh", "--from", str(newer), "--write", "--accept", "openai/gpt-5-nano", "--data", data)
    assert "gpt-5-nano" in ok("prices", "diff", "bundled", "current", "--data", data, code=1)
    ok("prices", "refresh", "--from", "bundled", "--write", "--accept", "all", "--data", data)
    ok("prices", "diff", "bundled", "current", "--data", data)


def rows_of(data: str) -> list[dict[str, Any]]:
    with SqliteReader(Path(data) / FILE) as reader:
        return reader.recent(10)


def test_the_past_is_reckoned_again_beside_the_books(data: str) -> None:
    before = rows_of(data)
    shown = ok("reprice", "run", "--since", "1d", "--version", MINI.version, "--by", "ann", "--data", data)
    assert "booked 0.504 USD and 3 unpriced; reckoned 1.26 USD and 0 unpriced" in shown
    assert "of it 0.756 USD for 3 that had no price." in shown and "3 were taken for the standard" in shown
    assert rows_of(data) == before
    [head] = json.loads(ok("reprice", "list", "--json", "--data", data))
    assert (head["actor"], head["reckoned_nano"], head["booked_unpriced"]) == ("ann", 1_260_000_000, 3)
    found = json.loads(ok("reprice", "show", head["id"][:9], "--json", "--data", data))
    assert sum(line["sums"]["newly_priced_nano"] for line in found["lines"]) == 756_000_000
    assert MINI.version in ok("reprice", "list", "--data", data)
    [row] = json.loads(ok("audit", "--json", "--data", data))
    assert (row["action"], row["target"]) == ("ledger.reprice", head["id"]) and row["actor"].startswith("cli: ")
    assert (row["after"]["actor"], row["after"]["reckoned_nano"]) == ("ann", 1_260_000_000)


def test_a_statement_is_made_of_what_requests_come_to_in_a_reckoning(data: str, tmp_path: Path) -> None:
    month = time.strftime("%Y-%m", time.gmtime((AT_MS + (NOW_S - 8_000) * 1000) / 1000))
    rules = tmp_path / "billing.yaml"
    rules.write_text("billing: {customers: {acme: {organisation: acme}}}\n")
    given = ("billing", "statement", "--period", month, "--customer", "acme", "--config", str(rules), "--data", data)
    before = json.loads(ok(*given, "--json"))["statement"]
    ok("reprice", "run", "--since", f"{month}-01", "--version", MINI.version, "--data", data)
    [head] = json.loads(ok("reprice", "list", "--json", "--data", data))
    found = json.loads(ok(*given, "--json", "--reckoning", head["id"]))["statement"]
    assert (head["charges"], before["unpriced_requests"], found["unpriced_requests"]) == (3, 3, 0)
    assert (before["net_nano"], found["net_nano"]) == (2 * 252_000_000, 5 * 252_000_000)
    assert "At the charges of a reckoning: invoices bill what was booked." in ok(*given, "--reckoning", head["id"])
    assert "no one reckoning has" in run(*given, "--reckoning", "rck_zz").stderr


def test_at_the_prices_in_force_of_a_list_and_of_a_config(data: str, newer: Path, tmp_path: Path) -> None:
    def reckoned(*words: str) -> int:
        found = json.loads(ok("reprice", "run", "--since", "1d", "--dry-run", "--json", *words, "--data", data))
        assert not found["kept"]
        return int(found["reckoning"]["reckoned_nano"])

    assert reckoned() == 5 * 202_000_000
    assert reckoned("--prices", str(newer)) == 5 * 202_000_000
    halves = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime((AT_MS + (NOW_S - 5_000) * 1000) / 1000))
    config = tmp_path / "config.yaml"
    config.write_text(
        "providers: {lab: {like: openai, api_key: x}}\n"
        "deployments: {large: {provider: lab, model: gpt-5-mini}}\n"
        f'prices: {{contracts: [{{name: half, off: 50, until: "{halves}"}}]}}\n'
    )
    assert reckoned("--config", str(config)) == 2 * 126_000_000 + 3 * 252_000_000
    assert reckoned("--config", str(config), "--prices", str(newer)) == 2 * 101_000_000 + 3 * 202_000_000
    assert json.loads(ok("reprice", "list", "--json", "--data", data)) == []


def test_check_route_and_test_take_the_list_in_force(newer: Path, tmp_path: Path) -> None:
    config, cases, folder = tmp_path / "c.yaml", tmp_path / "cases.yaml", tmp_path / "served"
    config.write_text(
        "providers: {openai: {api_key: x}}\ndeployments: {mini: {provider: openai, model: gpt-5-mini}}\n"
        "routes: {best: {candidates: [mini]}}\n"
    )
    cases.write_text("tests: [{name: one, request: {model: best}, expect: {deployment: mini}}]\n")

    def version(*data: str) -> str:
        return str(json.loads(ok("test", str(cases), "--config", str(config), "--json", *data))["config"])

    before = version("--data", str(folder))
    folder.mkdir()
    (folder / price_list.FILE).write_bytes(newer.read_bytes())
    assert version("--data", str(folder)) != before == version("--data", str(tmp_path / "nowhere"))
    (folder / price_list.FILE).write_text("no list")
    for command in (
        ("check", str(config)),
        ("route", str(config), "best"),
        ("test", str(cases), "--config", str(config)),
    ):
        assert "prices.json" in run(*command, "--data", str(folder)).output
        assert "prices.json" not in run(*command, "--data", str(tmp_path / "nowhere")).output
