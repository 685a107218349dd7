"""Seen: what a route makes of how people go on, and what it stores of what they say."""

from __future__ import annotations

from typing import Literal

from pointsman.config import route_schema
from pointsman.config.build import Build, Spot
from pointsman.core.bodies import Storing
from pointsman.core.footprint import Signals
from pointsman.core.redaction import PatternError, checked


def compile_signals(given: bool | route_schema.Signals | None) -> Signals | None:
    """Return what a route makes of how people go on; None: nothing."""
    if given is None or given is False:
        return None
    wanted = route_schema.Signals() if given is True else given
    return Signals(
        regenerated=wanted.scores.regeneration,
        reasked=wanted.scores.reask,
        abandoned=wanted.scores.abandonment,
        regenerate_s=wanted.regenerate_within,
        reask_s=wanted.reask_within,
        abandon_s=wanted.abandon_after,
        likeness=wanted.likeness,
        skip_tags=tuple(wanted.skip_tags),
    )


def compile_bodies(build: Build, given: route_schema.Bodies | Literal[False] | None, spot: Spot) -> Storing | None:
    """Return how a route stores bodies; None: it does not."""
    if given is None or given is False:
        return None
    for index, pattern in enumerate(given.patterns):
        try:
            checked(pattern)
        except PatternError as error:
            build.problem((*spot.of("store_bodies"), "patterns", index), f"{error}.")
    return Storing(
        ttl_s=given.ttl,
        sample=given.sample,
        max_bytes=given.max_bytes,
        redact=tuple(dict.fromkeys(given.redact)),
        patterns=tuple(given.patterns),
    )
