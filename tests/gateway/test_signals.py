"""Signals end to end: people ask again, ask anew and leave at a real router, and the ledger says so; off, nothing is made."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gateway_lab import Lab, deployment, small_config
from gateway_raw import Response, Wire, chat_body, post
from gateway_router import Router, until

from pointsman.control.pump import Counts, Pump
from pointsman.control.replay import Policies
from pointsman.gateway.footprints import FILE as KEY_FILE
from pointsman.stores.ledger import UsageQuery
from pointsman.stores.sqlite import FILE, SqliteReader, SqliteWriter

StartRouter = Callable[..., Router]
Q, LIKE_Q = "How tall is the Eiffel tower in Paris?", "Really, how tall is the Eiffel tower in Paris?"
SECRET = "canary-word-of-a-question"
ME = "x-session-id: talk-1"


@pytest.fixture
def seeing(lab: Lab, start_router: StartRouter) -> Router:
    routes = {
        "seen": {
            "signals": {"abandon_after": 1, "skip_tags": ["eval"]},
            "split": {
                "by": "session",
                "arms": {"a": {"weight": 1, "candidates": ["a"]}, "b": {"weight": 0.000001, "candidates": ["a"]}},
            },
        },
        "paced": {"candidates": ["p"], "signals": {"abandon_after": 1}},
        "plain": {"candidates": ["a"]},
    }
    made = {"a": deployment("openai", "m"), "p": deployment("openai", "paced")}
    return start_router(small_config(lab, made, routes))


def say(router: Router, *texts: str, lines: tuple[str, ...] = (ME,), model: str = "seen", **more: Any) -> Response:
    """Ask the last text after the others, each of which was answered by an "ok"."""
    said: list[dict[str, str]] = []
    for text in texts:
        said += [{"role": "user", "content": text}, {"role": "assistant", "content": "ok"}]
    with Wire(router.port) as wire:
        wire.send(post(chat_body(model, **({"messages": said[:-1]} | more)), *lines))
        answer = wire.response()
    assert answer.status == 200, answer.body
    return answer


def booked(router: Router) -> Path:
    pump(router)
    return router.data / FILE


def pump(router: Router) -> Counts:
    """Book what the journal has, and return what the pump has counted."""
    path = router.data / FILE
    writer = SqliteWriter(path)
    policies = Policies(writer)
    policies.keep(router.policy)
    booking = Pump(router.data / "journal", writer, policies)
    while booking.step():
        pass
    writer.close()
    return booking.counts


def told(router: Router, answer: Response) -> list[str]:
    """Return the sources of what the ledger has about the answer."""
    with SqliteReader(booked(router)) as reader:
        entry = reader.entry(answer.id)
    assert entry is not None
    return [row["source"] for row in entry.feedback]


def test_asking_the_same_again_is_told_of_the_answer_and_of_its_arm(seeing: Router) -> None:
    first = say(seeing, Q)
    second = say(seeing, Q)
    assert (told(seeing, first), told(seeing, second)) == (["implicit:regeneration"], [])
    with SqliteReader(booked(seeing)) as reader:
        rows, _ = reader.usage(UsageQuery(by=("arm",)))
    assert [(row.group, row.implicit, row.implicit_count, row.feedback_count) for row in rows] == [
        (("seen/a",), 0.2, 1, 0)
    ]


def test_signals_are_counted(seeing: Router) -> None:
    say(seeing, Q)
    say(seeing, Q)
    assert pump(seeing).signals == 1  # pointsman_signals_total


def test_asking_anew_is_told_of_the_answer_before(seeing: Router) -> None:
    first = say(seeing, Q)
    second = say(seeing, Q, LIKE_Q)
    third = say(seeing, Q, LIKE_Q, "And which rivers flow through Lima?")
    assert [told(seeing, one) for one in (first, second, third)] == [["implicit:reask"], [], []]


@pytest.mark.parametrize(
    "again",
    [
        {"lines": (ME, "x-stainless-retry-count: 1")},
        {"lines": (ME, "idempotency-key: k1")},
        {"lines": ("x-session-id: talk-2",)},
        {"lines": ()},
        {"pointsman": {"tags": ["eval"], "session": "talk-1"}},
        {"n": 2},
    ],
    ids=["an SDK tries again", "once only", "another session", "nobody named", "a test by its tag", "several answers"],
)
def test_what_says_nothing_of_the_first_answer(seeing: Router, again: dict[str, Any]) -> None:
    first = say(seeing, Q)
    say(seeing, Q, **again)
    assert told(seeing, first) == []


def test_leaving_a_stream_that_had_begun_is_told_and_leaving_at_once_is_not(seeing: Router, lab: Lab) -> None:
    for name, wait_s in (("soon", 0.0), ("late", 1.2)):
        wire = Wire(seeing.port)
        wire.send(post(chat_body("paced", stream=True), f"x-request-id: {name}"))
        wire.head()
        begun = time.monotonic()
        while wire.chunk() and time.monotonic() - begun < wait_s:
            pass
        wire.close()
        assert seeing.by_client_id(name).outcome == "client_gone"
    path = booked(seeing)
    with SqliteReader(path) as reader:
        found = {name: reader.entry(reader.find(name)[0]) for name in ("soon", "late")}
    sources = {name: [row["source"] for row in entry.feedback] for name, entry in found.items() if entry}
    assert sources == {"soon": [], "late": ["implicit:abandonment"]}


def test_i02_booking_again_after_a_crash_doubles_nothing(seeing: Router) -> None:
    first = say(seeing, Q)
    say(seeing, Q)
    path = booked(seeing)
    writer = SqliteWriter(path)
    writer.forget([path.name for path in (seeing.data / "journal").iterdir()])  # as if it had died before it said so
    writer.close()
    assert told(seeing, first) == ["implicit:regeneration"]


def test_off_nothing_is_kept_and_on_no_text(seeing: Router) -> None:
    say(seeing, SECRET, model="plain")
    assert not (seeing.data / KEY_FILE).exists()
    answer = say(seeing, f"{SECRET} in a question that is seen")
    assert seeing.admitted(answer.id).footprint is not None
    until(lambda: (seeing.data / KEY_FILE).exists())
    booked(seeing)
    files = [path for path in seeing.data.rglob("*") if path.is_file()]
    assert len(files) > 3
    assert [path for path in files if b"canary-word" in path.read_bytes()] == []
