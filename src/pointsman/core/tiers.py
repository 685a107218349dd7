"""Tiers: one tier of candidates ranked: who ramps up behind, who has the conversation in front, some at random."""

from __future__ import annotations

import msgspec

from pointsman.core.filters import ramp_drawn, ramp_shares
from pointsman.core.options import Options
from pointsman.core.request import Features
from pointsman.core.strategy import Ranking, Snapshot

LAST_SEED = 1.0 - 2.0**-53  # the largest below 1: what rounding must not pass
Eligible = tuple[int, ...]  # positions


def rank_tier(options: Options, tier: Eligible, features: Features, snapshot: Snapshot) -> Ranking:
    """Rank the candidates of one tier. Those that ramp up stand behind the others unless the draw falls into their share;
    the probabilities are those of all the draws together."""
    shares = [] if snapshot.calm or len(tier) == 1 else ramp_shares(snapshot.states, tier, snapshot.now_ms)
    if not shares:
        return _tier(options, tier, features, snapshot)
    taken, below = behind_of(tier, snapshot), 0.0
    cases: list[tuple[float, Eligible]] = []
    for count, (share, _) in enumerate([*shares, (1.0, -1)]):
        behind = tuple([p for _, p in shares[:count]])  # of a draw in [below, share)
        if share > below:
            cases.append((share - below, behind if len(behind) < len(tier) else ()))
            below = share
    ways = dict.fromkeys([taken, *[behind for _, behind in cases]])
    ranked = {behind: _parted(options, (tier, behind), features, snapshot) for behind in ways}
    return mixed(ranked[taken], [(chance, ranked[behind]) for chance, behind in cases])


def behind_of(tier: Eligible, snapshot: Snapshot) -> Eligible:
    """Return those of a tier that stand behind the others this time, because they are ramping up; none where it would be
    all of them."""
    if snapshot.calm:
        return ()
    drawn = ramp_drawn(snapshot.seed)
    behind = tuple([p for share, p in ramp_shares(snapshot.states, tier, snapshot.now_ms) if drawn >= share])
    return behind if len(behind) < len(tier) else ()


def mixed(taken: Ranking, cases: list[tuple[float, Ranking]]) -> Ranking:
    """Return the ranking that chance has taken, with the probabilities of all the cases it was drawn from."""
    chances = dict.fromkeys(taken.order, 0.0)
    for share, case in cases:
        for position, chance in zip(case.order, case.probabilities, strict=True):
            if position in chances:
                chances[position] += share * chance
    return Ranking(taken.order, tuple(chances.values()), taken.scores, taken.why)


def _parted(options: Options, parts: tuple[Eligible, Eligible], features: Features, snapshot: Snapshot) -> Ranking:
    """Rank a tier with a part of it behind the rest: drawn first with probability 0, but there to fail over to."""
    tier, behind = parts
    if not behind:
        return _tier(options, tier, features, snapshot)
    ahead = _tier(options, tuple([p for p in tier if p not in behind]), features, snapshot)
    rest = _tier(options, tuple([p for p in tier if p in behind]), features, snapshot)
    return Ranking(
        ahead.order + rest.order,
        ahead.probabilities + (0.0,) * len(rest.order),
        ahead.scores + rest.scores,
        ahead.why or rest.why,
    )


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
