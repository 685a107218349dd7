"""Quotas as arithmetic: calendar windows, what is reserved, what was used, how it is told."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.address import address_of, check
from pointsman.core.entry import AttemptRow
from pointsman.core.options import NO_BOUND, Option
from pointsman.core.pricing import Price, Rates
from pointsman.core.quotas import Counter, Quota, Windows, limit_text, reserved, span, used, window_of
from pointsman.core.reading import Reading, Readings, newest
from pointsman.core.request import Features
from pointsman.core.usage import NO_USAGE, Usage

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "America/Santiago",
    "Pacific/Apia",
]
PRICE = Price(
    rates=Rates(input=2_500_000_000, output=10_000_000_000, reasoning=20_000_000_000), version="v", source="config"
)


def ms(text: str, zone: ZoneInfo = BERLIN) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp() * 1000)


@pytest.mark.parametrize(
    ("period", "at", "start", "hours"),
    [
        ("d", "2026-03-29T12:00", "2026-03-29T00:00", 23),  # the day that loses an hour
        ("d", "2026-10-25T12:00", "2026-10-25T00:00", 25),
        ("w", "2026-11-22T23:59", "2026-11-16T00:00", 168),
        ("w", "2026-10-25T12:00", "2026-10-19T00:00", 169),
        ("mo", "2026-12-31T23:59", "2026-12-01T00:00", 31 * 24),
        ("mo", "2028-02-29T10:00", "2028-02-01T00:00", 29 * 24),
        ("h", "2026-10-25T02:30", "2026-10-25T02:00", 1),
        ("m", "2026-10-25T02:30:59", "2026-10-25T02:30", 1 / 60),
    ],
)
def test_windows_are_those_of_the_calendar(period: str, at: str, start: str, hours: float) -> None:
    begin, until = window_of(period, ms(at), BERLIN)
    assert begin == ms(start) and until - begin == hours * 3_600_000


@given(
    st.sampled_from(["m", "h", "d", "w", "mo"]),
    st.integers(1_700_000_000_000, 1_900_000_000_000),
    st.sampled_from(ZONES),
)
def test_f86_f87_windows_follow_one_another_without_gap_or_overlap(period: str, wall_ms: int, name: str) -> None:
    zone = ZoneInfo(name)
    begin, until = window_of(period, wall_ms, zone)
    assert begin <= wall_ms < until
    assert window_of(period, begin, zone)[0] == begin
    if period not in ("m", "h") or name != "Australia/Lord_Howe":  # whose clocks go back by half an hour
        assert window_of(period, until, zone)[0] == until and window_of(period, until - 1, zone) == (begin, until)


def test_f86_a_window_that_has_begun_is_not_left_for_an_earlier_one() -> None:
    windows, now = Windows(BERLIN), ms("2026-11-22T12:00")
    later = windows.at("d", now)
    assert windows.not_before(later[0], "d", now - 86_400_000) == later
    assert windows.not_before(0, "d", now - 86_400_000)[1] == later[0]
    windows.set_zone(UTC)
    assert windows.at("d", now)[0] == later[0] + 3_600_000


def quota(measure: str, **more: Any) -> Quota:
    return Quota(name="q", measure=measure, amount=10, period="d", **more)  # type: ignore[arg-type]


def option(price: Price | None = PRICE, **more: Any) -> Option:
    given: dict[str, Any] = {"context_tokens": NO_BOUND, "max_output_tokens": 16_000} | more
    return Option(deployment=0, name="m", weight=1.0, lacks=0, price=price, reason="", **given)


@pytest.mark.parametrize(
    ("features", "route_tokens", "asked", "output"),
    [
        (Features(100, 500), None, option(), 500),
        (Features(100, 500), 200, option(), 200),
        (Features(100, None), None, option(), 2_048),
        (Features(100, None), 9_000, option(), 9_000),
        (Features(100, 90_000), None, option(), 16_000),
        (Features(100, 500, 0, 3), None, option(), 1_500),
        (Features(100, 500), None, option(output_cap_tokens=50), 50),
    ],
)
def test_what_a_request_reserves(features: Features, route_tokens: int | None, asked: Option, output: int) -> None:
    found = [
        reserved(quota(one), features, asked, route_tokens, -1)
        for one in ("requests", "input_tokens", "output_tokens", "tokens")
    ]
    assert found == [1, 100, output, 100 + output]
    assert reserved(quota("usd"), features, asked, route_tokens, -1) == 100 * 2_500 + output * 20_000


def test_f88_an_unknown_price_reserves_nothing() -> None:
    assert reserved(quota("usd"), Features(100, 500), option(None), None, -1) == 0


def row(deployment: str, usage: Usage, nano: int, state: str = "measured") -> AttemptRow:
    return AttemptRow(deployment, "p", "m", "ok", 200, 0.0, 0.0, 0.0, 0.0, usage, nano, state, "v", "", "")  # type: ignore[arg-type]


def test_what_was_used_is_that_of_all_attempts_and_unknown_is_not_zero() -> None:
    rows = [row("a", Usage(10, 5, source="measured"), 700), row("b", Usage(20, 7, source="measured"), 900)]
    failed, lost = row("c", NO_USAGE, 0), row("d", NO_USAGE, -1, "unpriced")

    def of(measure: str, rows: list[AttemptRow], deployments: frozenset[str] | None = None) -> int:
        return used(Counter(quota(measure), "", deployments), 100, rows)

    measures = ("requests", "input_tokens", "output_tokens", "tokens", "usd")
    assert [of(one, [*rows, failed]) for one in measures] == [1, 30, 12, 42, 1_600]
    assert [of(one, [lost]) for one in measures] == [1, 100, 100, 100, 100]
    assert [of(one, rows, frozenset("b")) for one in measures] == [1, 20, 7, 27, 900]


def test_times_and_amounts_are_told_as_openai_does() -> None:
    spans = {
        1: "1ms",
        0: "0ms",
        12_000: "12ms",
        999_999: "1000ms",
        1_000_000: "1s",
        59_000_001: "1m0s",
        360_000_000: "6m0s",
    }
    assert {us: span(us) for us in spans} == spans
    assert span(3_723_000_000) == "1h2m3s"
    assert limit_text(Quota(name="q", measure="usd", amount=250_000_000, period="mo")) == "0.25 USD a month"
    assert limit_text(Quota(name="q", measure="input_tokens", amount=5, period="m")) == "5 input tokens a minute"


def test_the_newest_reading_of_a_counter_counts_and_a_window_that_is_over_is_unused() -> None:
    old = Reading("c", "q", "", "usd", "d", "refuse", 100, 40, 10, 50, 1_000, 9_000)
    new = Reading("c", "q", "", "usd", "d", "refuse", 100, 60, 10, 30, 2_000, 9_000)
    assert newest([Readings([new]), Readings([old])], 5_000) == [new]
    (over,) = newest([Readings([new])], 9_000)
    assert (over.used, over.held, over.left) == (0, 10, 90)


def test_addresses_of_stores() -> None:
    assert address_of("redis://me:p%40ss@h:1/2") == ("h", 1, "me", "p@ss", 2, False)
    assert address_of("rediss://h") == ("h", 6379, "", "", 0, True)
    check("file:")
    for wrong in ("file:/tmp", "http://h", "redis://", "redis://h/x", "redis://h:port"):
        with pytest.raises(ValueError, match="expected redis://"):
            check(wrong)
    check("postgresql://me:p@h:1/d")
    for wrong in ("postgresql://", "postgres://h", "postgresql://h:port/d"):
        with pytest.raises(ValueError, match="expected postgresql://"):
            check(wrong)
