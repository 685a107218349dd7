"""Decide: (request, options, snapshot) -> (Plan, Decision). Pure, total and deterministic."""

from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise

import msgspec

from pointsman.core.filters import (
    HEALTH_REASONS,
    TRIAL_SHARE,
    Demand,
    Reason,
    any_doubted,
    bounded,
    fits_all,
    health,
    static,
    trial_drawn,
)
from pointsman.core.options import NO_DETAIL, Options, Step, cost_nano
from pointsman.core.request import Features, Request
from pointsman.core.strategy import Ranking, Snapshot

LAST_SEED = 1.0 - 2.0**-53  # the largest below 1: what rounding must not pass
Eligible = tuple[int, ...]  # positions
Reasons = tuple[str, ...]  # a Reason for each candidate; () when all are eligible


class Decision(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Hold why: each candidate with Reason, score and probability, and the snapshot, so that it can be replayed.

    `order` holds positions within `candidates`, as planned; `reasons` stands beside `candidates`, `scores` and
    `probabilities` beside `order`. `reason` is the short one, for the header. `path` are the rules and arms taken from the
    route that was asked for, `arm` the last arm and `arm_probability` how likely it was; `relaxed` are the demands of the
    route that were given up.
    """

    route: str
    strategy: str
    snapshot: Snapshot
    features: Features
    candidates: tuple[str, ...]
    reasons: Reasons
    order: tuple[int, ...]
    scores: tuple[float, ...]
    probabilities: tuple[float, ...]
    reason: str
    path: tuple[str, ...] = ()
    arm: str = ""
    arm_probability: float = 1.0
    relaxed: tuple[str, ...] = ()


class Plan(msgspec.Struct, frozen=True, gc=False):
    """Hold what to do: `steps` to try in `order` (none: nobody can serve), the bound on sends, and what the first is
    predicted to cost."""

    order: tuple[int, ...]
    steps: tuple[Step, ...]  # by position
    attempts: int
    hold_nano: int  # -1: unpriced
    deadline_ms: float
    idle_ms: float
    refused: str = ""  # when there is no step: the Reason that stands in the way
    wait_ms: float = 0.0  # when there is no step: how long until one may be tried; 0: waiting does not help


class _Ranked(msgspec.Struct, frozen=True, gc=False):
    """Hold the candidates in the order to try them, and why the others are not among them."""

    ranking: Ranking
    reasons: Reasons
    relaxed: tuple[str, ...] = ()


_Case = tuple[tuple[Eligible, Reasons], Demand]  # the candidates that the filters left, and what they are held to
_NOBODY = Ranking((), (), ())


def first(request: Request, options: Options, snapshot: Snapshot) -> int:
    """Return the position that `decide` would put first, -1 when it would put none: all that a first send needs."""
    features = request.features
    if not options.plain:
        order = _rank(options, snapshot, features).ranking.order
        return order[0] if order else -1
    if snapshot.calm and fits_all(options, features):  # the usual case of `_filter`, without the call
        return options.strategy.draw(options, options.positions, features, snapshot)
    eligible, _ = _filter(options, snapshot, features)
    if not eligible:
        return -1
    return options.strategy.draw(options, eligible, features, snapshot)


def first_noted(request: Request, options: Options, snapshot: Snapshot) -> tuple[int, Snapshot]:
    """Return what `first` does for a strategy of a plug-in, and the snapshot to decide and record with: it says so if the
    plug-in failed. So the decision can be made again, whatever the plug-in does then."""
    ranking = _rank(options, snapshot, request.features).ranking
    if ranking.why:
        detail = msgspec.structs.replace(snapshot.detail or NO_DETAIL, fallback=ranking.why)
        snapshot = msgspec.structs.replace(snapshot, detail=detail)
        ranking = _rank(options, snapshot, request.features).ranking
    return (ranking.order[0] if ranking.order else -1), snapshot


def decide(request: Request, options: Options, snapshot: Snapshot) -> tuple[Plan, Decision]:
    """Return what to do and why. Never raises; a request that nobody can serve gives a Plan without steps."""
    features, route = request.features, options.route
    ranked = _rank(options, snapshot, features)
    ranking, order = ranked.ranking, ranked.ranking.order
    if not order:
        return _nobody(request, options, snapshot, ranked)
    plan = Plan(
        order,
        options.steps,
        options.attempts if request.attempts is None else max(1, min(request.attempts, options.attempts)),
        cost_nano(options, order[0], features, snapshot),
        request.deadline_ms,
        options.idle_ms,
    )
    decision = Decision(
        options.label,
        route.strategy if not ranking.why else f"fallback {route.fallback}: {ranking.why}",
        snapshot,
        features,
        options.names,
        ranked.reasons,
        order,
        ranking.scores,
        ranking.probabilities,
        options.options[order[0]].reason,
        relaxed=ranked.relaxed,
    )
    return plan, decision


def _rank(options: Options, snapshot: Snapshot, features: Features) -> _Ranked:
    """Return the eligible candidates ranked. Where one is in doubt, chance says whether it is tried this time, and the
    probabilities are those of both cases together."""
    filtered = _filter(options, snapshot, features)
    if not any_doubted(options, filtered[0], snapshot):
        return _ranked(options, snapshot, features, filtered)
    tried = trial_drawn(snapshot.seed)
    taken = _ranked(options, snapshot, features, filtered, tried=tried)
    other = _ranked(options, snapshot, features, filtered, tried=not tried).ranking
    share = TRIAL_SHARE if tried else 1.0 - TRIAL_SHARE
    elsewhere = dict(zip(other.order, other.probabilities, strict=True))
    order, chances, scores = taken.ranking.order, taken.ranking.probabilities, taken.ranking.scores
    mixed = [share * p + (1.0 - share) * elsewhere.get(at, 0.0) for at, p in zip(order, chances, strict=True)]
    return _Ranked(Ranking(order, tuple(mixed), scores), taken.reasons, taken.relaxed)


def _ranked(
    options: Options,
    snapshot: Snapshot,
    features: Features,
    filtered: tuple[Eligible, Reasons],
    *,
    tried: bool = False,
) -> _Ranked:
    """Rank those of the filtered candidates that meet the demands: those of the route, then rung by rung its ladder's."""
    eligible, reasons = filtered
    relaxed: tuple[str, ...] = ()
    if eligible and options.bounds is not None:
        eligible, reasons, relaxed = _bounded(options, snapshot, features, (filtered, Demand(options.bounds, tried)))
    if not eligible:
        return _Ranked(_NOBODY, reasons, relaxed)
    if options.plain:
        return _Ranked(options.strategy.rank(options, eligible, features, snapshot), reasons)
    cuts = [bisect_left(eligible, start) for start in options.tier_starts]
    tiers = [eligible[a:b] for a, b in pairwise((0, *cuts, len(eligible))) if a < b]
    rankings = [_tier(options, tier, features, snapshot) for tier in tiers]
    if len(rankings) == 1:
        return _Ranked(rankings[0], reasons, relaxed)
    behind = sum(len(ranking.order) for ranking in rankings[1:])
    whole = Ranking(
        sum((ranking.order for ranking in rankings), ()),
        rankings[0].probabilities + (0.0,) * behind,
        sum((ranking.scores for ranking in rankings), ()),
        next((ranking.why for ranking in rankings if ranking.why), ""),
    )
    return _Ranked(whole, reasons, relaxed)


def _tier(options: Options, eligible: Eligible, features: Features, snapshot: Snapshot) -> Ranking:
    """Rank the candidates of one tier: stay with the conversation's deployment, explore, or let the strategy rank. A
    conversation is not explored with: each move would cost it its warm cache."""
    count = len(eligible)
    if count == 1:
        return options.strategy.rank(options, eligible, features, snapshot)
    sticky = -1 if snapshot.detail is None else snapshot.detail.sticky
    stays = sticky in eligible
    seed, share = snapshot.seed, 0.0 if stays else options.route.explore
    drawn = eligible[min(int(seed / share * count), count - 1)] if seed < share else -1
    if share:
        seed = min((seed - share) / (1.0 - share) if drawn < 0 else seed / share, LAST_SEED)
        snapshot = msgspec.structs.replace(snapshot, seed=seed)
    ranking = options.strategy.rank(options, eligible, features, snapshot)
    if stays and not options.strategy.by_cost:
        ranking = _with_first(ranking, sticky, certain=True)
    if drawn >= 0:
        ranking = _with_first(ranking, drawn)
    if share:
        even = share / count
        chances = tuple([p * (1.0 - share) + even for p in ranking.probabilities])
        ranking = Ranking(ranking.order, chances, ranking.scores, ranking.why)
    return ranking


def _with_first(ranking: Ranking, position: int, *, certain: bool = False) -> Ranking:
    """Return the ranking with `position` moved to the front; `certain`: it is first whatever is drawn."""
    order = (position, *[p for p in ranking.order if p != position])
    at = [ranking.order.index(p) for p in order]
    chances = [1.0] + [0.0] * (len(order) - 1) if certain else [ranking.probabilities[i] for i in at]
    return Ranking(order, tuple(chances), tuple([ranking.scores[i] for i in at]), ranking.why)


def _filter(options: Options, snapshot: Snapshot, features: Features) -> tuple[Eligible, Reasons]:
    """Return the eligible positions, and a Reason for each candidate unless all are eligible."""
    now_ms = snapshot.now_ms
    if snapshot.calm and fits_all(options, features):
        return options.positions, ()
    reasons = [
        static(options, option, features) or health(state, now_ms)
        for option, state in zip(options.options, snapshot.states, strict=True)
    ]
    eligible = tuple([p for p, reason in enumerate(reasons) if not reason])
    return (eligible, ()) if len(eligible) == len(reasons) else (eligible, tuple([r.value for r in reasons]))


def _bounded(
    options: Options, snapshot: Snapshot, features: Features, case: _Case
) -> tuple[Eligible, Reasons, tuple[str, ...]]:
    """Hold the filtered candidates to the route's demands; give up demands in the declared order, and as few as it takes,
    until one of the route's own candidates meets what is left. Return also the demands that were given up.

    When giving up everything that may be given up does not help, nothing is given up.
    """
    filtered, demand = case
    met, reasons = _meeting(options, snapshot, features, case)
    if _has_own(options, met) or not _has_own(options, filtered[0]):
        return met, reasons, ()
    relaxed: tuple[str, ...] = ()
    for name in demand.bounds.relax:
        relaxed = (*relaxed, name)
        if _has_own(options, _meeting(options, snapshot, features, _without(case, relaxed))[0]):
            break
    else:
        return met, reasons, ()
    for name in relaxed:  # take back what was given up in vain
        fewer = tuple(one for one in relaxed if one != name)
        if _has_own(options, _meeting(options, snapshot, features, _without(case, fewer))[0]):
            relaxed = fewer
    return *_meeting(options, snapshot, features, _without(case, relaxed)), relaxed


def _has_own(options: Options, positions: Eligible) -> bool:
    """Tell whether a candidate of the route itself is among them; those of its ladder stand behind."""
    return bool(positions) and not options.options[positions[0]].tier


def _without(case: _Case, relaxed: tuple[str, ...]) -> _Case:
    filtered, demand = case
    return filtered, demand._replace(bounds=msgspec.structs.replace(demand.bounds, **dict.fromkeys(relaxed)))


def _meeting(options: Options, snapshot: Snapshot, features: Features, case: _Case) -> tuple[Eligible, Reasons]:
    """Return those of the filtered candidates that meet the demand, and the Reasons."""
    (eligible, before), demand = case
    found = bounded(options, eligible, features, snapshot, demand)
    if not any(found):
        return eligible, before
    reasons = list(before) or [Reason.ELIGIBLE.value] * len(options.options)
    for position, reason in zip(eligible, found, strict=True):
        reasons[position] = reason.value
    return tuple([p for p, reason in zip(eligible, found, strict=True) if not reason]), tuple(reasons)


def _nobody(request: Request, options: Options, snapshot: Snapshot, ranked: _Ranked) -> tuple[Plan, Decision]:
    """Return an empty Plan that names what is in the way: health where waiting helps, else the commonest refusal."""
    reasons = ranked.reasons
    waits = [
        (max(s.cool_until_ms, s.open_until_ms, s.probe_until_ms) - snapshot.now_ms, reason)
        for s, reason in zip(snapshot.states, reasons, strict=True)
        if reason in HEALTH_REASONS
    ]
    if waits:
        wait_ms, refused = min(waits)
    else:
        wait_ms, refused = 0.0, max(set(reasons), key=lambda r: (reasons.count(r), r), default=Reason.CAPABILITY)
    route = options.route
    plan = Plan((), options.steps, 0, 0, request.deadline_ms, 0.0, refused, max(1.0, wait_ms) if waits else 0.0)
    decision = Decision(
        options.label,
        route.strategy,
        snapshot,
        request.features,
        options.names,
        reasons,
        (),
        (),
        (),
        f"nobody:{refused}",
        relaxed=ranked.relaxed,
    )
    return plan, decision
