"""Limits: LiteLLM's settings of retries, waits, cooldowns and sizes as ours; one function a setting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pointsman.config.fields import MAX_MS
from pointsman.config.imports.source import Source
from pointsman.config.problem import Place

MOST_ATTEMPTS = 5
_NO_NUMBER = "is no number that can be used."
_NO_TIME = "is no time between a millisecond and a day."
Limit = Callable[[Source, dict[str, Any], Place, Any], None]


def _num_retries(source: Source, limits: dict[str, Any], place: Place, value: Any) -> None:
    number = _count(value)
    if number is None:
        source.lost(place, _NO_NUMBER)
        return
    limits["attempts"] = min(MOST_ATTEMPTS, number + 1)
    more = f" (at most {MOST_ATTEMPTS})" if number + 1 > MOST_ATTEMPTS else ""
    source.used(place, f"limits.attempts: {limits['attempts']}{more}; it counts all sends of a request, fallbacks too.")


def _allowed_fails(source: Source, limits: dict[str, Any], place: Place, value: Any) -> None:
    number = _count(value)
    if number is None or number > 999_999:
        source.lost(place, _NO_NUMBER)
        return
    limits["breaker_failures"] = number + 1
    source.used(place, f"limits.breaker_failures: {number + 1}, in a row, not in a minute.")


def _cooldown_time(source: Source, limits: dict[str, Any], place: Place, value: Any) -> None:
    ms = _ms(value)
    if ms is None:
        source.lost(place, _NO_TIME)
        return
    limits |= {"breaker_open_ms": ms, "breaker_open_max_ms": max(ms, 300_000)}
    source.used(place, f"limits.breaker_open_ms: {ms}; it grows while probes fail.")


def _timeout(source: Source, limits: dict[str, Any], place: Place, value: Any) -> None:
    ms = _ms(value)
    if ms is None:
        source.lost(place, _NO_TIME)
    elif "ttft_ms" in limits:
        source.idle(place, "another setting says it.")
    else:
        limits |= {"ttft_ms": ms, "ttft_reasoning_ms": ms, "whole_ms": ms, "total_ms": max(ms, 600_000)}
        source.used(place, f"limits.ttft_ms and whole_ms: {ms}, the wait for the first content of each send.")


def _size(ours: str) -> Limit:
    def read(source: Source, limits: dict[str, Any], place: Place, value: Any) -> None:
        number = _count(value)
        if number is None or not 1 <= number <= 65_536:
            source.lost(place, _NO_NUMBER)
            return
        limits[ours] = number * 1024 * 1024
        source.used(place, f"limits.{ours}: {limits[ours]}.")

    return read


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31 else None


def _ms(value: Any) -> int | None:
    if type(value) not in (int, float) or not 0 < value < 1e9 or not 1 <= round(value * 1000) <= MAX_MS:
        return None
    return int(value * 1000 + 0.5)


LIMITS: dict[str, Limit] = {
    "num_retries": _num_retries,
    "allowed_fails": _allowed_fails,
    "cooldown_time": _cooldown_time,
    "timeout": _timeout,
    "request_timeout": _timeout,
    "max_request_size_mb": _size("body_bytes"),
    "max_response_size_mb": _size("reply_bytes"),
}
