"""Splits and conversations: who stays where, with which probability, and when it is over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gateway_lab import Lab
from gateway_policy import ask_until, dry, routes, settled, went
from gateway_raw import Response, Wire, ask, chat_body, post
from gateway_router import KEY, Router

from pointsman.core.entry import decision_of
from pointsman.core.options import options_of
from pointsman.strategies import STRATEGIES

Start = Callable[..., Router]
OTHER = "sk-somebody-else-0123456789"
ARMS = {
    "control": {"weight": 60},
    "kinder": {"weight": 30, "prompt_prefix": "Be kind.", "params": {"temperature": 0.9}},
    "cheaper": {"weight": 10, "use": "cheap"},
}


def split(by: str, **more: Any) -> dict[str, Any]:
    return {"candidates": ["good"], "split": {"by": by, "arms": ARMS} | more}


@pytest.fixture(scope="module")
def router(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    config = {by: split(by) for by in ("request", "session", "user", "key")}
    config |= {
        "again": split("user", salt="user"),
        "anew": split("user", salt="2027"),
        "nested": {"candidates": ["good"], "split": {"arms": {"a": {"weight": 1, "use": "user"}, "b": {"weight": 3}}}},
    }
    keys = [{"name": "dev", "key": KEY}, {"name": "else", "key": OTHER}]
    with Router(routes(lab, config, keys=keys), tmp_path_factory.mktemp("splits")) as running:
        yield running
        running.check_quiet()


def arm(answer: Response) -> str:
    went(answer)
    return answer.headers["x-pointsman-arm"].partition("/")[2]


def test_a_user_stays_in_its_arm_whatever_it_asks_and_users_spread_by_the_weights(router: Router) -> None:
    users = [f"person-{n}" for n in range(60)]
    first = {user: arm(ask(router, "user", user=user)) for user in users}
    assert {user: arm(ask(router, "user", user=user, text=f"again {user}", stream=True)) for user in users} == first
    assert {user: arm(ask(router, "again", user=user)) for user in users} == first  # the same salt
    assert {user: arm(ask(router, "anew", user=user)) for user in users} != first
    shares = Counter(first.values())
    assert shares["control"] > 24 and shares["kinder"] > 8 and shares["cheaper"] > 0  # of 36, 18 and 6


def test_sessions_stay_by_whatever_name_they_are_told(router: Router) -> None:
    for n in range(8):
        name = f"s{n}"
        arms = {
            arm(ask(router, "session", pointsman={"session": name})),
            arm(ask(router, "session", f"x-session-id: {name}")),
            arm(ask(router, "session", f"x-claude-code-session-id: {name}")),
            arm(ask(router, "session", prompt_cache_key=name)),
        }
        assert len(arms) == 1


def test_two_callers_users_of_one_name_are_two_users_and_a_key_is_one(router: Router) -> None:
    def as_other(model: str, **more: Any) -> Response:
        with Wire(router.port) as wire:
            wire.send(post(chat_body(model, **more), auth=f"authorization: Bearer {OTHER}"))
            return wire.response()

    users = [f"u{n}" for n in range(40)]
    assert [arm(ask(router, "user", user=u)) for u in users] != [arm(as_other("user", user=u)) for u in users]
    assert len({arm(ask(router, "key", user=u)) for u in users[:10]}) == 1


def test_who_names_no_user_is_drawn_alone(router: Router) -> None:
    assert len({arm(ask(router, "user")) for _ in range(60)}) > 1
    assert len({arm(ask(router, "request", user="u")) for _ in range(60)}) > 1


def test_the_exposure_stands_in_the_books_with_its_true_probability(router: Router) -> None:
    routes_of = options_of(router.policy, STRATEGIES)
    for name, count in (("user", 12), ("request", 12), ("nested", 12)):
        for n in range(count):
            answer = ask(router, name, user=f"user-{n}")
            decision, _ = decision_of(router.admitted(answer.id), routes_of)
            told = answer.headers["x-pointsman-arm"]
            assert decision.arm == told
            expected = {"control": 0.6, "kinder": 0.3, "cheaper": 0.1, "b": 0.75}[told.partition("/")[2]]
            if name == "nested" and told.startswith("user/"):
                expected *= 0.25
                assert decision.path[0] == "nested arm a"
            assert decision.arm_probability == pytest.approx(expected)


def test_an_arm_changes_what_it_says_and_counts_as_its_route(router: Router) -> None:
    seen: dict[str, Response] = {}
    for n in range(40):
        answer = ask(router, "user", user=f"user-{n}")
        seen.setdefault(arm(answer), answer)
    assert {name: went(answer) for name, answer in seen.items()} == {
        "control": "good", "kinder": "good", "cheaper": "cheap",
    }  # fmt: skip
    assert {name: settled(router, answer).route for name, answer in seen.items()} == {
        "control": "user", "kinder": "user", "cheaper": "cheap",
    }  # fmt: skip


def test_what_an_arm_or_rule_sets_by_itself_cannot_be_named_by_clients(router: Router) -> None:
    from gateway_raw import fetch

    hidden = [name for name, route in router.policy.routes.items() if route.hidden]
    assert hidden
    listed = {model["id"] for model in fetch(router, "/v1/models").json["data"]}
    assert not listed & set(hidden)
    for name in hidden:
        refused = ask(router, name)
        assert (refused.status, refused.error["code"]) == (404, "model_not_found")
        assert fetch(router, f"/v1/models/{name}".replace(" ", "%20").replace("#", "%23")).status == 404


# --- conversations
ALL = ("openai", "anthropic", "gemini")


STICKY = {"candidates": [{"good": 1}, {"cheap": 1}, {"free": 1}], "sticky": "conversation"}


def turn(text: str, count: int) -> list[dict[str, str]]:
    """Return a conversation that began with `text` and has gone on for `count` turns."""
    said = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]
    for n in range(1, count):
        said += [{"role": "assistant", "content": f"answer {n}"}, {"role": "user", "content": f"and {n}?"}]
    return said


def test_a_conversation_stays_with_its_deployment_as_it_grows(lab: Lab, start_router: Start) -> None:
    router = start_router(routes(lab, {"r": STICKY, "by-session": STICKY | {"sticky": "session"}}))
    homes = []
    for n in range(8):
        deployments = {went(ask(router, "r", messages=turn(f"talk {n}", count))) for count in range(1, 6)}
        assert len(deployments) == 1
        homes += deployments
    assert len(set(homes)) > 1  # not one for all
    for n in range(4):
        options = {"pointsman": {"session": f"s{n}"}}
        assert len({went(ask(router, "by-session", text=f"{n}.{count}", **options)) for count in range(6)}) == 1
    drawn = {went(ask(router, "by-session", text="no session is named")) for _ in range(40)}
    assert len(drawn) > 1


def test_a_conversation_leaves_a_deployment_in_trouble_and_stays_where_it_went(
    own_lab: Lab, start_router: Start
) -> None:
    config = routes(own_lab, {"r": STICKY}) | {"limits": {"breaker_failures": 1, "breaker_open_ms": 60_000}}
    router = start_router(config)
    home = went(ask(router, "r", messages=turn("talk", 1)))
    provider = {"good": "anthropic", "cheap": "openai", "free": "gemini"}[home]
    own_lab.script([{"do": "status", "status": 500, "match": {"provider": provider}}])
    second = ask(router, "r", messages=turn("talk", 2))
    assert went(second) != home and second.headers["x-pointsman-reason"].startswith("failover:")
    new = went(second)
    own_lab.script([])
    assert {went(ask(router, "r", messages=turn("talk", count))) for count in range(3, 8)} == {new}


def test_a_conversation_that_nobody_heard_of_for_long_is_forgotten(lab: Lab, start_router: Start) -> None:
    brief = STICKY | {"sticky": {"by": "conversation", "ttl": 1}}
    router = start_router(routes(lab, {"r": brief}))
    ask(router, "r")
    assert "conversation_is_with" in dry(router, "r")["facts"]
    from gateway_router import until

    until(lambda: "conversation_is_with" not in dry(router, "r")["facts"])


def test_a_warm_cache_counts_as_money(lab: Lab, start_router: Start) -> None:
    """`a` is cheaper until `b` has read the conversation before and reads it again for a tenth."""
    from gateway_lab import deployment

    text = "sea " * 3_000
    two = {
        "a": deployment("openai", "m", price={"input": 1.0, "output": 1.0, "cache_read": 0.1}),
        "b": deployment("anthropic", "m", price={"input": 1.5, "output": 1.0, "cache_read": 0.15}),
    }
    config = {
        "cold": {"candidates": ["a", "b"], "strategy": "cheapest"},
        "warm": {
            "candidates": ["b"],
            "strategy": "cheapest",
            "sticky": "conversation",
            "rules": [{"when": "features.turns > 1", "candidates": ["a", "b"]}],
        },
    }
    router = start_router(routes(lab, config, two))
    assert went(ask(router, "cold", text=text)) == "a"
    assert went(ask(router, "warm", messages=turn(text, 1))) == "b"
    told = dry(router, "warm", messages=turn(text, 2))
    assert told["deployment"] == "b" and told["facts"]["conversation_is_with"] == "b"
    assert told["facts"]["cached_tokens_expected"] > 2_000
    assert went(ask(router, "warm", messages=turn(text, 2))) == "b"
    assert dry(router, "warm", messages=turn("another " + text, 2))["deployment"] == "a"


def test_a_split_that_is_asked_until_every_arm_came_has_them_all(router: Router) -> None:
    for wanted in ("control", "kinder", "cheaper"):
        ask_until(router, "request", lambda answer, wanted=wanted: arm(answer) == wanted)  # type: ignore[misc]
