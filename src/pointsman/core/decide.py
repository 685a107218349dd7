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
    is_last_resort,
    static,
    trial_drawn,
    wait_ms,
)
from pointsman.core.options import NO_BOUND, NO_DETAIL, Options, Step, cost_nano
from pointsman.core.outcome import Kind
from pointsman.core.policy import Bounds
from pointsman.core.request import Features, Request
from pointsman.core.strategy import Ranking, Snapshot
from pointsman.core.tiers import Eligible, behind_of, mixed, rank_tier

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
    most_wait_ms: float = 8_000.0  # longest wait before a resend
    most_nano: int = NO_BOUND  # that the attempts together may cost before another is made
    on: dict[str, tuple[int, ...]] = {}  # end of an attempt -> positions that go on then, in this order


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
        order = _rank(options, snapshot, features).ranking.order
        return order[0] if order else -1
    behind = behind_of(eligible, snapshot)
    ahead = tuple([p for p in eligible if p not in behind]) if behind else eligible
    return options.strategy.draw(options, ahead, features, snapshot)


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
        most_wait_ms=options.retry_wait_ms,
        most_nano=options.most_nano,
        on={kind: _allowed(options, positions, snapshot, features) for kind, positions in options.on.items()},
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
    """Return the eligible candidates ranked; without one of the route's own those that `on` names, or else the last
    resort."""
    filtered = _filter(options, snapshot, features)
    ranked = _tried(options, snapshot, features, filtered)
    if options.on and not _has_own(options, ranked.ranking.order):
        ranked = _instead(options, snapshot, features, ranked)
    if ranked.ranking.order or not ranked.reasons:
        return ranked
    last = _last_resort(options, snapshot, features, ranked.reasons)
    again = _tried(options, snapshot, features, last) if last[0] else ranked
    return again if again.ranking.order else ranked


def _last_resort(
    options: Options, snapshot: Snapshot, features: Features, reasons: Reasons
) -> tuple[Eligible, Reasons]:
    """Return those that are ejected but still answer most requests, for a request that nobody else can take (I15)."""
    now_ms, states, kept = snapshot.now_ms, snapshot.states, list(reasons)
    last = [p for p, reason in enumerate(reasons) if reason in HEALTH_REASONS and is_last_resort(states[p], now_ms)]
    for position in last:
        kept[position] = Reason.ELIGIBLE.value
    return tuple(last), tuple(kept)


# Reason that stands in the way of a send -> the end that the send would have had.
_ENDS = {Reason.COOLING: Kind.RATE_LIMITED, Reason.CONTEXT: Kind.CONTEXT_LENGTH, Reason.CAPABILITY: Kind.UNSUPPORTED}


def _instead(options: Options, snapshot: Snapshot, features: Features, ranked: _Ranked) -> _Ranked:
    """Return with those in front that `on` names for what stands in the way of the route's own candidates: what would end
    so need not be tried first."""
    states, reasons = snapshot.states, list(ranked.reasons)
    found: list[int] = []
    for position, reason in enumerate(reasons):
        if not options.options[position].tier:
            end = states[position].why if reason in (Reason.EJECTED, Reason.PROBING) else _ENDS.get(Reason(reason), "")
            found += [p for p in options.on.get(end, ()) if not health(states[p], snapshot.now_ms)]
    order = _allowed(options, tuple(dict.fromkeys(found)), snapshot, features)
    if not order:
        return ranked
    for position in order:
        reasons[position] = Reason.ELIGIBLE.value
    behind = ranked.ranking
    whole = Ranking(
        order + behind.order,
        (1.0,) + (0.0,) * (len(order) + len(behind.order) - 1),
        (0.0,) * len(order) + behind.scores,
        behind.why,
    )
    return _Ranked(whole, tuple(reasons), ranked.relaxed)


def _allowed(options: Options, positions: Eligible, snapshot: Snapshot, features: Features) -> Eligible:
    """Return those that `on` names that may take the request: their facts and the route's limits of money allow it."""
    able = tuple([p for p in positions if not static(options, options.options[p], features)])
    if options.bounds is None:
        return able
    money = Bounds(nano_per_request=options.bounds.nano_per_request, nano_per_day=options.bounds.nano_per_day)
    found = bounded(options, able, features, snapshot, Demand(money, tried=False))
    return tuple([p for p, reason in zip(able, found, strict=True) if not reason])


def _tried(options: Options, snapshot: Snapshot, features: Features, filtered: tuple[Eligible, Reasons]) -> _Ranked:
    """Return the filtered candidates ranked. Where one is in doubt, chance says whether it is tried this time, and the
    probabilities are those of both cases together."""
    if not any_doubted(options, filtered[0], snapshot):
        return _ranked(options, snapshot, features, filtered)
    tried = trial_drawn(snapshot.seed)
    taken = _ranked(options, snapshot, features, filtered, tried=tried)
    other = _ranked(options, snapshot, features, filtered, tried=not tried).ranking
    share = TRIAL_SHARE if tried else 1.0 - TRIAL_SHARE
    return msgspec.structs.replace(taken, ranking=mixed(taken.ranking, [(share, taken.ranking), (1.0 - share, other)]))


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
    if options.plain and snapshot.calm:
        return _Ranked(options.strategy.rank(options, eligible, features, snapshot), reasons)
    cuts = [bisect_left(eligible, start) for start in options.tier_starts]
    tiers = [eligible[a:b] for a, b in pairwise((0, *cuts, len(eligible))) if a < b]
    rankings = [rank_tier(options, tier, features, snapshot) for tier in tiers]
    reasons = _ramping(options, tiers, snapshot, reasons)
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


def _ramping(options: Options, tiers: list[Eligible], snapshot: Snapshot, reasons: Reasons) -> Reasons:
    """Return the Reasons with those of the candidates that stand behind the others of their tier."""
    behind = [p for tier in tiers for p in behind_of(tier, snapshot)]
    if not behind:
        return reasons
    noted = list(reasons) or _no_reasons(options)
    for position in behind:
        noted[position] = Reason.RAMPING.value
    return tuple(noted)


def _filter(options: Options, snapshot: Snapshot, features: Features) -> tuple[Eligible, Reasons]:
    """Return the eligible positions, and a Reason for each candidate unless all are eligible."""
    now_ms = snapshot.now_ms
    if snapshot.calm and fits_all(options, features):
        return options.positions, ()
    reasons = [
        Reason.ASIDE if option.aside else static(options, option, features) or health(state, now_ms)
        for option, state in zip(options.options, snapshot.states, strict=True)
    ]
    eligible = tuple([p for p, reason in enumerate(reasons) if not reason])
    return (eligible, ()) if len(eligible) == len(options.positions) else (eligible, tuple([r.value for r in reasons]))


def _no_reasons(options: Options) -> list[str]:
    """Return the Reasons when all that are ranked are eligible."""
    count = len(options.positions)
    return [Reason.ELIGIBLE.value] * count + [Reason.ASIDE.value] * (len(options.options) - count)


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
    reasons = list(before) or _no_reasons(options)
    for position, reason in zip(eligible, found, strict=True):
        reasons[position] = reason.value
    return tuple([p for p, reason in zip(eligible, found, strict=True) if not reason]), tuple(reasons)


def _nobody(request: Request, options: Options, snapshot: Snapshot, ranked: _Ranked) -> tuple[Plan, Decision]:
    """Return an empty Plan that names what is in the way: health where waiting helps, else the commonest refusal."""
    reasons = ranked.reasons
    waits = [
        (wait_ms(s, snapshot, reason), reason)
        for s, reason in zip(snapshot.states, reasons, strict=True)
        if reason in HEALTH_REASONS
    ]
    if waits:
        least_ms, refused = min(waits)
    else:
        own = reasons[: len(options.positions)]
        least_ms, refused = 0.0, max(set(own), key=lambda r: (own.count(r), r), default=Reason.CAPABILITY)
    route = options.route
    plan = Plan((), options.steps, 0, 0, request.deadline_ms, 0.0, refused, max(1.0, least_ms) if waits else 0.0)
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
