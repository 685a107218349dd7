"""Price list: what all models cost according to the genai-prices library, or to a newer list of the same format that the
operator has put in force.

The list in force is one file in the data folder, written whole. Lists are handled as the plain data of the format: a model is a
mapping that this program understands only as far as the library does, so that merging two lists changes nothing inside one.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from genai_prices.types import Provider

FILE = "prices.json"
OLD = "prices-old"  # folder beside it
MOST_OLD = 20
MOST_BYTES = 64 * 1024 * 1024
MOST_MODELS = 100_000
FORMAT = 1
# What the library's checks raise for foreign data; pydantic's own error is a ValueError.
_FOREIGN = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, re.error)
Model = tuple[str, str]  # the provider's id in the list, the model's


class ListError(Exception):
    """Say why something is no price list."""


class PriceList(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a list and where it came from. `stale`: model -> the day since when the list it came from has it no more; `held`:
    model -> why its new price was not taken; both by `PROVIDER/MODEL`."""

    providers: list[dict[str, Any]]
    origin: str
    at_ms: int = 0
    sha256: str = ""  # of what was read
    library: str = ""  # version of genai-prices that took it
    stale: dict[str, str] = {}
    held: dict[str, str] = {}
    format: int = FORMAT

    def models(self) -> Iterator[tuple[Model, dict[str, Any]]]:
        """Yield every model with its plain data."""
        for provider in self.providers:
            for model in provider.get("models", ()):
                yield (str(provider["id"]), str(model["id"])), model

    def parsed(self) -> dict[str, Provider]:
        """Return the providers as the library has them. Raise ListError."""
        return parsed(self.providers)


def parsed(providers: list[dict[str, Any]]) -> dict[str, Provider]:
    """Return plain data as the library's providers. Raise ListError that says where something is wrong."""
    try:
        from genai_prices.types import _providers_from_raw  # the library's own way to read a list; it has no public one
    except ImportError:
        raise ListError("cannot be read with the installed version of genai-prices") from None
    try:
        found = _providers_from_raw(providers)
    except _FOREIGN as error:
        raise ListError(f"is not of the format of genai-prices: {_line(error)}") from None
    return {provider.id: provider for provider in found}


def read_list(data: bytes, origin: str) -> PriceList:
    """Return the list in a file: the format of genai-prices, or a file that was in force. Raise ListError."""
    try:
        found = json.loads(data, parse_float=Decimal)
    except (ValueError, RecursionError):
        raise ListError("is not JSON") from None
    held: dict[str, Any] = {}
    if isinstance(found, dict) and "providers" in found:
        held, found = found, found["providers"]
        if held.get("format", FORMAT) != FORMAT:
            raise ListError(f"is of format {held['format']!r}; this program knows {FORMAT}")
    if not isinstance(found, list):
        raise ListError("is not of the format of genai-prices: expected a list of providers")
    _check_shape(found)
    try:
        made = PriceList(
            providers=found,
            origin=str(held.get("origin", origin)),
            at_ms=int(held.get("at_ms", 0)),
            sha256=str(held.get("sha256") or hashlib.sha256(data).hexdigest()),
            library=str(held.get("library", "")),
            stale={str(k): str(v) for k, v in dict(held.get("stale", {})).items()},
            held={str(k): str(v) for k, v in dict(held.get("held", {})).items()},
        )
    except (TypeError, ValueError):
        raise ListError("is not as this program writes it") from None
    made.parsed()
    return made


def in_force(file: Path | None) -> PriceList:
    """Return the list in the data folder, or the library's own where there is none. Raise ListError."""
    if file is None:
        return bundled()
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return bundled()
    except OSError as error:
        raise ListError(f"cannot be read: {error.strerror}") from None
    if len(data) > MOST_BYTES:
        raise ListError(f"is larger than {MOST_BYTES >> 20} MiB")
    return read_list(data, str(file))


@functools.cache
def bundled() -> PriceList:
    """Return the list that the installed library has."""
    from genai_prices.data_snapshot import get_snapshot

    from pointsman.config.prices import library_version

    version = library_version()
    plain = [_plain(provider) for provider in get_snapshot().providers]
    return PriceList(providers=plain, origin=f"genai-prices {version}", library=version)


def encoded(found: PriceList) -> bytes:
    """Return the bytes of the file in force."""
    return json.dumps(msgspec.structs.asdict(found), default=_number, indent=1).encode() + b"\n"


def merged(old: PriceList, new: PriceList, held: dict[str, str], today: date) -> PriceList:
    """Return the new list with the old price of what is held back, and of what it has no more, which is marked as stale."""
    was, fresh = dict(old.models()), {key for key, _ in new.models()}
    gone: dict[str, list[dict[str, Any]]] = {}
    stale: dict[str, str] = {}
    for key, model in was.items():
        if key not in fresh:
            gone.setdefault(key[0], []).append(model)
            stale["/".join(key)] = old.stale.get("/".join(key), today.isoformat())
    providers = []
    for provider in new.providers:
        name = str(provider["id"])
        kept = [
            was[key] if "/".join(key := (name, str(model["id"]))) in held and key in was else model
            for model in provider.get("models", ())
        ]
        providers.append({**provider, "models": [*kept, *gone.pop(name, [])]})
    providers += [provider for provider in old.providers if str(provider["id"]) in gone]
    return msgspec.structs.replace(new, providers=providers, stale=stale, held=held)


def _check_shape(providers: Iterable[Any]) -> None:
    seen: set[Model] = set()
    for provider in providers:
        models = provider.get("models", ()) if isinstance(provider, dict) else None
        if not isinstance(models, list | tuple) or not isinstance(provider.get("id"), str):
            raise ListError("is not of the format of genai-prices: a provider has no id, or no list of models")
        for model in models:
            if not isinstance(model, dict) or not isinstance(model.get("id"), str):
                raise ListError(f"is not of the format of genai-prices: a model of {provider['id'][:64]} has no id")
            seen.add((provider["id"], model["id"]))
    if not seen:
        raise ListError("has no models")
    if len(seen) > MOST_MODELS:
        raise ListError(f"has more than {MOST_MODELS} models")


def _plain(value: Any) -> Any:
    """Return a piece of the library's data as its file format has it. How usage is taken out of replies is left out."""
    if isinstance(value, Decimal):
        return _number(value)
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if type(value).__name__ == "ModelPrice":
        return {name: _plain(one) for name, one in vars(value).items() if one is not None}
    if dataclasses.is_dataclass(value):
        pairs = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {
            name.rstrip("_"): _plain(one) for name, one in pairs if one is not None and name not in ("extractors", "_")
        }
    return value


def _number(value: object) -> float | int | str:
    """Return a Decimal as a JSON number that means exactly it, or as text where none does."""
    if not isinstance(value, Decimal):
        raise TypeError(type(value).__name__)
    short = int(value) if value == value.to_integral_value() else float(value)
    return short if Decimal(repr(short)) == value else str(value)


def _line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = ", ".join(lines[1:3] if len(lines) > 2 else lines[:1])
    return told.partition(" [type=")[0][:200] or type(error).__name__
