"""Trust: how far a route's answers to similar questions may be believed, from the hits that were also asked fresh. Pure.

The test is Wald's (sequential probability ratio test, Annals of Mathematical Statistics 16, 1945): after each verdict it weighs
a share of wrong hits of twice the bound against half of it, so it may be looked at after every one of them without
the error that an interval looked at again and again would make.
"""

from __future__ import annotations

from math import exp, inf, lgamma, log

import msgspec
from msgspec.structs import replace

from pointsman.core.policy import Semantic

ERROR = 0.05  # chance to tighten at half the bound, and to ease at twice the bound
DECIDED = log((1.0 - ERROR) / ERROR)
TOP = 0.995  # a threshold that would have to be higher turns the semantic cache of the route off
SNAP = 0.002  # as near to the operator's own it is that
CONFIDENCE = 0.95


class Trust(msgspec.Struct, frozen=True, array_like=True):
    """Hold what is known of a route. `ratio` is the logarithm that Wald's test adds up; `checked` and `wrong` count since the
    threshold was last changed, `all_` since the settings were; `down` of these came by feedback. Unix milliseconds."""

    settings: str
    threshold: float
    off: bool = False
    ratio: float = 0.0
    checked: int = 0
    wrong: int = 0
    all_checked: int = 0
    all_wrong: int = 0
    down: int = 0
    tightened: int = 0
    eased: int = 0
    changed_ms: int = 0
    route: str = ""


def settings_of(semantic: Semantic) -> str:
    """Return what of the settings makes another beginning: with others nothing is known yet."""
    return f"{semantic.embeddings} {semantic.threshold} {semantic.wrong_hits}"


def begun(route: str, semantic: Semantic) -> Trust:
    """Return the Trust of a route that nothing is known of."""
    return Trust(settings_of(semantic), semantic.threshold, route=route)


def judged(trust: Trust, semantic: Semantic, at_ms: int, *, wrong: bool, down: bool = False) -> tuple[Trust, str]:
    """Return what is known after one more verdict, and what it changes: "", tightened, eased or off."""
    good, bad = semantic.wrong_hits / 2.0, min(0.99, semantic.wrong_hits * 2.0)
    step = log(bad / good) if wrong else log((1.0 - bad) / (1.0 - good))
    ratio = trust.ratio + step
    trust = replace(
        trust,
        ratio=ratio,
        checked=trust.checked + 1,
        wrong=trust.wrong + wrong,
        all_checked=trust.all_checked + 1,
        all_wrong=trust.all_wrong + wrong,
        down=trust.down + down,
    )
    if trust.off or -DECIDED < ratio < DECIDED:
        return trust, ""
    if ratio >= DECIDED:
        threshold = trust.threshold + (1.0 - trust.threshold) / 2.0
        if threshold > TOP:
            return replace(trust, off=True, ratio=0.0, changed_ms=at_ms), "off"
        changed = replace(trust, threshold=threshold, tightened=trust.tightened + 1)
        return _anew(changed, at_ms), "tightened"
    if trust.threshold <= semantic.threshold:
        return replace(trust, ratio=0.0), ""
    threshold = trust.threshold - (trust.threshold - semantic.threshold) / 4.0
    threshold = semantic.threshold if threshold < semantic.threshold + SNAP else threshold
    return _anew(replace(trust, threshold=threshold, eased=trust.eased + 1), at_ms), "eased"


def _anew(trust: Trust, at_ms: int) -> Trust:
    return replace(trust, ratio=0.0, checked=0, wrong=0, changed_ms=at_ms)


def interval(wrong: int, checked: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the bounds of the share of wrong hits (Clopper and Pearson, Biometrika 26, 1934); 0 and 1 with nothing checked."""
    if not checked:
        return 0.0, 1.0
    tail = (1.0 - confidence) / 2.0
    low = 0.0 if not wrong else _quantile(tail, wrong, checked - wrong + 1)
    high = 1.0 if wrong == checked else _quantile(1.0 - tail, wrong + 1, checked - wrong)
    return low, high


def _quantile(share: float, a: float, b: float) -> float:
    """Return where the beta distribution has this share below it, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2.0
        if _below(middle, a, b) < share:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0


def _below(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function (DLMF 8.17.22, by Lentz's method)."""
    if x <= 0.0 or x >= 1.0:
        return 0.0 if x <= 0.0 else 1.0
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - _below(1.0 - x, b, a)
    front = exp(a * log(x) + b * log(1.0 - x) - (lgamma(a) + lgamma(b) - lgamma(a + b))) / a
    tiny, c, d = 1e-300, 1.0, 0.0
    value, change = 1.0, inf
    for m in range(400):
        if m == 0:
            term = 1.0
        elif m % 2:
            k = (m - 1) / 2.0
            term = -(a + k) * (a + b + k) * x / ((a + 2.0 * k) * (a + 2.0 * k + 1.0))
        else:
            k = m / 2.0
            term = k * (b - k) * x / ((a + 2.0 * k - 1.0) * (a + 2.0 * k))
        d = 1.0 + term * d
        d = 1.0 / (d or tiny)
        c = (1.0 + term / c) or tiny
        change = c * d
        value *= change
        if m and abs(change - 1.0) < 1e-12:
            break
    return min(1.0, front * (value - 1.0))
