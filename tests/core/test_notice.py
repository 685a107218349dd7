"""What is told, and how often."""

from __future__ import annotations

from datetime import date
from typing import Any

import msgspec
import pytest

from pointsman.core.notice import Notice, Quiet, Seen, changes, news, retiring
from pointsman.core.policy import Deployment, ModelFacts, Policy, Wire
from pointsman.core.pricing import Price, Rates

NOTHING = Seen()


def policy(**deployments: dict[str, Any]) -> Policy:
    made = tuple(
        Deployment(
            name=name,
            provider="p",
            wire=Wire(model=given.get("model", "m")),
            price=given.get("price"),
            facts=ModelFacts(retires=given.get("retires")),
        )
        for name, given in deployments.items()
    )
    return Policy(version="v", source="s", providers={}, deployments=made, routes={})


def price(dollars: int) -> Price:
    return Price(rates=Rates(input=dollars * 10**9, output=2 * dollars * 10**9), version="p", source="config")


@pytest.mark.parametrize(
    ("now", "kind", "what", "words"),
    [
        (Seen(alerts={"a\x1fauth": 1}), "deployment", "auth", "deployment a is not asked any more: auth"),
        (Seen(alerts={"a\x1freturned": 1}), "deployment", "returned", "answers again"),
        (Seen(quotas={"q\x1fnear": 3}), "quota", "near", "quota `q` is near its limit"),
        (Seen(quotas={"q\x1frefused": 3}), "quota", "refused", "has refused a request"),
        (Seen(unpriced={"a": 1}), "unpriced", "unpriced", "not on the bill"),
        (Seen(counters_local=2), "counters", "local", "2 workers count quotas alone"),
        (Seen(journal_errors=1), "journal", "errors", "could not be written"),
        (Seen(ledger_up=False), "ledger", "away", "cannot be reached"),
    ],
)
def test_what_has_happened_is_told_once(now: Seen, kind: str, what: str, words: str) -> None:
    (one,) = news(NOTHING, now)
    assert (one.kind, one.what) == (kind, what) and words in one.text
    assert news(now, now) == []


def test_a_worker_that_starts_again_from_nothing_is_no_news() -> None:
    assert news(Seen(alerts={"a\x1fauth": 5}, quotas={"q\x1fnear": 2}, journal_errors=3), NOTHING) == []
    assert news(NOTHING, Seen(quotas={"q\x1fwaited": 9})) == []  # that is how it is meant


def test_recovery_is_told() -> None:
    found = news(Seen(counters_local=1, ledger_up=False), NOTHING)
    assert [(one.kind, one.what) for one in found] == [("counters", "shared"), ("ledger", "up")]


def test_a_changed_price_is_told_with_both_figures() -> None:
    before = policy(a={"price": price(1)}, b={"price": price(1)}, c={}, d={"model": "x", "price": price(1)})
    after = policy(
        a={"price": price(3)}, b={"price": price(1)}, c={"price": price(2)}, d={"model": "y", "price": price(9)}
    )
    found = changes(before, after)
    assert [one.subject for one in found] == ["a", "c"]  # d is another model now
    assert "is 3 / 6 USD per million tokens in / out; it was 1 / 2 USD" in found[0].text
    assert "it was unknown" in found[1].text
    assert changes(after, after) == []


def test_retirements_are_told_a_month_before() -> None:
    made = policy(
        a={"retires": "2026-12-20"},
        b={"retires": "2026-12-23"},
        c={"retires": "2026-11-01"},
        d={},
        e={"retires": "soon"},
    )
    found = retiring(made, date(2026, 11, 22))
    assert [(one.subject, one.what) for one in found] == [("a", "2026-12-20"), ("c", "2026-11-01")]
    assert "is retired on 2026-12-20" in found[0].text and "was retired on 2026-11-01" in found[1].text


def test_the_same_is_told_again_only_after_a_while_or_a_recovery() -> None:
    quiet = Quiet(100.0)
    out, back = Notice("deployment", "a", "auth", ""), Notice("deployment", "a", "returned", "")
    assert quiet.passing([out], 0.0) == [out]
    assert quiet.passing([out, msgspec.structs.replace(out, subject="b")], 50.0)[0].subject == "b"
    assert quiet.passing([back], 60.0) == [back]
    assert quiet.passing([out], 61.0) == [out]
    assert quiet.passing([out], 160.0) == [] and quiet.passing([out], 162.0) == [out]
