"""Resolve: from the route a client asked for, by rules and splits, to the route that decides. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import blake2b
from math import log

import msgspec

from pointsman.core.facts import Facts, RuleError
from pointsman.core.options import Options
from pointsman.core.policy import Arm, Split
from pointsman.core.strategy import Detail

MOST_STEPS = 32  # a cycle is refused when a policy is loaded; this holds even if it were not


class Trail(msgspec.Struct, frozen=True, gc=False):
    """Hold where a request came to: the Options that decide, the steps there as text, the arm (`route/arm`, "" for none)
    and the probability of that arm."""

    options: Options
    path: tuple[str, ...] = ()
    arm: str = ""
    arm_probability: float = 1.0


def resolve(
    routes: Mapping[str, Options], asked: Options, facts: Facts, draw: Callable[[Options, Split], float]
) -> Trail:
    """Return the Trail of a request. `draw` gives the hash of the request's unit for a split, in [0, 1).

    Of a route's rules the first that holds says where to go on; when none holds, its split does, else it decides itself.
    Raise core.facts.RuleError when a condition cannot be evaluated on these facts.
    """
    path: list[str] = []
    options, arm, probability = asked, "", 1.0
    for _ in range(MOST_STEPS):
        route = options.route
        try:
            index = -1 if options.rules is None else options.rules.match(facts)
        except RuleError as error:
            raise RuleError(error.index, str(error), options.label, tuple(path)) from None
        if index >= 0:
            path.append(f"{options.label} rule {index + 1}")
            options = routes[route.rules[index].use]
        elif route.split is not None:
            taken, chance = arm_at(route.split, draw(options, route.split))
            arm, probability = f"{options.label}/{taken.name}", probability * chance
            path.append(f"{options.label} arm {taken.name}")
            options = routes[taken.use]
        else:
            break
    return Trail(options, tuple(path), arm, probability)


def replayed(routes: Mapping[str, Options], asked: Options, detail: Detail) -> Trail:
    """Return the Trail of a request again, from what was recorded of it."""
    return resolve(routes, asked, detail.facts or {}, lambda options, split: detail.units[options.route.name])


def arm_at(split: Split, point: float) -> tuple[Arm, float]:
    """Return the arm of `point` in [0, 1), and the probability of it.

    Weighted rendezvous hashing: each arm draws for itself, so a weight that grows only brings units to its arm, one that
    shrinks only takes some away, and the order of the arms says nothing. (Of independent draws u the least -ln(u) / weight
    belongs to an arm with the probability weight / total.)
    """
    total = sum(arm.weight for arm in split.arms)
    taken = min(split.arms, key=lambda arm: -log(1.0 - unit_point(arm.name, repr(point))) / arm.weight)
    return taken, taken.weight / total


def unit_point(salt: str, unit: str) -> float:
    """Return where a unit falls in [0, 1): the same for the same salt, evenly spread over units (53 bits of BLAKE2b)."""
    key = blake2b(f"{salt}\0{unit}".encode(), digest_size=8).digest()
    return (int.from_bytes(key, "big") >> 11) / float(1 << 53)
