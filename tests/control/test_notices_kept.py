"""What the channels were told is kept: what became of it in each, through failures, restarts and a database that is away; and
whoever may look finds it by the admin API and on a page."""

from __future__ import annotations

import re
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from admin_asking import TOKEN, admin_key, ask
from notice_office import SECRET_PATH, Hook, Office, webhook
from records import policy
from test_dashboard import Visitor

from pointsman.control.admin import Admin
from pointsman.control.main import hosts_of
from pointsman.control.notice_book import AGAIN_S, MOST_UNWRITTEN
from pointsman.control.notices import AGAIN_S as SEND_AGAIN_S
from pointsman.control.notices import TRIES
from pointsman.control.pump import Counts
from pointsman.core.notice import QUIET_S, Notice
from pointsman.core.policy import Listener
from pointsman.core.secret import Secret
from pointsman.stores.choose import Stores
from pointsman.stores.sqlite import FILE


def app_of(data: Path) -> Any:
    return Admin(data, policy(), Counts()).app(TOKEN, hosts_of("127.0.0.1"))


def kept(here: Office, query: str = "") -> list[Any]:
    answer = ask(app_of(here.data), f"/v1/notices{query}", key=TOKEN)
    assert answer.status == 200, answer.text
    found: list[Any] = answer.json["data"]
    return found


def states(row: Any) -> dict[str, str]:
    return {one["channel"]: one["state"] for one in row["channels"]}


def test_each_channel_that_wants_it_has_its_state(hook: Hook, office: Callable[..., Office]) -> None:
    away = Hook()
    away.status = 500
    here = office(webhook(hook.url), webhook(away.url, name="away"), webhook(hook.url, name="other", kinds=("price",)))
    here.happens("budget")
    [row] = kept(here)
    assert (row["kind"], row["subject"], row["what"], row["repeated"]) == ("quota", "budget", "near", 0)
    assert row["text"] == "quota `budget` is near its limit" and states(row) == {"ops": "delivered", "away": "waiting"}
    for _ in range(TRIES):
        here.step(1_000.0)
    [row] = kept(here)
    assert states(row) == {"ops": "delivered", "away": "failed"}
    failed = next(one for one in row["channels"] if one["channel"] == "away")
    assert (failed["tries"], failed["reason"]) == (TRIES, "answers with status 500")
    text = str(kept(here)) + "".join(closing_dump(here.data))
    assert SECRET_PATH not in text and "canary" not in text
    away.shutdown()
    away.server_close()


def closing_dump(data: Path) -> list[str]:
    with closing(sqlite3.connect(data / FILE)) as db:
        return [line for line in db.iterdump() if "notices" in line]


def test_what_no_channel_wants_is_kept_too(office: Callable[..., Office]) -> None:
    here = office()
    here.happens("budget")
    [row] = kept(here)
    assert row["channels"] == [] and row["subject"] == "budget"


def test_the_same_again_is_counted_and_held_back(hook: Hook, office: Callable[..., Office]) -> None:
    here = office(webhook(hook.url, quiet_s=10 * QUIET_S))
    for _ in range(6):
        here.happens("budget", seconds=31.0)
    [row] = kept(here)
    assert row["repeated"] == 5 and states(row) == {"ops": "delivered"} and len(hook.posted) == 1
    here.happens("budget", seconds=QUIET_S)
    newest, oldest = kept(here)
    assert states(newest) == {"ops": "held_back"} and oldest["repeated"] == 5 and len(hook.posted) == 1


def test_a_database_that_is_away_loses_neither_the_delivery_nor_what_was_told(
    hook: Hook, office: Callable[..., Office], capfd: pytest.CaptureFixture[str]
) -> None:
    here = office(webhook(hook.url))
    ledger = here.data / FILE
    ledger.rename(here.data / "elsewhere")
    ledger.mkdir()  # nothing that is a database
    here.happens("budget")
    here.happens("other")
    assert [told["notices"][0]["subject"] for _, told in hook.posted] == ["budget", "other"] and here.failed == 0
    assert capfd.readouterr().err.count("notices are told, but not kept") == 1
    ledger.rmdir()
    (here.data / "elsewhere").rename(ledger)
    here.step(AGAIN_S)
    assert [(row["subject"], states(row)) for row in kept(here)] == [
        ("other", {"ops": "delivered"}),
        ("budget", {"ops": "delivered"}),
    ]


def test_what_waits_for_a_database_is_bounded_and_the_oldest_are_given_up(
    office: Callable[..., Office], capfd: pytest.CaptureFixture[str]
) -> None:
    here = office()
    ledger = here.data / FILE
    ledger.rename(here.data / "elsewhere")
    ledger.mkdir()
    here.happens(*(f"q{n:05d}" for n in range(MOST_UNWRITTEN + 7)))
    ledger.rmdir()
    (here.data / "elsewhere").rename(ledger)
    here.step(AGAIN_S)
    with closing(sqlite3.connect(ledger)) as db:
        assert db.execute("SELECT COUNT(*), MIN(subject) FROM notices").fetchone() == (MOST_UNWRITTEN, "q00007")
    assert "7 notices were told, but not kept" in capfd.readouterr().err


def test_what_waits_at_the_end_of_a_process_is_failed_for_the_next(hook: Hook, office: Callable[..., Office]) -> None:
    here = office(webhook(hook.url))
    hook.status = 500
    here.happens("budget")
    assert [states(row) for row in kept(here)] == [{"ops": "waiting"}]
    (here.data / "run").rename(here.data / "run-before")
    Office(here.data, webhook(hook.url))  # the next process
    [row] = kept(here)
    assert states(row) == {"ops": "failed"} and row["channels"][0]["reason"] == "answers with status 500"


def test_a_channel_that_is_taken_out_fails_what_waited_for_it(hook: Hook, office: Callable[..., Office]) -> None:
    here = office(webhook(hook.url))
    hook.status = 500
    here.happens("budget")
    here.policy = msgspec.structs.replace(here.policy, listener=Listener())
    here.step(SEND_AGAIN_S)
    [channel] = kept(here)[0]["channels"]
    assert channel["state"] == "failed" and "no more" in channel["reason"]


def test_told_by_another_thread_is_kept(office: Callable[..., Office]) -> None:
    here = office()
    here.notices.tell(Notice("price", "luna", "1 -> 2", "the price has changed"))
    here.step()
    assert [row["what"] for row in kept(here)] == ["1 -> 2"]


def test_a_shared_database_has_those_of_each_router_and_is_waited_for(
    hook: Hook, tmp_path: Path, postgres_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nowhere = f"postgresql://nobody@127.0.0.1:{closed.getsockname()[1]}/none"
    for url in (nowhere, postgres_url):
        here = Office(tmp_path / url[-4:], webhook(hook.url), ledger=Secret(url))
        here.happens("budget")
        assert len(hook.posted) == 1 and here.failed == 0
        hook.posted.clear()
    assert "notices are told, but not kept" in capfd.readouterr().err
    there = Office(tmp_path / "other", ledger=Secret(postgres_url))
    there.happens("else")
    listener = Listener(ledger=Secret(postgres_url))
    app = Admin(there.data, msgspec.structs.replace(policy(), listener=listener), Counts())
    rows = ask(app.app(TOKEN, hosts_of("127.0.0.1")), "/v1/notices", key=TOKEN).json["data"]
    assert [(row["subject"], states(row)) for row in rows] == [("else", {}), ("budget", {"ops": "delivered"})]


# --- who looks
@pytest.fixture
def full(office: Callable[..., Office]) -> Office:
    """A folder with sixty notices of quotas and one of a price."""
    here = office()
    for n in range(60):
        here.happens(f"quota-{n:02d}")
    here.notices.tell(Notice("price", "<b>luna", "1 -> 2", "the price of <b>luna & co has changed"))
    here.step()
    return here


def test_pages_of_the_api_follow_one_another_and_hold_to_what_is_asked(full: Office) -> None:
    app = app_of(full.data)
    first = ask(app, "/v1/notices?kind=quota&limit=50", key=TOKEN).json
    rest = ask(app, f"/v1/notices?kind=quota&limit=50&after={first['next']}", key=TOKEN).json
    subjects = [row["subject"] for row in first["data"] + rest["data"]]
    assert subjects == [f"quota-{n:02d}" for n in range(59, -1, -1)] and rest["next"] is None
    assert [row["kind"] for row in kept(full, "?kind=price")] == ["price"]
    assert len(kept(full, "?since=1h")) == 61 and kept(full, "?until=1h") == [] == kept(full, "?since=2031-01-01")


@pytest.mark.parametrize(
    "query", ["kind=quotas", "since=soon", "until=x", "limit=0", "after=-1", "kind=quota&kind=price"]
)
def test_what_cannot_be_asked_is_said(full: Office, query: str) -> None:
    answer = ask(app_of(full.data), f"/v1/notices?{query}", key=TOKEN)
    assert (answer.status, answer.code) == (400, "invalid_request")


def test_s04_who_is_bound_has_none_of_them_and_a_viewer_has(full: Office) -> None:
    app = app_of(full.data)
    made = ask(app, "/v1/organisations", "POST", {"name": "acme"}, TOKEN).json["id"]
    viewer, bound = admin_key(full.data, "v", "viewer")[1], admin_key(full.data, "b", "admin", made)[1]
    assert ask(app, "/v1/notices", key=viewer).status == 200
    assert ask(app, "/v1/notices", key=bound).code == "forbidden_role" and ask(app, "/v1/notices").status == 401
    visitor = Visitor(app)
    visitor.log_in(bound)
    assert visitor.get("/notices").status == 403 and 'href="/notices"' not in visitor.get("/usage").text


def test_the_page_shows_finds_and_leads_on(full: Office) -> None:
    visitor = Visitor(app_of(full.data))
    visitor.log_in(TOKEN)
    text = visitor.get("/notices").text
    assert "the price of &lt;b&gt;luna &amp; co has changed" in text and "no channel wants it" in text
    assert text.count("quota-") // 2 == 49 and 'href="/notices" aria-current="page"' in text
    [older] = re.findall(r'href="(/notices\?before=\d+)" rel="next"', text)
    rest = visitor.get(older).text
    assert "quota-00" in rest and "Newest" in rest and 'rel="next"' not in rest
    assert "quota-" not in visitor.get("/notices?kind=price").text
    assert "None is like that" in visitor.get("/notices?kind=ledger").text
    assert visitor.get("/notices?since=soon").status == 400


def test_the_page_says_what_is_not_there(tmp_path: Path, office: Callable[..., Office]) -> None:
    (tmp_path / "none").mkdir()
    visitor = Visitor(app_of(tmp_path / "none"))
    visitor.log_in(TOKEN)
    answer = visitor.get("/notices")
    assert answer.status == 503 and "not there yet" in answer.text
    Stores(office().data).writer().close()
    visitor = Visitor(app_of(tmp_path / "data"))
    visitor.log_in(TOKEN)
    assert "Nothing has happened that is told" in visitor.get("/notices").text
