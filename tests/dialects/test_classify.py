"""Retry-after in every form, error bodies of odd shape, bounds."""

from __future__ import annotations

import pytest

from pointsman.core.outcome import Kind
from pointsman.dialects.base import Dialect
from pointsman.dialects.errors import read_error, retry_after_ms
from pointsman.dialects.registry import DIALECTS

NOW_S = 1_790_000_000.0  # Mon, 21 Sep 2026 14:13:20 GMT


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7000),
        ({"retry-after": " 1.5 "}, 1500),
        ({"retry-after-ms": "250", "retry-after": "7"}, 250),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7000),
        ({"retry-after": "Mon, 21 Sep 2026 14:13:30 GMT"}, 10_000),
        ({"retry-after": "Mon, 21 Sep 2026 14:00:00 GMT"}, 0),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, 86_400_000),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "1e300"}, 86_400_000),
        ({"retry-after": "inf"}, 86_400_000),
        ({"retry-after": "nan"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "tomorrow"}, None),
        ({"retry-after": "Mon, 99 Sep 2026 14:00:00 GMT"}, None),
    ],
)
def test_f15_retry_after_is_read_in_every_form_and_clamped(headers: dict[str, str], expected: int | None) -> None:
    assert retry_after_ms(headers, NOW_S) == expected


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=list(DIALECTS))
def test_f14_a_429_carries_the_wished_delay(dialect: Dialect) -> None:
    outcome = dialect.classify(429, {"retry-after": "20"}, b"", NOW_S)
    assert (outcome.kind, outcome.status, outcome.retry_after_ms) == (Kind.RATE_LIMITED, 429, 20_000)


def test_f14_gemini_names_the_delay_in_the_body_and_a_header_wins() -> None:
    body = (
        b'{"error":{"code":429,"message":"Quota","status":"RESOURCE_EXHAUSTED","details":'
        b'[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34.5s"}]}}'
    )
    gemini = DIALECTS["gemini"]
    assert gemini.classify(429, {}, body, NOW_S).retry_after_ms == 34_500
    assert gemini.classify(429, {"retry-after": "2"}, body, NOW_S).retry_after_ms == 2000


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=list(DIALECTS))
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Kind.INVALID_REQUEST),
        (401, Kind.AUTH),
        (402, Kind.QUOTA_EXHAUSTED),
        (404, Kind.NOT_FOUND),
        (413, Kind.CONTEXT_LENGTH),
        (429, Kind.RATE_LIMITED),
        (500, Kind.SERVER_ERROR),
        (503, Kind.OVERLOADED),
        (529, Kind.OVERLOADED),
        (307, Kind.BROKEN),
    ],
)
def test_f18_a_status_with_an_unreadable_body_decides_alone(dialect: Dialect, status: int, kind: Kind) -> None:
    assert dialect.classify(status, {}, b"upstream connect error", NOW_S).kind == kind


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error":"text"}', "text"),
        (b'{"detail":"gone"}', "gone"),
        (b'{"detail":[{"msg":"bad member"}]}', "bad member"),
        (b'{"errors":[{"message":"first"},{"message":"second"}]}', "first"),
        (b'{"message":"bare"}', "bare"),
        (b'[{"error":{"message":"listed"}}]', "listed"),
        (b'{"error":{"message":{"nested":1}}}', ""),
    ],
)
def test_error_bodies_of_every_shape_are_read(body: bytes, message: str) -> None:
    facts = read_error(body)
    assert facts is not None and facts.message == message


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"{}", b'{"error":null}', b'{"choices":[],"message":"x"}', b"[" * 9999]
)
def test_what_is_no_error_is_none(body: bytes) -> None:
    assert read_error(body) is None


def test_messages_are_cut_at_500_characters() -> None:
    body = b'{"error":{"message":"' + b"m" * 5000 + b'"}}'
    assert len(DIALECTS["openai"].classify(400, {}, body, NOW_S).message) == 500
