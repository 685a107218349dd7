"""Price refresh: a newer price list is read, checked, shown as a diff with what it means in dollars, and put in force by being
written into the data folder, from where the reload of the config takes it up.

Nothing is asked for by itself: an operator names a file or an https URL. No redirect is followed.
"""

from __future__ import annotations

import contextlib
import http.client
import os
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from pointsman.config import price_list, prices
from pointsman.config.addresses import issuer_url_fault
from pointsman.config.price_list import ListError, PriceList
from pointsman.control.reckoning import Timeline, Wish, reckon
from pointsman.core.price_change import Change, differences, doubt
from pointsman.core.pricing import Price
from pointsman.stores.ledger import Reader
from pointsman.stores.price_history import prices_in_force
from pointsman.stores.versions import replace

BUNDLED = "bundled"  # instead of a file or URL: the list that the installed library has
FETCH_S = 30.0  # for one step of fetching
IMPACT_MS = 30 * 86_400_000
ALL = "all"
OFFERED = "prices-offered.json"  # in the data folder: a list that waits for a person


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what a new list changes. `result` is what would be in force."""

    result: PriceList
    changes: tuple[Change, ...]

    @property
    def held(self) -> list[Change]:
        return [one for one in self.changes if one.held]

    @property
    def taken(self) -> list[Change]:
        return [one for one in self.changes if not one.held]


class Impact(msgspec.Struct, frozen=True):
    """Hold what the attempts of 30 days cost at the old and the new list prices of a model, in nano-dollars."""

    attempts: int
    old_nano: int
    new_nano: int


def read(origin: str) -> PriceList:
    """Return the list at a path or URL, or the library's own. Raise ListError."""
    if origin == BUNDLED:
        return price_list.bundled()
    shown = _shown(origin)
    data = _fetched(origin) if "://" in origin else _from_file(Path(origin))
    return msgspec.structs.replace(price_list.read_list(data, shown), origin=shown)


def check(old: PriceList, new: PriceList, now: datetime, accepted: Collection[str] = ()) -> Found:
    """Return what differs between two lists, with what is held back unless it is accepted (PROVIDER/MODEL, or `all`). Raise
    ListError."""
    today = now.date()
    was, is_now = _priced(old, now), _priced(new, now)
    changes: list[Change] = []
    held: dict[str, str] = {}
    for model in sorted({*was, *is_now}):
        before, after = was.get(model), is_now.get(model)
        if after is None:
            changes += [Change(model=model, kind="gone")] if model not in old.stale else []
        elif before is None:
            changes.append(Change(model=model, kind="added", figures=differences(None, after[0][1])))
        else:
            why = "" if model in accepted or ALL in accepted else doubt(before[0][1], [price for _, price in after])
            figures = differences(before[0][1], after[0][1])
            later = tuple(day for day, _ in after[1:])
            if figures or why:
                changes.append(Change(model=model, kind="changed", figures=figures, held=why, later=later))
            if why:
                held[model] = why
    result = price_list.merged(old, new, held, today)
    made = msgspec.structs.replace(
        result, at_ms=int(now.timestamp() * 1000), library=prices.library_version(), format=price_list.FORMAT
    )
    return Found(result=made, changes=tuple(changes))


def impacts(reader: Reader, old: PriceList, new: PriceList, now: datetime) -> dict[str, Impact]:
    """Return what the last 30 days of each model that deployments have now cost at the prices of two lists: list prices, before
    contracts. Raise LedgerError, ListError."""
    listed = {one.deployment: one.listed for one in prices_in_force(reader.ask) if one.listed}
    if not listed:
        return {}
    now_ms = int(now.timestamp() * 1000)
    wish = Wish(since_ms=now_ms - IMPACT_MS, until_ms=now_ms + 1, upto_seq=reader.newest(), origin="")
    sums: list[dict[str, tuple[int, int]]] = []
    for one in (old, new):
        priced = {model: found[0][1] for model, found in _priced(one, now, set(listed.values())).items()}
        book: Mapping[str, Price | None] = {name: priced.get(model) for name, model in listed.items()}
        added: dict[str, tuple[int, int]] = {}
        for line in reckon(reader, wish, Timeline([(0, book)])).lines():
            model = listed.get(line.deployment, "")
            count, nano = added.get(model, (0, 0))
            added[model] = (count + line.sums.attempts - line.sums.unpriced, nano + line.sums.reckoned_nano)
        sums.append(added)
    return {
        model: Impact(max(sums[0][model][0], sums[1][model][0]), sums[0][model][1], sums[1][model][1])
        for model in sums[0]
        if model
    }


def put_in_force(data: Path, found: PriceList) -> None:
    """Write a list into the data folder, whole; the one before is kept beside it. Raise OSError."""
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    file, old = data / price_list.FILE, data / price_list.OLD
    with contextlib.suppress(FileNotFoundError):
        before = file.read_bytes()
        old.mkdir(exist_ok=True, mode=0o700)
        stamp = datetime.fromtimestamp(file.stat().st_mtime, UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        replace(old / f"{stamp}.json", before)
        for path in sorted(old.glob("*.json"))[: -price_list.MOST_OLD]:
            path.unlink(missing_ok=True)
    replace(file, price_list.encoded(found))
    with contextlib.suppress(OSError):
        os.unlink(data / OFFERED)


def _priced(
    found: PriceList, now: datetime, only: Collection[str] | None = None
) -> dict[str, list[tuple[str, Price | None]]]:
    """Return the prices of each model now and from each later day on that the list knows of, by day."""
    today = now.date()
    result: dict[str, list[tuple[str, Price | None]]] = {}
    for provider in found.parsed().values():
        for model in provider.models:
            name = f"{provider.id}/{model.id}"
            if only is None or name in only:
                days = prices.days_of(model, today)
                result[name] = [(day.isoformat(), prices.price_of(provider, model, day, "list")) for day in days]
    return result


def _from_file(path: Path) -> bytes:
    try:
        with path.open("rb") as handle:
            data = handle.read(price_list.MOST_BYTES + 1)
    except OSError as error:
        raise ListError(f"cannot be read: {error.strerror}") from None
    return _bounded(data)


def _fetched(url: str) -> bytes:
    fault, _ = issuer_url_fault(url)
    if fault:
        raise ListError("expected an https:// URL, or http:// to this machine")
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=FETCH_S)
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", path, headers={"accept": "application/json", "user-agent": "pointsman"})
        answer = connection.getresponse()
        if answer.status != 200:
            raise ListError(f"is answered with status {answer.status}")
        return _bounded(answer.read(price_list.MOST_BYTES + 1))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ListError(f"cannot be fetched: {getattr(error, 'strerror', None) or type(error).__name__}") from None
    finally:
        connection.close()


def _bounded(data: bytes) -> bytes:
    if len(data) > price_list.MOST_BYTES:
        raise ListError(f"is larger than {price_list.MOST_BYTES >> 20} MiB")
    return data


def _shown(origin: str) -> str:
    """Return where a list is from, without what stands behind `?`: it may be a secret."""
    return origin.partition("?")[0] if "://" in origin else origin
