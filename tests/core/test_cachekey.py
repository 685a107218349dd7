"""Cache keys: equal exactly when two requests mean the same, come from one tenant and are decided alike."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.cachekey import VOLATILE, Caching, ambiguous, caching_of, key_of, share_of
from pointsman.core.policy import Cache, Deployment, Policy, Provider, Route, Wire

CACHING = Caching(Cache(ttl_s=60.0), b"m" * 16, "r")
WHO = ("dev", "site", "web", "acme")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3))
BODIES = st.dictionaries(TEXT.filter(lambda name: name not in VOLATILE), VALUES, max_size=4)
CHAT = {"model": "r", "messages": [{"role": "user", "content": "hello"}], "temperature": 1}


def key(body: Any, caching: Caching = CACHING, who: tuple[str, str, str, str] = WHO, **more: Any) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return key_of(caching, who, data, **more)


def written(value: Any, chance: random.Random) -> str:
    """Return JSON text of a value, one of many that mean the same."""
    space = chance.choice(["", " ", "\n\t"])
    if isinstance(value, dict):
        names = list(value)
        chance.shuffle(names)
        inner = ",".join(f"{space}{written(n, chance)}{space}:{written(value[n], chance)}" for n in names)
        return f"{{{inner}{space}}}"
    if isinstance(value, list):
        return f"[{space}{','.join(written(one, chance) for one in value)}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=chance.random() < 0.5)
    if isinstance(value, int) and not isinstance(value, bool) and chance.random() < 0.5:
        return f"{value}{chance.choice(['.0', '.000', 'e0', 'E+0'])}"
    return json.dumps(value)


def meaning(value: Any) -> Any:
    """Return a value so that two are equal exactly if they mean the same JSON: True is not 1, and 1.0 is 1."""
    if isinstance(value, dict):
        return frozenset((name, meaning(inner)) for name, inner in value.items())
    if isinstance(value, list):
        return ("list", *map(meaning, value))
    kind = "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
    return (kind, value)


@given(BODIES, st.integers())
def test_however_a_request_is_written_its_key_is_the_same(body: dict[str, Any], seed: int) -> None:
    chance = random.Random(seed)
    volatile = {name: chance.random() for name in VOLATILE if chance.random() < 0.5}
    text = written(body | volatile, chance)
    found = key(text.encode())
    assert found is not None and found == key(body)
    assert not ambiguous(text.encode())


@given(BODIES, BODIES)
def test_keys_are_equal_exactly_if_the_meaning_is(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert (key(one) == key(other)) is (meaning(one) == meaning(other))


@pytest.mark.parametrize(
    "changed",
    [
        {"messages": [{"role": "user", "content": "hello "}]},
        {"messages": [{"role": "system", "content": "hello"}]},
        {"temperature": 1.0000001},
        {"temperature": "1"},
        {"temperature": True},
        {"temperature": None},
        {"seed": 1},
        {"tools": []},
        {"service_tier": "flex"},
        {"unheard_of": 0},
    ],
)
def test_whatever_may_change_the_answer_changes_the_key(changed: dict[str, Any]) -> None:
    assert key(CHAT | changed) != key(CHAT)


def test_a_header_that_reaches_the_provider_changes_the_key() -> None:
    assert len({key(CHAT), key(CHAT, beta=b""), key(CHAT, beta=b"a"), key(CHAT, beta=b"b")}) == 4


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"a":1e999}',
        b'{"a":"\\ud800"}',
        b'{"a":"' + b"x" * (1 << 18) + b'"}',
    ],
)
def test_what_cannot_be_read_or_is_too_long_has_no_key(body: bytes) -> None:
    assert key(body) is None


@pytest.mark.parametrize("body", [b'{"a":1,"a":1}', b'{"a":[{"b":{"c":1,"c":2}}]}'])
def test_a_member_named_twice_is_noticed_at_any_depth(body: bytes) -> None:
    assert ambiguous(body) and not ambiguous(b'{"a":{"a":1},"b":[{"a":1},{"a":1}]}')


def test_tenants_with_like_names_share_nothing() -> None:
    tenants = [
        ("k", "p", "t", "o"),
        ("k", "p", "t", "x"),
        ("k", "p", "", "o"),
        ("k", "pt", "", "o"),
        ("p", "", "t", "o"),
    ]
    assert len({share_of("project", "r", who) for who in tenants}) == len(tenants)
    assert share_of("project", "r", ("k1", "p", "t", "o")) == share_of("project", "r", ("k2", "p", "t", "o"))
    assert share_of("project", "r", ("k1", "", "t", "o")) != share_of("project", "r", ("k2", "", "t", "o"))
    assert share_of("project", "r", ("k1", "", "t", "o")) == share_of("key", "r", ("k1", "", "t", "o"))
    assert share_of("project", "r", WHO) != share_of("project", "s", WHO)


def policy(**provider: Any) -> Policy:
    providers = {"up": Provider(**({"name": "up", "dialect": "openai", "base_url": "http://a/v1"} | provider))}
    deployments = tuple(Deployment(name=name, provider="up", wire=Wire(model=name)) for name in "ab")
    return Policy(version="v", source="", providers=providers, deployments=deployments, routes={})


def test_what_decides_is_in_the_mark_and_nothing_else() -> None:
    base = Route(name="r", candidates=("a",), cache=Cache(ttl_s=60.0))

    def mark(made: Policy | None = None, **changed: Any) -> bytes:
        found = caching_of(made or policy(), msgspec.structs.replace(base, **changed))
        assert found is not None
        return found.mark

    others = [
        mark(candidates=("a", "b")),
        mark(candidates=("b",)),
        mark(strategy="fastest"),
        mark(prompt_prefix="x"),
        mark(params={"x": b"1"}),
        mark(max_output_tokens=7),
        mark(name="s"),
        mark(policy(base_url="http://b/v1")),
        mark(policy(headers={"x-mode": "b"})),
    ]
    assert len({mark(), *others}) == 1 + len(others)
    same = [mark(tags=("t",)), mark(total_ms=5), mark(attempts=2), mark(cache=Cache(ttl_s=5.0, pace="recorded"))]
    assert set(same) == {mark()}
    assert caching_of(policy(), msgspec.structs.replace(base, cache=None)) is None
