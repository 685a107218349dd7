"""Reports of the admin API, what another deployment would have cost, and what the control process deletes."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from admin_asking import TOKEN, admin_key, ask
from records import policy
from report_ledgers import BEGIN_MS, Books

from pointsman.control import keystore, reporting
from pointsman.control.admin import Admin
from pointsman.control.main import hosts_of
from pointsman.control.pump import Counts
from pointsman.control.replay import Policies
from pointsman.control.retention import Keeping
from pointsman.control.saving import CHEAPEST, DEAREST, compared, policy_of
from pointsman.core.policy import Deployment, Listener, Policy, Route, Rung, Wire
from pointsman.core.pricing import Price, Rates, Tier, Window, nano_of
from pointsman.core.retention import Retention
from pointsman.core.usage import Usage
from pointsman.stores.callers import Page
from pointsman.stores.choose import Stores
from pointsman.stores.ledger import LedgerBusy
from pointsman.stores.report import Question, ReportError
from pointsman.stores.sqlite import FILE, SqliteReader, SqliteWriter

SINCE = "since=2000-01-01"
COUNT = 900


def price(rate: int, **more: Any) -> Price:
    return Price(
        rates=Rates(input=rate, output=4 * rate, cache_read=rate // 10, request=7), version="p", source="test", **more
    )


def priced() -> Policy:
    """Three deployments with prices: one plain, one with a tier, one with hours; and one without."""
    wire = Wire(model="m")
    night = Window(22 * 60, 6 * 60, Rates(input=1_000_000_000, output=2_000_000_000))
    return Policy(
        version="v2", source="test", providers={},
        deployments=(
            Deployment(name="mini", provider="lab", wire=wire, price=price(400_000_000)),
            Deployment(name="large", provider="lab", wire=wire,
                       price=price(3_000_000_000, tiers=(Tier(200_000, Rates(input=6_000_000_000, output=9_000_000_000)),))),
            Deployment(name="nightly", provider="lab", wire=wire, price=price(5_000_000_000, windows=(night,))),
            Deployment(name="free", provider="lab", wire=wire),
        ),
        routes={
            "drafts": Route(name="drafts", candidates=("mini", "large")),
            "support": Route(name="support", candidates=("free",), degrade=(Rung(name="r", candidates=("large",)),)),
            "NULL": Route(name="NULL", candidates=("free",)),
            "support#1": Route(name="support#1", hidden="support", candidates=("nightly",)),
        },
    )  # fmt: skip


@pytest.fixture(scope="module")
def books() -> Books:
    return Books(seed=41, count=COUNT)


@pytest.fixture
def data(tmp_path: Path, books: Books) -> Path:
    (tmp_path / "run").mkdir()
    writer = SqliteWriter(tmp_path / FILE)
    writer.write(books.batch())
    Policies(writer).keep(priced())
    Policies(writer).keep(msgspec.structs.replace(priced(), version="v1"))
    writer.close()
    return tmp_path


@pytest.fixture
def app(data: Path) -> Any:
    return Admin(data, policy(), Counts()).app(TOKEN, hosts_of("127.0.0.1"))


# --- the API


def test_a_report_of_the_api_is_that_of_the_ledger(app: Any, books: Books) -> None:
    path = f"/v1/report?measure=requests,ttft_p95_us&measure=measured_nano&by=route&every=week&where=key%3Ddev&{SINCE}"
    found = ask(app, path, key=TOKEN).json
    mine = [row for row in books.requests if row["key"] == "dev"]
    assert found["total"]["requests"] == len(mine) and found["question"]["where"] == {"key": ["dev"]}
    assert found["total"]["measured_nano"] == sum(r["charge_nano"] for r in mine if r["charge_state"] == "measured")
    assert sum(row["requests"] for row in found["rows"]) == len(mine)
    sends = ask(app, f"/v1/report/attempts?measure=attempts&by=outcome&{SINCE}&order=errors", key=TOKEN).json
    assert sends["total"]["attempts"] == len(books.attempts) and list(sends["total"]) == ["attempts", "errors"]
    assert [column["name"] for column in found["columns"]] == [
        "time",
        "route",
        "requests",
        "ttft_p95_us",
        "measured_nano",
    ]
    assert {row["time"] for row in found["rows"]} <= {"2026-11-16", "2026-11-23"} and found["cut"] is False


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("measure=nothing", "measure"),
        ("by=route,model,key", "by"),
        ("by=tag:a%20b", "by"),
        ("every=year", "every"),
        ("where=route", "where"),
        ("since=soon", "since"),
        ("most=0", "most"),
        ("every=", "every"),
        ("most=10001", "most"),
        ("order=route&measure=requests", "order"),
        ("against=nobody", "against"),
        ("by=session&by=session&since=1d&since=2d", "since"),
        ("surprise=1", "surprise"),
    ],
)
def test_what_cannot_be_asked_is_told_with_the_parameter(app: Any, query: str, param: str) -> None:
    answer = ask(app, f"/v1/report?{query}", key=TOKEN)
    assert (answer.status, answer.code, answer.json["error"]["param"]) == (400, "invalid_request", param)


def test_s04_a_report_of_a_bound_key_is_that_of_its_organisation(app: Any, data: Path, books: Books) -> None:
    made = ask(app, "/v1/organisations", "POST", {"name": "acme"}, TOKEN).json
    key = admin_key(data, "acme-viewer", "viewer", made["id"])[1]
    expected = sum(row["organisation"] == "acme" for row in books.requests)
    for by in ("?by=organisation", "?by=key", "?by=team", "?by=tag:env", "?by=day", "/attempts?by=key,team"):
        answer = ask(app, f"/v1/report{by}&{SINCE}&measure=input_tokens", key=key)
        assert answer.status == 200 and "globex" not in answer.text, by
    assert ask(app, f"/v1/report?measure=requests&{SINCE}", key=key).json["total"] == {"requests": expected}
    for where in ("organisation%3Dglobex", "team%3Dy"):
        assert ask(app, f"/v1/report?measure=requests&where={where}&{SINCE}", key=key).json["total"] == {"requests": 0}
    # What other deployments cost is no affair of a tenant.
    assert ask(app, "/v1/report?against=dearest", key=key).code == "invalid_request"


def test_a_question_ends_when_its_client_goes(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started, interrupted = threading.Event(), threading.Event()

    class Slow(SqliteReader):
        def report(self, question: Question) -> Any:
            started.set()
            if not interrupted.wait(10):
                raise AssertionError("nobody ended the question")
            raise LedgerBusy("interrupted")

        def interrupt(self) -> None:
            interrupted.set()

    monkeypatch.setattr(Stores, "reader", lambda self, limit_s: Slow(self.data / FILE, limit_s))
    app = Admin(data, policy(), Counts()).app(TOKEN, hosts_of("127.0.0.1"))
    sent: list[dict[str, Any]] = []

    async def go() -> None:
        async def receive() -> dict[str, Any]:
            if not started.is_set():
                await asyncio.sleep(60)  # as a server that has nothing to tell; given up at once
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        headers = [(b"host", b"127.0.0.1:8081"), (b"authorization", f"Bearer {TOKEN}".encode())]
        await app(
            {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "path": "/v1/report",
             "raw_path": b"/v1/report", "query_string": b"", "headers": headers, "server": ("127.0.0.1", 8081),
             "client": ("127.0.0.1", 1), "scheme": "http", "root_path": ""}, receive, send,
        )  # fmt: skip

    asyncio.run(go())
    assert interrupted.is_set() and sent[0]["status"] == 503


def test_only_so_many_reports_are_under_way(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "MOST", 0)
    answer = ask(app, "/v1/report", key=TOKEN)
    assert (answer.status, answer.code) == (503, "ledger_unavailable")


# --- what another deployment would have cost


def reckoned(books: Books, name: str, routes: tuple[str, ...]) -> tuple[int, int, int]:
    """Return how many requests are compared, what they were charged, and what they would have cost, each rounded by itself."""
    [one] = [deployment for deployment in priced().deployments if deployment.name == name]
    assert one.price is not None
    count = charged = nano = 0
    for row in books.requests:
        fit = row["charge_state"] == "measured" and row["usage_source"] == "measured" and row["attempts"]
        if fit and row["route"] in routes:
            rates = one.price.rates_for(row["input_tokens"], None, row["at_ms"] // 60_000 % 1440)
            assert rates is not None
            usage = Usage(**{field: row[field] for field in Usage.__struct_fields__ if field != "source"})
            count, charged, nano = count + 1, charged + row["charge_nano"], nano + nano_of(usage, rates)
    return count, charged, nano


@pytest.mark.parametrize("name", ["mini", "large", "nightly"])
@pytest.mark.parametrize("by", [(), ("route",), ("key", "day")])
def test_against_a_deployment_is_what_each_request_would_have_cost(
    data: Path, books: Books, name: str, by: tuple[str, ...]
) -> None:
    with SqliteReader(data / FILE) as reader:
        found, against = compared(reader, Question(("requests",), by), policy_of(reader.newest_policy()), name)
    count, charged, nano = reckoned(books, name, ("drafts", "support", "NULL", ""))
    requests, *total = found.total
    assert total[:2] == [count, charged] and abs(total[2] - nano) <= count  # rounded once for many, not for each
    assert total[3] == total[2] - total[1] and total[4] == 0 and total[5] == requests - count
    if by:
        assert [sum(row[n] for row in found.rows) for n in range(len(by) + 1, len(by) + 7)] == total
    assert set(against.deployments.values()) == {name} and against.config in ("v1", "v2")


def test_the_dearest_and_the_cheapest_are_of_what_a_route_may_choose(data: Path, books: Books) -> None:
    with SqliteReader(data / FILE) as reader:
        question = Question(("requests",), ("route",))
        dear, against = compared(reader, question, priced(), DEAREST)
        cheap, other = compared(reader, question, priced(), CHEAPEST)
    assert against.deployments["drafts"] == "large" and other.deployments["drafts"] == "mini"
    assert set(against.deployments) == {"drafts", "support"}  # NULL has nobody with a price, "" is none
    expected = reckoned(books, "large", ("drafts",))
    rows = {row[0]: row for row in dear.rows}
    assert rows["drafts"][2:4] == expected[:2] and abs(rows["drafts"][4] - expected[2]) <= expected[0]
    compared_null, no_price = rows["NULL"][2], rows["NULL"][6]
    assert compared_null == 0 and no_price == reckoned(books, "mini", ("NULL",))[0] and rows["NULL"][4] == 0
    by_route = {row[0]: row[4] for row in cheap.rows}
    assert all(row[4] >= by_route[row[0]] for row in dear.rows)


def test_what_cannot_be_compared_is_told(data: Path) -> None:
    with SqliteReader(data / FILE) as reader:
        for name, question in (("free", Question(("requests",))), ("mini", Question(("attempts",), of="attempts"))):
            with pytest.raises(ReportError):
                compared(reader, question, priced(), name)
    with pytest.raises(ReportError, match="name a config"):
        policy_of(None)
    with pytest.raises(ReportError, match="name a config"):
        policy_of(b"\xc1")


# --- retention


def test_the_control_process_deletes_counts_and_notes_it(data: Path, books: Books) -> None:
    stores = Stores(data)
    now = {"policy": policy()}
    keeping = Keeping(stores, lambda: now["policy"])
    now_ms = BEGIN_MS + 9 * 86_400_000
    assert keeping.step(now_ms, 0) == {}
    listener = Listener(retention=Retention(requests_days=4))
    now["policy"] = msgspec.structs.replace(policy(), listener=listener)
    old = sum(row["at_ms"] < now_ms - 4 * 86_400_000 and row["seq"] < COUNT for row in books.requests)
    assert keeping.step(now_ms, 0) == {"requests": old} and keeping.deleted == old
    assert keeping.step(now_ms, 0) == {} and keeping.deleted == old
    with keystore.acting(stores, "test") as acting:
        rows = [row for row in acting.audit(Page(0, 100)) if row.action == "ledger.prune"]
    assert [(row.actor, row.after) for row in rows] == [("retention", f'{{"requests":{old}}}')]
    admin = Admin(data, policy(), Counts())
    admin.deleted_rows = lambda: keeping.deleted
    text = ask(admin.app(TOKEN, hosts_of("127.0.0.1")), "/metrics", key=TOKEN).text
    assert f"pointsman_ledger_deleted_rows_total {old}\n" in text


def test_a_ledger_that_is_away_is_told_once_and_tried_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    listener = Listener(retention=Retention(requests_days=4))
    keeping = Keeping(Stores(tmp_path / "nowhere"), lambda: msgspec.structs.replace(policy(), listener=listener))
    for _ in range(3):
        assert keeping.step(time.time_ns() // 1_000_000, 0) == {}
    assert capfd.readouterr().err.count("retention") == 1
