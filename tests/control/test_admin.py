"""The admin listener: who gets in, what it answers, and that nothing of a stranger's becomes markup."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from admin_asking import TOKEN, Answer
from admin_asking import ask as ask_as
from records import admitted, attempt, feedback, policy, settled

from pointsman.control.admin import Admin
from pointsman.control.dashboard.frame import asset_path
from pointsman.control.dashboard.site import KEEP
from pointsman.control.door import HEADERS
from pointsman.control.html import el, join, table
from pointsman.control.main import checked_token, hosts_of
from pointsman.control.period import since_ms
from pointsman.control.pump import Counts, Pump
from pointsman.control.replay import Policies
from pointsman.core.entry import encode_records
from pointsman.core.policy import Policy
from pointsman.core.pricing import Price, Rates
from pointsman.core.secret import Secret
from pointsman.observe.metrics import Metrics
from pointsman.stores.journal import Journal
from pointsman.stores.private import PrivateError
from pointsman.stores.sqlite import FILE, SqliteWriter

EVIL = """<script>alert(1)</script>"'><img src=x onerror=alert(1)>{{7*7}}\x1b"""


def ask(app: Any, path: str, method: str = "GET", **headers: str) -> Answer:
    """Ask with the token, unless `authorization` says otherwise."""
    return ask_as(app, path, method, key="" if "authorization" in headers else TOKEN, **headers)


def hostile() -> Policy:
    made = policy()
    return msgspec.structs.replace(made, source=EVIL)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    journal = Journal(tmp_path / "journal", "i1", 1 << 20, 1 << 30)
    bad = attempt(outcome="server_error", status=500, message=EVIL, served_model=EVIL)
    for n in range(60):
        end = settled(n, bad, attempt(started_ms=950.0)) if n == 59 else settled(n)
        journal.append(encode_records([admitted(n, asked_model=EVIL, client_id=EVIL, caller=(EVIL, "", "", "")), end]))
    evil = {"caller": (EVIL, "", "", ""), "label": EVIL, "comment": EVIL, "correction": EVIL, "source": EVIL}
    journal.append(encode_records([feedback(59, score=0.25, **evil), feedback(58, score=None, **evil)]))
    journal.append(
        encode_records(
            [feedback(id="f", at_ms=admitted(9).at_ms, request_id=EVIL, score=0.75, caller=(EVIL, "", "", ""))]
        )
    )
    journal.append(encode_records([feedback(57)]))  # of somebody else
    journal.close()
    writer = SqliteWriter(tmp_path / FILE)
    policies = Policies(writer)
    policies.keep(policy())
    pump = Pump(tmp_path / "journal", writer, policies)
    while pump.step():
        pass
    writer.close()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics-1.msgpack").write_bytes(msgspec.msgpack.encode(Metrics(breakers={"mini": 2})))
    (tmp_path / "run" / "metrics-2.msgpack").write_bytes(b"half a fi")
    return tmp_path


@pytest.fixture
def app(data: Path) -> Any:
    return Admin(data, hostile(), Counts(rows=60, lag_bytes=2_000_000)).app(TOKEN, hosts_of("127.0.0.1"))


OPEN = ("/livez", "/assets/dashboard.css", "/login")
PATHS = (
    "/",
    "/usage?since=2026-01-01",
    f"/requests/{admitted(59).id}",
    "/v1/usage?since=4w",
    "/v1/config",
    "/metrics",
    "/livez",
    "/assets/dashboard.css",
    "/login",
    "/no",
)


@pytest.mark.parametrize("path", PATHS)
def test_s15_every_answer_has_the_security_headers(app: Any, path: str) -> None:
    answer = ask(app, path)
    assert answer.status == (404 if path == "/no" else 200)
    kept = {"cache-control": KEEP} if path.startswith("/assets/") else {}
    assert (HEADERS | kept).items() <= answer.headers.items()
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'" and policy["script-src"] == policy["style-src"] == "'self'"
    assert set(" ".join(policy.values()).split()) == {"'none'", "'self'", "data:"}


EVIL_IN_PATH = quote(EVIL, safe="")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/live",
        "/requests",
        f"/requests?q={EVIL_IN_PATH}&key={EVIL_IN_PATH}&outcome={EVIL_IN_PATH}",
        "/requests?since=<script>",
        f"/requests/{admitted(59).id}",
        "/requests/%3Cscript%3E",
        "/usage?by=key&then=model&since=2026-01-01",
        f"/usage?key={EVIL_IN_PATH}&since=2026-01-01",
        "/config",
        "/config?a=../../etc/passwd&b=<script>",
        "/keys?after=<script>",
        f"/login?next={EVIL_IN_PATH}",
        "/<script>",
    ],
)
def test_s15_what_strangers_wrote_is_text(app: Any, path: str) -> None:
    page = ask(app, path, accept="text/html").text
    assert ("<img" not in page and "\x1b" not in page and "<html" in page) or path == "/live"
    assert re.findall(r"<script[^>]*>", page) in ([], [f'<script src="{asset_path("dashboard.js")}">'])
    assert not re.search(r"<[^>]* (style|on\w+)=\"", page)
    assert all(
        link.startswith(("/", "#")) and "//" not in link for link in re.findall(r'(?:href|src|action)="([^"]*)"', page)
    )


def test_the_live_page_shows_what_there_is(app: Any) -> None:
    page = ask(app, "/").text
    for expected in (
        "drafts",
        "weighted",
        "lab · large-1",
        "Nothing was alerted",
        "bytes behind",
        'http-equiv="refresh"',
    ):
        assert expected in page, expected


def test_the_list_of_requests_goes_back_page_by_page(app: Any) -> None:
    page = ask(app, "/requests").text
    assert page.count('href="/requests/req_') == 50
    (older,) = re.findall(r'href="(/requests\?before=\d+)"', page)
    rest = ask(app, older).text
    assert rest.count('href="/requests/req_') == 10 and 'rel="next"' not in rest
    assert not set(re.findall(r"/requests/(req_\w+)", page)) & set(re.findall(r"/requests/(req_\w+)", rest))


def test_a_list_is_of_what_was_looked_for(app: Any) -> None:
    def count(query: str) -> int:
        return ask(app, f"/requests?{query}").text.count('href="/requests/req_')

    assert count("deployment=large&outcome=ok") == 50 and count("deployment=mini") == 0
    assert count("q=alert(1)+LARGE") == 50 and count("q=alert(1)+nothing") == 0
    assert count("outcome=failed") == 0 and count("since=1s") == 0
    assert "None is like that" in ask(app, "/requests?key=nobody").text
    assert ask(app, f"/requests?q={admitted(59).id}").headers["location"] == f"/requests/{admitted(59).id}"


def test_the_page_of_a_request_explains_it(app: Any) -> None:
    page = ask(app, f"/requests/{admitted(59).id}").text
    for expected in ("weighted chose large", "0.700", "server error", "<rect", "$0.00024 (measured, price p1)"):
        assert expected in page, expected
    assert "Feedback" in page and "0.25 up" in page and "correction: &lt;script&gt;" in page
    assert "Feedback" not in ask(app, f"/requests/{admitted(57).id}").text


def test_the_story_tells_what_each_class_of_tokens_cost_where_that_adds_up(data: Path) -> None:
    made = policy()
    rates = Rates(input=100_000_000, output=1_000_000_000, cache_read=25_000_000)
    deployments = [
        msgspec.structs.replace(one, price=Price(rates=rates, version="p1", source="c")) for one in made.deployments
    ]
    same = msgspec.structs.replace(made, deployments=tuple(deployments))  # 600 + 400 cached in, 50 out: 120 000 nano
    told = {name: ask(Admin(data, one, Counts()).app(TOKEN, None), f"/requests/{admitted(3).id}").text
            for name, one in (("same", same), ("other", made))}  # fmt: skip
    assert "$0.00006" in told["same"] and "$0.00005" in told["same"] and "only the sum" not in told["same"]
    assert "only the sum" in told["other"] and "$0.00012" in told["other"]


def test_usage_is_summed_and_goes_further_in(app: Any) -> None:
    page = ask(app, "/usage?by=key&since=2026-01-01").text
    assert "measured" in page and ">60<" in page
    csv = ask(app, "/usage.csv?by=route&since=2026-01-01").text.splitlines()
    assert csv[0].startswith("route,requests,errors") and csv[1].startswith("drafts,60,0") and len(csv) == 2
    assert "No request was booked" in ask(app, "/usage?since=1h&key=none").text


def test_usage_and_decisions_are_json(app: Any) -> None:
    usage = ask(app, "/v1/usage?by=route,outcome&since=2026-01-01").json
    assert usage["total"]["requests"] == 60 and usage["groups"][0]["outcome"] == "ok"
    assert ask(app, "/v1/usage?by=route&by=key&since=2026-01-01").json["by"] == ["route", "key"]
    told = ask(app, f"/v1/decisions/{admitted(59).id}").json
    assert told["candidates"][0]["probability"] == 0.7 and len(told["attempts"]) == 2
    assert (usage["total"]["feedback"], usage["total"]["feedback_count"]) == (0.5, 2)
    assert usage["feedback"] == {"given": 4, "unmatched": 1}
    assert [(each["score"], each["comment"]) for each in told["feedback"]] == [(0.25, EVIL)]


def test_metrics_have_the_workers_and_the_ledger(app: Any) -> None:
    text = ask(app, "/metrics").text
    assert "pointsman_ledger_rows_total 60\n" in text and "pointsman_workers 1\n" in text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/usage?by=nothing", 400),
        ("/v1/usage?since=never", 400),
        ("/v1/decisions/req_none", 404),
        ("/requests/req_none", 404),
        ("/v1/decisions/req_", 404),
        ("/nothing", 404),
    ],
)
def test_errors_say_what_is_wrong(app: Any, path: str, status: int) -> None:
    answer = ask(app, path)
    assert answer.status == status and "Traceback" not in answer.text
    if not path.startswith("/requests"):
        assert answer.json["error"]["message"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_s06_what_only_shows_takes_no_other_method(app: Any, method: str) -> None:
    assert all(ask(app, path, method).status in (404, 405) for path in PATHS if path != "/login")


def reloading(data: Path, **outcome: Any) -> Any:
    """Return the application of a router whose supervisor answers a wish to reload at once."""

    def answer(token: str) -> None:
        (data / "run" / "reload.json").write_text(json.dumps({"answers": ["other", token], "restart": [], **outcome}))

    return Admin(data, hostile(), Counts(), answer).app(TOKEN, hosts_of("127.0.0.1"))


def test_a_reload_tells_what_came_of_it(data: Path) -> None:
    done = ask(reloading(data, ok=True, version="v2"), "/v1/config/reload", "POST")
    assert done.status == 200 and done.json == {"version": "v2", "restart": []}
    bad = reloading(data, ok=False, version="v1", error=EVIL, at_ms=0)
    failed = ask(bad, "/v1/config/reload", "POST")
    assert failed.status == 409 and failed.json["error"]["code"] == "config_not_changed"
    assert ask(bad, "/v1/config").json["last"]["error"] == EVIL
    page = ask(bad, "/").text
    assert "Config not changed at <time" in page and "1970-01-01" in page and "<script>" not in page
    assert "pointsman_config_last_reload_successful 0\n" in ask(bad, "/metrics").text


def test_a_reload_without_an_outcome_ends(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pointsman.control.admin.RELOAD_WAIT_S", 0.1)
    assert ask(app, "/v1/config/reload", "POST").json["error"]["code"] == "reload_unfinished"


@pytest.mark.parametrize("header", ["origin", "sec-fetch-site"])
def test_s06_a_web_page_cannot_ask_for_a_reload(data: Path, header: str) -> None:
    asked: list[str] = []
    app = Admin(data, policy(), Counts(), asked.append).app(TOKEN, hosts_of("127.0.0.1"))
    answer = ask(app, "/v1/config/reload", "POST", authorization=f"Bearer {TOKEN}", **{header: "null"})
    assert answer.status == 403 and answer.json["error"]["code"] == "forbidden_origin" and asked == []


def test_f83_without_a_ledger_the_page_still_comes(tmp_path: Path) -> None:
    app = Admin(tmp_path, policy(), Counts()).app(TOKEN, hosts_of("127.0.0.1"))
    assert ask(app, "/").status == 200
    for path in ("/requests", "/usage"):
        assert ask(app, path).status == 503 and "not there yet" in ask(app, path).text
    assert ask(app, "/v1/usage").status == 503
    assert ask(app, "/metrics").status == 200


@pytest.mark.parametrize("host", ["127.0.0.1:8081", "localhost", "[::1]:8081", "LOCALHOST:1"])
def test_s06_without_a_token_the_machines_own_names_are_served(app: Any, host: str) -> None:
    for path in PATHS:
        status = 200 if path in OPEN or path == "/metrics" else 401
        assert ask(app, path, host=host, authorization="").status == status


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "localhost.evil:8081", "[", "a b"])
def test_s06_without_a_token_no_other_name_is_served(app: Any, host: str) -> None:
    for path in PATHS:
        answer = ask(app, path, host=host, authorization="")
        assert answer.status == (200 if path in OPEN else 403)


def test_s06_a_token_is_asked_for_everywhere_but_livez(data: Path) -> None:
    app = Admin(data, policy(), Counts()).app(TOKEN, hosts_of("0.0.0.0"))
    basic = base64.b64encode(f"me:{TOKEN}".encode()).decode()
    for number, path in enumerate(PATHS):
        for given in ("", "Bearer wrong", "Basic !", TOKEN, "Bearer", "Bearer "):
            answer = ask(app, path, host="127.0.0.1", authorization=given, client=f"10.0.0.{number}")
            assert answer.status == (200 if path in OPEN else 401)
            assert path in OPEN or "www-authenticate" in answer.headers
    for given in (f"Bearer {TOKEN}", f"bearer {TOKEN}", f"Basic {basic}"):
        assert ask(app, "/", host="router.example", authorization=given).status == 200


def test_s06_the_config_may_name_another_token(data: Path) -> None:
    made = policy()
    admin = Admin(data, made, Counts())
    app = admin.app(TOKEN, hosts_of("127.0.0.1"))
    listener = msgspec.structs.replace(made.listener, admin_token=Secret("another-token-of-the-config"))
    admin.policy = msgspec.structs.replace(made, listener=listener)
    assert ask(app, "/").status == 401
    assert ask(app, "/", authorization="Bearer another-token-of-the-config").status == 200


def test_s06_an_open_listener_without_a_token_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POINTSMAN_ADMIN_TOKEN", raising=False)
    for host in ("0.0.0.0", "::", "router.example"):
        with pytest.raises(SystemExit):
            checked_token(host, tmp_path, policy())
    assert list(tmp_path.iterdir()) == []
    made = checked_token("127.0.0.1", tmp_path, policy())
    assert len(made) >= 43 and checked_token("0.0.0.0", tmp_path, policy()) == made
    assert (tmp_path / "admin-token").stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv("POINTSMAN_ADMIN_TOKEN", TOKEN)
    assert checked_token("0.0.0.0", tmp_path, policy()) == TOKEN
    monkeypatch.setenv("POINTSMAN_ADMIN_TOKEN", "short")
    with pytest.raises(PrivateError):
        checked_token("127.0.0.1", tmp_path, policy())


def test_i24_no_credential_reaches_a_page(app: Any) -> None:
    assert not any("canary" in ask(app, path).text for path in PATHS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", 999_910_000),
        ("30m", 998_200_000),
        ("24h", 913_600_000),
        ("2d", 827_200_000),
        ("4w", 0),
        ("1970-01-02", 86_400_000),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-01T02:00:00Z", 7_200_000),
    ],
)
def test_since_when_is_understood(text: str, expected: int) -> None:
    assert since_ms(text, 1_000_000_000) == expected


@pytest.mark.parametrize("text", ["", "d", "1y", "-3d", "9999999d", "tomorrow", "2026-13-01", "1 d"])
def test_since_when_is_refused_when_it_says_nothing(text: str) -> None:
    with pytest.raises(ValueError, match="expected a length of time"):
        since_ms(text, 1_000_000_000)


def test_elements_escape_their_children_and_attributes() -> None:
    assert el("p", "<b>", el("b", "&"), None, 3, title='"<', class_="x", id="") == (
        '<p title="&quot;&lt;" class="x">&lt;b&gt;<b>&amp;</b>3</p>'
    )
    assert join("<", el("br")) == "&lt;<br>"
    assert table(("a", ">b"), [], "no <rows>") == '<p class="empty">no &lt;rows&gt;</p>'
