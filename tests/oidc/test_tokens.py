"""Tokens without processes: which are taken, what is remembered of them, and that no bytes do any harm."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from local_issuer import LocalIssuer, b64, ec_key, ed_key, jwk, rsa_key

from pointsman.control.issuers import AGAIN_S, REFRESH_S, FetchError, Issuers, keys_of
from pointsman.core.issuer import Claims, Issuer
from pointsman.core.keys import digest
from pointsman.core.policy import Listener, Policy
from pointsman.core.tokens import Expired, Holder, NoKeys, TokenError, holder_of, is_token, parsed
from pointsman.stores import issuers_file, tokens
from pointsman.stores.issuers_file import IssuerKeys
from pointsman.stores.tokens import MOST_AGE_MS, Tokens

NOW_MS = time.time_ns() // 1_000_000


@pytest.fixture(scope="module")
def local() -> Iterator[LocalIssuer]:
    with LocalIssuer() as running:
        yield running


def trusted(local: LocalIssuer, **more: Any) -> Issuer:
    return Issuer(name="staff", url=local.url, audiences=("pointsman",), **more)


def published(data: Path, local: LocalIssuer, *keys: dict[str, Any], fetched_ms: int = NOW_MS) -> None:
    (data / "run").mkdir(exist_ok=True)
    kept = tuple(tokens.public(one) for one in (keys or local.keys))
    issuers_file.publish(data, [IssuerKeys(url=local.url, source="", fetched_ms=fetched_ms, keys=kept)])


def opened(data: Path, local: LocalIssuer, **more: Any) -> Tokens:
    made = Tokens(data, "test")
    made.adopt([trusted(local, **more)])
    made.look(NOW_MS)
    return made


def find(known: Tokens, token: str, now_ms: int = NOW_MS) -> Holder:
    return known.find(token.encode(), digest(token.encode()), now_ms)


# --- what is taken
@pytest.mark.parametrize(
    ("key", "algorithm"),
    [(rsa_key("a"), "RS256"), (rsa_key("a"), "PS384"), (ec_key("a"), "ES256"), (ed_key("a"), "EdDSA")],
)
def test_every_kind_of_signature_that_is_listed_is_taken_and_no_other(
    tmp_path: Path, local: LocalIssuer, key: Any, algorithm: Any
) -> None:
    published(tmp_path, local, jwk(key, "k"))
    token = local.token(key=key, algorithm=algorithm, kid="k")
    assert find(opened(tmp_path, local, algorithms=(algorithm,)), token).key.name == "staff#alice"
    with pytest.raises(TokenError, match="algorithm"):
        find(opened(tmp_path, local, algorithms=("ES512",)), token)


def test_a_key_that_says_what_it_is_for_is_used_for_nothing_else(tmp_path: Path, local: LocalIssuer) -> None:
    weak = rsa_key("weak", 1024)
    published(
        tmp_path, local, jwk(rsa_key("a"), "only-512", alg="RS512"), jwk(rsa_key("a"), "enc") | {"use": "enc"},
        jwk(weak, "weak"), {"kty": "oct", "kid": "shared", "k": b64(b"x" * 32), "alg": "HS256"}, {"kty": "RSA", "kid": "torn"},
    )  # fmt: skip
    known = opened(tmp_path, local)
    for kid, key in (("only-512", rsa_key("a")), ("enc", rsa_key("a")), ("weak", weak), ("torn", weak)):
        with pytest.raises(TokenError):
            find(known, local.token(key=key, kid=kid))
    with pytest.raises(TokenError):
        find(known, local.forged({"alg": "HS256", "kid": "shared"}, b"x" * 32))


def test_nothing_private_of_a_published_key_is_kept() -> None:
    private = json.loads(jwt.get_algorithm_by_name("RS256").to_jwk(rsa_key("a")))
    assert "d" in private and set(tokens.public(private)) == {"kty", "n", "e"}


def test_one_address_may_have_several_entries(tmp_path: Path, local: LocalIssuer) -> None:
    published(tmp_path, local)
    known = Tokens(tmp_path, "test")
    other = msgspec.structs.replace(trusted(local), name="apps", audiences=("apps",))
    known.adopt([trusted(local), other])
    known.look(NOW_MS)
    assert find(known, local.token(aud="apps")).key.name == "apps#alice"
    assert find(known, local.token(aud=["x", "pointsman"])).key.name == "staff#alice"


# --- what is remembered
def test_a_signature_is_checked_once_and_a_token_ends_on_time(
    tmp_path: Path, local: LocalIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(tmp_path, local)
    known, token = opened(tmp_path, local, leeway_ms=0), local.token(exp=NOW_MS // 1000 + 60)
    first, seen = find(known, token), []
    monkeypatch.setattr(tokens, "parsed", lambda text: seen.append(text) or parsed(text))
    assert find(known, token) is first and seen == []
    assert not known.look(NOW_MS + 58_000)
    assert known.look(NOW_MS + 60_000)
    with pytest.raises(Expired):
        find(known, token, NOW_MS + 60_000)


def test_no_more_tokens_are_remembered_than_there_is_room_for(
    tmp_path: Path, local: LocalIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "MOST_REMEMBERED", 3)
    published(tmp_path, local)
    known = opened(tmp_path, local)
    known.look(NOW_MS)
    for n in range(5):
        find(known, local.token(sub=f"u{n}"))
    assert len(known._good) == 3 and known.look(
        NOW_MS
    )  # who was dropped is looked up again, so that its end is watched


def test_a_key_that_is_taken_back_takes_its_tokens_with_it_and_the_same_keys_had_again_do_not(
    tmp_path: Path, local: LocalIssuer
) -> None:
    published(tmp_path, local)
    known, token = opened(tmp_path, local), local.token()
    find(known, token)
    known.look(NOW_MS)
    published(tmp_path, local, fetched_ms=NOW_MS + 5)
    assert not known.look(NOW_MS + 5)
    published(tmp_path, local, jwk(rsa_key("new"), "new"))
    assert known.look(NOW_MS + 6)
    with pytest.raises(TokenError, match="published"):
        find(known, token)
    known.look(NOW_MS + 7)
    assert issuers_file.wanted(tmp_path) == {"staff"} and issuers_file.wanted(tmp_path) == set()


def test_f83_keys_of_an_issuer_that_is_down_are_good_for_a_day(tmp_path: Path, local: LocalIssuer) -> None:
    published(tmp_path, local, fetched_ms=NOW_MS - MOST_AGE_MS + 1_000)
    known, token = opened(tmp_path, local), local.token()
    assert find(known, token)
    with pytest.raises(NoKeys):
        find(known, token, NOW_MS + 1_000)


def test_f83_what_was_published_may_be_damaged_and_the_keys_of_before_go_on(tmp_path: Path, local: LocalIssuer) -> None:
    published(tmp_path, local)
    known = opened(tmp_path, local)
    for content in (b"", b"nothing of the kind", (tmp_path / "run/issuers").read_bytes()[:-1]):
        (tmp_path / "run/issuers").write_bytes(content)
        known.look(NOW_MS)
        assert "damaged" in known.failure and find(known, local.token(jti=str(len(content))))
    (tmp_path / "run/issuers").unlink()
    known.look(NOW_MS)
    assert find(known, local.token(jti="gone"))


def test_keys_from_another_place_than_the_config_names_are_not_taken(tmp_path: Path, local: LocalIssuer) -> None:
    published(tmp_path, local)
    with pytest.raises(NoKeys):
        find(opened(tmp_path, local, jwks_url=local.url + "/others"), local.token())


# --- claims
def test_claims_are_found_by_name_or_path_and_mapped_ones_must_be_there() -> None:
    claims = {
        "exp": NOW_MS // 1000 + 60,
        "aud": "pointsman",
        "sub": "a",
        "x.y": "flat",
        "x": {"y": "deep"},
        "r": {"s": ["b", 1]},
    }
    issuer = Issuer(
        name="i", url="u", audiences=("pointsman",), claims=Claims(team="x.y", project="x.y", tier="no", routes="r.s")
    )
    key = holder_of(issuer, claims, NOW_MS).key
    assert (key.team, key.project, key.tier, key.routes) == ("flat", "flat", "", ("b",))
    del claims["x.y"]
    assert holder_of(issuer, claims, NOW_MS).key.team == "deep"
    for bad in ("", "a/b", "a,b", "x" * 65, 7, ["deep"], None, "ä"):
        with pytest.raises(TokenError, match="belongs"):
            holder_of(issuer, claims | {"x": {"y": bad}}, NOW_MS)
    for bad in ("", "a\nb", "x" * 256, 7, None, "ä", ["a"]):
        with pytest.raises(TokenError, match="whose"):
            holder_of(issuer, claims | {"sub": bad}, NOW_MS)
    for bad in (True, "1", 10**400, -(10**400), [], {}):
        with pytest.raises(TokenError, match="time that is none"):
            holder_of(issuer, claims | {"exp": bad}, NOW_MS)


def test_a_claim_of_routes_only_narrows_what_the_config_allows() -> None:
    claims: dict[str, Any] = {
        "exp": NOW_MS // 1000 + 60,
        "aud": "pointsman",
        "sub": "a",
        "scope": "openid model:a model:b",
    }
    issuer = Issuer(
        name="i",
        url="u",
        audiences=("pointsman",),
        claims=Claims(routes="scope"),
        route_prefix="model:",
        routes=("a", "c"),
    )
    assert holder_of(issuer, claims, NOW_MS).key.routes == ("a",)
    assert holder_of(issuer, claims | {"scope": None}, NOW_MS).key.routes == ()


JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["iss", "aud", "sub", "exp", "nbf", "iat", "jti", "groups", "org", "scope"])


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(NAMES, JSONISH, max_size=10))
def test_no_claims_raise_anything_but_why_they_are_not_taken(claims: dict[str, Any]) -> None:
    mapped = Claims(organisation="org", routes="scope", roles="groups")
    issuer = Issuer(
        name="i", url="u", audiences=("pointsman",), claims=mapped, roles={"a": "admin"}, required={"jti": "x"}
    )
    try:
        holder = holder_of(issuer, claims, NOW_MS)
    except TokenError:
        return
    assert claims["sub"] and holder.until_ms > NOW_MS and holder.key.organisation


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory, local: LocalIssuer) -> Tokens:
    data = tmp_path_factory.mktemp("known")
    published(data, local)
    return opened(data, local)


HEADER = st.dictionaries(
    st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "jku", "x5u"]), JSONISH, max_size=6
)


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=200).map(lambda data: b"eyJ" + data)
    | st.text(alphabet="eyJ.abc-_=09", max_size=80).map(str.encode)
    | st.tuples(HEADER, st.dictionaries(NAMES, JSONISH), st.binary(max_size=64)).map(
        lambda one: ".".join((b64(json.dumps(one[0]).encode()), b64(json.dumps(one[1]).encode()), b64(one[2]))).encode()
    )
)
def test_no_bytes_are_taken_that_nobody_signed(known: Tokens, token: bytes) -> None:
    with pytest.raises(TokenError) as why:
        known.find(token, digest(token), NOW_MS)
    assert len(str(why.value)) < 120 and is_token(token) in (True, False)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_change_of_a_good_token_is_taken(known: Tokens, local: LocalIssuer, data: st.DataObject) -> None:
    token = local.token().encode()
    place = data.draw(st.integers(0, len(token.rpartition(b".")[0]) - 1))
    other = data.draw(st.sampled_from(list(b"ABCxyz019-_.="))).to_bytes(1, "big")
    changed = token[:place] + other + token[place + 1 :]
    if changed != token:
        with pytest.raises(TokenError):
            known.find(changed, digest(changed), NOW_MS)


@pytest.mark.parametrize("depth", [50, 3_000])
def test_deep_and_strange_json_is_refused(known: Tokens, depth: int) -> None:
    deep = b64(b'{"alg":"RS256","kid":' + b"[" * depth + b"]" * depth + b"}")
    for token in (f"{deep}.{deep}.AA", f"{b64(b'{}')}.{b64(b'[]')}.AA", f"{b64(b'nul')}.{b64(bytes(9))}.AA"):
        with pytest.raises(TokenError):
            find(known, token)


# --- the keys, as they are fetched
class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def keeping(data: Path, issuer: Issuer, clock: Clock) -> tuple[Issuers, list[int]]:
    policy = Policy(
        version="v", source="s", providers={}, deployments=(), routes={}, listener=Listener(issuers=(issuer,))
    )
    failures: list[int] = []
    return Issuers(data, lambda: policy, lambda: failures.append(1), clock), failures


def test_keys_are_fetched_on_a_schedule_and_when_they_are_wanted_but_never_in_a_flood(
    tmp_path: Path, issuer: LocalIssuer
) -> None:
    clock = Clock()
    (tmp_path / "run").mkdir()
    looking, failures = keeping(tmp_path, trusted(issuer), clock)
    looking.step()
    assert issuer.asked == ["/.well-known/openid-configuration", "/keys"]
    for _ in range(20):
        issuers_file.want(tmp_path, "0", ["staff", "nobody"])
        looking.step()
    assert len(issuer.asked) == 2
    clock.now_s += AGAIN_S
    looking.step()
    assert len(issuer.asked) == 4
    clock.now_s += REFRESH_S - 1
    looking.step()
    assert len(issuer.asked) == 4
    clock.now_s += 1
    looking.step()
    assert len(issuer.asked) == 6 and failures == []
    issuer.status = 500
    clock.now_s += REFRESH_S
    for _ in range(5):
        looking.step()
        clock.now_s += AGAIN_S / 5
    assert len(failures) == 1 and len(issuers_file.read(tmp_path)[0].keys) == 2


def test_s09_what_an_issuer_answers_is_not_trusted(issuer: LocalIssuer) -> None:
    def failure() -> str:
        with pytest.raises(FetchError) as why:
            keys_of(trusted(issuer))
        return str(why.value)

    issuer.says = "https://another.example"
    assert "another issuer" in failure()
    issuer.says = ""
    for address in (
        "http://10.0.0.1/keys",
        "file:///etc/passwd",
        "ftp://x/keys",
        "https://u:p@x/keys",
        "https://x:99999/",
        "nonsense",
    ):
        issuer.jwks_uri = address
        assert "jwks_uri" in failure()
    issuer.jwks_uri = f"https://{'a' * 70}.example/keys"
    assert "example" in failure()
    issuer.jwks_uri = ""
    for body, said in (
        ("<html>", "document"),
        ("[" * 100_000, "document"),
        (json.dumps({"keys": 7}), "document"),
        (json.dumps({"keys": []}), "none of its keys"),
        (json.dumps({"keys": [{"kty": "oct", "k": "eHh4"}]}), "none of its keys"),
        (json.dumps({"keys": [{}] * 65}), "more than 64"),
        (json.dumps({"keys": [{"kty": "x" * 300_000}]}), "more than"),
    ):
        issuer.body = body
        assert said in failure()
    issuer.body, issuer.status = "", 301
    asked = len(issuer.asked)
    assert "status 301" in failure() and len(issuer.asked) == asked + 1
