"""Readings: what each member of a LiteLLM model's litellm_params and model_info becomes; one row a member."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from pointsman.config.fields import MAX_MS, MAX_TOKENS, MAX_USD
from pointsman.config.imports.draft import is_name
from pointsman.config.imports.litellm_tables import FACTS, MODALITIES, MODEL_LOST, PARAMS, PRICES
from pointsman.config.imports.source import FROM_ENVIRONMENT, Source
from pointsman.config.problem import Place
from pointsman.config.routes import NOT_PARAMS


class Model(msgspec.Struct):
    """Hold one entry of model_list as ours: where it stands, its group, and what its deployment and its route say."""

    place: Place
    group: str
    id: str = ""
    name: str = ""  # of the deployment; given when all are read
    provider: str = ""
    settings: dict[str, Any] = {}
    params: dict[str, tuple[Place, Any]] = {}
    share: dict[str, tuple[Place, float]] = {}  # weight, rpm, tpm
    order: float = math.inf
    order_place: Place = ()
    prices: dict[str, Decimal] = {}
    price_places: list[Place] = []
    reads: set[str] = set()


Said = tuple[str, Any]  # a member and its value
Reading = Callable[[Source, Model, Said, Place], None]


def _number(source: Source, place: Place, value: Any) -> float | None:
    """Return a number that is not negative; None after noting that it is none."""
    try:
        found = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        found = math.nan
    if math.isfinite(found) and found >= 0.0:
        return found
    said = (
        "stands in a variable; write it here."
        if str(value).startswith(FROM_ENVIRONMENT)
        else "is no number that can be used."
    )
    source.lost(place, said)
    return None


def _seen(source: Source, model: Model, said: Said, place: Place) -> None:
    source.seen(place)


def _text_seen(source: Source, model: Model, said: Said, place: Place) -> None:
    value = said[1]
    if isinstance(value, str) or value is None:
        source.seen(place)
    else:
        source.lost(place, "is no text.")


def _headers_seen(source: Source, model: Model, said: Said, place: Place) -> None:
    value = said[1]
    if isinstance(value, dict):
        source.seen(place)  # those that are lost were noted
    else:
        source.lost(place, "is no mapping of headers.")


def _price(source: Source, model: Model, said: Said, place: Place) -> None:
    key, value = said
    try:
        usd = Decimal(str(value)) * 1_000_000 if not isinstance(value, bool) else Decimal("nan")
    except (InvalidOperation, ValueError):
        usd = Decimal("nan")
    if not usd.is_finite() or not 0 <= usd <= Decimal(MAX_USD):
        source.lost(place, "is no price in USD for a token.")
        return
    model.prices.setdefault(PRICES[key], round(usd, 9).normalize())
    model.price_places.append(place)
    source.seen(place)


def _param(source: Source, model: Model, said: Said, place: Place) -> None:
    key, value = said
    if key in NOT_PARAMS:
        source.lost(place, NOT_PARAMS[key])
        return
    try:
        model.params[key] = (place, _spoken(source, place, value))
        source.seen(place)
    except ValueError:
        source.lost(place, "is no JSON value.")


def _spoken(source: Source, place: Place, value: Any) -> Any:
    """Return a value with its texts as our file has them. Raise ValueError when it is none that JSON has."""
    if isinstance(value, str):
        return source.text(place, value)
    if isinstance(value, dict):
        return {key: _spoken(source, place, item) for key, item in value.items()}
    if isinstance(value, list):
        return [_spoken(source, place, item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError
    return value


def _extra_body(source: Source, model: Model, said: Said, place: Place) -> None:
    value = said[1]
    if not isinstance(value, dict):
        source.lost(place, "is no mapping.")
        return
    for name, item in value.items():
        if not is_name(name):
            source.lost((*place, name), "is no name of a member here.")
        else:
            _param(source, model, (name, item), (*place, name))


def _share(source: Source, model: Model, said: Said, place: Place) -> None:
    key = said[0]
    number = _number(source, place, said[1])
    if number is not None:
        model.share[key] = (place, number)
        if key == "weight":
            source.seen(place)
        else:
            source.lost(place, MODEL_LOST[key] + " As a weight it counts, unless `weight` is there.")


def _rank(source: Source, model: Model, said: Said, place: Place) -> None:
    number = _number(source, place, said[1])
    if number is not None:
        model.order, model.order_place = number, place
        source.seen(place)


def _wait(source: Source, model: Model, said: Said, place: Place) -> None:
    number = _number(source, place, said[1])
    if number is not None and 1 <= number * 1000 <= MAX_MS:
        model.settings |= dict.fromkeys(("ttft_ms", "whole_ms"), round(number * 1000))
        source.seen(place)
    elif number is not None:
        source.lost(place, "is no time between a millisecond and a day.")


def _tokens(ours: str) -> Reading:
    def read(source: Source, model: Model, said: Said, place: Place) -> None:
        key = said[0]
        number = _number(source, place, said[1])
        if number is not None and 1 <= number <= MAX_TOKENS:
            if key != "max_tokens" or ours not in model.settings:
                model.settings[ours] = int(number)
            source.seen(place)
        elif number is not None:
            source.lost(place, "is no number of tokens.")

    return read


def _limit(source: Source, model: Model, said: Said, place: Place) -> None:
    number = _number(source, place, said[1])
    if number is not None and 1 <= number <= MAX_TOKENS:
        model.params["max_output"] = (place, int(number))
        source.seen(place)
    elif number is not None:
        source.lost(place, "is no number of tokens.")


def _fact(source: Source, model: Model, said: Said, place: Place) -> None:
    key, value = said
    if not isinstance(value, bool):
        source.lost(place, "is neither true nor false.")
        return
    if key in FACTS:
        model.settings[FACTS[key]] = value
    elif value:
        model.reads.add(MODALITIES[key])
    source.seen(place)


def _region(source: Source, model: Model, said: Said, place: Place) -> None:
    value = said[1]
    if isinstance(value, str) and value:
        model.settings["region"] = source.text(place, value)
        source.seen(place)
    else:
        source.lost(place, "is no text.")


def _id(source: Source, model: Model, said: Said, place: Place) -> None:
    value = said[1]
    model.id = str(value)
    source.seen(place)


_BOTH: dict[str, Reading] = {
    **dict.fromkeys(PRICES, _price),
    "rpm": _share,
    "tpm": _share,
    "weight": _share,
}
PARAM_READINGS: dict[str, Reading] = {
    **_BOTH,
    **dict.fromkeys(PARAMS, _param),
    **dict.fromkeys(("model", "api_key", "api_base", "base_url", "custom_llm_provider"), _seen),
    "litellm_credential_name": _seen,
    "organization": _text_seen,
    "extra_headers": _headers_seen,
    "extra_body": _extra_body,
    "order": _rank,
    "timeout": _wait,
    "max_tokens": _limit,
    "max_completion_tokens": _limit,
    "region_name": _region,
}
INFO_READINGS: dict[str, Reading] = {
    **dict.fromkeys(PRICES, _price),
    **dict.fromkeys((*FACTS, *MODALITIES), _fact),
    "id": _id,
    "mode": _seen,
    "max_input_tokens": _tokens("context"),
    "max_output_tokens": _tokens("max_output"),
    "max_tokens": _tokens("max_output"),
}
