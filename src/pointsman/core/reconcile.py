"""Reconcile: what a provider says we used against what we booked, by day and model, and why the two differ. Pure.

Both sides are sums of UTC days. What is left over after a cause is told is the operator's to ask about; nothing is ever
made to fit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec

# What a provider puts behind a model's name for the version that it served: -2026-01-31, -20260131, -001, @20260131, -latest.
_VERSION = re.compile(r"[-@](?:\d{4}-\d{2}-\d{2}|\d{8}|\d{3}|latest)$")
MEASURES = ("requests", "input_tokens", "cached_tokens", "output_tokens")


class Told(msgspec.Struct, frozen=True):
    """Hold what a provider says of one UTC day and model. `input_tokens` includes those read from and written to a cache,
    `cached_tokens` are those read. None: it does not say. `cost_nano` in nano-dollars."""

    day: str
    model: str
    requests: int | None = None
    input_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    cost_nano: int | None = None


class Booked(msgspec.Struct, frozen=True):
    """Hold the attempts of one UTC day that the ledger has under one name of the model, one source of their usage and one
    kind of end."""

    day: str
    model: str
    served_model: str
    usage_source: str
    charge_state: str
    outcome: str
    attempts: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost_nano: int


class Residual(msgspec.Struct, frozen=True):
    """Hold one day and model: what is told, what is booked (of the same measures, None where nothing is told) and why they
    may differ, the likeliest first."""

    day: str
    model: str
    told: Told
    booked: Told
    causes: tuple[str, ...] = ()

    def left(self, measure: str) -> int | None:
        """Return what is told beyond what is booked; None when nothing is told."""
        told, booked = getattr(self.told, measure), getattr(self.booked, measure)
        return None if told is None or booked is None else told - booked

    def beyond(self, tolerance: float) -> bool:
        """Tell whether any measure differs by more than a share of the larger of the two."""
        for measure in (*MEASURES, "cost_nano"):
            left = self.left(measure)
            most = max(getattr(self.told, measure) or 0, getattr(self.booked, measure) or 0)
            if left and abs(left) > tolerance * most:
                return True
        return False


def residuals(told: Iterable[Told], booked: Iterable[Booked]) -> list[Residual]:
    """Return the two sides of every day and model that either names, in order. A model is found by the name we called, by the
    one that was said to have answered, or by either without its version; what is told of several versions of one model that
    we called by one name is taken together."""
    ours: dict[tuple[str, str], list[Booked]] = {}
    for row in booked:
        ours.setdefault((row.day, row.model), []).append(row)
    theirs: dict[tuple[str, str], list[Told]] = {}
    for one in told:
        theirs.setdefault((one.day, _ours(one, ours)), []).append(one)
    found = []
    for day, model in sorted(ours.keys() | theirs.keys()):
        rows, said = ours.get((day, model), []), _sum_told(day, model, theirs.get((day, model), []))
        made = _sum_booked(day, model, rows, said)
        found.append(Residual(day, model, said, made, tuple(_causes(said, made, rows))))
    return found


def total(found: Sequence[Residual]) -> Residual:
    """Return the sum of residuals."""
    told, booked = [one.told for one in found], [one.booked for one in found]
    return Residual("total", "", _sum_told("total", "", told), _sum_told("total", "", booked))


def _ours(told: Told, ours: dict[tuple[str, str], list[Booked]]) -> str:
    """Return the name that we have for a model of that day; its own when there is none."""
    names = {model: rows for (day, model), rows in ours.items() if day == told.day}
    if told.model in names:
        return told.model
    for model, rows in names.items():
        if any(row.served_model == told.model for row in rows):
            return model
    bare = _VERSION.sub("", told.model)
    for model, rows in names.items():
        if bare in {_VERSION.sub("", model), *(_VERSION.sub("", row.served_model) for row in rows)}:
            return model
    return told.model


def _sum_told(day: str, model: str, parts: Sequence[Told]) -> Told:
    sums: dict[str, int | None] = {}
    for measure in (*MEASURES, "cost_nano"):
        values = [value for one in parts if (value := getattr(one, measure)) is not None]
        sums[measure] = sum(values) if values else None
    return Told(day, model, **sums)


def _sum_booked(day: str, model: str, rows: Sequence[Booked], told: Told) -> Told:
    """Return our sums, of all measures that are told; of all when nothing is told of that day and model."""
    answered = sum(row.attempts for row in rows if row.usage_source != "unknown")
    sums = {
        "requests": answered,
        "input_tokens": sum(row.input_tokens for row in rows),
        "cached_tokens": sum(row.cached_tokens for row in rows),
        "output_tokens": sum(row.output_tokens for row in rows),
        "cost_nano": sum(row.cost_nano for row in rows),
    }
    nothing = all(getattr(told, measure) is None for measure in sums)
    return Told(
        day, model, **{name: n if nothing or getattr(told, name) is not None else None for name, n in sums.items()}
    )


def _causes(told: Told, booked: Told, rows: Sequence[Booked]) -> list[str]:
    """Return why the sides of one day and model may differ, in words; none when they agree."""
    if all(getattr(told, measure) in (None, getattr(booked, measure)) for measure in (*MEASURES, "cost_nano")) and any(
        getattr(told, measure) is not None for measure in (*MEASURES, "cost_nano")
    ):
        return []
    if not rows:
        return ["nothing of it is booked here: somebody else calls with this account, or not through this router"]
    causes = []
    if all(getattr(told, measure) is None for measure in (*MEASURES, "cost_nano")):
        causes.append("the provider says nothing of it: the export has another project or key, or ends before")
    estimated = sum(row.attempts for row in rows if row.usage_source == "estimated")
    if estimated:
        tokens = sum(row.input_tokens + row.output_tokens for row in rows if row.usage_source == "estimated")
        causes.append(f"the usage of {_many(estimated, 'attempt')} is our estimate ({tokens} tokens): they broke off")
    unheard = sum(row.attempts for row in rows if row.usage_source == "unknown" and row.charge_state != "measured")
    if unheard:
        causes.append(f"{_many(unheard, 'attempt')} ended without anybody telling what was used")
    unpriced = sum(row.attempts for row in rows if row.charge_state == "unpriced" and row.usage_source != "unknown")
    if unpriced and told.cost_nano is not None:
        causes.append(f"{_many(unpriced, 'attempt')} had no price")
    more = (told.requests or 0) - (booked.requests or 0)
    if told.requests is not None and more > estimated + unheard:
        causes.append(f"{_many(more, 'request')} more than here: somebody else calls with this account")
    same = all(getattr(told, m) in (None, getattr(booked, m)) for m in MEASURES)
    if same and told.cost_nano is not None and told.cost_nano != booked.cost_nano:
        causes.append(
            "the tokens agree, so the price differs: a tier, a discount, or a price of ours that is out of date"
        )
    return causes or ["not explained: compare the days before and after, as a provider may count in another time zone"]


def _many(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")
