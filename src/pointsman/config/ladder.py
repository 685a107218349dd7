"""Ladder: the `degrade` list of a route as core Rungs, refused where a rung would never be stood on."""

from __future__ import annotations

from math import ceil

from pointsman.config import route_schema
from pointsman.config.build import Build, Spot
from pointsman.config.problem import Place
from pointsman.core.policy import Rung

_WAYS = ("candidates", "cached", "reply", "refuse")


def compile_ladder(build: Build, given: list[route_schema.Rung], spot: Spot, own: tuple[str, ...]) -> tuple[Rung, ...]:
    """Return the rungs of a route whose own candidates are `own`; what is wrong is noted.

    Candidates come first, then the cache, then a reply or a refusal, which end it. A rung that a rule or an arm has from
    its route, and whose candidates are its own anyway, is left out.
    """
    rungs: list[Rung] = []
    tried: dict[str, float] = dict.fromkeys(own, float("inf"))  # deployment -> output it was last asked for
    stage, before = 0, ""
    for index, wanted in enumerate(given):
        here = (*spot.of("degrade"), index)
        ways = [way for way in _WAYS if getattr(wanted, way) is not None]
        if len(ways) > 1 or (not ways and wanted.max_output is None):
            build.problem(here, "expected one of candidates, max_output, cached, reply or refuse.")
            continue
        way = ways[0] if ways else "candidates"
        if stage > 0 and _STAGES[way] <= stage:
            build.problem(here, *_order(way, before))
            continue
        stage, before = _STAGES[way], way
        if way != "candidates" and wanted.max_output is not None:
            build.problem((*here, "max_output"), f'goes with candidates, not with "{way}".', key=True)
        rung = _rung(build, wanted, here, own) if way == "candidates" else _stand_in(wanted)
        if way == "candidates" and not _reaches(rung, tried):
            if not spot.inherits("degrade"):
                said = "is a dead rung: all its candidates were tried above it."
                build.problem(here, said, "Write a smaller `max_output`.")
            continue
        if rung.candidates or way != "candidates":
            rungs.append(_named(rung, len(rungs) + 1, rungs))
    return tuple(rungs)


_STAGES = {"candidates": 0, "cached": 1, "reply": 2, "refuse": 2}


def _order(way: str, before: str) -> tuple[str, str]:
    if way == "candidates":
        return f'candidates must stand above "{before}".', ""
    if way == "cached" and before != "cached":
        return f'is a dead rung: "{before}" above it ends the ladder.', "Put `cached` before it."
    return f'is a dead rung: "{before}" above it is asked first.', ""


def _rung(build: Build, wanted: route_schema.Rung, here: Place, own: tuple[str, ...]) -> Rung:
    listed = tuple(wanted.candidates or own)
    valid = build.named("deployments")
    for index, name in enumerate(wanted.candidates or ()):
        place = (*here, "candidates", index)
        if name not in valid:
            build.unknown(place, "deployment", name, valid)
        elif name in listed[:index]:
            build.problem(place, f"{build.document.shown(place, name)} is listed twice.")
    name = "" if wanted.candidates else "smaller"
    return Rung(name=name, candidates=listed, max_output_tokens=wanted.max_output)


def _reaches(rung: Rung, tried: dict[str, float]) -> bool:
    """Return whether a rung asks for something that was not asked for above it, and note what it asks for."""
    limit = float("inf") if rung.max_output_tokens is None else rung.max_output_tokens
    new = not rung.candidates or any(limit < tried.get(name, float("inf")) for name in rung.candidates)
    new = new or any(name not in tried for name in rung.candidates)
    tried.update(dict.fromkeys(rung.candidates, limit))
    return new


def _stand_in(wanted: route_schema.Rung) -> Rung:
    if wanted.cached is not None:
        return Rung(name="cached", cached_s=wanted.cached.max_age)
    if wanted.reply is not None:
        return Rung(name="reply", reply=wanted.reply)
    assert wanted.refuse is not None
    return Rung(name="refuse", refuse=True, retry_after_s=ceil(wanted.refuse.retry_after))


def _named(rung: Rung, number: int, above: list[Rung]) -> Rung:
    """Return the rung under the name that header and ledger say, unlike those above it."""
    name = rung.name or f"rung-{number}"
    taken = any(other.name == name for other in above)
    return Rung(
        name=f"{name}-{number}" if taken else name,
        candidates=rung.candidates,
        max_output_tokens=rung.max_output_tokens,
        cached_s=rung.cached_s,
        reply=rung.reply,
        refuse=rung.refuse,
        retry_after_s=rung.retry_after_s,
    )
