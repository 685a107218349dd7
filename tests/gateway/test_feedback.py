"""Feedback at the front door: kept before it is acknowledged, refused with reasons, and silent about what others asked."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gateway_lab import Lab, deployment, small_config
from gateway_raw import Response, Wire, ask, chat_body, fetch, get, post
from gateway_router import KEY, Router, until

from pointsman.control.pump import Pump
from pointsman.control.replay import Policies
from pointsman.core.entry import Feedback, decode_records
from pointsman.gateway.books import MAX_BATCH, Books
from pointsman.gateway.feedback import MOST_COMMENT, MOST_CORRECTION, MOST_LABEL
from pointsman.observe.metrics import Metrics
from pointsman.stores.journal import MAX_PAYLOAD, Journal, read_all
from pointsman.stores.ledger import FeedbackCounts, UsageQuery, UsageRow
from pointsman.stores.sqlite import FILE, SqliteReader, SqliteWriter

StartRouter = Callable[..., Router]
OTHER, FOREIGN = "sk-other-key-of-the-team-0123456789", "sk-somebody-else-0123456789"
KEYS = [
    {"name": "dev", "key": KEY, "team": "core"},
    {"name": "app", "key": OTHER, "team": "core"},
    {"name": "else", "key": FOREIGN, "team": "rivals"},
]
ID = re.compile(r"fbk_[0-9a-f]{28}")


@pytest.fixture(scope="module")
def own(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    config = small_config(lab, {"a": deployment("openai", "m")}, {}, keys=KEYS)
    with Router(config, tmp_path_factory.mktemp("feedback")) as running:
        yield running
        running.check_quiet()


def send(router: Router, body: bytes, *lines: str, key: str = KEY) -> Response:
    auth = f"authorization: Bearer {key}" if key else ""
    with Wire(router.port) as wire:
        wire.send(post(body, *lines, path="/v1/feedback", auth=auth))
        return wire.response()


def judge(router: Router, key: str = KEY, **members: Any) -> Response:
    return send(router, json.dumps(members).encode(), key=key)


def kept(router: Router) -> list[Feedback]:
    return [record for record in router.records() if isinstance(record, Feedback)]


def record_of(router: Router, answer: Response) -> Feedback:
    """Return the record of an answer: it stands in the journal when the answer is here."""
    assert answer.status == 202, answer.body
    assert list(answer.json) == ["id"] and ID.fullmatch(answer.json["id"])
    [found] = [record for record in kept(router) if record.id == answer.json["id"]]
    return found


def test_a_feedback_is_in_the_journal_when_it_is_acknowledged(own: Router) -> None:
    said = {
        "score": 0.25,
        "thumbs": "up",
        "label": "tone",
        "comment": "too stiff ☂",
        "correction": "Hi!",
        "source": "qa",
    }
    record = record_of(own, judge(own, request_id="req_1", **said))
    assert {name: getattr(record, name) for name in said} == said
    assert (record.request_id, record.session, record.caller) == ("req_1", "", ("dev", "", "core", ""))
    assert abs(record.at_ms - own.admitted(ask(own, "a").id).at_ms) < 60_000


@pytest.mark.parametrize(
    ("members", "score"),
    [
        ({"thumbs": "up"}, 1.0),
        ({"thumbs": "down"}, 0.0),
        ({"thumbs": "down", "score": 0.7}, 0.7),
        ({"score": 0}, 0.0),
        ({"score": 1}, 1.0),
        ({"label": "odd"}, None),
        ({"comment": "hm"}, None),
        ({"correction": "42"}, None),
        ({"thumbs": "up", "comment": "", "label": None}, 1.0),
    ],
)
def test_any_judgement_will_do_and_a_thumb_is_a_score(
    own: Router, members: dict[str, Any], score: float | None
) -> None:
    record = record_of(own, judge(own, session="s", request_id="", **members))
    assert (record.score, record.session, record.request_id, record.source) == (score, "s", "", "user")


BAD: list[tuple[bytes, str]] = [
    (b"", "not valid JSON"),
    (b"{", "not valid JSON"),
    (b"[]", "does not fit"),
    (b"null", "does not fit"),
    (b'{"request_id": "r", "comment": "\xff"}', "UTF-8"),
    (b'{"request_id": "r", "comment": "\\ud800"}', "not valid JSON"),
    (b'{"request_id": "r", "score": ' + b"[" * 5_000 + b"]" * 5_000 + b"}", ""),
    (b'{"thumbs": "up"}', "either `request_id` or `session`"),
    (b'{"thumbs": "up", "request_id": "", "session": null}', "either `request_id` or `session`"),
    (b'{"thumbs": "up", "request_id": "r", "session": "s"}', "either `request_id` or `session`"),
    (b'{"request_id": "r"}', "at least one of score, thumbs"),
    (b'{"request_id": "r", "comment": "", "source": "user"}', "at least one of score, thumbs"),
    (b'{"request_id": "r", "score": 1.01}', "$.score"),
    (b'{"request_id": "r", "score": -0.1}', "$.score"),
    (b'{"request_id": "r", "score": NaN}', "not valid JSON"),
    (b'{"request_id": "r", "score": "1"}', "$.score"),
    (b'{"request_id": "r", "score": true}', "$.score"),
    (b'{"request_id": "r", "thumbs": "sideways"}', "$.thumbs"),
    (b'{"request_id": 7, "score": 1}', "$.request_id"),
    (b'{"request_id": "r", "score": 1, "source": "A man"}', "$.source"),
    (b'{"request_id": "r", "scroe": 1}', 'unknown member `scroe`. Did you mean "score"?'),
    (b'{"request_id": "r", "thumb": "up"}', 'Did you mean "thumbs"?'),
    (b'{"request_id": "r", "score": 1, "\\u001b[31m' + b"x" * 5_000 + b'": 1}', "unknown member `?[31mxxx"),
    *[
        (json.dumps({"request_id": "r", "score": 1} | {name: "x" * (most + 1)}).encode(), f"$.{name}")
        for name, most in (
            ("request_id", 128),
            ("label", MOST_LABEL),
            ("comment", MOST_COMMENT),
            ("correction", MOST_CORRECTION),
            ("source", 64),
        )
    ],
    (json.dumps({"session": "x" * 257, "score": 1}).encode(), "$.session"),
]


@pytest.mark.parametrize(("body", "message"), BAD, ids=range(len(BAD)))
def test_what_is_no_feedback_is_refused_with_what_is_wrong(own: Router, body: bytes, message: str) -> None:
    before = len(kept(own))
    answer = send(own, body, "x-request-id: mine")
    assert (answer.status, answer.error["code"], answer.error["origin"]) == (400, "invalid_request", "client")
    assert message in answer.error["message"] and len(answer.error["message"]) < 500
    assert answer.headers["x-request-id"] == "mine" and len(kept(own)) == before


def test_the_longest_feedback_is_kept_whole(own: Router) -> None:
    long = {"label": "☂" * MOST_LABEL, "comment": "☂" * MOST_COMMENT, "correction": "\U0001f600" * MOST_CORRECTION}
    record = record_of(own, judge(own, request_id="r" * 128, **long))
    assert {name: getattr(record, name) for name in long} == long


def test_a_key_is_asked_for_and_the_path_takes_posts_only(own: Router) -> None:
    before = len(kept(own))
    for key, code in (("", "missing_api_key"), ("sk-unknown-0123456789", "invalid_api_key")):
        answer = judge(own, key, request_id="r", score=1)
        assert (answer.status, answer.error["code"]) == (401, code)
    assert (answer := fetch(own, "/v1/feedback")).status == 405 and answer.headers["allow"] == "POST"
    assert len(kept(own)) == before


def test_it_is_no_request_and_the_connection_goes_on(own: Router) -> None:
    admissions = len(own.admitted_ids())
    body = b'{"request_id": "r", "thumbs": "up"}'
    with Wire(own.port) as wire:
        wire.send(post(body, path="/feedback") + post(chat_body("a")) + post(body, path="/v1/feedback") + get("/livez"))
        answers = [wire.response() for _ in range(4)]
    assert [answer.status for answer in answers] == [202, 200, 202, 200]
    assert answers[0].json["id"] != answers[2].json["id"]  # each is kept
    assert len(own.admitted_ids()) == admissions + 1
    assert answers[0].headers["content-type"] == "application/json"


def test_a_client_that_leaves_has_given_its_feedback_and_troubles_nobody(own: Router) -> None:
    with Wire(own.port) as wire:
        wire.send(post(b'{"request_id": "left-behind", "thumbs": "up"}', path="/feedback"))
        wire.close()
    until(lambda: [record for record in kept(own) if record.request_id == "left-behind"])
    assert judge(own, request_id="r", score=1).status == 202


def test_sources_of_clients_make_no_labels(own: Router) -> None:
    def counts() -> dict[str, int]:
        text = fetch(own, "/metrics").body.decode()
        return {s: int(n) for s, n in re.findall(r'pointsman_feedback_total\{source="([^"]*)"\} (\d+)', text)}

    before = counts()
    for source in ("reviewer", "made-up-1", "made-up-2"):
        assert judge(own, request_id="r", score=1, source=source).status == 202
    judge(own, request_id="r", score=7)
    after = counts()
    assert after["reviewer"] - before.get("reviewer", 0) == 1 and after["other"] - before.get("other", 0) == 2
    assert set(after) <= {"user", "reviewer", "evaluator", "implicit", "other"}


def test_f82_what_cannot_be_written_is_not_acknowledged(lab: Lab, start_router: StartRouter) -> None:
    limits = {"journal_segment_bytes": 4096, "journal_bytes": 20_000}
    router = start_router(small_config(lab, {"a": deployment("openai", "m")}, {}, limits=limits))
    sent = 0
    while (answer := judge(router, request_id="r", comment="x" * 500)).status == 202:
        sent += 1
        assert sent < 400, "the bound never held"
    assert (answer.status, answer.error["code"], answer.error["origin"]) == (503, "ledger_unavailable", "router")
    assert "cannot be kept" in answer.error["message"] and int(answer.headers["retry-after"]) >= 1
    assert len(kept(router)) == sent
    for path in sorted((router.data / "journal").glob("*.pmj"))[:-1]:  # as the ledger pump does
        path.unlink()
    assert judge(router, request_id="r", score=1).status == 202


def test_f82_a_disk_that_takes_no_more_is_told_and_forgotten_when_it_does(lab: Lab, start_router: StartRouter) -> None:
    router = start_router(small_config(lab, {"a": deployment("openai", "m")}, {}))
    assert judge(router, request_id="r", score=1).status == 202
    segment = next((router.data / "journal").glob("*.pmj"))
    unlimited = resource.prlimit(router.pid, resource.RLIMIT_FSIZE)
    # Python ignores SIGXFSZ, so a write beyond the limit is an error.
    resource.prlimit(router.pid, resource.RLIMIT_FSIZE, (segment.stat().st_size, unlimited[1]))
    answer = judge(router, request_id="r", score=0)
    assert (answer.status, answer.error["code"]) == (503, "ledger_unavailable")
    resource.prlimit(router.pid, resource.RLIMIT_FSIZE, unlimited)
    assert record_of(router, judge(router, request_id="r", score=0.5)).score == 0.5
    assert [record.score for record in kept(router)] == [1.0, 0.5]
    assert "could not be written" in router.errors()
    (router.data / "stderr.txt").write_text("")


def test_a_turn_with_more_than_a_frame_holds_is_written_in_several(lab: Lab, start_router: StartRouter) -> None:
    router = start_router(small_config(lab, {"a": deployment("openai", "m")}, {}))
    body = json.dumps({"request_id": "r", "correction": "\U0001f600" * MOST_CORRECTION}, ensure_ascii=False).encode()
    count = 90
    assert count < MAX_BATCH and count * len(body) > MAX_PAYLOAD
    wires = [Wire(router.port) for _ in range(count)]
    request = post(body, path="/v1/feedback")
    try:
        for wire in wires:
            wire.send(request[:-1])
        os.kill(router.pid, signal.SIGSTOP)  # so that all the ends come in one turn
        for wire in wires:
            wire.send(request[-1:])
        os.kill(router.pid, signal.SIGCONT)
        assert {wire.response().status for wire in wires} == {202}
    finally:
        for wire in wires:
            wire.close()
    assert len(kept(router)) == count


async def test_each_sender_of_a_turn_hears_of_its_own_record(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from test_books_bytes import KB, Waiting, record

    journal = Journal(tmp_path, "w-1", 64 * KB * KB, 1024 * KB * KB)
    books = Books(journal, Metrics())
    small, large = record_of_books("fbk_1", "x"), record_of_books("fbk_2", "x" * 5 * KB * KB)
    records = [record(1, 1), small, record(2, 5 * KB * KB), large, record(3, 1)]
    waiting = [Waiting() for _ in records]
    for one, sender in zip(records, waiting, strict=True):
        books.admit(one, sender)
    books.turn()
    journal.close()
    told = [sender.said.partition(":")[0] for sender in waiting]
    assert told == ["booked", "booked", "refused", "refused", "booked"]
    assert [one.id for data in read_all(tmp_path) for one in decode_records(data)] == ["req_1", "fbk_1", "req_3"]
    assert "could not be written" in capfd.readouterr().err


def record_of_books(id: str, comment: str) -> Feedback:
    return Feedback(id, 0, ("k", "", "", ""), "r", "", None, "", "", comment, "", "user")


# --- what becomes of it
def pumped(router: Router) -> Path:
    """Book what the worker wrote, and return the ledger."""
    path = router.data / FILE
    writer = SqliteWriter(path)
    policies = Policies(writer)
    policies.keep(router.policy)
    pump = Pump(router.data / "journal", writer, policies)
    while pump.step():
        pass
    writer.close()
    return path


def usage(path: Path, *by: str) -> tuple[dict[tuple[str, ...], UsageRow], UsageRow]:
    with SqliteReader(path) as reader:
        rows, total = reader.usage(UsageQuery(by=by))
    return {row.group: row for row in rows}, total


def ask_as(router: Router, key: str, *lines: str, **more: Any) -> Response:
    with Wire(router.port) as wire:
        wire.send(post(chat_body("a", **more), *lines, auth=f"authorization: Bearer {key}"))
        answer = wire.response()
    assert answer.status == 200
    return answer


def test_another_tenants_request_is_neither_confirmed_nor_joined(lab: Lab, start_router: StartRouter) -> None:
    router = start_router(small_config(lab, {"a": deployment("openai", "m")}, {}, keys=KEYS))
    answer = ask_as(router, KEY, "x-request-id: order-7", pointsman={"session": "talk"})
    told = [
        judge(router, FOREIGN, score=0, **named)
        for named in ({"request_id": answer.id}, {"request_id": "order-7"}, {"session": "talk"}, {"request_id": "none"})
    ]
    assert {(each.status, tuple(sorted(each.headers)), len(each.body)) for each in told} == {
        (202, tuple(sorted(told[3].headers)), len(told[3].body))
    }
    path = pumped(router)
    assert usage(path, "key")[1].feedback_count == 0
    with SqliteReader(path) as reader:
        entry = reader.entry(answer.id)
        assert entry is not None and entry.feedback == []
        assert reader.feedback_counts(0) == FeedbackCounts(4, 4)


def test_feedback_of_the_team_joins_by_our_id_and_of_the_key_by_its_own_names(
    lab: Lab, start_router: StartRouter
) -> None:
    router = start_router(small_config(lab, {"a": deployment("openai", "m")}, {}, keys=KEYS))
    first = ask_as(router, KEY, "x-request-id: order-7", pointsman={"session": "talk"})
    second = ask_as(router, KEY, "x-request-id: order-7", pointsman={"session": "talk"})
    third = ask_as(router, OTHER)
    assert judge(router, OTHER, request_id=first.id, thumbs="down").status == 202  # the same team
    assert judge(router, KEY, request_id="order-7", score=0.5).status == 202  # the last of that name
    assert judge(router, KEY, session="talk", score=1, comment="in the end").status == 202
    for names in ({"request_id": "order-7"}, {"session": "talk"}):
        assert judge(router, OTHER, score=0, **names).status == 202  # another key's names
    assert judge(router, KEY, request_id=third.id, score=0.8).status == 202
    assert judge(router, KEY, request_id=third.id, score=0.2).status == 202  # a change of mind
    path = pumped(router)
    groups, total = usage(path, "key")
    assert groups["dev",].feedback == pytest.approx((0 + 0.5 + 1) / 3) and groups["dev",].feedback_count == 3
    assert (groups["app",].feedback, groups["app",].feedback_count) == (0.2, 1)
    assert total.feedback_count == 4 and total.requests == 3
    with SqliteReader(path) as reader:
        entry = reader.entry(second.id)
        assert entry is not None and [(f["score"], f["comment"]) for f in entry.feedback] == [
            (0.5, ""),
            (1.0, "in the end"),
        ]
        assert reader.feedback_counts(0) == FeedbackCounts(7, 2)
    assert sqlite3.connect(path).execute("SELECT COUNT(*) FROM requests").fetchone() == (3,)


def test_arms_are_compared_by_what_people_thought_of_them(lab: Lab, start_router: StartRouter) -> None:
    arms = {"control": {"weight": 1}, "kinder": {"weight": 1, "prompt_prefix": "Be kind."}}
    config = small_config(
        lab, {"a": deployment("openai", "m")}, {"r": {"candidates": ["a"], "split": {"by": "session", "arms": arms}}}
    )
    router = start_router(config)
    seen: dict[str, list[str]] = {}
    for n in range(24):
        for _ in range(1 + n % 3):
            answer = ask(router, "r", f"x-session-id: s{n}")
        seen.setdefault(answer.headers["x-pointsman-arm"], []).append(f"s{n}")
    assert set(seen) == {"r/control", "r/kinder"}
    for session in seen["r/kinder"]:
        assert judge(router, session=session, thumbs="up").status == 202
    for n, session in enumerate(seen["r/control"]):
        assert judge(router, session=session, thumbs="up" if n % 2 else "down").status == 202
    groups, total = usage(pumped(router), "arm")
    assert groups["r/kinder",].feedback == 1.0
    control = len(seen["r/control"])
    assert groups["r/control",].feedback == pytest.approx(control // 2 / control)
    assert {arm: groups[arm,].feedback_count for arm in seen} == {arm: len(sessions) for arm, sessions in seen.items()}
    assert total.feedback_count == 24 and total.requests == 48
