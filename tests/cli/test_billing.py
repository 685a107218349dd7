"""The commands `billing ...`, over a real ledger: what they print, issue once, refuse, and write."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from records import AT_MS, admitted, attempt, settled
from test_reading import booked, run

from pointsman.stores.versions import Entry, Versions

CONFIG = """
providers: {lab: {dialect: openai, base_url: "http://10.0.0.7:8000/v1", api_key: "${NOWHERE}"}}
deployments: {large: {provider: lab, model: large-1}}
billing:
  customers:
    acme: {organisation: acme, name: "Acme [bold]", tax_basis_points: 1900}
  markup: [{name: standard, percent: 20}]
"""
DAYS = -40 * 86_400  # to October, which has ended


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a folder with twenty requests in October and five in November, and a config that was served."""
    folder = tmp_path / "data"
    days = [*range(DAYS, DAYS + 20), *range(5)]
    booked(
        folder, *(one for n in days for one in (admitted(n), settled(n, attempt(charge_nano=500_000_000 + n - DAYS))))
    )
    versions = Versions(folder)
    versions.keep_text("v1", CONFIG)
    versions.append(
        Entry(version="v1", at_ms=AT_MS, author="me", trigger="start", source="c.yaml", sha256="", redacted=False)
    )
    return folder


def test_a_month_in_sum_and_a_statement_in_a_hundred_columns(data: Path) -> None:
    summary = run("billing", "statement", "--period", "2026-10", "--data", data)
    assert summary.exit_code == 0, summary.output + summary.stderr
    assert re.search(r"acme +20 +- +10\.000000190 +2\.000000038 +0\.000000000 +\$14\.28 +-", summary.output)
    shown = run("billing", "statement", "--period", "2026-10", "--customer", "acme", "--data", data)
    assert "Statement to Acme [bold]" in shown.output and "Not billed yet." in shown.output
    assert re.search(r"Due, USD +14\.28", shown.output) and "model large-1" in shown.output
    assert max(map(len, (summary.output + shown.output).splitlines())) <= 100
    told = json.loads(
        run("billing", "statement", "--period", "2026-10", "--customer", "acme", "--json", "--data", data).output
    )
    assert told["statement"]["net_nano"] == 12_000_000_228 and told["invoice"] == ""
    every = json.loads(run("billing", "statement", "--period", "2026-10", "--json", "--data", data).output)
    assert every["customers"][0] == told and every["nobody"]["requests"] == 0
    none = run("billing", "statement", "--period", "2025-01", "--data", data)
    assert none.exit_code == 0 and "No requests in 2025-01." in none.output


def test_an_invoice_is_issued_once_shown_credited_and_verified(data: Path, tmp_path: Path) -> None:
    tried = run("billing", "issue", "--period", "2026-10", "--customer", "acme", "--dry-run", "--data", data)
    assert tried.exit_code == 0 and "Statement" in tried.output
    assert "No invoice has been issued." in run("billing", "list", "--data", data).output
    first = run("billing", "issue", "--period", "2026-10", "--all", "--data", data)
    assert first.exit_code == 0 and "$14.28" in first.output, first.output + first.stderr
    number = re.findall(r"INV-\d{4}-00001", first.output)[0]
    again = run("billing", "issue", "--period", "2026-10", "--customer", "acme", "--data", data)
    assert again.exit_code == 0 and f"{number} was issued before: nothing was done." in again.output
    rest = run("billing", "issue", "--period", "2026-10", "--all", "--data", data)
    assert rest.exit_code == 0 and "Nobody has anything to be billed for 2026-10." in rest.output
    shown = run("billing", "show", number, "--data", data)
    assert f"Invoice {number} to Acme [bold]" in shown.output and "sha256 " in shown.output
    assert json.loads(run("billing", "show", number, "--json", "--data", data).output)["number"] == number
    for form, first_bytes in (("pdf", b"%PDF"), ("html", b"<!doctype html>"), ("csv", b"number,"), ("json", b"{")):
        out = tmp_path / f"invoice.{form}"
        done = run("billing", "show", number, "--out", out, "--data", data)
        assert done.exit_code == 0 and out.read_bytes().startswith(first_bytes), done.stderr
    note = run("billing", "credit", number, "--amount", "4.28", "--reason", "outage", "--data", data)
    assert note.exit_code == 0 and re.search(r"Credited, USD +4\.28", note.output)
    listed = json.loads(run("billing", "list", "--json", "--data", data).output)
    assert [(one["kind"], one["due_nano"]) for one in listed] == [
        ("invoice", 14_280_000_000), ("credit_note", 4_280_000_000)
    ]  # fmt: skip
    assert "-$4.28" in run("billing", "list", "--data", data).output
    noted = json.loads(run("audit", "--json", "--data", data).output)
    assert [(row["action"], row["target"], row["after"]["due_nano"]) for row in noted] == [
        ("billing.issue", number, 14_280_000_000), ("billing.credit", listed[1]["number"], 4_280_000_000)
    ]  # fmt: skip
    assert all(row["actor"].startswith("cli: ") and row["after"]["customer"] == "acme" for row in noted)
    assert noted[1]["after"]["credits"] == number
    checked = run("billing", "verify", "--data", data)
    assert checked.exit_code == 0 and f"2 documents hold; head {listed[1]['chain']}" in checked.output
    kept = run("billing", "verify", "--head", listed[0]["chain"], "--data", data)
    lost = run("billing", "verify", "--head", "0" * 64, "--json", "--data", data)
    assert (kept.exit_code, lost.exit_code) == (0, 1) and "not in the chain" in json.loads(lost.output)["faults"][0]


def test_credited_usage_is_billed_anew(data: Path) -> None:
    issued = run("billing", "issue", "--period", "2026-10", "--all", "--data", data)
    number = re.findall(r"INV-\d{4}-00001", issued.output)[0]
    early = run("billing", "rebill", number, "--data", data)
    assert early.exit_code == 1 and f"no whole line of {number} has been credited" in early.stderr
    run("billing", "credit", number, "--data", data)
    tried = run("billing", "rebill", number, "--dry-run", "--data", data)
    assert tried.exit_code == 0 and f"corrects {number}" in tried.output and "14.28" in tried.output
    done = run("billing", "rebill", number, "--data", data)
    assert done.exit_code == 0 and re.search(rf"Invoice INV-\d{{4}}-00002 .*\n.*corrects {number}", done.output)
    again = run("billing", "rebill", number, "--json", "--data", data)
    assert again.exit_code == 1 and "was billed anew by" in again.stderr
    assert run("billing", "verify", "--data", data).exit_code == 0


def test_a_bill_in_euros_says_so_everywhere(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "euro.yaml"
    rate = "prices: {exchange: {EUR: [{rate: 1.25, from: 2026-01-01}]}}\n"
    file.write_text(CONFIG.replace("tax_basis", "currency: EUR, tax_basis") + rate)
    given = ("--data", data, "--config", file)
    summary = run("billing", "statement", "--period", "2026-10", *given)
    assert summary.exit_code == 0 and "11.42 EUR" in summary.output, summary.output + summary.stderr
    shown = run("billing", "statement", "--period", "2026-10", "--customer", "acme", *given)
    assert re.search(r"Due, EUR +11\.42", shown.output) and "$" not in shown.output
    assert "1 EUR = 1.25 USD from 2026-01-01 (prices.exchange), fixed on" in shown.output
    issued = run("billing", "issue", "--period", "2026-10", "--all", *given)
    assert "11.42 EUR" in issued.output
    number = re.findall(r"INV-\d{4}-00001", issued.output)[0]
    note = run("billing", "credit", number, "--amount", "1.42", *given)
    assert note.exit_code == 0 and re.search(r"Credited, EUR +1\.42", note.output)
    assert "-1.42 EUR" in run("billing", "list", "--data", data).output


def test_focus_is_written_with_a_row_for_each_day_and_model(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "focus.csv"
    done = run("billing", "focus", "--period", "2026-10", "--out", out, "--data", data)
    assert done.exit_code == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    assert [row["ChargeCategory"] for row in rows] == ["Usage", "Tax", "Adjustment"]
    assert rows[0]["BilledCost"] == "12.000000228" and rows[0]["x_ProviderCost"] == "10.000000190"


def test_rules_may_come_from_a_file(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "other.yaml"
    file.write_text(CONFIG.replace("percent: 20", "percent: 50"))
    told = run("billing", "statement", "--period", "2026-10", "--json", "--config", file, "--data", data)
    assert json.loads(told.output)["customers"][0]["statement"]["net_nano"] == 15_000_000_285


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("issue", "--period", "2026-10", "--customer", "nobody"), 1, "there is no customer 'nobody'"),
        (("issue", "--period", "2026-10"), 2, "name one customer with --customer, or --all"),
        (("issue", "--period", "2031-10", "--customer", "acme"), 1, "acme has nothing to be billed for 2031-10"),
        (("issue", "--period", "10/2026", "--all"), 2, "--period 10/2026: expected a month like 2026-11"),
        (("statement", "--period", "2026-10", "--format", "pdf"), 2, "are for one customer"),
        (("statement", "--period", "2026-10", "--customer", "acme", "--format", "doc"), 2, "expected one of json, csv"),
        (("show", "INV-1"), 1, "there is no invoice or credit note INV-1"),
        (("credit", "INV-1"), 1, "there is no invoice INV-1"),
        (("credit", "INV-1", "--amount", "much"), 2, "--amount much: expected an amount in dollars"),
        (("focus", "--period", "2026-10", "--out", "/nowhere/x.csv"), 2, "/nowhere/x.csv cannot be written"),
        (("statement", "--period", "2026-10", "--config", "/nowhere/c.yaml"), 2, "/nowhere/c.yaml"),
    ],
)
def test_what_cannot_be_done_is_said(data: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    result = run("billing", *arguments, "--data", data)
    assert result.exit_code == code and said in result.stderr, result.output + result.stderr
    assert "Traceback" not in result.stderr


def test_unpriced_requests_are_refused_with_the_way_to_bill_all_the_same(data: Path) -> None:
    booked(data, admitted(DAYS + 50), settled(DAYS + 50, attempt(charge_nano=-1, charge_state="unpriced")))
    stated = run("billing", "statement", "--period", "2026-10", "--customer", "acme", "--data", data)
    assert "No price is known of 1 request: listed, and in no total." in stated.output.splitlines()[2]
    refused = run("billing", "issue", "--period", "2026-10", "--all", "--data", data)
    assert (
        refused.exit_code == 1 and "an invoice would close them unbilled; --allow-unpriced issues it." in refused.stderr
    )
    issued = run("billing", "issue", "--period", "2026-10", "--all", "--allow-unpriced", "--data", data)
    assert issued.exit_code == 0 and "$14.28" in issued.output


def test_without_a_ledger_or_rules_it_is_said_where_to_look(tmp_path: Path, data: Path) -> None:
    nothing = run("billing", "statement", "--period", "2026-10", "--data", tmp_path / "none")
    assert nothing.exit_code == 2 and "name the file with --config FILE" in nothing.stderr
    missing = run("billing", "list", "--data", tmp_path / "none")
    assert missing.exit_code == 2 and "there is no ledger" in missing.stderr
