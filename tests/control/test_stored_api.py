"""Stored requests and answers by the admin API and on a page: who may, what is noted, and what is told to nobody."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from admin_asking import TOKEN, admin_key, ask
from records import admitted, attempt, decided, policy, request_row, settled
from test_dashboard import Visitor

from pointsman.control.admin import Admin
from pointsman.control.main import hosts_of
from pointsman.control.pump import Counts
from pointsman.stores import callers_file
from pointsman.stores.bodies import Bodies, Body
from pointsman.stores.choose import Stores
from pointsman.stores.ledger import Batch, decision_row

NOW_MS = int(time.time() * 1000)
ID = admitted(0).request.id
CANARY = "canary <what was asked>"
STORED = Body(ID, NOW_MS, NOW_MS + 86_400_000, ("acme/dev", "bot", "care", "acme"), "drafts", "ok",
              '{"messages": [{"content": "canary <what was asked>"}]}', "what was answered, and cut",
              "answer: cut")  # fmt: skip
PATH, PAGE = f"/v1/requests/{ID}/bodies", f"/requests/{ID}/bodies"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    who = ("acme/dev", "bot", "care", "acme")
    row = request_row(admitted(0, caller=who), settled(0, attempt()), decided().head, {})
    writer = Stores(tmp_path).writer()
    writer.write(Batch(requests=[row], decisions=[decision_row(ID, decided())]))
    writer.close()
    Bodies(tmp_path).add([STORED, msgspec.structs.replace(STORED, id="req_other")])
    return tmp_path


@pytest.fixture
def app(data: Path) -> Any:
    return Admin(data, policy(), Counts()).app(TOKEN, hosts_of("127.0.0.1"))


@pytest.fixture
def people(app: Any, data: Path) -> dict[str, str]:
    """Keys of everybody there may be."""
    made = ask(app, "/v1/organisations", "POST", {"name": "acme"}, TOKEN).json["id"]
    roles: list[tuple[str, Any, str]] = [
        ("viewer", "viewer", ""), ("admin", "admin", ""), ("bound", "admin", made), ("bound-viewer", "viewer", made)
    ]  # fmt: skip
    return {name: admin_key(data, name, role, bound)[1] for name, role, bound in roles}


def noted(app: Any) -> list[tuple[str, str, str]]:
    rows = ask(app, "/v1/audit?limit=500", key=TOKEN).json["data"]
    assert CANARY not in str(rows) and "answered" not in str(rows)
    return [(row["actor"].partition(" ")[0], row["action"], row["target"]) for row in rows if "bodies" in row["action"]]


def visit(app: Any, credential: str) -> Visitor:
    visitor = Visitor(app)
    assert visitor.log_in(credential).status == 303
    return visitor


def test_s16_who_may_read_what_is_stored_and_it_is_noted(app: Any, people: dict[str, str]) -> None:
    for who in ("viewer", "bound", "bound-viewer"):
        for method in ("GET", "DELETE"):
            answer = ask(app, PATH, method, key=people[who])
            assert (answer.status, answer.code) == (403, "forbidden_role") and CANARY not in answer.text
        assert visit(app, people[who]).get(PAGE).status == 403
    assert ask(app, PATH).status == 401 and noted(app) == []
    for who, credential in (("admin", people["admin"]), ("token", TOKEN)):
        answer = ask(app, PATH, key=credential)
        assert answer.status == 200 and answer.headers["cache-control"] == "no-store"
        assert (answer.json["request"], answer.json["answer"]) == (STORED.request, STORED.answer)
        assert (answer.json["until_ms"], answer.json["organisation"]) == (STORED.until_ms, "acme")
        assert noted(app)[-1] == (who, "bodies.show", ID)


def test_what_is_deleted_is_gone_and_no_other(app: Any, data: Path) -> None:
    assert ask(app, PATH, "DELETE", key=TOKEN).status == 204
    assert noted(app) == [("token", "bodies.delete", ID)]
    for method in ("GET", "DELETE"):
        assert ask(app, PATH, method, key=TOKEN).code == "not_found"
    assert Bodies(data).find(ID) is None and Bodies(data).find("req_other") is not None
    assert len(noted(app)) == 1


def test_whose_time_is_over_is_told_to_nobody_though_the_file_is_there(app: Any, data: Path) -> None:
    over = msgspec.structs.replace(STORED, id="req_over", until_ms=NOW_MS - 1)
    Bodies(data).add([over])
    assert Bodies(data).find("req_over") is not None
    assert ask(app, "/v1/requests/req_over/bodies", key=TOKEN).code == "not_found" and noted(app) == []


def test_nothing_is_told_that_cannot_be_noted(app: Any, data: Path, people: dict[str, str]) -> None:
    (data / callers_file.STORE).write_bytes(b"no database" * 100)
    for method in ("GET", "DELETE"):
        answer = ask(app, PATH, method, key=TOKEN)
        assert answer.code == "callers_unavailable" and CANARY not in answer.text
    assert Bodies(data).find(ID) is not None


def test_what_cannot_be_read_is_said(app: Any, data: Path) -> None:
    [file] = Bodies(data).files()
    file.unlink()
    file.mkdir()
    answer = ask(app, PATH, key=TOKEN)
    assert (answer.status, answer.code) == (503, "bodies_unavailable") and str(data) not in answer.text


def test_the_page_of_a_request_leads_there_for_who_may(app: Any, data: Path, people: dict[str, str]) -> None:
    link = f'href="{PAGE}"'
    assert link in visit(app, people["admin"]).get(f"/requests/{ID}").text
    for who in ("viewer", "bound", "bound-viewer"):
        story = visit(app, people[who]).get(f"/requests/{ID}")
        assert story.status == 200 and link not in story.text
    visitor = visit(app, people["admin"])
    page = visitor.get(PAGE)
    assert "canary &lt;what was asked&gt;" in page.text and "what was answered, and cut" in page.text
    assert "Not there whole: answer: cut." in page.text and page.headers["cache-control"] == "no-store"
    assert noted(app) == [("admin", "bodies.show", ID)]
    assert visitor.post(PAGE, {"csrf": "wrong"}).status == 403 and Bodies(data).find(ID) is not None
    gone = visitor.post(PAGE, {"csrf": visitor.csrf()})
    assert (gone.status, gone.headers["location"]) == (303, f"/requests/{ID}") and Bodies(data).find(ID) is None
    assert noted(app)[-1] == ("admin", "bodies.delete", ID) and visitor.get(PAGE).status == 404
    Bodies(data).purge()
    assert link not in visitor.get(f"/requests/{ID}").text  # nothing is stored of anything
