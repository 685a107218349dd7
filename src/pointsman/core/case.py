"""Case: a request with its surroundings, and the facts that rules see of it. One row a fact; only those named are made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

import msgspec

from pointsman.core.facts import FACTS, PLUGGED, Fact, FactValue
from pointsman.core.health import State, breaker, predicted_ttft_ms
from pointsman.core.options import Options
from pointsman.core.policy import Key
from pointsman.core.pricing import NANO_PER_USD
from pointsman.core.priority import PRIORITIES, rank_of
from pointsman.core.request import (
    CATEGORIES,
    NEED_AUDIO,
    NEED_FILE,
    NEED_IMAGE,
    NEED_JSON_SCHEMA,
    NEED_TOOLS,
    Features,
)


class Said(msgspec.Struct, frozen=True, gc=False):
    """Hold what a request says beside its messages, for rules, splits and conversations. `beginning` are the bytes of the
    messages up to the user's first, which stay as a conversation grows."""

    model: str = ""
    session: str = ""
    user: str = ""
    temperature: float = -1.0
    metadata: dict[str, str] = {}
    tags: tuple[str, ...] = ()
    headers: dict[str, str] = {}
    beginning: bytes = b""
    priority: str = ""  # the class it names; "": none


class Case(msgspec.Struct, frozen=True, gc=False):
    """Hold everything that facts are made from. Times are milliseconds: `now_ms` monotonic, `wall_ms` Unix."""

    asked: Options
    said: Said
    features: Features
    caller: Key
    time_zone: str
    now_ms: float
    wall_ms: int
    spent_nano: int  # by the asked route today
    active: int
    states: Mapping[str, State]  # of every deployment


def plug_in(name: str, fact: Fact, value: Callable[[Case], FactValue]) -> None:
    """Take in a fact of another package. `value` must not raise, and gives what is of the fact's type."""
    FACTS[name], _FROM[name] = fact, value
    PLUGGED.add(name)


def facts_of(names: Iterable[str], case: Case) -> dict[str, FactValue]:
    """Return the facts of these names."""
    return {name: _FROM[name](case) for name in names}


def _day_used(case: Case) -> float:
    bounds = case.asked.bounds
    most = bounds.nano_per_day if bounds is not None else None
    return case.spent_nano / most if most else 0.0


@lru_cache(maxsize=16)
def zone_of(name: str) -> tzinfo:
    """Return a time zone by its IANA name. Raise ZoneInfoNotFoundError when there is none."""
    return UTC if name == "UTC" else ZoneInfo(name)


def _time(case: Case) -> datetime:
    return datetime.fromtimestamp(case.wall_ms / 1000, zone_of(case.time_zone))


def _need(bit: int) -> Callable[[Case], bool]:
    return lambda case: bool(case.features.needs & bit)


def _by_name(value: Callable[[State, float], FactValue]) -> Callable[[Case], FactValue]:
    return lambda case: {name: value(state, case.now_ms) for name, state in case.states.items()}  # type: ignore[return-value]


_FROM: dict[str, Callable[[Case], FactValue]] = {
    "request.kind": lambda case: "chat",
    "request.model": lambda case: case.said.model,
    "request.stream": lambda case: case.features.stream,
    "request.max_output": lambda case: case.features.output_tokens or 0,
    "request.temperature": lambda case: case.said.temperature,
    "request.user": lambda case: case.said.user,
    "request.session": lambda case: case.said.session,
    "request.metadata": lambda case: case.said.metadata,
    "request.tags": lambda case: list(case.said.tags),
    "request.priority": lambda case: PRIORITIES[rank_of(case.said.priority or None, case.caller.rank)],
    "request.headers": lambda case: case.said.headers,
    "features.input_tokens": lambda case: case.features.input_tokens,
    "features.output_tokens": lambda case: case.features.predicted_output_tokens,
    "features.images": _need(NEED_IMAGE),
    "features.audio": _need(NEED_AUDIO),
    "features.files": _need(NEED_FILE),
    "features.tools": _need(NEED_TOOLS),
    "features.json_schema": _need(NEED_JSON_SCHEMA),
    "features.code": lambda case: case.features.code,
    "features.language": lambda case: case.features.language,
    "features.turns": lambda case: case.features.turns,
    "features.category": lambda case: CATEGORIES[case.features.category],
    "caller.key": lambda case: case.caller.name,
    "caller.project": lambda case: case.caller.project,
    "caller.team": lambda case: case.caller.team,
    "caller.organisation": lambda case: case.caller.organisation,
    "caller.tier": lambda case: case.caller.tier,
    "time.hour": lambda case: _time(case).hour,
    "time.minute": lambda case: _time(case).minute,
    "time.weekday": lambda case: _time(case).isoweekday(),
    "time.date": lambda case: _time(case).date().isoformat(),
    "budget.day_usd": lambda case: case.spent_nano / NANO_PER_USD,
    "budget.day_used": _day_used,
    "load.active": lambda case: case.active,
    "health.breaker": _by_name(breaker),
    "health.ttft_ms": _by_name(predicted_ttft_ms),
    "health.ttft_ms_p95": _by_name(lambda state, now_ms: state.ttft_p95_ms),
}
