"""What an admin key of one organisation reads of the ledger: its own part, and of another's not even that it is there."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from admin_asking import TOKEN, admin_key, ask
from records import admitted, attempt, decided, feedback, id_of, policy, request_row, settled

from pointsman.control.admin import Admin
from pointsman.control.main import hosts_of
from pointsman.control.pump import Counts
from pointsman.core.policy import Key
from pointsman.core.quotas import Quota
from pointsman.core.reading import Reading, Readings
from pointsman.stores.ledger import Batch, attempt_rows, decision_row, feedback_row
from pointsman.stores.sqlite import FILE, SqliteWriter

WHO = (("acme/dev", "bot", "support", "acme"), ("globex/dev", "bot", "support", "globex"))
SINCE = "since=2000-01-01"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    batch = Batch()
    for n, caller in enumerate(WHO):
        asked, ended = admitted(n, caller=caller, client_id="c1"), settled(n, attempt())
        batch.requests.append(request_row(asked, ended, decided().head, {}))
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


# --- quotas
NOW_MS = int(time.time() * 1000)
COUNTED = {
    ("", ""): False,
    ("organisation", "acme"): True,
    ("organisation", "globex"): False,
    ("team", "acme/support"): True,
    ("team", "globex/support"): False,
    ("team", "acme"): False,  # of no organisation
    ("team", "acme/night"): False,  # a key of the config without an organisation has a team of this name
    ("project", "acme/support/bot"): True,
    ("project", "acme/support"): False,  # of a team, in no organisation
    ("key", "acme/dev"): True,
    ("key", "acmeco/dev"): False,
    ("key", "web"): True,  # the config says that it is of acme
    ("key", "acme/web"): False,  # and that this one is not
    ("key", "acme/x#ada"): False,  # of an issuer
}


def test_s04_of_quotas_a_bound_key_sees_those_of_its_organisation_alone(data: Path) -> None:
    made = policy()
    quotas = tuple(
        Quota(name=f"quota-{scope or 'all'}", scope=scope, measure="requests", amount=100, period="d")  # type: ignore[arg-type]
        for scope in ("", "organisation", "team", "project", "key")
    )
    more = (
        Quota(name="secret-of-globex", scope="organisation", who="globex", measure="usd", amount=1, period="d"),
        Quota(name="ours-unused", scope="organisation", who="acme", measure="usd", amount=1, period="d"),
    )
    keys = (
        Key(name="web", digest=b"1", organisation="acme"),
        Key(name="acme/web", digest=b"2"),
        Key(name="other", digest=b"3", team="acme/night"),
    )
    by_scope = {quota.scope: quota for quota in quotas}
    rows = [
        Reading(by_scope[scope].counter_name(who), by_scope[scope].name, who, "requests", "d", "refuse", 100, n, 0,  # type: ignore[index]
                100 - n, NOW_MS, NOW_MS + 3_600_000)
        for n, (scope, who) in enumerate(COUNTED, 1)
    ]  # fmt: skip
    (data / "run" / "limits-0.msgpack").write_bytes(msgspec.msgpack.encode(Readings(rows)))
    served = msgspec.structs.replace(made, quotas=quotas + more, keys=keys)
    app = Admin(data, served, Counts()).app(TOKEN, hosts_of("127.0.0.1"))
    group = ask(app, "/v1/organisations", "POST", {"name": "acme"}, TOKEN).json
    key = admin_key(data, "acme-limits", "viewer", group["id"])[1]
    every, own = ask(app, "/limits", key=TOKEN).text, ask(app, "/limits", key=key)
    assert own.status == 200
    for (scope, who), visible in COUNTED.items():
        cells = f"<td>quota-{scope or 'all'}</td><td>{who or 'everyone'}</td>"
        assert cells in every and (cells in own.text) is visible, (scope, who)
    assert "secret-of-globex" in every and "ours-unused" in own.text
    assert "globex" not in own.text and "quota-all" not in own.text


def test_an_organisation_without_quotas_is_told_so(data: Path, app: Any, mine: str) -> None:
    assert "No quota is of your organisation" in ask(app, "/limits", key=mine).text
