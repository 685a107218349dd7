"""Conformance: what a plug-in must do, tried on samples. For a strategy: any route, any state of the world, any seed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, TypeVar

import msgspec

from pointsman.core.case import Case, Said
from pointsman.core.facts import Fact, FactType, FactValue
from pointsman.core.health import State
from pointsman.core.options import Options, options_of
from pointsman.core.policy import Deployment, Key, Policy, Provider, Route, Wire
from pointsman.core.pricing import Price, Rates
from pointsman.core.request import NEED_IMAGE, NEED_TOOLS, Features
from pointsman.core.strategy import Detail, Rank, Ranking, Snapshot, Strategy
from pointsman.strategies.guard import MOST_MS

NEAR = 1e-6  # how far from 1 probabilities may sum
MOST_CHARACTERS = 4096  # of a text of a fact: it is written to the journal with each request
MOST_ENTRIES = 256  # of a list or mapping of a fact
NOW_MS = 1_000_000.0
T = TypeVar("T")


class PluginError(LookupError):
    """Say what is wrong with a plug-in."""


def ranking_fault(ranking: object, eligible: tuple[int, ...]) -> str:
    """Return what is wrong with a strategy's answer, as the end of a sentence that begins with its name; "" for nothing."""
    if not isinstance(ranking, Ranking):
        return f"answered {type(ranking).__name__}, not a Ranking"
    order, chances, scores = ranking.order, ranking.probabilities, ranking.scores
    if not all(isinstance(part, tuple) for part in (order, chances, scores)):
        return "answered a Ranking whose order, probabilities or scores are not a tuple"
    if not all(type(p) is int for p in order) or sorted(order) != list(eligible):
        return "answered an order that is not that of the eligible positions, each once"
    if not len(order) == len(chances) == len(scores):
        return "answered probabilities or scores that do not stand beside the order"
    if not all(type(n) in (int, float) and not math.isnan(n) for n in (*chances, *scores)):
        return "answered a probability or score that is no number"
    if min(chances) < 0.0 or not abs(math.fsum(chances) - 1.0) <= NEAR:
        return "answered probabilities that are negative or do not sum to 1"
    return "" if chances[0] > 0.0 else "put first what has no chance of being first"


def value_fault(fact: Fact, value: object) -> str:
    """Return what is wrong with a fact's value, as the end of a sentence that begins with its name; "" for nothing."""
    if _IS[fact.type](value):
        return ""
    return f"gave a value ({type(value).__name__}) that is no {fact.type}, or too large"


def _text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MOST_CHARACTERS and _encodes(value)


def _encodes(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _figure(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _map_of(entry: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, dict)
        and len(value) <= MOST_ENTRIES
        and all(_text(key) and entry(one) for key, one in value.items())
    )


_IS: dict[FactType, Callable[[Any], bool]] = {
    "string": _text,
    "bool": lambda value: isinstance(value, bool),
    "int": lambda value: type(value) is int and -(2**63) <= value < 2**63,
    "double": _figure,
    "list(string)": lambda value: isinstance(value, list) and len(value) <= MOST_ENTRIES and all(map(_text, value)),
    "map(string, string)": _map_of(_text),
    "map(string, double)": _map_of(_figure),
}


def check(rank: Rank, most_ms: float = MOST_MS) -> None:
    """Try a strategy on some hundred samples. Raise PluginError that says what it did wrong.

    Each answer must order the eligible positions, each once, with probabilities that are not negative, sum to 1 and give
    the first a chance, and with scores; the same input must have the same answer; the faster of two calls must take at
    most `most_ms` milliseconds.
    """
    for options, eligible, features, snapshot in _situations(rank):

        def ask(given: tuple[Any, ...] = (options, eligible, features, snapshot)) -> Ranking:
            return rank(*given)

        first, second, took_ms = _twice(ask)
        about = f"with {len(eligible)} eligible candidates and seed {snapshot.seed:g} it"
        if fault := ranking_fault(first, eligible):
            raise PluginError(f"{about} {fault}")
        if first != second:
            raise PluginError(f"{about} answered otherwise when asked the same again; its only chance is snapshot.seed")
        if took_ms > most_ms:
            raise PluginError(f"{about} took {took_ms:.1f} ms; {most_ms:g} ms is the most")


def check_fact(plugin: Any, most_ms: float = MOST_MS) -> None:
    """Try a fact on samples. Raise PluginError that says what it did wrong.

    It must have `fact`, a core.facts.Fact whose `empty` is of its type, and `value`, which gives values of that type, the
    faster of two calls within `most_ms` milliseconds.
    """
    fact, value = getattr(plugin, "fact", None), getattr(plugin, "value", None)
    if not isinstance(fact, Fact) or not callable(value):
        raise PluginError("it has no `fact` (a pointsman.core.facts.Fact) or no method `value(case)`")
    if fact.type not in _IS:
        raise PluginError(f"its type is none of {', '.join(_IS)}")
    if fault := value_fault(fact, fact.empty):
        raise PluginError(f"its `empty` is wrong: it {fault}")
    for case in _cases():

        def ask(case: Case = case) -> FactValue:
            return value(case)  # type: ignore[no-any-return]

        first, _, took_ms = _twice(ask)
        if fault := value_fault(fact, first):
            raise PluginError(f"it {fault}")
        if took_ms > most_ms:
            raise PluginError(f"it took {took_ms:.1f} ms; {most_ms:g} ms is the most")


def _twice(ask: Callable[[], T]) -> tuple[T, T, float]:
    """Return two answers, and how many milliseconds the faster took. Raise PluginError when it raises."""
    times_s: list[float] = []
    answers: list[T] = []
    for _ in range(2):
        began_s = time.perf_counter()
        try:
            answers.append(ask())
        except (Exception, SystemExit) as error:  # it is told, whatever it is: the author reads this
            raise PluginError(f"it raised {type(error).__name__}: {str(error)[:200]}") from error
        times_s.append(time.perf_counter() - began_s)
    return answers[0], answers[1], min(times_s) * 1000.0


def _sample(rank: Rank) -> Options:
    """Return a route of five candidates: dear and cheap, unpriced, good and bad."""
    costs = ((3_000_000_000, 15_000_000_000), (100_000_000, 400_000_000), None, (0, 0), (100_000_000, 400_000_000))
    deployments = tuple(
        Deployment(
            name=f"sample-{i}",
            provider="sample",
            wire=Wire(model=f"sample-{i}"),
            price=None
            if cost is None
            else Price(rates=Rates(input=cost[0], output=cost[1]), version="sample", source="sample"),
            quality={"default": 0.9 - 0.2 * i} if i < 4 else {},
        )
        for i, cost in enumerate(costs)
    )
    names = tuple(d.name for d in deployments)
    route = Route(name="sample", candidates=names, strategy="sample", weights=(1.0, 2.0, 3.0, 0.5, 1.5))
    provider = Provider(name="sample", dialect="openai", base_url="http://127.0.0.1:1")
    policy = Policy(
        version="sample",
        source="sample",
        providers={"sample": provider},
        deployments=deployments,
        routes={"sample": route},
    )

    def draw(options: Options, eligible: tuple[int, ...], features: Features, snapshot: Snapshot) -> int:
        return rank(options, eligible, features, snapshot).order[0]

    return options_of(policy, {"sample": Strategy("sample", rank, draw, plugin=True)})["sample"]


def _situations(rank: Rank) -> Iterator[tuple[Options, tuple[int, ...], Features, Snapshot]]:
    options = _sample(rank)
    measured = [State(ttft_ms=100.0 + 300.0 * i, tps=20.0 + i, measured_ms=NOW_MS - 10.0 * i) for i in range(5)]
    worlds = ((State(),) * 5, tuple(measured), (*measured[2:], State(ejections=2, open_until_ms=NOW_MS - 1.0), State()))
    asked = (
        Features(1),
        Features(20_000, 4_000, NEED_TOOLS | NEED_IMAGE, 2, stream=True),
        Features(300, language="de"),
    )
    which = ((0,), (3,), (1, 3), (0, 2, 4), (0, 1, 2, 3, 4))
    details = (None, Detail(sticky=1, cached_tokens=100, minute=700))
    for eligible, features, states, (seed, detail) in product(
        which, asked, worlds, zip((0.0, 0.5, 1.0 - 2**-53), (*details, None), strict=True)
    ):
        yield options, eligible, features, Snapshot("sample", NOW_MS, seed, states, False, detail)


def _nobody(options: Options, eligible: tuple[int, ...], features: Features, snapshot: Snapshot) -> Ranking:
    return Ranking(eligible, (1.0,) + (0.0,) * (len(eligible) - 1), tuple(map(float, eligible)))


def _cases() -> Iterator[Case]:
    options = _sample(_nobody)
    states = {name: State() for name in options.names}
    plain = Case(options, Said(), Features(1), Key(name="sample", digest=b""), "UTC", NOW_MS, 0, 0, 0, states)
    yield plain
    said = Said("sample", "s-1", "u-1", 0.2, {"plan": "pro"}, ("a", "b"), {"x-app": "shop"}, b"[...]")
    caller = Key(name="k", digest=b"", project="p", team="t", organisation="o", tier="gold")
    yield msgspec.structs.replace(plain, said=said, caller=caller, wall_ms=1_790_000_000_000, active=9, spent_nano=10)
    odd = Said("ü\0🙂", user="\0", metadata={"": ""}, tags=("",))
    yield msgspec.structs.replace(
        plain, said=odd, features=Features(10_000_000, 1, 31, code=True, language="zz", turns=99)
    )
