"""The rows of requests as columns: those that are booked together are made together, a column at a time. Pure.

A request that is not like most (several attempts or none, an answer given again, no Admitted record) is first put as if it
were: with one attempt that tells what its row is to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from msgspec import Raw
from msgspec.structs import astuple, replace

from pointsman.core.entry import AttemptRow, Filed, Settled, Sparse, total_of
from pointsman.core.head import Head
from pointsman.core.request import Features, Request
from pointsman.core.usage import NO_USAGE, Usage
from pointsman.stores.ledger import (
    ADMISSION_LOST,
    DAY_MS,
    NO_HEAD,
    NO_HIT,
    NO_PLACE,
    Batch,
    Column,
    Made,
    Places,
    attempt_rows,
    day_of,
    is_lone,
    tags_of,
)

Ended = Sequence[tuple[Filed | None, Settled]]
_LOST_HEAD = Head("", "", "", -1, ADMISSION_LOST, None)
_round = float.__round__  # which `round` would look for each time
_SOURCES: tuple[Literal["measured", "estimated", "unknown"], ...] = ("measured", "estimated", "unknown")  # best first


def batch_of(ended: Ended, made: Sequence[Made]) -> Batch:
    """Return what is written of ended requests, whose decisions are `made`, but for the marks and the signals."""
    batch = Batch(ended=[*ended])
    keep_decisions(batch, [filed for filed, _ in ended], made)
    if ended:
        batch.columns = request_columns(ended, made)
        if None in batch.columns[-1]:  # LONE_COLUMNS stand last: where they are NULL, attempts, if any, are rows
            told = zip(batch.columns[-1], ended, strict=True)
            batch.attempts = [row for us, (_, end) in told if us is None for row in attempt_rows(end)]
    return batch


def keep_decisions(batch: Batch, filed: Sequence[Filed | None], made: Sequence[Made]) -> None:
    """Add what is kept of decisions: as they were recorded, or as rows of their own."""
    batch.recorded = [
        one if head is not None and row is None else None for one, (head, row, _) in zip(filed, made, strict=True)
    ]
    batch.decisions = [row for _, row, _ in made if row is not None]


def request_columns(ended: Ended, made: Sequence[Made]) -> list[Column]:
    """Return the columns, in the order of REQUEST_COLUMNS, of one ended request or more. Without its Admitted record the row of
    one says so, and holds the charge."""
    count, settled = len(ended), [one for _, one in ended]
    (ids, _, routes, outcomes, statuses, sends, queues, decided, firsts, ends, upstream, degraded, caches, hits) = zip(
        *map(astuple, settled), strict=True
    )
    known = [one for one, _ in ended]
    filed = [one or _lost(end) for one, end in ended]
    requests, clients, times, callers, asked, snapshots, sessions, tagged, _, _ = zip(*map(astuple, filed), strict=True)
    heads = [head or NO_HEAD for head, _, _ in made]
    if not all(known):
        heads = [_LOST_HEAD if one is None else head for one, head in zip(known, heads, strict=True)]
    _, strategies, planned, holds, reasons, chances, paths, arms, arm_chances = zip(*map(astuple, heads), strict=True)
    counts, given_again = tuple(map(len, sends)), any(hits)
    single = not given_again and counts.count(1) == count
    if single:
        attempts = [attempt for (attempt,) in sends]
    else:
        attempts = [_told(end, head, places) for end, head, (_, _, places) in zip(settled, heads, made, strict=True)]
    (deployments, providers, models, ended_as, answered_as, begins, connected, answered, untils, usages, nanos, states,
     prices, served, messages) = zip(*map(astuple, attempts), strict=True)  # fmt: skip
    begins_us, lone = _us(begins), (_us_since(begins, answered), _us_since(begins, untils))
    usual = single and ended_as == outcomes and answered_as == statuses and not any(messages)
    lone_columns = [begins_us, *lone]
    if not usual or "unpriced" in states:
        alone = [is_lone(end) for end in settled]
        lone_columns = [_where(alone, column) for column in lone_columns]
    if "unpriced" in states or min(nanos) < 0:
        charges: Column = [
            None if state == "unpriced" or nano < 0 else nano for nano, state in zip(nanos, states, strict=True)
        ]
    else:
        charges = nanos
    return [
        ids, clients, times, _days(times), *zip(*callers, strict=True),
        [request.kind for request in requests], [1 if request.features.stream else 0 for request in requests], asked, routes,
        strategies, planned, deployments, providers, models, served, outcomes, statuses, counts,
        *zip(*map(astuple, usages), strict=True),
        charges, states, holds if min(holds) >= 0 else [None if hold < 0 else hold for hold in holds],
        prices, [snapshot.version for snapshot in snapshots], reasons, chances,
        _us(queues), _us_since(queues, decided), _us_since(begins, connected), _us(firsts), _us(ends),
        _us_since(upstream, ends), (0,) * count, paths, arms, arm_chances, degraded, sessions,
        [tags_of(tags) for tags in tagged] if any(tagged) else ("",) * count, caches,
        *(zip(*map(_hit, hits), strict=True) if given_again else [(value,) * count for value in NO_HIT]), *lone_columns,
    ]  # fmt: skip


def _lost(settled: Settled) -> Filed:
    """Return what stands for the admission when only the settlement is left."""
    request, sparse = Request(settled.id, "", "", Features(0), 0.0, 0.0), Sparse("", 0.0, 0.0, Raw(b""))
    return Filed(request, "", settled.at_ms - int(settled.ended_ms), ("", "", "", ""), "", sparse)


def _told(settled: Settled, head: Head, places: Places) -> AttemptRow:
    """Return the one attempt that tells what the row of a request says of its attempts."""
    attempts, hit = settled.attempts, settled.hit
    if len(attempts) == 1:
        told = attempts[0]
    else:
        nano, state = total_of(attempts)
        if attempts:
            told = replace(attempts[-1], usage=_tokens(attempts), charge_nano=nano, charge_state=state)
        else:
            place, times = places.get(head.planned, NO_PLACE), (0.0, 0.0, 0.0, 0.0)
            who = (head.planned, place.provider, place.model)
            told = AttemptRow(*who, "", 0, *times, NO_USAGE, nano, state, place.price_version, "", "")
    if hit is None:
        return told
    return replace(
        told,
        deployment=hit.deployment,
        provider=hit.provider,
        model=hit.model,
        served_model=hit.served_model,
        price_version="",
        connected_ms=told.started_ms,
    )


def _tokens(attempts: Sequence[AttemptRow]) -> Usage:
    """Return the sums over the attempts, and the weakest source among those that used any."""
    parts = [astuple(a.usage) for a in attempts if a.usage.source != "unknown" or a.charge_nano]
    if not parts:
        return NO_USAGE
    *counts, sources = zip(*parts, strict=True)
    sums: dict[str, Any] = dict(zip(Usage.__struct_fields__, map(sum, counts), strict=False))
    return Usage(**sums, source=max(sources, key=_SOURCES.index))


def _hit(hit: Any) -> tuple[str, int | None, int | None]:
    if hit is None:
        return NO_HIT
    return hit.request_id, hit.age_ms, None if hit.saved_nano < 0 else hit.saved_nano


def _days(times_ms: Sequence[int]) -> Column:
    first, last = min(times_ms) // DAY_MS, max(times_ms) // DAY_MS
    if first == last:
        return (day_of(first),) * len(times_ms)
    return [day_of(at_ms // DAY_MS) for at_ms in times_ms]


def _us(times_ms: Sequence[float]) -> Column:
    """Return microseconds; 0 for what is not positive."""
    return tuple(map(_round, [ms * 1000.0 if ms > 0.0 else 0.0 for ms in times_ms]))


def _us_since(begins_ms: Sequence[float], ends_ms: Sequence[float]) -> Column:
    """Return the microseconds between; 0 where the end is not behind the beginning."""
    spans_ms = zip(begins_ms, ends_ms, strict=True)
    return tuple(map(_round, [ms * 1000.0 if (ms := end - begin) > 0.0 else 0.0 for begin, end in spans_ms]))


def _where(there: Sequence[bool], column: Column) -> Column:
    return [value if so else None for so, value in zip(there, column, strict=True)]
