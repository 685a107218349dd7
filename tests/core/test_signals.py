"""Signals: what is made of how people go on after an answer, and what is not."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.entry import Admitted, Feedback, Settled
from pointsman.core.footprint import MOST_WORDS, Digests, Footprint, Signals, alike
from pointsman.core.health import State
from pointsman.core.request import Features, Request
from pointsman.core.signals import ABANDONMENT, KINDS, REASK, REGENERATION, Asking, abandoned, asking_of, found
from pointsman.core.strategy import Snapshot

RULES = Signals()
MADE = Digests(b"k" * 32)
WHO = ("dev", "site", "web", "acme")
Q, LIKE_Q, OTHER_Q = (
    b"How tall is the Eiffel tower?",
    b"how tall is the eiffel tower really",
    b"Name three rivers in Peru",
)


def seen(conversation: tuple[bytes, ...], question: bytes, **more: Any) -> Footprint:
    """Return the Footprint of a question after earlier ones, all answered."""
    whole = b"|".join((*conversation, question))
    made = Footprint(
        thread=MADE.of(b"thread"),
        whole=MADE.of(whole),
        past=MADE.of(b"|".join(conversation)) if conversation else b"",
        before=MADE.of(b"before " + b"|".join(conversation)),
        words=MADE.words(question),
        named=True,
        again=False,
        patience_ms=0,
    )
    return msgspec.structs.replace(made, **more)


def asking(n: int, at_s: float, print: Footprint, **more: Any) -> Asking:
    """Return request `n`, answered within a second."""
    at_ms = int(at_s * 1000)
    made = Asking(f"req_{n}", at_ms, at_ms + 1000, WHO, "m", complete=True, print=print, rules=RULES)
    return msgspec.structs.replace(made, **more)


def kinds(*askings: Asking) -> list[tuple[str, str]]:
    """Return which requests have which signals."""
    return sorted((one.request_id, one.label) for one in found(askings))


def test_the_same_again_soon_after_says_that_the_first_answer_was_not_good() -> None:
    [signal] = found([asking(1, 0, seen((), Q)), asking(2, 30, seen((), Q))])
    assert (signal.request_id, signal.source, signal.score) == ("req_1", "implicit:regeneration", 0.2)
    assert (signal.at_ms, signal.caller) == (30_000, WHO)


AGAIN = asking(2, 30, seen((), Q))
NOT_REGENERATED: list[tuple[str, Asking, Asking]] = [
    ("too late", asking(1, 0, seen((), Q)), asking(2, 122, seen((), Q))),
    ("the answer was not complete", asking(1, 0, seen((), Q), complete=False), AGAIN),
    ("at the same time", asking(1, 29.5, seen((), Q)), AGAIN),
    ("an SDK tries again", asking(1, 0, seen((), Q)), asking(2, 30, seen((), Q, again=True))),
    ("another key", asking(1, 0, seen((), Q), caller=("app", *WHO[1:])), AGAIN),
    ("another person", asking(1, 0, seen((), Q, thread=MADE.of(b"else"))), AGAIN),
    ("nobody is named, so it may be another person", asking(1, 0, seen((), Q, named=False)), AGAIN),
    ("models are compared", asking(1, 0, seen((), Q), model="n"), AGAIN),
    ("switched off", asking(1, 0, seen((), Q), rules=Signals(regenerated=None)), AGAIN),
]


@pytest.mark.parametrize(("why", "first", "second"), NOT_REGENERATED, ids=[row[0] for row in NOT_REGENERATED])
def test_what_is_no_regeneration(why: str, first: Asking, second: Asking) -> None:
    assert kinds(first, second) == []


def test_without_a_name_neither_of_two_first_questions_is_taken_for_the_other() -> None:
    plain = {"named": False}
    assert kinds(asking(1, 0, seen((), Q, **plain)), asking(2, 9, seen((), Q, **plain))) == []
    assert kinds(asking(1, 0, seen((), Q, **plain)), asking(2, 9, seen((), LIKE_Q, **plain))) == []
    deep = (Q, b"330 m")
    pair = asking(1, 0, seen(deep, LIKE_Q, **plain)), asking(2, 9, seen(deep, LIKE_Q, **plain))
    assert kinds(*pair) == [("req_1", REGENERATION)]  # they hold an answer


def test_a_question_that_is_alike_is_a_re_ask_and_another_is_none() -> None:
    first = asking(1, 0, seen((), Q))
    after = {"past": first.print.whole}
    assert kinds(first, asking(2, 60, seen((Q, b"330 m"), LIKE_Q, **after))) == [("req_1", REASK)]
    assert kinds(first, asking(2, 60, seen((Q, b"330 m"), OTHER_Q, **after))) == []
    assert kinds(first, asking(2, 60, seen((), LIKE_Q))) == [("req_1", REASK)]  # written anew in its place
    assert kinds(first, asking(2, 200, seen((), LIKE_Q))) == []
    assert kinds(first, asking(2, 60, seen((), OTHER_Q))) == []


def test_only_the_answer_right_before_is_meant() -> None:
    askings = [asking(n, n * 20, seen((), Q)) for n in range(4)]
    assert kinds(*askings) == [("req_0", REGENERATION), ("req_1", REGENERATION), ("req_2", REGENERATION)]


steps = st.lists(
    st.tuples(
        st.integers(0, 400),
        st.sampled_from([Q, LIKE_Q, OTHER_Q]),
        st.sampled_from([(), (Q, b"a"), (OTHER_Q, b"b")]),
        st.booleans(),
        st.booleans(),
    ),
    max_size=12,
)


@given(steps, st.randoms(use_true_random=False))
def test_i02_order_and_repetition_change_nothing(rows: list[Any], chance: random.Random) -> None:
    askings = [
        asking(n, at_s, seen(past, question, again=again), complete=complete)
        for n, (at_s, question, past, complete, again) in enumerate(rows)
    ]
    told = {one.id: one for one in found(askings)}
    shuffled = chance.sample(askings, len(askings))
    assert {one.id: one for one in found(shuffled)} == told
    by_id = {one.id: one for one in askings}
    for one in told.values():
        judged = by_id[one.request_id]
        assert judged.complete and one.label in KINDS and one.at_ms >= judged.ended_ms
        assert one.at_ms - judged.ended_ms <= 120_000
        assert any(other.at_ms == one.at_ms and not other.print.again for other in askings)
    assert len({one.request_id for one in told.values()}) == len(told)  # one signal a request


def admitted(**more: Any) -> Admitted:
    request = Request("req_1", "chat", "r", Features(10, stream=True), 0.0, 600_000.0)
    made = Admitted(request, "", 1_000, WHO, "m", Snapshot("v", 0.0, 0.5, (State(),)), footprint=seen((), Q))
    return msgspec.structs.replace(made, **more)


def left(**more: Any) -> Settled:
    made = Settled("req_1", 9_000, "r", "client_gone", 499, (), 0.0, 0.0, 700.0, 8_000.0, 8_000.0)
    return msgspec.structs.replace(made, **more)


def test_who_leaves_a_stream_that_had_begun_has_given_up() -> None:
    signal = abandoned(admitted(), left(), RULES)
    assert isinstance(signal, Feedback)
    assert (signal.request_id, signal.label, signal.score, signal.at_ms) == ("req_1", ABANDONMENT, 0.4, 9_000)


@pytest.mark.parametrize(
    ("who", "end"),
    [
        (admitted(), left(first_ms=0.0)),  # nothing had come
        (admitted(), left(ended_ms=4_000.0)),  # did not wait
        (admitted(), left(outcome="ok", status=200)),
        (admitted(), left(outcome="cancelled")),  # the router went
        (admitted(footprint=seen((), Q, patience_ms=7_000)), left()),  # its program may have given up
        (admitted(request=Request("req_1", "chat", "r", Features(10, stream=True), 0.0, 8_000.0)), left()),
        (admitted(request=Request("req_1", "chat", "r", Features(10), 0.0, 600_000.0)), left()),  # no stream
        (admitted(footprint=None), left()),
    ],
)
def test_what_is_no_abandonment(who: Admitted, end: Settled) -> None:
    assert abandoned(who, end, RULES) is None


def test_what_left_no_footprint_or_whose_rules_are_gone_says_nothing() -> None:
    assert asking_of(admitted(footprint=None), left(), RULES) is None
    assert asking_of(admitted(), left(), None) is None
    assert abandoned(admitted(), left(), Signals(abandoned=None)) is None
    died = asking_of(admitted(), None, RULES)
    assert died is not None and not died.complete


@given(st.binary(max_size=2_000))
def test_a_sketch_is_small_and_tells_nothing_without_the_key(text: bytes) -> None:
    sketch = MADE.words(text)
    assert len(sketch) <= MOST_WORDS and list(sketch) == sorted(set(sketch))
    assert alike(sketch, sketch) in (0.0, 1.0)


def test_words_count_and_not_how_they_are_written() -> None:
    assert alike(MADE.words(Q), MADE.words(b'  "HOW tall -- is the\teiffel TOWER?!"')) == 1.0
    assert alike(MADE.words(b"What is 12 times 34?"), MADE.words(b"What is 56 times 78?")) < 0.6
    assert alike(MADE.words(b"ok"), MADE.words(b"ok")) == 0.0  # says too little
    assert Digests(b"other").words(Q) != MADE.words(Q)
