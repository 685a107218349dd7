"""What an admin key of one organisation reads of the ledger: its own part, and of another's not even that it is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from admin_asking import TOKEN, admin_key, ask
from records import admitted, attempt, decided, feedback, id_of, policy, settled

from pointsman.control.admin import Admin
from pointsman.control.main import hosts_of
from pointsman.control.pump import Counts
from pointsman.stores.ledger import Batch, attempt_rows, decision_row, feedback_row, request_row
from pointsman.stores.sqlite import FILE, SqliteWriter

WHO = (("acme/dev", "bot", "support", "acme"), ("globex/dev", "bot", "support", "globex"))
SINCE = "since=2000-01-01"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    batch = Batch()
    for n, caller in enumerate(WHO):
        asked, ended = admitted(n, caller=caller, client_id="c1"), settled(n, attempt())
        batch.requests.append(request_row(asked, ended, decided(), {}))
        batch.attempts += attempt_rows(ended)
        batch.decisions.append(decision_row(id_of(n), decided()))
        batch.feedback.append(feedback_row(feedback(n, caller=caller, request_id=id_of(n))))
    writer = SqliteWriter(tmp_path / FILE)
    writer.write(batch)
    writer.close()
    return tmp_path


@pytest.fixture
def app(data: Path) -> Any:
    return Admin(data, policy(), Counts()).app(TOKEN, hosts_of("127.0.0.1"))


@pytest.fixture
def mine(app: Any, data: Path) -> str:
    """The key of somebody who reads for acme."""
    made = ask(app, "/v1/organisations", "POST", {"name": "acme"}, TOKEN).json
    return admin_key(data, "acme-viewer", "viewer", made["id"])[1]


def test_s04_usage_of_a_bound_key_is_that_of_its_organisation(app: Any, mine: str) -> None:
    every = ask(app, f"/v1/usage?by=organisation&{SINCE}", key=TOKEN).json
    found = ask(app, f"/v1/usage?by=organisation&{SINCE}", key=mine).json
    assert [row["organisation"] for row in every["groups"]] == ["acme", "globex"]
    assert [row["organisation"] for row in found["groups"]] == ["acme"]
    assert (every["total"]["requests"], found["total"]["requests"]) == (2, 1)
    assert (every["feedback"]["given"], found["feedback"]["given"]) == (2, 1)
    for by in ("key", "team", "session", "tag:env", "day&by=config"):
        answer = ask(app, f"/v1/usage?by={by}&{SINCE}", key=mine)
        assert answer.json["total"]["requests"] == 1 and "globex" not in answer.text


@pytest.mark.parametrize("path", ["/v1/decisions", "/requests"])
def test_s04_a_decision_of_another_organisation_is_answered_like_one_that_is_not_there(
    app: Any, mine: str, path: str
) -> None:
    assert ask(app, f"{path}/{id_of(0)}", key=mine).status == 200
    theirs, none = ask(app, f"{path}/{id_of(1)}", key=mine), ask(app, f"{path}/req_{'0' * 28}", key=mine)
    assert (theirs.status, theirs.text) == (none.status, none.text) and theirs.status == 404
    assert ask(app, f"{path}/{id_of(1)}", key=TOKEN).status == 200
    assert ask(app, f"{path}/c1", key=mine).status == 200  # one of several that others have too
    assert ask(app, f"{path}/c1", key=TOKEN).status == 404


def test_s04_nobody_takes_the_name_that_another_was_booked_under(app: Any, data: Path) -> None:
    globex = ask(app, "/v1/organisations", "POST", {"name": "other"}, TOKEN).json["id"]
    _, key = admin_key(data, "other-admin", "admin", globex)
    answer = ask(app, f"/v1/organisations/{globex}", "PATCH", {"name": "acme"}, key)
    assert answer.code == "in_the_way"
    assert ask(app, f"/v1/usage?{SINCE}", key=key).json["total"]["requests"] == 0
    assert ask(app, f"/v1/organisations/{globex}", "PATCH", {"name": "later"}, TOKEN).status == 200


def test_a_key_whose_organisation_is_gone_reads_nothing(app: Any, data: Path) -> None:
    made = ask(app, "/v1/organisations", "POST", {"name": "brief"}, TOKEN).json["id"]
    _, key = admin_key(data, "brief-viewer", "viewer", made)
    assert ask(app, f"/v1/organisations/{made}", "DELETE", key=TOKEN).status == 204
    assert ask(app, f"/v1/usage?{SINCE}", key=key).code == "not_found"
