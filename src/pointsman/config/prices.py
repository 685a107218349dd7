"""Prices: what a model costs according to the genai-prices library, as our own integer rates.

The library is asked once a load, never per call, and its answer is kept in a small file, because importing it takes
longer than everything else a start does. Traps it has, and what is done about them:
- an unknown `price_context` silently gives the full price, so only the variants in `_VARIANTS` are asked for, and only
  when the model lists exactly that variant;
- a model is found by prefix rules, so the provider's id is pinned and never guessed;
- prices that change with the hour: the dearest hour of the day is taken, and the source says `peak`;
- a class of tokens that our usage does not tell apart (images, video, citations) and that costs otherwise than the
  text around it leaves the model unpriced, because any figure would be wrong.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pointsman.config.price_list import ListError, PriceList, in_force
from pointsman.core.exchange import Rate, nano_of_amount
from pointsman.core.pricing import NANO_PER_USD, Price, Rates, Tier
from pointsman.core.pricing import versioned as versioned

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider

Wanted = tuple[str, str]  # the provider's id in the library, the upstream model id

REFRESHED = (
    "genai-prices refreshed"  # the source of prices of a list in force: the digest in a version says which they are
)
_MAPPING = 2  # raise when the reckoning below changes: kept rows of before are then not used
_CACHE_FILE = "prices.json"
_MAX_CACHE_BYTES = 8 * 1024 * 1024

# Our name of a service tier -> the one context entry the library knows it by.
_VARIANTS = {
    "flex": ("service_tier", "flex"),
    "priority": ("service_tier", "priority"),
    "fast": ("service_tier", "fast"),
    "batch": ("processing", "batch"),
}
_APART = {  # a class we cannot see in a usage -> the class its tokens are counted in
    "input_image_mtok": "input_mtok",
    "output_image_mtok": "output_mtok",
    "input_video_mtok": "input_mtok",
    "output_video_mtok": "output_mtok",
    "output_citation_mtok": "output_mtok",
}


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what the library says of one model. `changes` is the ISO date of the next price it already knows."""

    price: Price | None = None
    context_tokens: int | None = None
    changes: str = ""
    key: str = ""  # `PROVIDER/MODEL` as the list calls it


class _Kept(msgspec.Struct, frozen=True):
    key: str
    rows: dict[str, Row]


def library_version() -> str:
    return importlib.metadata.version("genai-prices")


def rows(
    wanted: Iterable[Wanted], today: date, cache_dir: Path | None = None, file: Path | None = None
) -> dict[Wanted, Row]:
    """Return a Row for each wanted model that the list knows, at the prices of `today` (UTC). `file` is the list in force in a
    data folder; where there is none, the library's own holds. Raise ListError when it cannot be used.

    With `cache_dir` the rows are kept there in one file, which holds for one list, day and set of models.
    """
    asked = sorted({pair for pair in wanted if pair[0]})
    if not asked:
        return {}
    listed = _stamp(file)
    text = msgspec.json.encode([_MAPPING, library_version(), listed, today.isoformat(), asked])
    key = hashlib.sha256(text).hexdigest()
    kept = _read(cache_dir, key)
    if kept is None:
        found = in_force(file) if listed else None
        kept = {"\n".join(pair): row for pair, row in _ask(asked, today, found).items()}
        _write(cache_dir, _Kept(key, kept))
    return {(provider, model): kept[name] for provider, model in asked if (name := f"{provider}\n{model}") in kept}


def _stamp(file: Path | None) -> str:
    """Return a digest of the list in force; "" when the library's own is."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest() if file is not None else ""
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise ListError(f"cannot be read: {error.strerror}") from None


def all_models(provider_id: str) -> list[str]:
    """Return every model id the library lists for a provider, sorted."""
    found = _providers().get(provider_id)
    return sorted(model.id for model in found.models) if found else []


def nano(usd: Decimal) -> int | None:
    """Return USD as nano-dollars, or None when they are negative, not finite or not a whole number of them."""
    if not usd.is_finite() or usd < 0:
        return None
    value = usd * NANO_PER_USD
    return int(value) if value == value.to_integral_value() else None


_OURS = {"cache_write": "cache_write_5m"}  # a setting's name -> the rate's, where they differ


def from_usd(figures: Mapping[str, float | None], source: str) -> Price | None:
    """Return the Price of figures written in USD per million tokens (`request`: per call), as the file has them.

    None when one is not a whole number of nano-dollars. A float is read as its shortest decimal, so 0.1 is exact.
    """
    rates = {_OURS.get(name, name): nano(Decimal(repr(usd))) for name, usd in figures.items() if usd is not None}
    return None if None in rates.values() else versioned(msgspec.convert(rates, Rates), source)


def from_currency(figures: Mapping[str, float | None], source: str, rate: Rate) -> Price:
    """Return the Price of figures written in another currency, each exact, then rounded half up to a nano-dollar."""
    written = {name: Decimal(repr(figure)) for name, figure in figures.items() if figure is not None}
    rates = {_OURS.get(name, name): nano_of_amount(figure, rate) for name, figure in written.items()}
    said = " / ".join(f"{written[name].normalize():f}" for name in ("input", "output"))
    return versioned(msgspec.convert(rates, Rates), source, note=f"{said} {rate.currency}, {rate.told}")


def _read(cache_dir: Path | None, key: str) -> dict[str, Row] | None:
    if cache_dir is None:
        return None
    try:
        with (cache_dir / _CACHE_FILE).open("rb") as handle:
            kept = msgspec.json.decode(handle.read(_MAX_CACHE_BYTES), type=_Kept)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return kept.rows if kept.key == key else None


def _write(cache_dir: Path | None, kept: _Kept) -> None:
    if cache_dir is None:
        return
    new = cache_dir / (_CACHE_FILE + ".new")
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        new.write_bytes(msgspec.json.encode(kept))
        new.replace(cache_dir / _CACHE_FILE)
    except OSError:  # a kept row saves time only
        return


def _providers() -> dict[str, Provider]:
    from genai_prices.data_snapshot import get_snapshot

    return {provider.id: provider for provider in get_snapshot().providers}


def _ask(asked: list[Wanted], today: date, listed: PriceList | None) -> dict[Wanted, Row]:
    providers = _providers() if listed is None else listed.parsed()
    source = f"genai-prices {library_version()}" if listed is None else REFRESHED
    everyone = list(providers.values())
    found: dict[Wanted, Row] = {}
    for provider_id, model_id in asked:
        provider = providers.get(provider_id)
        model = provider.find_model(model_id, all_providers=everyone) if provider else None
        if provider and model:
            key = f"{provider_id}/{model.id}"
            stale = listed.stale.get(key, "") if listed else ""
            found[provider_id, model_id] = Row(
                price=_noted(price_of(provider, model, today, source), stale),
                context_tokens=model.context_window,
                changes=_next_change(model, today),
                key=key,
            )
    return found


def price_of(provider: Provider, model: ModelInfo, today: date, source: str) -> Price | None:
    """Return what a model costs on a day; None when it has no price, or one that our arithmetic cannot say exactly."""
    if isinstance(model.prices, list) and not model.prices:
        return None
    own = any(model is listed for listed in provider.models)
    return _price(model, today, source, variants=own)


def days_of(model: ModelInfo, today: date) -> list[date]:
    """Return today and the later days on which a model has another price."""
    return sorted({today, *(start for start in _starts(model) if start > today)})


def _noted(price: Price | None, stale: str) -> Price | None:
    if price is None or not stale:
        return price
    return msgspec.structs.replace(price, note=f"stale: not in the list any more since {stale}")


def _starts(model: ModelInfo) -> list[date]:
    constraints = [price.constraint for price in model.prices] if isinstance(model.prices, list) else []
    constraints += [variant.constraint for variant in model.price_variants or ()]
    return [start for one in constraints if isinstance(start := getattr(one, "start_date", None), date)]


def _next_change(model: ModelInfo, today: date) -> str:
    later = [start for start in _starts(model) if start > today]
    return min(later).isoformat() if later else ""


def _hours(model: ModelInfo) -> list[time]:
    """Return the times of day at which the price may differ, midnight first."""
    constraints = [price.constraint for price in model.prices] if isinstance(model.prices, list) else []
    starts = [start for one in constraints if isinstance(start := getattr(one, "start_time", None), time)]
    ends = [end for one in constraints if isinstance(end := getattr(one, "end_time", None), time)]
    return [time(0, 0), *(moment.replace(tzinfo=None) for moment in (*starts, *ends))]


def _price(model: ModelInfo, today: date, source: str, *, variants: bool) -> Price | None:
    hours = _hours(model)
    moments = [datetime.combine(today, hour, UTC) for hour in hours]
    ways = [(found, moment) for moment in moments if (found := _tiered(model.get_prices(moment))) is not None]
    if not ways:
        return None
    (rates, tiers), moment = max(ways, key=lambda way: way[0][0].input + way[0][0].output)
    known = _variants(model, moment) if variants else {}
    return versioned(rates, f"{source} peak" if len(hours) > 1 else source, tiers, known)


def _variants(model: ModelInfo, moment: datetime) -> dict[str, Rates]:
    """Return the rates of the service tiers the model lists. One that is tiered by size has no place in a Price yet,
    so it is left out: a call that asks for it is unpriced rather than wrong."""
    result: dict[str, Rates] = {}
    for name, (key, value) in _VARIANTS.items():
        listed = [v for v in model.price_variants or () if v.when == {key: value}]
        if any(v.constraint is None or v.constraint.active(moment) for v in listed):
            found = _tiered(model.get_prices(moment, {key: value}))
            if found is not None and not found[1]:
                result[name] = found[0]
    return result


def _tiered(price: ModelPrice) -> tuple[Rates, tuple[Tier, ...]] | None:
    """Return the base rates and the tiers of a price, or None when our arithmetic cannot say it exactly."""
    fields: dict[str, Any] = {name: value for name, value in vars(price).items() if value is not None}
    if any(fields[name] != fields.get(base) for name, base in _APART.items() if name in fields):
        return None
    sizes = sorted({tier.start for value in fields.values() for tier in getattr(value, "tiers", ())})
    base = _rates(fields, -1)
    above = [(size, _rates(fields, size)) for size in sizes]
    if base is None or any(rates is None for _, rates in above):
        return None
    return base, tuple(Tier(size, rates) for size, rates in above if rates is not None)


def _at_size(value: Any, size: int) -> Decimal:
    """Return the figure of a class for calls that read more than `size` tokens (-1: the base)."""
    figure: Decimal = getattr(value, "base", value)
    for tier in getattr(value, "tiers", ()):  # ascending
        if tier.start <= size:
            figure = tier.price
    return figure


_CLASSES = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "reasoning": "output_reasoning_mtok",
    "input_audio": "input_audio_mtok",
    "output_audio": "output_audio_mtok",
}


def _rates(fields: Mapping[str, Any], size: int) -> Rates | None:
    """Return the rates at one size. None when there is no price for input or output, or one is not exact."""
    write = "cache_write_5m_mtok" if "cache_write_5m_mtok" in fields else "cache_write_mtok"
    figures = {
        ours: nano(_at_size(fields[theirs], size))
        for ours, theirs in {**_CLASSES, "cache_write_5m": write}.items()
        if theirs in fields
    }
    figures["request"] = nano(_at_size(fields.get("requests_kcount", Decimal(0)), size) / 1000)
    if figures.get("input") is None or figures.get("output") is None or None in figures.values():
        return None
    return msgspec.convert(figures, Rates)
