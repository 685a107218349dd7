"""Stored bodies end to end: nothing unless a route says so, only where it says so, redacted, and gone in time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gateway_lab import Lab, deployment, small_config
from gateway_raw import Response, Wire, chat_body, fetch, post
from gateway_router import KEY, Router, until

from pointsman.control.pump import Counts
from pointsman.control.stored import StoredBodies
from pointsman.stores import bodies as module
from pointsman.stores.bodies import FOLDER, Bodies, Body
from pointsman.stores.choose import stores_of

StartRouter = Callable[..., Router]
LEGAL = "sk-key-of-the-legal-team-0123456789"
SECRET = "canary-of-a-prompt"


@pytest.fixture
def storing(lab: Lab, start_router: StartRouter) -> Router:
    everything = {"ttl": "1h", "patterns": [r"ACME-\d{4}"]}
    routes = {
        "kept": {"candidates": ["a"], "store_bodies": everything},
        "small": {"candidates": ["a"], "store_bodies": everything | {"max_bytes": 1024}},
        "rare": {"candidates": ["a"], "store_bodies": everything | {"sample": 0.000001}},
        "paced": {"candidates": ["p"], "store_bodies": everything},
        "failing": {"candidates": ["bad"], "store_bodies": everything},
        "plain": {"candidates": ["a"]},
    }
    made = {"a": deployment("openai", "m"), "p": deployment("openai", "paced"), "bad": deployment("openai", "no-such")}
    keys = [{"name": "dev", "key": KEY, "team": "core"}, {"name": "law", "key": LEGAL, "team": "legal"}]
    server = {"bodies": {"never": ["team:legal"]}}
    return start_router(small_config(lab, made, routes, keys=keys, server=server))


def say(router: Router, model: str, text: str, *lines: str, key: str = KEY, **more: Any) -> Response:
    with Wire(router.port) as wire:
        wire.send(post(chat_body(model, text, **more), *lines, auth=f"authorization: Bearer {key}"))
        return wire.response()


def stored(router: Router, answer: Response) -> Body:
    found = until(lambda: Bodies(router.data).find(answer.id))
    assert found is not None
    return found


def said(body: Body) -> str:
    return str(json.loads(body.answer)["choices"][0]["message"]["content"])


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_request_and_answer_are_stored_whole_and_redacted(storing: Router, stream: bool) -> None:
    answer = say(storing, "kept", f"{SECRET} for ann@example.org, ACME-1234", stream=stream)
    body = stored(storing, answer)
    assert json.loads(body.request)["messages"][-1]["content"] == f"{SECRET} for [email], [redacted]"
    text = answer.text() if callable(answer.text) else answer.text
    content = text if stream else answer.json["choices"][0]["message"]["content"]
    assert said(body) == content and content
    assert (body.caller, body.route, body.outcome, body.left_out) == (("dev", "", "core", ""), "kept", "ok", "")
    assert body.until_ms <= body.at_ms + 3_600_000
    assert b"pointsman_bodies_stored_total 1\n" in fetch(storing, "/metrics").body


def test_what_cannot_be_stored_is_counted_and_answered_all_the_same(storing: Router) -> None:
    (storing.data / FOLDER).write_text("in the way")
    assert say(storing, "kept", "hello").status == 200
    until(lambda: b"pointsman_bodies_lost_total 1\n" in fetch(storing, "/metrics").body)
    assert "bodies cannot be stored" in storing.errors()
    storing._errors.unlink()  # so that it is said here is right


def test_s16_nothing_is_stored_of_who_does_not_want_it(storing: Router) -> None:
    answers = [
        say(storing, "plain", SECRET),
        say(storing, "kept", SECRET, "x-pointsman-store: off"),
        say(storing, "kept", SECRET, pointsman={"store": False}),
        say(storing, "kept", SECRET, key=LEGAL),
        say(storing, "rare", SECRET),
    ]
    last = say(storing, "kept", "this one is")
    stored(storing, last)
    assert {answer.status for answer in answers} == {200}
    assert [Bodies(storing.data).find(answer.id) for answer in answers] == [None] * 5


def test_what_is_long_is_cut_and_a_failure_is_stored_too(storing: Router) -> None:
    body = stored(storing, say(storing, "small", "long " * 500))
    assert len(body.request.encode()) <= 1024 and body.left_out.startswith("request: cut, of 2")
    assert stored(storing, say(storing, "small", "x" * 9_000)).left_out.startswith("request: 9")
    failed = say(storing, "failing", "hello")
    assert failed.status >= 400
    assert "error" in json.loads(stored(storing, failed).answer)


def test_what_came_before_the_client_left_is_stored(storing: Router) -> None:
    wire = Wire(storing.port)
    wire.send(post(chat_body("paced", stream=True), "x-request-id: left"))
    wire.head()
    for _ in range(6):
        assert wire.chunk()
    wire.close()
    booked = storing.by_client_id("left")
    body = until(lambda: Bodies(storing.data).find(booked.id))
    assert body is not None and body.outcome == "client_gone" and said(body)


def files_with(data: Path, text: str) -> list[Path]:
    return [path for path in data.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def test_s16_a_secret_is_nowhere_but_in_the_bodies_and_gone_in_time(
    storing: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(storing, "plain", SECRET)
    body = stored(storing, say(storing, "kept", SECRET))
    assert files_with(storing.data, SECRET) == []  # sealed
    assert SECRET not in fetch(storing, "/metrics").body.decode() and SECRET not in storing.errors()
    monkeypatch.setattr(module, "encrypts", lambda: False)
    Bodies(storing.data, "plain").add([body])
    assert {path.parent.name for path in files_with(storing.data, SECRET)} == {"bodies"}
    keeping = StoredBodies(stores_of(storing.data, storing.policy.listener), lambda: storing.policy, Counts())
    keeping.step(body.until_ms - 1)
    assert Bodies(storing.data).files()
    keeping.step(body.until_ms)
    assert Bodies(storing.data).files() == [] and files_with(storing.data, SECRET) == []


def test_what_waits_is_written_at_the_end(storing: Router) -> None:
    answer = say(storing, "kept", "the last words")
    storing.term()
    storing.wait_ended()
    assert Bodies(storing.data).find(answer.id) is not None


def test_off_costs_no_thread_and_no_file(storing: Router) -> None:
    for _ in range(3):
        say(storing, "plain", SECRET)
    assert not (storing.data / "bodies").exists() and not (storing.data / module.KEY_FILE).exists()
