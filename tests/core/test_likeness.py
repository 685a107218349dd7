"""What two questions must have in common to share an answer: hand-written pairs, and properties."""

from __future__ import annotations

from math import isclose
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.core.embedding import DIMENSIONS, cosine, local
from pointsman.core.likeness import bucket_of, differ, facts_of
from pointsman.core.verdict import same_answer

TABLE = Path(__file__).parents[2] / "bench" / "similar_pairs.tsv"
PAIRS = [line.split("\t") for line in TABLE.read_text("utf-8").splitlines()]
SOME = (
    *("how", "what", "when", "my", "password", "order", "Berlin", "5", "6.5", "not", "before", "on", "open"),
    *("`x`", "getUser", "?", ",", "kein", "pas"),
)
WORDS = st.lists(st.sampled_from(SOME), min_size=1, max_size=12)
TEXTS = st.one_of(st.text(max_size=200), WORDS.map(" ".join))


def why(one: str, other: str, *, words: bool) -> str:
    return differ(facts_of(one), facts_of(other), words=words)


def test_the_table_is_large_enough() -> None:
    assert len(PAIRS) >= 150 and sum(kind == "same" for kind, *_ in PAIRS) >= 50


@pytest.mark.parametrize(("one", "other"), [pair[1:] for pair in PAIRS if pair[0] == "other"])
def test_questions_with_other_answers_are_told_apart(one: str, other: str) -> None:
    for first, second in ((one, other), (other, one)):
        assert why(first, second, words=True) and why(first, second, words=False), (first, second)


def test_most_of_what_is_merely_said_otherwise_is_found() -> None:
    same = [(one, other) for kind, one, other in PAIRS if kind == "same"]
    found = [pair for pair in same if not why(*pair, words=True)]
    assert len(found) / len(same) >= 0.7
    near = [pair for pair in found if cosine(local(pair[0]), local(pair[1])) >= 0.7]
    assert len(near) / len(same) >= 0.6


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        ("Where is it?", "When is it?", "asks"),
        ("Add 5 GB", "Add 6 GB", "numbers"),
        ("Is it 3.10?", "Is it 3.1?", "numbers"),
        ("Is it 1,000?", "Is it 1000?", "numbers"),  # it may be one thousand or one: in doubt they differ
        ("Does it work?", "Does it not work?", "negations"),
        ("Turn it on", "Turn it off", "poles"),
        ("What is `a`?", "What is `b`?", "quoted"),
        ("Ask Alice about the plan", "Ask Carol about the plan", "names"),
        ("show the red door", "show the green door", "substitution"),
        ("show the plan", "show the plan of last year", "numbers"),
        ("the dog bites the man", "the man bites the dog", "order"),
        ("", "", "words"),
    ],
)
def test_a_reason_is_given(one: str, other: str, reason: str) -> None:
    assert why(one, other, words=False) == reason


def test_other_words_may_stand_for_the_same_where_vectors_see_meaning() -> None:
    one, other = "How can I contact the support team?", "How do I get hold of somebody who helps?"
    assert why(one, other, words=True) == "words"
    assert why("How can I contact support?", "How do I get hold of an agent?", words=False) == ""


@given(TEXTS)
def test_a_text_says_what_it_says(text: str) -> None:
    facts = facts_of(text)
    assert facts == facts_of(text)
    assert differ(facts, facts, words=True) == ("" if facts.words else "words")


@given(TEXTS, TEXTS)
@settings(max_examples=300)
def test_differences_go_both_ways_and_no_pair_that_agrees_is_looked_for_elsewhere(one: str, other: str) -> None:
    a, b = facts_of(one), facts_of(other)
    for words in (True, False):
        assert differ(a, b, words=words) == differ(b, a, words=words)
        if not differ(a, b, words=words):
            assert bucket_of("f", a, words=words) == bucket_of("f", b, words=words)
    if not differ(a, b, words=True):
        assert not differ(a, b, words=False)
    assert bucket_of("f", a, words=True) != bucket_of("g", a, words=True)


@given(WORDS, st.sampled_from(["not", "7", "off", "`y`", "kein", "jamais", "nunca", "Monday"]))
def test_what_turns_the_meaning_is_never_passed_over(words: list[str], more: str) -> None:
    text = " ".join(words)
    assert why(text, f"{text} {more}", words=False) and why(f"{more} {text}", text, words=True)


@given(st.text(max_size=400))
def test_a_vector_has_length_one_and_is_the_same_everywhere(text: str) -> None:
    vector = local(text)
    assert len(vector) == DIMENSIONS and vector == local(text)
    if any(vector):
        assert isclose(cosine(vector, vector), 1.0, abs_tol=1e-5)
    assert -1.00001 <= cosine(vector, local("something else")) <= 1.00001


def test_a_vector_outlives_its_process() -> None:
    vector = local("hello")
    assert [place for place, value in enumerate(vector) if value] == [104, 119, 128, 141, 154, 236]
    assert cosine(local("reset my password"), local("Reset my password!")) > 0.99
    assert cosine(local("reset my password"), local("boil an egg")) < 0.3


@pytest.mark.parametrize(
    ("given", "fresh", "same"),
    [
        ("Press Reset.", "press  reset", True),
        ("You can return it within 30 days.", "You can return it within 14 days.", False),
        ("Yes, you can return it within 30 days.", "Yes, you can return it, within 30 days!", True),
        ("You can return it.", "You can not return it.", False),
        ("Turn it on in the settings.", "Turn it off in the settings.", False),
        ("Paris is the capital.", "I like cheese with my bread and wine.", False),
        ("", "", True),
    ],
)
def test_two_answers_are_compared(given: str, fresh: str, same: bool) -> None:
    assert same_answer(given, fresh) is same and same_answer(fresh, given) is same
