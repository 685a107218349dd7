"""The dashboard's sessions and forms: who gets in, for how long, and that no other page changes anything."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from admin_asking import TOKEN, Answer, admin_key
from admin_asking import ask as ask_as
from records import admitted, attempt, decided, policy, request_row, settled

from pointsman.control import sessions
from pointsman.control.admin import Admin
from pointsman.control.dashboard.charts import Point, columns, flow, share
from pointsman.control.dashboard.usage import Wish, csv_of
from pointsman.control.main import hosts_of
from pointsman.control.pump import Counts
from pointsman.control.rates import Rates
from pointsman.control.sessions import IDLE_S, LASTS_S, MOST_SESSIONS, Sessions
from pointsman.core.tries import TRIES
from pointsman.observe.metrics import Metrics
from pointsman.stores.browsing import Sum
from pointsman.stores.ledger import Batch, attempt_rows, decision_row
from pointsman.stores.sqlite import FILE, SqliteWriter

FORM = "application/x-www-form-urlencoded"
HTML = "text/html,application/xhtml+xml"
Clock = Callable[[], float]


class Visitor:
    """A browser, as far as cookies and forms go."""

    def __init__(self, app: Any, client: str = "127.0.0.1") -> None:
        self.app, self.client, self.cookie = app, client, ""

    def get(self, path: str, **headers: str) -> Answer:
        return self._ask(path, "GET", None, headers)

    def post(self, path: str, fields: dict[str, str], **headers: str) -> Answer:
        return self._ask(path, "POST", urlencode(fields).encode(), {"origin": "http://127.0.0.1:8081"} | headers)

    def log_in(self, credential: str, next_path: str = "/") -> Answer:
        return self.post("/login", {"credential": credential, "next": next_path})

    def csrf(self, path: str = "/usage") -> str:
        return re.findall(r'name="csrf" value="([^"]+)"', self.get(path).text)[0]

    def _ask(self, path: str, method: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        given = {"accept": HTML, "client": self.client, **({"cookie": self.cookie} if self.cookie else {}), **headers}
        plain = self.app
        if body is not None:

            async def formed(scope: Any, receive: Any, send: Any) -> None:
                kept = [pair for pair in scope["headers"] if pair[0] != b"content-type"]
                scope["headers"] = [*kept, (b"content-type", FORM.encode())]
                await self.app(scope, receive, send)

            plain = formed
        answer = ask_as(plain, path, method, body, **{name.replace("-", "_"): value for name, value in given.items()})
        said = answer.headers.get("set-cookie")
        if said:
            self.cookie = said.partition(";")[0]
        return answer


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    batch = Batch()
    for n, who in enumerate((("acme/dev", "bot", "care", "acme"), ("globex/dev", "bot", "care", "globex"))):
        asked, ended = admitted(n, caller=who), settled(n, attempt())
        batch.requests.append(request_row(asked, ended, decided().head, {}))
        batch.attempts += attempt_rows(ended)
        batch.decisions.append(decision_row(asked.request.id, decided()))
    writer = SqliteWriter(tmp_path / FILE)
    writer.write(batch)
    writer.close()
    return tmp_path


@pytest.fixture
def admin(data: Path, monkeypatch: pytest.MonkeyPatch) -> Admin:
    monkeypatch.setattr("pointsman.control.admin.RELOAD_WAIT_S", 0.01)
    return Admin(data, policy(), Counts())


@pytest.fixture
def app(admin: Admin) -> Any:
    return admin.app(TOKEN, hosts_of("127.0.0.1"))


@pytest.fixture
def visitor(app: Any) -> Visitor:
    made = Visitor(app)
    assert made.log_in(TOKEN).status == 303
    return made


def bound(app: Any, data: Path, role: Any) -> Visitor:
    """Return somebody logged in with an admin key of acme."""
    groups = ask_as(app, "/v1/organisations", key=TOKEN).json["data"]
    ids = [one["id"] for one in groups if one["name"] == "acme"]
    made = ids or [ask_as(app, "/v1/organisations", "POST", {"name": "acme"}, TOKEN).json["id"]]
    who = Visitor(app)
    assert who.log_in(admin_key(data, f"acme-{role}", role, made[0])[1]).headers["location"] == "/requests"
    return who


# --- sessions
def test_s06_a_browser_without_a_session_is_led_to_the_login_and_back(app: Any) -> None:
    who = Visitor(app)
    sent = who.get("/usage?by=key")
    assert (sent.status, sent.headers["location"]) == (303, "/login?next=%2Fusage%3Fby%3Dkey")
    assert 'type="password"' in who.get(sent.headers["location"]).text
    back = who.log_in(TOKEN, "/usage?by=key")
    assert (back.status, back.headers["location"]) == (303, "/usage?by=key")
    cookie = back.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert TOKEN not in cookie and who.get("/usage?by=key").status == 200


def test_s06_behind_https_the_cookie_goes_nowhere_else(app: Any) -> None:
    for origin, secure in (("https://127.0.0.1:8081", True), ("http://127.0.0.1:8081", False)):
        answer = Visitor(app).post("/login", {"credential": TOKEN}, origin=origin)
        assert answer.headers["set-cookie"].endswith("; Secure") is secure


def test_s06_a_wrong_credential_opens_nothing_and_many_have_to_wait(app: Any) -> None:
    who = Visitor(app, "10.0.0.7")
    for _ in range(TRIES):
        answer = who.log_in("wrong")
        assert answer.status == 401 and "set-cookie" not in answer.headers and 'role="alert"' in answer.text
    late = who.log_in(TOKEN)
    assert late.status == 429 and int(late.headers["retry-after"]) >= 1 and "set-cookie" not in late.headers
    assert Visitor(app, "10.0.0.8").log_in(TOKEN).status == 303


@pytest.mark.parametrize(
    "path", ["//evil.example", "https://evil.example", "/\\evil.example", "", "/a\r\nset-cookie: x=1"]
)
def test_s06_a_login_leads_to_pages_of_ours_alone(app: Any, path: str) -> None:
    assert Visitor(app).log_in(TOKEN, path).headers["location"] == "/"


def test_s06_logging_out_ends_the_session_for_whoever_has_its_cookie(visitor: Visitor) -> None:
    cookie = visitor.cookie
    assert visitor.post("/logout", {"csrf": visitor.csrf()}).headers["location"] == "/login"
    assert visitor.cookie.endswith("=")
    visitor.cookie = cookie
    assert visitor.get("/usage").status == 303


def test_s06_a_session_ends_by_idleness_by_age_and_with_its_key(
    app: Any, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 0.0
    made = Sessions(lambda: now_s)
    text = made.open(b"a")
    while now_s < LASTS_S - IDLE_S / 2:
        now_s += IDLE_S / 2
        assert made.find(text) is not None
    now_s += IDLE_S
    assert made.find(text) is None
    text = made.open(b"a")
    for _ in range(3):
        now_s += IDLE_S / 2
        found = made.find(text, by_itself=True)  # a page that updates itself keeps nobody logged in
    assert found is None
    first = made.open(b"a")
    for _ in range(MOST_SESSIONS):
        made.open(b"b")
    assert made.find(first) is None and len(made._by_digest) == MOST_SESSIONS
    key, secret = admin_key(data, "brief", "viewer")
    who = Visitor(app)
    who.log_in(secret)
    assert who.get("/usage").status == 200
    assert ask_as(app, f"/v1/admin-keys/{key.id}/revoke", "POST", key=TOKEN).status == 200
    assert who.get("/usage").status == 303


def test_s06_a_cookie_opens_pages_and_nothing_of_the_api(app: Any, visitor: Visitor) -> None:
    assert visitor.get("/usage").status == 200
    for path in ("/v1/usage", "/v1/keys", "/v1/config"):
        assert ask_as(app, path, cookie=visitor.cookie).code == "unauthorized"
    for cookie in ("pointsman_8081=forged", "pointsman_8081=", 'x="', visitor.cookie.replace("8081", "80")):
        assert ask_as(app, "/usage", cookie=cookie).code == "unauthorized"


# --- forms
def test_s06_no_form_is_taken_without_the_secret_of_its_session(app: Any, admin: Admin, visitor: Visitor) -> None:
    forms = [row for row in admin.endpoints() if row.form and row.access != "open"]
    assert len(forms) > 4
    other = Visitor(app)
    other.log_in(TOKEN)
    stranger = {"name": "dev", "csrf": other.csrf()}
    for row in forms:
        path = row.path.replace("{id}", f"key_{'0' * 24}")
        for fields in ({"name": "dev"}, {"name": "dev", "csrf": ""}, {"name": "dev", "csrf": "guess"}, stranger):
            assert visitor.post(path, fields).status == 403, path
        good = {"name": "dev", "csrf": visitor.csrf()}
        for headers in (
            {"origin": "http://evil.example"},
            {"origin": "null"},
            {"sec_fetch_site": "cross-site"},
            {"host": "evil.example"},
        ):
            assert visitor.post(path, good, **headers).status == 403, (path, headers)
        assert ask_as(app, path, "POST", b"", TOKEN, accept="text/html").status == 403  # programs have the API
        assert Visitor(app).post(path, good).status == 403 or Visitor(app).post(path, good).status == 401
    assert ask_as(app, "/v1/keys", key=TOKEN).json["data"] == []


def test_s06_a_viewer_changes_nothing(app: Any, admin: Admin, data: Path) -> None:
    who = Visitor(app)
    who.log_in(admin_key(data, "reader", "viewer")[1])
    page = who.get("/keys").text
    assert "Make the key" not in page and "You may look" in page
    assert "Read the config file again" not in who.get("/config").text
    csrf = who.csrf()
    for row in admin.endpoints():
        if row.form and row.access == "admin":
            path = row.path.replace("{id}", f"key_{'0' * 24}")
            assert who.post(path, {"name": "dev", "csrf": csrf}).status == 403
    assert ask_as(app, "/v1/keys", key=TOKEN).json["data"] == []


def test_the_life_of_a_key_on_the_page(app: Any, visitor: Visitor) -> None:
    assert "There are no keys" in visitor.get("/keys").text
    csrf = visitor.csrf()
    made = visitor.post("/keys", {"name": "bot", "routes": "drafts, other", "days": "30", "csrf": csrf})
    assert made.status == 200, made.text
    (text,) = re.findall(r"pk-pm-[\w-]{40,}", made.text)
    assert text not in visitor.get("/keys").text
    (key,) = ask_as(app, "/v1/keys", key=TOKEN).json["data"]
    assert key["routes"] == ["drafts", "other"] and key["expires_ms"]
    again = visitor.post("/keys", {"name": "bot", "csrf": csrf})
    assert again.status == 409 and "Not done" in again.text
    bad = visitor.post("/keys", {"name": "<b>", "csrf": csrf})
    assert bad.status == 400 and "<b>" not in bad.text
    rotated = visitor.post(f"/keys/{key['id']}/rotate", {"grace_s": "3600", "csrf": csrf})
    (fresh,) = re.findall(r"pk-pm-[\w-]{40,}", rotated.text)
    assert fresh != text
    assert visitor.post(f"/keys/{key['id']}/revoke", {"csrf": csrf}).headers["location"] == "/keys"
    assert "revoked" in visitor.get("/keys").text
    rows = ask_as(app, "/v1/audit", key=TOKEN).json["data"]
    assert {"key.revoke", "key.rotate"} <= {row["action"] for row in rows} and {row["actor"] for row in rows} == {
        "token"
    }


# --- tenants
def test_s04_who_is_bound_to_an_organisation_sees_its_part_alone(app: Any, data: Path) -> None:
    who = bound(app, data, "admin")
    for path in ("/requests", "/usage?by=organisation&since=2000-01-01", "/usage?by=key&since=2000-01-01", "/keys"):
        answer = who.get(path)
        assert answer.status == 200 and "globex" not in answer.text, path
    assert who.get("/requests").text.count('href="/requests/req_') == 1
    assert "globex" not in who.get("/usage.csv?by=key&since=2000-01-01").text
    assert who.get(f"/requests/{admitted(0).request.id}").status == 200
    assert who.get(f"/requests/{admitted(1).request.id}").status == 404
    assert who.get(f"/requests?q={admitted(1).request.id}").text.count('href="/requests/req_') == 0
    for path in ("/", "/live", "/notices", "/config", "/routes", "/providers", "/routes?route=drafts"):
        assert who.get(path).status == 403
        assert f'href="{path}"' not in who.get("/usage").text
    assert who.post("/config/reload", {"csrf": who.csrf()}).status == 403


# --- what pages are made of
def test_rates_are_those_of_the_last_minute_and_alerts_are_noticed(tmp_path: Path) -> None:
    now_s = 100.0
    rates = Rates(tmp_path, lambda: now_s)
    assert rates.now(Metrics(requests={"r\x1fd\x1fok": 50}))[0] == {}
    now_s += 10
    found, over_s = rates.now(
        Metrics(requests={"r\x1fd\x1fok": 150, "r\x1fd\x1ftimeout": 5}, alerts={"d\x1fejected": 1})
    )
    assert found == {("r", "d", "ok"): 10.0, ("r", "d", "timeout"): 0.5} and over_s == 10
    assert [(alert.about, alert.what) for alert in rates.alerts] == [("d", "ejected")]
    for _ in range(40):
        now_s += 10
        rates.now(Metrics(requests={"r\x1fd\x1fok": 150}))
    found, over_s = rates.now(Metrics(requests={"r\x1fd\x1fok": 150}))
    assert found == {} and 60 <= over_s <= 70
    now_s += 10
    assert rates.now(Metrics(requests={"r\x1fd\x1fok": 7}))[0][("r", "d", "ok")] > 0  # the worker began anew


def test_a_csv_is_no_formula() -> None:
    row = Sum(("=cmd()", "a,b"), 3, 0, 0, 0, 0, 1, 10, 2, 0, 1_500_000_000, 0, 0)
    head, line = csv_of(Wish(("key", "model")), [row]).splitlines()
    assert head.startswith("key,model,requests") and line.startswith('\'=cmd(),"a,b",3')
    assert dict(zip(head.split(",")[2:], line.split(",")[3:], strict=True))["measured_usd"] == "1.50"


def test_charts_of_nothing_are_charts() -> None:
    assert flow([], [], []).startswith("<svg") and "<svg" in columns("none", []) and "nan" not in columns("none", [])
    drawn = columns("two", [Point("a", 0, 0, "nothing"), Point("b", 3, 1, "four", "/usage?x=1&y=2")])
    assert 'href="/usage?x=1&amp;y=2"' in drawn and drawn.count("<a ") == 1
    assert 'width="100.0"' in share(7.0) and 'width="0.0"' in share(-1.0)


def test_cookies_of_two_routers_on_one_machine_are_two() -> None:
    assert sessions.cookie_name(8081) != sessions.cookie_name(8181)
    assert "Secure" in sessions.set_cookie(443, "x", secure=True) and "Max-Age=0" in sessions.set_cookie(
        443, "", secure=False
    )
