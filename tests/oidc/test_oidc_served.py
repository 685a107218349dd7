"""Tokens of an issuer, through `pointsman serve` and real sockets: who comes in, who does not, and when keys change."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from local_issuer import LocalIssuer, ec_key, jwk, rsa_key
from serving import Serving, Upstream, until

Start = Callable[..., Serving]


def config(issuer: LocalIssuer, more: str = "", rest: str = "") -> str:
    return f"""
keys:
  - {{name: dev, key: "sk-test-0123456789abcdef", tags: ["env:test"]}}
server:
  oidc:
    - issuer: "{issuer.url}"
      audience: [pointsman]
      name: staff
      algorithms: [RS256, ES256]
      {more}
{rest}
"""


def ask(
    router: Serving, token: str, path: str = "/v1/models", *, admin: bool = False, body: Any = None
) -> tuple[int, Any]:
    """Ask on a connection of its own; return status and JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", router.admin_port if admin else router.port, timeout=20)
    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        if body is None:
            connection.request("GET", path, headers=headers)
        else:
            connection.request("POST", path, json.dumps(body), headers | {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null") if answer.headers["content-type"] else None
    finally:
        connection.close()


def code(answer: tuple[int, Any]) -> tuple[int, str]:
    return answer[0], answer[1]["error"]["code"]


def good(router: Serving, token: str, within_s: float = 60.0) -> None:
    """Wait until a token is taken, by all workers."""
    until(lambda: {ask(router, token)[0] for _ in range(8)} == {200}, within_s)


CHAT = {"model": "main", "messages": [{"role": "user", "content": "hi"}]}


def test_a_token_comes_in_like_a_key_and_is_booked_under_its_subject(serve: Start, issuer: LocalIssuer) -> None:
    mapping = (
        "organisation: acme\n      claims: {team: team, routes: scope}\n      route_prefix: 'model:'\n      tags: [sso]"
    )
    router = serve(config(issuer, mapping), "--workers", "2")
    token = issuer.token(team="support", scope="openid model:main model:rocky")
    good(router, token)
    _, listed = ask(router, token)
    assert {row["id"] for row in listed["data"]} == {"main", "rocky"}
    assert ask(router, token, "/v1/chat/completions", body=CHAT)[0] == 200, router.said
    assert code(ask(router, token, "/v1/chat/completions", body=CHAT | {"model": "lazy"})) == (404, "model_not_found")
    assert ask(router, "sk-test-0123456789abcdef", "/v1/chat/completions", body=CHAT)[0] == 200
    by_token, by_key = sorted(router.rows(2), key=lambda row: str(row["key"]))
    assert (by_token["key"], by_token["organisation"], by_token["team"]) == ("acme/staff#alice", "acme", "support")
    assert by_token["tags"] == ",sso," and (by_key["key"], by_key["tags"]) == ("dev", ",env:test,")
    none = ask(router, issuer.token(team="support"))  # the claim that names routes is not there
    assert none[0] == 200 and none[1]["data"] == []


def test_every_kind_of_bad_token_gets_its_401_and_no_secret(serve: Start, issuer: LocalIssuer) -> None:
    router = serve(config(issuer, "required_claims: {groups: llm, email: null}\n      denied: [gone, mallory]"))
    fine = {"groups": ["llm", "x"], "email": "a@b"}
    token = issuer.token(**fine)
    good(router, token)
    now_s = int(time.time())
    pem = (
        rsa_key("one")
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    head, _, mark = token.split(".")
    bad = {
        "another issuer": issuer.token(iss="https://elsewhere.example", **fine),
        "another audience": issuer.token(aud="others", **fine),
        "audiences": issuer.token(aud=["others", "pointsman2"], **fine),
        "no audience": issuer.token(aud=None, **fine),
        "not yet": issuer.token(nbf=now_s + 120, **fine),
        "from the future": issuer.token(iat=now_s + 120, **fine),
        "no end": issuer.token(exp=None, **fine),
        "no subject": issuer.token(sub=None, **fine),
        "no required claim": issuer.token(groups=["llm"]),
        "another value": issuer.token(groups=["llms"], email="a@b"),
        "unknown kid": issuer.token(kid="three", **fine),
        "another's key": issuer.token(key=rsa_key("other"), **fine),
        "a kid of another kind": issuer.token(kid="two", **fine),
        "no kid of several": issuer.token(kid=None, key=rsa_key("other"), **fine),
        "algorithm not listed": issuer.token(algorithm="RS512", **fine),
        "none": issuer.forged({"alg": "none", "kid": "one"}, **fine) + "AA",
        "confusion": issuer.forged({"alg": "HS256", "kid": "one"}, pem, **fine),
        "crit": issuer.forged({"alg": "RS256", "kid": "one", "crit": ["exp"]}, b"x", **fine),
        "tampered": ".".join((head, issuer.token(sub="root", **fine).split(".")[1], mark)),
        "cut": token[:-8],
        "oversized": issuer.token(**fine, filler="x" * 9_000),
        "revoked token": issuer.token(jti="gone", **fine),
        "revoked user": issuer.token(sub="mallory", **fine),
        "bad time": issuer.token(**fine).split(".")[0] + "." + issuer.forged({}, exp="soon").split(".")[1] + "." + mark,
    }
    said: dict[str, Any] = {}
    for what, one in bad.items():
        answer = ask(router, one)
        assert answer[0] in (401, 429) and answer[1]["error"]["code"] in ("invalid_token", "too_many_tries"), (
            what,
            answer,
        )
        said[what] = answer[1]["error"]["message"]
        for secret in (one.split(".")[2][:20], issuer.url, "pointsman2", "llm", "alice", "mallory"):
            assert len(secret) < 2 or secret not in said[what], what
    assert ask(router, token)[0] == 200  # whoever has a good one is not locked out by these
    assert code(ask(router, issuer.token(exp=now_s - 120, **fine)))[0] in (401, 429)
    assert "expired" in ask(router, issuer.token(exp=now_s - 120, **fine))[1]["error"]["message"]
    assert ask(router, issuer.token(exp=now_s - 10, **fine))[0] == 200  # within the leeway


def test_an_expired_token_says_so(serve: Start, issuer: LocalIssuer) -> None:
    router = serve(config(issuer, "leeway_s: 0"))
    good(router, issuer.token())
    brief = issuer.token(exp=int(time.time()) + 3)
    connection = http.client.HTTPConnection("127.0.0.1", router.port, timeout=20)

    def status() -> int:
        connection.request("GET", "/v1/models", headers={"authorization": f"Bearer {brief}"})
        answer = connection.getresponse()
        answer.read()
        return answer.status

    assert status() == status() == status() == 200
    until(lambda: status() == 401, 6.0)  # also on a connection on which it was good
    assert code(ask(router, brief)) == (401, "token_expired")
    connection.close()


def test_keys_rotate_without_a_restart_and_go_on_while_the_issuer_is_down(serve: Start, issuer: LocalIssuer) -> None:
    router = serve(config(issuer), "--workers", "2")
    old = issuer.token()
    good(router, old)
    issuer.keys = [jwk(rsa_key("new"), "new")]
    fresh = issuer.token(key=rsa_key("new"), kid="new")
    good(router, fresh, 20.0)  # asked for since nobody knew it
    until(lambda: ask(router, old)[0] in (401, 429), 5.0)  # the key behind it is published no more
    issuer.status = 500
    for _ in range(3):
        ask(router, issuer.token(key=ec_key("x"), algorithm="ES256", kid="unheard"))
    later = issuer.token(key=rsa_key("new"), kid="new", sub="bob")
    until(lambda: {ask(router, later)[0] for _ in range(8)} == {200}, 5.0)  # in either worker
    until(lambda: "issuers_errors_total 0" not in router.ask("/metrics", admin=True)[1].decode(), 15.0)
    until(lambda: "status 500" in router.said, 5.0)
    router.stop()
    assert router.said.count("status 500") == 1
    again = serve(config(issuer))
    assert ask(again, later)[0] == 200  # and after a restart


def test_an_issuer_that_was_never_had_is_a_503(serve: Start, issuer: LocalIssuer) -> None:
    issuer.status = 302
    router = serve(config(issuer))
    answer = ask(router, issuer.token())
    assert code(answer) == (503, "issuer_unavailable")
    until(lambda: "status 302" in router.said, 5.0)
    assert issuer.asked.count("/keys") == 0  # no redirect is followed
    assert code(ask(router, "")) == (401, "missing_api_key")


def test_roles_on_the_admin_listener(serve: Start, issuer: LocalIssuer) -> None:
    mapping = (
        "claims: {organisation: org, roles: realm.roles}\n"
        "      roles: {ops: admin, look: viewer, boss: organisation_admin}"
    )
    router = serve(config(issuer, mapping))
    good(router, issuer.token(org="acme"))

    def token(*roles: str, org: str = "acme") -> str:
        return issuer.token(realm={"roles": list(roles)}, org=org)

    assert code(ask(router, token() + "x", "/v1/organisations", admin=True)) == (401, "unauthorized")
    for none in [token(), token("nothing")] * 10:  # a good one is no failed try
        assert code(ask(router, none, "/v1/organisations", admin=True)) == (403, "forbidden_role")
    assert ask(router, token("look"), "/v1/organisations", admin=True)[0] == 200
    new = {"name": "acme"}
    assert code(ask(router, token("look"), "/v1/organisations", admin=True, body=new)) == (403, "forbidden_role")
    assert code(ask(router, token("boss"), "/v1/organisations", admin=True)) == (403, "forbidden_role")  # there is none
    assert ask(router, token("ops"), "/v1/organisations", admin=True, body=new)[0] == 201
    assert ask(router, token("ops"), "/v1/organisations", admin=True, body={"name": "globex"})[0] == 201
    _, listed = ask(router, token("boss", "look"), "/v1/organisations", admin=True)
    assert len(listed["data"]) == 2  # the one that reaches further goes before
    _, listed = ask(router, token("boss"), "/v1/organisations", admin=True)
    assert [row["name"] for row in listed["data"]] == ["acme"]
    assert code(ask(router, token("boss"), "/v1/admin-keys", admin=True)) == (403, "forbidden_role")
    log = ask(router, token("ops"), "/v1/audit", admin=True)[1]["data"]
    assert {row["actor"] for row in log if row["action"] == "organisation.create"} == {"acme/staff#alice"}


def test_quotas_and_concurrency_count_a_token_as_they_do_a_key(serve: Start, issuer: LocalIssuer) -> None:
    quotas = "quotas:\n  - {key: default, requests: 2/d}\n"
    router = serve(config(issuer, "concurrency: 1", quotas))
    alice, bob = issuer.token(), issuer.token(sub="bob")
    good(router, alice)
    statuses = [ask(router, alice, "/v1/chat/completions", body=CHAT)[0] for _ in range(3)]
    assert statuses == [200, 200, 429]
    assert (
        ask(router, issuer.token(jti="t2"), "/v1/chat/completions", body=CHAT)[0] == 429
    )  # another token, the same user
    assert ask(router, bob, "/v1/chat/completions", body=CHAT)[0] == 200
    import threading

    found: list[int] = []
    slow = CHAT | {"model": "lazy"}
    carol = issuer.token(sub="carol")
    threads = [
        threading.Thread(target=lambda: found.append(ask(router, carol, "/v1/chat/completions", body=slow)[0]))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [200, 429]


def test_s24_changes_of_quotas_keys_and_issuers_are_audited_with_what_was_and_what_is(
    serve: Start, issuer: LocalIssuer, upstream: Upstream, tmp_path: Path
) -> None:
    router = serve(config(issuer, rest="quotas:\n  - {name: all, requests: 2/d}\n  - {name: money, usd: 10/d}\n"))
    until(lambda: (router.data / "configs/audited.json").exists(), 5.0)
    assert json.loads(router.ask("/v1/audit", admin=True)[1])["data"] == []  # nothing has changed yet
    changed = "quotas:\n  - {name: all, requests: 3/d}\n  - {name: money, usd: 10/d}\n"
    path = tmp_path / "router.yaml"
    path.write_text(upstream.config() + config(issuer, "leeway_s: 5", changed))
    assert router.ask("/v1/config/reload", "POST", admin=True)[0] == 200

    def rows() -> list[dict[str, Any]]:
        found = json.loads(router.ask("/v1/audit", admin=True)[1])["data"]
        return [row for row in found if row["action"] in ("config.quotas", "config.oidc", "config.require_keys")]

    until(lambda: len(rows()) >= 2, 5.0)
    quotas, oidc = rows()
    assert quotas["actor"] == "admin API (admin API)" and quotas["target"] == oidc["target"]
    assert {name: one["amount"] for name, one in quotas["before"].items()} == {"all": 2}
    assert {name: one["amount"] for name, one in quotas["after"].items()} == {"all": 3}
    assert (oidc["before"]["staff"]["leeway_ms"], oidc["after"]["staff"]["leeway_ms"]) == (30_000, 5_000)
    assert len(rows()) == 2
    router.stop()
    path.write_text(upstream.config())  # changed while nobody looks
    again = serve("")
    found = lambda: [r["action"] for r in json.loads(again.ask("/v1/audit", admin=True)[1])["data"]]  # noqa: E731
    until(lambda: "config.require_keys" in found(), 5.0)
    assert found()[-3:] == ["config.quotas", "config.require_keys", "config.oidc"]
    ran = subprocess.run(
        [sys.executable, "-m", "pointsman.cli", "audit", "verify", "--data", str(again.data)],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
