"""Routing: what the decision of a request on a route with rules, splits, stickiness or limits needs beyond the usual.

Takes the rules and splits to the Options that decide, and gathers the Detail of the snapshot. Pure but for the chance it is
given; everything it used is in the Detail, so that the same way can be taken again from the record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import NamedTuple

import msgspec
from msgspec import structs

from pointsman.core.case import Case, Said, facts_of
from pointsman.core.facts import RuleError
from pointsman.core.health import State
from pointsman.core.options import Options
from pointsman.core.policy import Key, Split
from pointsman.core.request import Features
from pointsman.core.resolve import Trail, resolve, unit_point
from pointsman.core.strategy import Detail

MINUTE_MS = 60_000


class Asked(NamedTuple):
    """Hold a request as it came in. Times are milliseconds: `now_ms` monotonic, `wall_ms` Unix."""

    options: Options
    said: Said
    features: Features
    caller: Key
    now_ms: float
    wall_ms: int


class Stay(NamedTuple):
    """Hold where a conversation is: the deployment's name, until when, and the input tokens it has read."""

    deployment: str
    until_ms: float
    input_tokens: int


class Surroundings(NamedTuple):
    """Hold what routing may ask of the process it runs in."""

    routes: Mapping[str, Options]
    time_zone: str
    states: Callable[[], Mapping[str, State]]  # of every deployment by name
    active: int
    spent_nano: Callable[[str, int], int]  # (route, wall_ms) -> what it has cost today
    stay: Callable[[bytes, float], Stay | None]  # (conversation, now_ms)
    chance: Callable[[], float]


class Routed(NamedTuple):
    """Hold where a request came to, and what its decision needs. `stay_key` names its conversation, b"" when it is not to
    be kept; `error`: a rule could not be evaluated."""

    trail: Trail
    features: Features
    detail: Detail
    session: str = ""
    stay_key: bytes = b""
    error: RuleError | None = None


def route(asked: Asked, around: Surroundings) -> Routed:
    """Return where a request goes on a route that asks for more than its candidates."""
    options, session = asked.options, asked.said.session
    facts = None
    if options.facts:
        spent_nano = around.spent_nano(options.label, asked.wall_ms)
        case = Case(
            options,
            asked.said,
            asked.features,
            asked.caller,
            around.time_zone,
            asked.now_ms,
            asked.wall_ms,
            spent_nano,
            around.active,
            around.states(),
        )
        facts = facts_of(options.facts, case)
    units: dict[str, float] = {}

    def draw(at: Options, split: Split) -> float:
        point = unit_of(split, asked)
        units[at.route.name] = around.chance() if point is None else point
        return units[at.route.name]

    error = None
    trail = Trail(options)
    if options.dynamic:
        try:
            trail = resolve(around.routes, options, facts or {}, draw)
        except RuleError as failed:
            error = failed
    chosen = trail.options
    detail = Detail(facts, units, minute=asked.wall_ms // MINUTE_MS % 1440)
    if chosen.bounds is not None and chosen.bounds.nano_per_day is not None:
        detail = structs.replace(detail, spent_nano=around.spent_nano(chosen.label, asked.wall_ms))
    key = conversation_of(chosen, asked)
    stay = around.stay(key, asked.now_ms) if key else None
    if stay is not None and stay.deployment in chosen.names:
        detail = structs.replace(detail, sticky=chosen.names.index(stay.deployment), cached_tokens=stay.input_tokens)
    features = asked.features
    if chosen.prefix_tokens:
        features = structs.replace(features, input_tokens=features.input_tokens + chosen.prefix_tokens)
    return Routed(trail, features, detail, session, key, error)


def unit_of(split: Split, asked: Asked) -> float | None:
    """Return where the request's unit falls in [0, 1); None when it names none, so that chance decides for it alone.

    Sessions and users are those of one key: two callers' sessions of the same name are two units.
    """
    key, said = asked.caller.name, asked.said
    unit = {"key": key, "user": said.user, "session": said.session, "request": ""}[split.by]
    return unit_point(split.salt, f"{key}\0{unit}") if unit else None


def conversation_of(options: Options, asked: Asked) -> bytes:
    """Return the name of the request's conversation, within its caller and route; b"" when it is not to be kept: the
    session if one is named, else how the messages begin."""
    sticky, session = options.route.sticky, asked.said.session
    if sticky is None or not (session or sticky.by == "conversation"):
        return b""
    digest = blake2b(msgspec.msgpack.encode((options.label, asked.caller.name, session)), digest_size=16)
    if not session:
        digest.update(asked.said.beginning)
    return digest.digest()
