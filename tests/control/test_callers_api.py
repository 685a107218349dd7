"""The admin API of organisations, teams, projects and keys: who may do what, what it takes, and that tenants do not meet."""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from admin_asking import TOKEN, admin_key, ask
from records import policy

from pointsman.control import openapi
from pointsman.control.admin import Admin
from pointsman.control.door import Keys
from pointsman.control.main import hosts_of
from pointsman.control.pump import Counts
from pointsman.control.replies import CODES
from pointsman.core.keys import ADMIN, CLIENT, is_key, key_text, peppered
from pointsman.core.tries import TRIES, TRY_S, Tries
from pointsman.stores import callers_file
from pointsman.stores.private import pepper_of

HERE = "00" * 12


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path


@pytest.fixture
def admin(data: Path, monkeypatch: pytest.MonkeyPatch) -> Admin:
    monkeypatch.setattr("pointsman.control.admin.RELOAD_WAIT_S", 0.01)
    return Admin(data, policy(), Counts())


@pytest.fixture
def app(admin: Admin) -> Any:
    return admin.app(TOKEN, hosts_of("127.0.0.1"))


def add(app: Any, path: str, key: str = TOKEN, **body: Any) -> Any:
    answer = ask(app, f"/v1/{path}", "POST", body, key)
    assert answer.status == 201, answer.text
    return answer.json


class Tenant:
    """An organisation with a team, a project, a key, and admin keys that are bound to it."""

    def __init__(self, app: Any, data: Path, name: str) -> None:
        self.organisation = add(app, "organisations", name=name)["id"]
        self.team = add(app, "teams", name="support", organisation=self.organisation)["id"]
        self.project = add(app, "projects", name="bot", team=self.team)["id"]
        self.key = add(app, "keys", name="dev", project=self.project)
        _, self.admin = admin_key(data, f"{name}-admin", "admin", self.organisation)
        _, self.viewer = admin_key(data, f"{name}-viewer", "viewer", self.organisation)

    @property
    def things(self) -> dict[str, str]:
        """Return each thing's path and id."""
        ids = (self.organisation, self.team, self.project, self.key["id"])
        return dict(zip(("organisations", "teams", "projects", "keys"), ids, strict=True))


# --- who may
WHO = ("nobody", "stranger", "client key", "revoked", "viewer", "admin", "bound viewer", "bound admin", "token")


def test_s03_every_endpoint_for_everybody(app: Any, admin: Admin, data: Path) -> None:
    tenant = Tenant(app, data, "acme")
    gone, revoked = admin_key(data, "gone", "admin")
    assert ask(app, f"/v1/admin-keys/{gone.id}/revoke", "POST", key=TOKEN).status == 200
    keys = {
        "nobody": "",
        "stranger": key_text(ADMIN, b"\1" * 32),
        "client key": tenant.key["key"],
        "revoked": revoked,
        "viewer": admin_key(data, "v", "viewer")[1],
        "admin": admin_key(data, "a", "admin")[1],
        "bound viewer": tenant.viewer,
        "bound admin": tenant.admin,
        "token": TOKEN,
    }
    rows = [row for row in admin.endpoints() if not row.form]  # test_dashboard has those that take a session
    assert len(rows) > 30
    for row in rows:
        path = row.path.replace("{id}", f"key_{HERE}")
        for number, (who, key) in enumerate(keys.items()):
            address = f"10.{number}.{rows.index(row)}.1"  # failed tries are counted by address
            answer = ask(app, path, row.method, {"nonsense": 1} if row.body else None, key, client=address)
            assert who in WHO
            if row.access == "open" or (row.access == "local" and who == "nobody"):
                expected = None
            elif who in ("nobody", "stranger", "client key", "revoked"):
                expected = "unauthorized"
            elif (row.access in ("admin", "bodies") and "viewer" in who) or ("bound" in who and not row.bound):
                expected = "forbidden_role"
            else:
                expected = None
            if expected is None:
                assert answer.status not in (401, 403, 500), (row.method, path, who, answer.text)
            else:
                assert answer.status == CODES[expected] and answer.code == expected, (row.method, path, who)


def test_s03_what_is_in_no_table_is_for_nobody(app: Any, data: Path) -> None:
    for path in ("/v1/keys/", "/v1/nothing", "//v1/keys", "/v1/keys/a/b", "/V1/keys", "/v1/%6beys"):
        assert ask(app, path).status == 401
        assert ask(app, path, key=TOKEN).status in (307, 404)
    for method in ("PUT", "TRACE", "BREW"):
        assert ask(app, "/v1/keys", method).status == 401
        assert ask(app, "/v1/keys", method, key=TOKEN).status == 405


def test_an_admin_key_ends_when_it_expires(app: Any, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = add(app, "admin-keys", name="brief", role="viewer", expires_ms=time.time_ns() // 1_000_000 + 60_000)
    assert is_key(made["key"].encode(), ADMIN) and made["role"] == "viewer"
    assert ask(app, "/v1/keys", key=made["key"]).status == 200
    now_ns = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now_ns + 61 * 10**9)
    assert ask(app, "/v1/keys", key=made["key"]).code == "unauthorized"


def test_s06_who_fails_too_often_waits_also_with_the_right_one(app: Any) -> None:
    for _ in range(TRIES):
        assert ask(app, "/v1/keys", key="wrong", client="10.0.0.9").code == "unauthorized"
    late = ask(app, "/v1/keys", key=TOKEN, client="10.0.0.9")
    assert late.code == "too_many_tries" and 1 <= int(late.headers["retry-after"]) <= TRY_S + 1
    assert ask(app, "/v1/keys", key=TOKEN, client="10.0.0.8").status == 200
    assert ask(app, "/livez", client="10.0.0.9").status == 200


def test_failed_tries_come_back_with_time_and_are_bounded() -> None:
    now_s = 100.0
    tries = Tries(lambda: now_s)
    for _ in range(TRIES):
        assert tries.wait_s("a") == 0.0
        tries.failed("a")
    assert 0.0 < tries.wait_s("a") <= TRY_S
    now_s += TRY_S
    assert tries.wait_s("a") == 0.0
    for n in range(5_000):
        tries.failed(str(n))
    assert len(tries._spent) <= 1024


def test_s06_a_web_page_cannot_make_a_key(app: Any) -> None:
    for header in ("origin", "sec-fetch-site"):
        answer = ask(app, "/v1/keys", "POST", {"name": "dev"}, TOKEN, **{header: "http://127.0.0.1:8081"})
        assert answer.code == "forbidden_origin"
    assert ask(app, "/v1/keys", key=TOKEN).json["data"] == []


# --- what it does
def test_the_life_of_a_key(app: Any, data: Path) -> None:
    tenant = Tenant(app, data, "acme")
    key = tenant.key
    assert is_key(key["key"].encode(), CLIENT) and key["booked_as"] == "acme/dev" and key["shown"] == key["key"][:12]
    assert (key["organisation"], key["team"], key["project"]) == ("acme", "support", "bot")
    one = f"/v1/keys/{key['id']}"
    changes = {"routes": ["auto"], "tags": ["a"], "priority": "high", "tier": "gold", "concurrency": 3}
    changed = ask(app, one, "PATCH", changes, TOKEN).json
    assert changes.items() <= changed.items() and "key" not in changed
    assert ask(app, one, "PATCH", {"routes": None, "concurrency": None}, TOKEN).json["routes"] is None
    assert ask(app, one, key=TOKEN).json["tier"] == "gold"
    (published,) = callers_file.read(data).keys
    assert (published.name, published.who[1:], published.rank) == ("acme/dev", ("bot", "support", "acme"), 1)
    rotated = ask(app, one + "/rotate", "POST", {"grace_s": 60}, TOKEN).json
    assert rotated["key"] != key["key"] and len(callers_file.read(data).secrets) == 2
    ended = ask(app, one + "/revoke", "POST", key=TOKEN).json
    assert ended["state"] == "revoked" and callers_file.read(data).secrets == () and callers_file.read(data).closed
    for path, method, body in ((one, "PATCH", {}), (one + "/rotate", "POST", {})):
        assert ask(app, path, method, body, TOKEN).code == "in_the_way"
    assert ask(app, one + "/revoke", "POST", key=TOKEN).json == ended  # once more changes nothing
    again = ask(app, "/v1/keys", "POST", {"name": "dev", "project": tenant.project}, TOKEN)
    assert again.code == "in_the_way"


def test_groups_are_renamed_and_removed_when_empty(app: Any, data: Path) -> None:
    tenant = Tenant(app, data, "acme")
    assert ask(app, f"/v1/teams/{tenant.team}", "PATCH", {"name": "sales"}, TOKEN).json["name"] == "sales"
    assert callers_file.read(data).keys[0].team == "sales"
    for path, id in list(tenant.things.items())[:3]:
        assert ask(app, f"/v1/{path}/{id}", "DELETE", key=TOKEN).code == "in_the_way"
    empty = add(app, "projects", name="empty", team=tenant.team)["id"]
    gone = ask(app, f"/v1/projects/{empty}", "DELETE", key=TOKEN)
    assert gone.status == 204 and gone.text == ""
    assert ask(app, f"/v1/projects/{empty}", key=TOKEN).code == "not_found"
    assert ask(app, "/v1/teams", "POST", {"name": "sales", "organisation": tenant.organisation}, TOKEN).status == 409


def test_lists_come_in_pages(app: Any) -> None:
    for n in range(7):
        add(app, "organisations", name=f"o{n}")
    seen: list[str] = []
    after: int | None = 0
    while after is not None:
        page = ask(app, f"/v1/organisations?limit=3&after={after}", key=TOKEN).json
        assert len(page["data"]) <= 3
        seen += [row["name"] for row in page["data"]]
        after = page["next"]
    assert seen == [f"o{n}" for n in range(7)]
    log = ask(app, "/v1/audit?limit=5", key=TOKEN).json
    assert [row["seq"] for row in log["data"]] == [1, 2, 3, 4, 5] and log["next"] == 5


BAD: tuple[tuple[str, str, Any, str, str | None], ...] = (
    ("/v1/keys", "POST", {"name": "fresh", "role": "admin"}, "invalid_request", "role"),
    ("/v1/keys", "POST", {"name": "fresh", "revoked_ms": 1}, "invalid_request", "revoked_ms"),
    ("/v1/keys", "POST", {"name": "a b"}, "invalid_request", "name"),
    ("/v1/keys", "POST", {"name": "a\n"}, "invalid_request", "name"),
    ("/v1/keys", "POST", {}, "invalid_request", "name"),
    ("/v1/keys", "POST", [], "invalid_request", None),
    ("/v1/keys", "POST", b"{", "invalid_request", None),
    ("/v1/keys", "POST", b"[" * 60_000, "invalid_request", None),
    ("/v1/keys", "POST", b'{"name": "\xff"}', "invalid_request", None),
    ("/v1/keys", "POST", b" " * 70_000, "body_too_large", None),
    ("/v1/keys", "POST", {"name": "fresh", "project": "proj_no"}, "not_found", "project"),
    ("/v1/keys", "POST", {"name": "fresh", "concurrency": 0}, "invalid_request", "concurrency"),
    ("/v1/keys", "POST", {"name": "fresh", "priority": "top"}, "invalid_request", "priority"),
    ("/v1/keys", "POST", {"name": "fresh", "expires_ms": -1}, "invalid_request", "expires_ms"),
    ("/v1/keys", "POST", {"name": "fresh", "routes": ["a b"]}, "invalid_request", None),
    ("/v1/teams", "POST", {"name": "t", "organisation": "org_no"}, "not_found", "organisation"),
    ("/v1/admin-keys", "POST", {"name": "t", "role": "root"}, "invalid_request", "role"),
    ("/v1/keys?limit=0", "GET", None, "invalid_request", "limit"),
    ("/v1/keys?limit=501", "GET", None, "invalid_request", "limit"),
    ("/v1/keys?after=-1", "GET", None, "invalid_request", "after"),
    ("/v1/keys?after=1&after=2", "GET", None, "invalid_request", "after"),
    ("/v1/keys?organisation=x", "GET", None, "invalid_request", "organisation"),
    ("/v1/keys/key_no", "GET", None, "not_found", None),
    ("/v1/keys/' OR 1=1 --", "GET", None, "not_found", None),
    ("/v1/keys/key_no/rotate", "POST", {"grace_s": 10**9}, "invalid_request", "grace_s"),
)


@pytest.mark.parametrize(("path", "method", "body", "code", "param"), BAD)
def test_s05_what_is_wrong_is_said_and_nothing_else_is_taken(
    app: Any, path: str, method: str, body: Any, code: str, param: str | None
) -> None:
    answer = ask(app, path, method, body, TOKEN)
    error = answer.json["error"]
    assert (answer.status, error["code"]) == (CODES[code], code), answer.text
    assert error["message"] and error["type"] == "admin_error"
    assert param is None or error["param"] == param
    assert ask(app, "/v1/keys", key=TOKEN).json["data"] == []


def test_s05_no_member_of_a_reply_can_be_set_that_is_not_a_setting(app: Any, data: Path) -> None:
    key = Tenant(app, data, "acme").key
    settable = {"routes", "tags", "priority", "tier", "concurrency", "expires_ms"}
    for name in set(key) - settable:
        answer = ask(app, f"/v1/keys/{key['id']}", "PATCH", {name: key[name]}, TOKEN)
        assert answer.code == "invalid_request" and answer.json["error"]["param"] == name


def test_a_name_of_the_config_is_not_given_again(data: Path) -> None:
    from pointsman.core.policy import Key

    made = msgspec.structs.replace(policy(), keys=(Key(name="dev", digest=b"x"),))
    app = Admin(data, made, Counts()).app(TOKEN, hosts_of("127.0.0.1"))
    assert ask(app, "/v1/keys", "POST", {"name": "dev"}, TOKEN).code == "in_the_way"


def test_f83_a_store_that_cannot_be_read_is_said(app: Any, data: Path) -> None:
    add(app, "organisations", name="acme")
    for path in data.glob("callers.sqlite*"):
        path.write_bytes(b"nothing of the kind" * 300)
    answer = ask(app, "/v1/keys", key=TOKEN)
    assert answer.code == "callers_unavailable" and "callers.sqlite" in answer.json["error"]["message"]
    assert ask(app, "/v1/keys", key=key_text(ADMIN, b"\1" * 32)).code == "callers_unavailable"
    assert ask(app, "/metrics").status == 200


# --- tenants
def test_s04_no_id_is_enough_alone(app: Any, data: Path) -> None:
    ours, theirs = Tenant(app, data, "acme"), Tenant(app, data, "globex")  # the same names inside
    before = callers_file.read(data)
    for path, id in theirs.things.items():
        unknown = f"{id.split('_')[0]}_{HERE}"
        asked: list[tuple[str, str, Any]] = [("", "GET", None)]
        if path == "keys":
            asked += [("", "PATCH", {"tier": "x"}), ("/rotate", "POST", {}), ("/revoke", "POST", None)]
        else:
            asked += [("", "PATCH", {"name": "mine"}), ("", "DELETE", None)]
        for rest, method, body in asked:
            found = ask(app, f"/v1/{path}/{id}{rest}", method, body, ours.admin)
            none = ask(app, f"/v1/{path}/{unknown}{rest}", method, body, ours.admin)
            # S23: what is another's and what is not there cannot be told apart.
            assert (found.status, found.text) == (none.status, none.text) and found.status == 404
    for path, body in (
        ("teams", {"name": "x", "organisation": theirs.organisation}),
        ("projects", {"name": "x", "team": theirs.team}),
        ("keys", {"name": "x", "project": theirs.project}),
    ):
        answer = ask(app, f"/v1/{path}", "POST", body, ours.admin)
        assert answer.code == "not_found" and theirs.organisation not in answer.text
    assert callers_file.read(data) == before
    for path, id in ours.things.items():
        listed = ask(app, f"/v1/{path}", key=ours.viewer).json["data"]
        assert [row["id"] for row in listed] == [id]
    for filtered in (f"teams?organisation={theirs.organisation}", f"keys?project={theirs.project}"):
        assert ask(app, f"/v1/{filtered}", key=ours.viewer).json["data"] == []
    log = ask(app, "/v1/audit", key=ours.viewer).json["data"]
    assert log and {row["organisation"] for row in log} == {ours.organisation}


def test_s04_an_admin_of_one_organisation_cannot_become_one_of_all(app: Any, data: Path) -> None:
    ours = Tenant(app, data, "acme")
    assert ask(app, "/v1/admin-keys", "POST", {"name": "x", "role": "admin"}, ours.admin).code == "forbidden_role"
    assert ask(app, "/v1/organisations", "POST", {"name": "other"}, ours.admin).code == "not_found"
    assert ask(app, "/v1/keys", "POST", {"name": "free"}, ours.admin).json["error"]["param"] == "project"
    made = add(app, "keys", ours.admin, name="free", project=ours.project)
    assert made["booked_as"] == "acme/free"
    [row] = [row for row in ask(app, "/v1/audit", key=TOKEN).json["data"] if row["target"] == made["id"]]
    assert row["actor"].startswith("acme-admin (adm_") and row["action"] == "key.create"


def test_s23_the_same_names_in_two_organisations_are_told_apart_in_what_is_booked(app: Any, data: Path) -> None:
    Tenant(app, data, "acme"), Tenant(app, data, "globex")
    assert {key.name for key in callers_file.read(data).keys} == {"acme/dev", "globex/dev"}


# --- secrets
def test_i24_no_secret_is_kept_or_told_twice(app: Any, data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tenant = Tenant(app, data, "acme")
    rotated = ask(app, f"/v1/keys/{tenant.key['id']}/rotate", "POST", {"grace_s": 60}, TOKEN).json["key"]
    pepper = (data / "pepper").read_text().strip()
    secrets = [tenant.key["key"], rotated, tenant.admin, tenant.viewer, pepper, TOKEN]
    shown = [
        ask(app, path, key=TOKEN)
        for path in ("/v1/keys", "/v1/admin-keys", "/v1/audit", "/openapi.json", "/", "/metrics")
    ]
    shown += [
        ask(app, f"/v1/keys/{tenant.key['id']}", key=TOKEN),
        ask(app, "/v1/keys", "POST", {"name": rotated}, TOKEN),
    ]
    shown += [ask(app, "/v1/keys", key=rotated + "x"), ask(app, f"/v1/keys?after={rotated}", key=TOKEN)]
    written = b"".join(p.read_bytes() for p in data.rglob("*") if p.is_file() and p.name != "pepper")
    told = "".join(answer.text + str(answer.headers) for answer in shown) + "".join(capfd.readouterr())
    for secret in secrets:
        body = secret.removeprefix(CLIENT).removeprefix(ADMIN)[6:] if secret[2:6] == "-pm-" else secret
        assert body.encode() not in written
        assert body not in told.replace(rotated, "") or body == rotated


def test_s01_what_is_kept_is_an_hmac_under_the_pepper(app: Any, data: Path) -> None:
    key = Tenant(app, data, "acme").key["key"].encode()
    pepper = pepper_of(data, {})
    assert pepper is not None
    [(mark, _, _)] = callers_file.read(data).secrets
    assert mark == peppered(pepper, key) != peppered(b"another" * 5, key)
    for name in ("pepper", "callers.sqlite", "run/callers"):
        assert (data / name).stat().st_mode & 0o777 == 0o600


# --- OpenAPI and time
def test_the_openapi_document_names_every_endpoint_of_the_api(app: Any, admin: Admin) -> None:
    document = ask(app, "/openapi.json").json
    listed = {(method.upper(), path) for path, one in document["paths"].items() for method in one}
    assert listed == {(row.method, row.path) for row in admin.endpoints() if row.reply is not None}
    assert document == json.loads(msgspec.json.encode(openapi.document(admin.endpoints())))
    assert document["components"]["schemas"]["NewKey"]["additionalProperties"] is False


def welch(measured: Callable[[bytes], object]) -> float:
    """Return Welch's t of the times of two guesses at 43 letters T: one shares nothing with them, one all but the last. As in
    dudect (Reparaz, Balasch, Verbauwhede, "Dude, is my code constant time?", 2017), the slowest tenth is left out."""
    guesses, chance, clock = (b"x" * 43, b"T" * 42 + b"x"), random.Random(1), time.perf_counter_ns
    times: tuple[list[int], list[int]] = ([], [])
    for _ in range(100_000):
        which = chance.getrandbits(1)
        guess = guesses[which]
        began = clock()
        measured(guess)
        times[which].append(clock() - began)
    bound = statistics.quantiles(times[0] + times[1], n=10)[8]
    a, b = ([t for t in one if t <= bound] for one in times)
    spread = (statistics.variance(a) / len(a) + statistics.variance(b) / len(b)) ** 0.5
    return abs(statistics.mean(a) - statistics.mean(b)) / spread


@pytest.mark.serial
def test_s01_time_tells_nothing_of_a_credential() -> None:
    keys = Keys(lambda: "T" * 43, lambda text: None)
    # A leak is there every time; what the machine does meanwhile is not.
    assert min(welch(keys.who) for _ in range(3)) < 4.5
    assert welch(lambda guess: next((a for a, b in zip(guess, b"T" * 43, strict=True) if a != b), None)) > 4.5
