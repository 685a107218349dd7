"""The admin API of billing: what the commands do, by HTTP; who is bound to an organisation sees what is its own alone."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from admin_asking import TOKEN, admin_key, ask
from billing_books import EARLIER, MONTH, RULES, book
from records import policy

from pointsman.control import owed
from pointsman.control.admin import Admin
from pointsman.control.audited import Audited
from pointsman.control.dashboard.billing import View, billing_page
from pointsman.control.dashboard.frame import Shell
from pointsman.control.endpoints import Who
from pointsman.control.main import hosts_of
from pointsman.control.pump import Counts
from pointsman.core.billing import Customer
from pointsman.core.invoice import money
from pointsman.stores import callers_file
from pointsman.stores.choose import Stores

BASE = "/v1/billing"
BODY = {"customer": "acme", "period": "2026-10"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    book(tmp_path)
    book(tmp_path, first=EARLIER)
    return tmp_path


def app_of(data: Path, **more: Any) -> Any:
    made = policy()
    listener = msgspec.structs.replace(made.listener, billing=msgspec.structs.replace(RULES, **more))
    return Admin(data, msgspec.structs.replace(made, listener=listener), Counts()).app(TOKEN, hosts_of("127.0.0.1"))


@pytest.fixture
def app(data: Path) -> Any:
    return app_of(data)


@pytest.fixture
def mine(app: Any, data: Path) -> str:
    """The key of somebody who is bound to acme, and may change what is there."""
    made = ask(app, "/v1/organisations", "POST", {"name": "acme"}, TOKEN).json
    return admin_key(data, "acme-admin", "admin", made["id"])[1]


def test_a_statement_an_invoice_and_its_credit_notes(app: Any) -> None:
    stated = ask(app, f"{BASE}/statements?period=2026-10&customer=acme", key=TOKEN).json
    made = ask(app, f"{BASE}/invoices", "POST", BODY, TOKEN)
    assert made.status == 200 and made.json["new"] and made.json["number"] == "INV-2026-00001"
    assert made.json["document"]["statement"]["due_nano"] == stated["statement"]["due_nano"] > 0
    again = ask(app, f"{BASE}/invoices", "POST", BODY, TOKEN).json
    assert again == made.json | {"new": False}
    shown = ask(app, f"{BASE}/invoices/INV-2026-00001", key=TOKEN)
    assert shown.json == made.json["document"]
    note = ask(app, f"{BASE}/invoices/INV-2026-00001/credit", "POST", {"amount": "0.05"}, TOKEN).json
    assert note["document"]["due_nano"] == 50_000_000 and note["document"]["credits"] == "INV-2026-00001"
    rest = ask(app, f"{BASE}/invoices/INV-2026-00001/credit", "POST", {"reason": "wrong"}, TOKEN).json
    assert rest["document"]["due_nano"] == stated["statement"]["due_nano"] - 50_000_000
    listed = ask(app, f"{BASE}/invoices", key=TOKEN).json
    assert [one["number"] for one in listed["data"]] == ["INV-2026-00001", "CN-2026-00001", "CN-2026-00002"]
    assert listed["next"] is None and listed["data"][1]["credits"] == "INV-2026-00001"
    assert ask(app, f"{BASE}/verify", key=TOKEN).json == {
        "documents": 3, "faults": [], "head": listed["data"][2]["chain"]
    }  # fmt: skip


def noted(app: Any) -> list[Any]:
    rows = ask(app, "/v1/audit", key=TOKEN).json["data"]
    return [row for row in rows if row["action"].startswith("billing.")]


def test_who_issued_what_and_how_much_stands_in_the_audit_log(app: Any) -> None:
    made = ask(app, f"{BASE}/invoices", "POST", BODY, TOKEN).json
    ask(app, f"{BASE}/invoices", "POST", BODY, TOKEN)  # nothing new
    ask(app, f"{BASE}/invoices", "POST", BODY | {"customer": "initech"}, TOKEN)  # nobody
    note = ask(app, f"{BASE}/invoices/{made['number']}/credit", "POST", {"amount": "0.05"}, TOKEN).json
    rows = noted(app)
    assert [(row["actor"], row["action"], row["target"]) for row in rows] == [
        ("token", "billing.issue", made["number"]), ("token", "billing.credit", note["number"])
    ]  # fmt: skip
    due_nano = made["document"]["statement"]["due_nano"]
    assert rows[0]["after"] == {
        "kind": "invoice", "customer": "acme", "period": "2026-10", "due_nano": due_nano, "credits": "",
        "sha256": made["sha256"], "currency": "USD",
    }  # fmt: skip
    assert (rows[1]["after"]["due_nano"], rows[1]["after"]["credits"]) == (50_000_000, made["number"])


def test_an_audit_log_that_is_away_gets_its_row_when_it_is_back(app: Any, data: Path, capfd: Any) -> None:
    ask(app, "/v1/organisations", "POST", {"name": "acme"}, TOKEN)
    store, aside = data / callers_file.STORE, data / "aside"
    store.rename(aside)
    store.write_bytes(b"no database" * 100)
    made = ask(app, f"{BASE}/invoices", "POST", BODY, TOKEN).json
    assert made["new"] and f"no row of billing.issue {made['number']} yet" in capfd.readouterr().err
    aside.replace(store)
    made_policy, failed = policy(), []
    audited = Audited(Stores(data), lambda: made_policy, lambda: failed.append(1))
    audited.step()
    audited.step()
    [row] = noted(app)
    assert (row["actor"], row["target"]) == ("token", made["number"]) and row["after"]["done_ms"] > 0
    assert not list((data / owed.FOLDER).glob("*.json")) and failed == []
    (data / owed.FOLDER / "1.json").write_text(json.dumps({"actor": "x"}))
    audited.step()  # what is none of ours is put aside, and holds up nothing
    assert not list((data / owed.FOLDER).glob("*.json")) and len(noted(app)) == 1 and failed == []


def test_credited_usage_is_billed_anew_once(app: Any) -> None:
    first = ask(app, f"{BASE}/invoices", "POST", BODY, TOKEN).json
    path = f"{BASE}/invoices/{first['number']}"
    early = ask(app, f"{path}/rebill", "POST", {}, TOKEN)
    assert (early.status, early.json["error"]["code"]) == (409, "in_the_way")
    ask(app, f"{path}/credit", "POST", {}, TOKEN)
    made = ask(app, f"{path}/rebill", "POST", {}, TOKEN)
    assert made.status == 200 and made.json["new"] and made.json["number"] == "INV-2026-00002"
    assert made.json["document"]["corrects"]["number"] == first["number"]
    assert made.json["document"]["statement"]["due_nano"] == first["document"]["statement"]["due_nano"]
    again = ask(app, f"{path}/rebill", "POST", {}, TOKEN)
    assert again.status == 409 and "billed anew by INV-2026-00002" in again.json["error"]["message"]
    assert ask(app, f"{BASE}/invoices/INV-1/rebill", "POST", {}, TOKEN).status == 404
    assert ask(app, f"{BASE}/verify", key=TOKEN).json["faults"] == []


def test_a_customer_is_billed_in_its_currency(data: Path) -> None:
    acme = msgspec.structs.replace(RULES.customers[0], currency="EUR", rate_nano=1_250_000_000)
    app = app_of(data, customers=(acme, *RULES.customers[1:]))
    usd = ask(app_of(data), f"{BASE}/statements?period=2026-10&customer=acme", key=TOKEN).json["statement"]
    found = ask(app, f"{BASE}/statements?period=2026-10", key=TOKEN).json["customers"]
    assert [one["statement"]["currency"] for one in found] == ["EUR", "USD"]
    eur = found[0]["statement"]
    assert abs(eur["net_nano"] * 5 - usd["net_nano"] * 4) <= 5 and eur["exchanged"]["nano"] == 1_250_000_000
    number = ask(app, f"{BASE}/invoices", "POST", BODY, TOKEN).json["number"]
    [listed] = ask(app, f"{BASE}/invoices", key=TOKEN).json["data"]
    assert (listed["currency"], listed["due_nano"]) == ("EUR", eur["due_nano"])
    note = ask(app, f"{BASE}/invoices/{number}/credit", "POST", {"amount": "0.05"}, TOKEN).json["document"]
    assert (note["currency"], note["due_nano"], note["exchanged"]) == (
        "EUR",
        50_000_000,
        eur["exchanged"] | {"fixed_ms": note["exchanged"]["fixed_ms"]},
    )
    page = ask(app, f"{BASE}/invoices/{number}/html", key=TOKEN).text
    assert "1 EUR = 1.25 USD (billing.customers), fixed on " in page and "Due, EUR" in page and "$" not in page
    rows = list(csv.DictReader(io.StringIO(ask(app, f"{BASE}/invoices/{number}/csv", key=TOKEN).text)))
    assert {(row["currency"], row["rate"]) for row in rows} == {("EUR", "1 EUR = 1.25 USD")}
    assert sum(int(row["amount_nano"]) for row in rows if row["amount_nano"]) == eur["due_nano"]
    with Stores(data).reader() as reader:
        documents = reader.documents()
    shown = billing_page(Shell(Who("ops", "admin"), "x", "/billing"), View(RULES, MONTH, [MONTH], documents))
    assert (
        f"{money(eur['due_nano'], 'EUR')}<" in shown and ">-0.05 EUR<" in shown and "EUR, tax included; empty" in shown
    )


def test_statements_at_the_charges_of_a_reckoning_are_not_for_bound_keys(app: Any, mine: str) -> None:
    path = f"{BASE}/statements?period=2026-10&reckoning=rck_zz"
    assert ask(app, path, key=mine).status == 400
    none = ask(app, path, key=TOKEN)
    assert none.status == 404 and "no one reckoning has or begins with" in none.json["error"]["message"]


def test_all_customers_of_a_month(app: Any) -> None:
    found = ask(app, f"{BASE}/statements?period={MONTH}", key=TOKEN).json
    assert [one["statement"]["customer"] for one in found["customers"]] == ["acme", "globex"]
    assert found["nobody"]["requests"] == 0


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/invoices", BODY | {"period": "2031-01"}, 409, "in_the_way"),
        ("/invoices", BODY | {"customer": "initech"}, 404, "not_found"),
        ("/invoices", BODY | {"period": "2026-1"}, 400, "invalid_request"),
        ("/invoices", BODY | {"force": True}, 400, "invalid_request"),
        ("/invoices/INV-1/credit", {}, 404, "not_found"),
        ("/invoices/INV-1/credit", {"amount": "-1"}, 400, "invalid_request"),
        ("/invoices/INV-1", None, 404, "not_found"),
        ("/statements?period=", None, 400, "invalid_request"),
        ("/statements?period=2026-10&customer=initech", None, 404, "not_found"),
        ("/statements?period=2026-10&who=acme", None, 400, "invalid_request"),
        ("/invoices?after=x", None, 400, "invalid_request"),
        ("/focus/soon", None, 400, "invalid_request"),
        ("/invoices/INV-1/docx", None, 400, "invalid_request"),
        ("/invoices/INV-1/pdf", None, 404, "not_found"),
    ],
)
def test_what_cannot_be_is_said(app: Any, path: str, body: Any, status: int, code: str) -> None:
    answer = ask(app, BASE + path, "GET" if body is None else "POST", body, TOKEN)
    assert (answer.status, answer.code) == (status, code), answer.text


def test_unpriced_requests_and_months_that_have_not_ended_are_refused_until_it_is_said_otherwise(data: Path) -> None:
    book(data, first=EARLIER + 50, organisations=("globex",), charge_nano=-1, charge_state="unpriced")
    app = app_of(data)
    body = {"customer": "globex", "period": "2026-10"}
    refused = ask(app, f"{BASE}/invoices", "POST", body, TOKEN)
    assert refused.code == "in_the_way" and "no price is known of 6 requests of globex" in refused.text
    assert ask(app, f"{BASE}/invoices", "POST", body | {"allow_unpriced": True}, TOKEN).json["new"]


def test_files_are_given_to_be_kept(app: Any) -> None:
    ask(app, f"{BASE}/invoices", "POST", BODY, TOKEN)
    kinds = {"json": "application/json", "csv": "text/csv", "html": "text/html"}
    for form, media in kinds.items():
        answer = ask(app, f"{BASE}/invoices/INV-2026-00001/{form}", key=TOKEN)
        assert answer.status == 200 and answer.headers["content-type"].startswith(media)
        assert answer.headers["content-disposition"] == f'attachment; filename="INV-2026-00001.{form}"'
    statement = ask(app, f"{BASE}/statements/acme/{MONTH}/html", key=TOKEN)
    assert (
        "Statement" in statement.text
        and 'filename="statement-2026-11.html"' in statement.headers["content-disposition"]
    )
    table = ask(app, f"{BASE}/focus/2026-10", key=TOKEN)
    assert table.text.startswith("BilledCost,BillingAccountId,") and table.text.count("INV-2026-00001") > 1


def test_s04_who_is_bound_sees_what_is_its_own_alone(app: Any, mine: str) -> None:
    for customer in ("acme", "globex"):
        ask(app, f"{BASE}/invoices", "POST", BODY | {"customer": customer}, TOKEN)
    found = ask(app, f"{BASE}/statements?period={MONTH}", key=mine)
    assert [one["statement"]["customer"] for one in found.json["customers"]] == ["acme"] and "globex" not in found.text
    listed = ask(app, f"{BASE}/invoices", key=mine)
    assert [one["number"] for one in listed.json["data"]] == ["INV-2026-00001"] and "globex" not in listed.text
    for path in ("/invoices/{}", "/invoices/{}/html", "/invoices/{}/json"):
        own = ask(app, BASE + path.format("INV-2026-00001"), key=mine)
        theirs, none = (
            ask(app, BASE + path.format(number), key=mine) for number in ("INV-2026-00002", "INV-2026-00009")
        )
        assert own.status == 200 and theirs.status == none.status == 404
        assert theirs.text.replace("00002", "") == none.text.replace("00009", "")
    assert ask(app, f"{BASE}/statements?period={MONTH}&customer=globex", key=mine).status == 404
    assert ask(app, f"{BASE}/statements/globex/{MONTH}/json", key=mine).status == 404
    table = ask(app, f"{BASE}/focus/2026-10", key=mine).text
    assert "acme" in table and "globex" not in table


def test_s04_who_is_bound_issues_nothing(app: Any, mine: str) -> None:
    for path, body in (("/invoices", BODY), ("/invoices/INV-2026-00001/credit", {})):
        assert ask(app, BASE + path, "POST", body, mine).status in (403, 404)
    assert ask(app, f"{BASE}/verify", key=mine).status in (403, 404)
    assert ask(app, f"{BASE}/invoices", key=TOKEN).json["data"] == []


def test_s04_a_customer_that_may_have_others_requests_is_not_shown_to_one_organisation(data: Path) -> None:
    app = app_of(data, customers=(*RULES.customers, Customer(name="x", each="tag:env")))
    made = ask(app, "/v1/organisations", "POST", {"name": "acme"}, TOKEN).json
    key = admin_key(data, "acme-viewer", "viewer", made["id"])[1]
    assert ask(app, f"{BASE}/statements?period={MONTH}", key=key).json["customers"] == []
    ask(app, f"{BASE}/invoices", "POST", BODY, TOKEN)
    assert ask(app, f"{BASE}/invoices", key=key).json["data"] == []
