"""What the pages of routes, providers, cache, billing, audit log and usage say, and to whom."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from admin_asking import TOKEN, admin_key
from records import AT_MS, admitted, attempt, decided, policy, request_row, settled
from test_dashboard import Visitor

from pointsman.control import keystore
from pointsman.control.admin import Admin
from pointsman.control.billing.biller import Biller
from pointsman.control.dashboard.audit import LISTED, Wish, newest
from pointsman.control.dashboard.routes import checks, health
from pointsman.control.main import hosts_of
from pointsman.control.pump import Counts
from pointsman.core.billing import Billing, Customer
from pointsman.core.entry import Hit
from pointsman.core.policy import Arm, Bounds, Cache, Policy, Route, Rule, Rung, Semantic, Split
from pointsman.core.standing import Standing, Standings
from pointsman.core.trust import settings_of
from pointsman.observe.metrics import Metrics
from pointsman.stores.browsing import Sum
from pointsman.stores.callers import AuditRow, Page, Settings
from pointsman.stores.choose import Stores
from pointsman.stores.ledger import Batch, attempt_rows, decision_row
from pointsman.stores.sqlite import FILE, SqliteWriter
from pointsman.stores.trusts import Trusts

NOW_MS = AT_MS // 86_400_000 * 86_400_000 + 45_000_000  # half past twelve: an hour and a day are not about to end
RULES = Billing(customers=(Customer(name="organisations", each="organisation"),))
MINE, OTHER = ("acme/dev", "bot", "care", "acme"), ("globex/dev", "bot", "sales", "globex")


def rich() -> Policy:
    """A policy with all that a route can have, and rules of billing."""
    made = policy()
    drafts = msgspec.structs.replace(
        made.routes["drafts"],
        bounds=Bounds(ttft_ms_p95=100.0, nano_per_request=1_000_000, nano_per_day=240_000, quality_min=0.5),
        rules=(Rule(when="request.tokens > 9 && tenant < 3", use="other", place="router.yaml:7"),),
        split=Split(by="session", salt="s", arms=(Arm(name="as-is", weight=3.0, use="other"),)),
        degrade=(Rung(name="smaller", candidates=("mini",)), Rung(name="sorry", refuse=True)),
        cache=Cache(ttl_s=60.0, semantic=Semantic()),
    )
    listener = msgspec.structs.replace(made.listener, billing=RULES)
    return msgspec.structs.replace(made, routes={**made.routes, "drafts": drafts}, listener=listener)


def book(data: Path) -> None:
    """Book requests of two organisations: of just now, and of last year, which can be billed."""
    batch, writer = Batch(), SqliteWriter(data / FILE)
    failed = attempt(deployment="mini", model="mini-1", outcome="server_error", status=503, charge_nano=0)
    kept = Hit("req_" + "0" * 28, "large", "lab", "large-1", "large-1", 1_000, 5_000_000)
    ends = [
        (MINE, settled(0, attempt()), decided(arm="drafts/as-is"), ("customer:ada",)),
        (OTHER, settled(1, failed, attempt()), decided(order=(0, 1)), ("customer:bob",)),
        (OTHER, settled(2, attempt(), degraded="smaller"), decided(), ()),
        (MINE, msgspec.structs.replace(settled(3), attempts=(), cache="hit", hit=kept, outcome="ok"), decided(), ()),
        (OTHER, msgspec.structs.replace(settled(4), cache="miss"), decided(), ()),
    ]  # fmt: skip
    for n, (caller, ended, why, tags) in enumerate(ends):
        asked = admitted(n, caller=caller, tags=tags, at_ms=NOW_MS - 1_000)
        batch.requests.append(request_row(asked, ended, why.head, {}))
        batch.attempts += attempt_rows(ended)
        batch.decisions.append(decision_row(asked.request.id, why))
    for n, caller in ((10, MINE), (11, OTHER)):
        ended = settled(n, attempt(charge_nano=3_000_000_000))
        batch.requests.append(
            request_row(admitted(n, caller=caller, at_ms=AT_MS - 365 * 86_400_000), ended, decided().head, {})
        )
    writer.write(batch)
    writer.close()


@pytest.fixture(autouse=True)
def standing_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the clock: what pages say of "today", "now" and "4 s from now" depends on no machine's pace."""
    monkeypatch.setattr(time, "time", lambda: NOW_MS / 1000)
    monkeypatch.setattr(time, "time_ns", lambda: NOW_MS * 1_000_000)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    run.mkdir()
    book(tmp_path)
    mini = Standing("mini", "lab", "open", 4_000, 5, 1, "server_error", 0.4, 90.0, 100.0, 50.0, 9, 0.1,
                    allowed={"requests": (600, 31, 9_000)})  # fmt: skip
    large = Standing("large", "lab", "closed", 0, 0, 0, "", 0.99, 90.0, 100.0, 50.0, 9, 0.1)
    (run / "standing-0.msgpack").write_bytes(msgspec.msgpack.encode(Standings(NOW_MS, 0, "v1", [mini, large])))
    counted = Metrics(alerts={"mini\x1fejected": 3}, cache_entries=41, cache_bytes=2_097_152)
    (run / "metrics-0.msgpack").write_bytes(msgspec.msgpack.encode(counted))
    Trusts(tmp_path / "similar").judge("drafts", Semantic(), NOW_MS, wrong=True)
    with keystore.acting(Stores(tmp_path), "test") as acting:
        for name in ("acme", "globex"):
            group = acting.add_group("organisation", name)
            project = acting.add_group("project", "bot", acting.add_group("team", "care", group.id).id)
            acting.add_key(f"{name}-key", project.id, Settings())
    return tmp_path


@pytest.fixture
def app(data: Path) -> Any:
    return Admin(data, rich(), Counts()).app(TOKEN, hosts_of("127.0.0.1"))


@pytest.fixture
def visitor(app: Any) -> Visitor:
    made = Visitor(app)
    assert made.log_in(TOKEN).status == 303
    return made


@pytest.fixture
def mine(app: Any, data: Path) -> Visitor:
    """Somebody who is bound to acme."""
    with keystore.acting(Stores(data), "test") as acting:
        acme = next(one.id for one in acting.groups("organisation")[0] if one.name == "acme")
    who = Visitor(app)
    assert who.log_in(admin_key(data, "acme-admin", "admin", acme)[1]).status == 303
    return who


def words(html: str) -> str:
    """Return what a page says, without its markup."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


# --- routes
def test_a_route_is_held_against_what_it_demands() -> None:
    route = Route(
        name="r", candidates=("a",), bounds=Bounds(ttft_ms_p95=1_000.0, nano_per_request=50, nano_per_day=400)
    )
    today = Sum((), 9, 0, 0, 0, 0, 0, 0, 0, 0, 300, 40, 0)
    found = checks(route, {"ttft_p95_us": 1_100_000, "nano_per_request": 12.5}, today)
    assert [(one.name, one.state) for one in found] == [
        ("first token, p95", "over"),
        ("cost of a request", ""),
        ("money of the day (UTC)", "near"),
    ]
    assert [one.share for one in found] == [1.1, 0.25, 0.85]
    assert "over: first token, p95" in health(found, 0.0)
    assert "near: money" in health(checks(route, None, today), 0.0) and checks(route, None, None)[0].share is None
    assert "many errors" in health(found[1:2], 0.3) and "within its limits" in health(found[1:2], 0.0)
    assert "no limits set" in health([], 0.0) and "nothing measured" in health(found[1:2], None)


def test_routes_and_one_of_them_with_all_it_has(visitor: Visitor) -> None:
    listed = words(visitor.get("/routes").text)
    assert "over: first token, p95, money of the day" in listed and "1 of 2: not mini" in listed
    page = visitor.get("/routes?route=drafts&since=24h").text
    said = words(page)
    for expected in ("200 ms 100 ms", "0 of 2 candidates", "request.tokens &gt; 9 &amp;&amp; tenant &lt; 3", "router.yaml:7",
                     "as-is", "refuses", "asks mini", "open for 4 s", "60 s for each project"):  # fmt: skip
        assert expected in said, expected
    assert re.search(r"smaller asks mini 1 ", said) and 'href="/requests?route=drafts&amp;deployment=large' in page
    assert visitor.get("/routes?route=nothing").status == 404
    assert visitor.get("/routes?route=%3Cb%3E").text.count("<b>") == 0


# --- providers
def test_providers_and_one_deployment_with_its_ends_prices_and_breakers(visitor: Visitor) -> None:
    said = words(visitor.get("/providers").text)
    for expected in ("1 of 2: not mini", "31 of 600 requests", "$3.00 / $2.00", "unpriced", "5 × server_error"):
        assert expected in said, expected
    mini = words(visitor.get("/providers?deployment=mini&since=24h").text)
    for expected in ("server error 1 100 %", "ejected 3 times", "What it costs is not known", "open for 4 s"):
        assert expected in mini, expected
    large = words(visitor.get("/providers?deployment=large&since=24h").text)
    for expected in ("always $3.00 $2.00", "from config, version p1", "ok 4 100 %", "200 ms"):
        assert expected in large, expected
    assert visitor.get("/providers?deployment=nothing").status == 404


# --- the cache
def test_s04_the_cache_says_what_it_saved_and_to_whom(visitor: Visitor, mine: Visitor) -> None:
    said = words(visitor.get("/cache").text)
    for expected in ("50.0 %", "of 2 looked for", "$0.005", "41 answers, 2.0 MiB", "1 of 1"):
        assert expected in said, expected
    own = words(mine.get("/cache").text)
    assert "100.0 %" in own and "of 1 looked for" in own and "MiB" not in own and "threshold moved" not in own
    assert settings_of(Semantic()).split()[0] not in own


# --- billing
def test_s04_billing_shows_each_their_own_and_gives_it_as_files(visitor: Visitor, mine: Visitor, data: Path) -> None:
    month = datetime.fromtimestamp((AT_MS - 365 * 86_400_000) / 1000, UTC).strftime("%Y-%m")
    biller = Biller(Stores(data), RULES)
    numbers = {name: biller.issue(name, month, "ada", NOW_MS)[0].number for name in ("acme", "globex")}
    page = visitor.get(f"/billing?period={month}").text
    assert all(number in page for number in numbers.values()) and "data-later" in page and "$3.00" in page
    part = visitor.get(f"/billing/statements?period={month}&part=1").text
    assert "globex" in part and "<main" not in part and numbers["acme"] in part
    assert "<main" in visitor.get(f"/billing/statements?period={month}").text
    for form in ("html", "csv", "json"):
        assert visitor.get(f"/billing/invoices/{numbers['acme']}/{form}").status == 200
        assert "attachment" in visitor.get(f"/billing/statements/globex/{month}/{form}").headers["content-disposition"]
    for path in ("/billing", f"/billing?period={month}", f"/billing/statements?period={month}"):
        said = mine.get(path).text
        assert "globex" not in said and numbers["globex"] not in said and "Issue for good" not in said, path
    assert numbers["acme"] in mine.get("/billing").text
    assert mine.get(f"/billing/invoices/{numbers['acme']}/json").status == 200
    assert mine.get(f"/billing/invoices/{numbers['globex']}/json").status == 404
    assert mine.get(f"/billing/statements/globex/{month}/csv").status == 404
    for path in ("/billing/issue", "/billing/credit"):
        assert mine.post(path, {"csrf": mine.csrf(), "customer": "acme", "period": month}).status == 403


def test_documents_are_issued_once_and_credited_by_who_may(visitor: Visitor) -> None:
    month = datetime.fromtimestamp((AT_MS - 365 * 86_400_000) / 1000, UTC).strftime("%Y-%m")
    wish = {"csrf": visitor.csrf(), "customer": "acme", "period": month}
    first = visitor.post("/billing/issue", wish)
    (number,) = re.findall(r"Issued: (\S+)\.", first.text)
    assert f"It was issued: {number}." in visitor.post("/billing/issue", wish).text
    credit = {"csrf": wish["csrf"], "number": number, "amount": "1.25", "reason": "an <outage>"}
    assert "Issued: CN-" in visitor.post("/billing/credit", credit).text
    assert "-$1.25" in visitor.get("/billing").text
    for bad in ({"amount": "1000"}, {"amount": "-1"}, {"amount": "abc"}, {"number": "INV-0"}):
        answer = visitor.post("/billing/credit", credit | bad)
        assert answer.status == 409 and "Not done" in answer.text, bad
    early = visitor.post(
        "/billing/issue", wish | {"period": datetime.fromtimestamp(NOW_MS / 1000, UTC).strftime("%Y-%m")}
    )
    assert early.status == 409 and "Not done" in early.text


# --- the audit log
def rows_of(count: int) -> list[AuditRow]:
    return [
        AuditRow(seq=n, at_ms=n * 1_000, actor="ada" if n % 3 else "bob", action="key.revoke" if n % 2 else "key.create",
                 target=f"key_{n}", organisation="", before="null", after="{}", hash="") for n in range(1, count + 1)
    ]  # fmt: skip


@pytest.mark.parametrize("count", [0, 1, 2, 63, 64, 65, 1_700, 12_345])
def test_the_newest_changes_come_first_to_the_very_first(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, asked = rows_of(count), []

    def listed(page: Page) -> list[AuditRow]:
        asked.append(page)
        return rows[page.after : page.after + page.limit]

    found = newest(listed, Wish(), 0)
    assert [row.seq for row in found.rows] == list(range(count, max(0, count - LISTED), -1))
    assert len(asked) < 60
    seen, before = [], 0
    wish = Wish(actor="BOB", action="revoke")
    for _ in range(count):
        found = newest(listed, msgspec.structs.replace(wish, before=before), 0)
        seen += [row.seq for row in found.rows]
        before = found.next
        if not before:
            break
    assert seen == [row.seq for row in reversed(rows) if row.actor == "bob" and row.action == "key.revoke"]
    recent = newest(listed, Wish(), (count - 3) * 1_000)
    assert [row.seq for row in recent.rows] == [n for n in range(count, count - 4, -1) if n > 0] and not recent.next


def test_s04_the_audit_log_says_what_changed_to_who_may_know(visitor: Visitor, mine: Visitor) -> None:
    said = words(visitor.get("/audit").text)
    assert "key.create" in said and "globex-key" in said and "nothing →" in said
    assert "organisation.create" not in words(visitor.get("/audit?action=key.create").text)
    assert "globex" not in words(visitor.get("/audit?target=acme-key").text)
    assert "None is like that" in visitor.get("/audit?actor=nobody").text
    own = words(mine.get("/audit").text)
    assert "acme-key" in own and "globex" not in own


# --- usage by the query layer
def test_s04_usage_by_tag_by_times_and_of_an_hour(visitor: Visitor, mine: Visitor) -> None:
    tagged = words(visitor.get("/usage?tag=customer&since=24h").text)
    assert "Cost by tag:customer" in tagged and "ada" in tagged and "bob" in tagged
    assert "bob" not in words(mine.get("/usage?tag=customer&since=24h").text)
    times = words(visitor.get("/usage?show=times&by=deployment").text)
    assert "first token, p99" in times and "200 ms" in times
    only = visitor.get("/usage?by=route&tag%3Acustomer=ada&since=24h")
    assert "tag:customer: ada" in words(only.text) and ">1</" in only.text
    errors = words(visitor.get("/usage?show=errors&by=hour&since=24h").text)
    assert "Errors of each hour" in errors
    hour = datetime.fromtimestamp(NOW_MS / 1000 // 3600 * 3600, UTC).strftime("%Y-%m-%dT%H:00Z")
    href = next(link for link in re.findall(r'href="(/usage[^"]*)"', visitor.get("/usage?by=hour&since=24h").text)
                if f"since={hour.replace(':', '%3A')}" in link)  # fmt: skip
    inside = visitor.get(href.replace("&amp;", "&"))
    assert inside.status == 200 and "without this time" in inside.text


def test_files_have_what_is_seen(visitor: Visitor) -> None:
    lines = visitor.get("/usage.csv?show=errors&by=outcome&since=24h").text.splitlines()
    assert lines[0].startswith("outcome,requests,errors,error_rate") and lines[1].startswith("ok,5,0,")
    told = json.loads(visitor.get("/usage.json?tag=customer&since=24h").text)
    assert {row["tag:customer"]: row["requests"] for row in told["rows"]} == {"ada": 1, "bob": 1, "": 3}
    sums = json.loads(visitor.get("/usage.json?by=day&then=key&since=24h").text)
    assert {row["key"]: row["requests"] for row in sums["rows"]} == {"acme/dev": 2, "globex/dev": 3}
    assert isinstance(sums["rows"][0]["day"], int)


@pytest.mark.parametrize(
    "query", ["by=;drop", "show=x", "then=nothing", "tag=%20", "by=day&then=hour", "outcome=ok&arm=x"]
)
def test_what_nobody_offers_is_not_asked(visitor: Visitor, query: str) -> None:
    assert visitor.get(f"/usage?{query}&since=24h").status == 200


# --- without anything
def test_without_a_ledger_pages_say_so(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    who = Visitor(Admin(tmp_path, policy(), Counts()).app(TOKEN, hosts_of("127.0.0.1")))
    who.log_in(TOKEN)
    for path in ("/routes", "/routes?route=drafts", "/providers", "/providers?deployment=mini", "/cache", "/billing"):
        answer = who.get(path)
        assert answer.status == 200 and "not there yet" in answer.text, path
    assert "Nothing was changed yet" in who.get("/audit").text
    assert "not there yet" in who.get("/usage?show=times").text
    assert list(tmp_path.iterdir()) == [tmp_path / "run"] or not (tmp_path / FILE).exists()
