"""Kin: what to expect of a deployment that was not measured yet, from those that are like it."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from statistics import median

from pointsman.core.health import TTFT_PRIOR_MS


def priors(kinds: Sequence[Sequence[Hashable]], measured_ms: Sequence[float]) -> list[float]:
    """Return the time to first content to expect of each deployment while it is unmeasured, in milliseconds.

    `kinds` names what each is like, nearest kin first (the same model anywhere, then the same provider); `measured_ms`
    stands beside it, 0.0 for the unmeasured. The median of the nearest kin that was measured counts, then that of all
    deployments, then TTFT_PRIOR_MS.
    """
    groups: dict[Hashable, list[float]] = {}
    for names, ms in zip(kinds, measured_ms, strict=True):
        if ms > 0.0:
            for level, name in enumerate((*names, None)):
                groups.setdefault((level, name), []).append(ms)
    medians = {name: median(values) for name, values in groups.items()}
    return [_nearest(medians, enumerate((*names, None))) for names in kinds]


def _nearest(medians: dict[Hashable, float], names: Iterable[tuple[int, Hashable]]) -> float:
    return next((medians[name] for name in names if name in medians), TTFT_PRIOR_MS)
