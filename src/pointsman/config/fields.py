"""Fields: the kinds of value a setting may have, each with its bounds and what it is called in an error."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Strict, Tag, WithJsonSchema
from pydantic_core import PydanticCustomError

from pointsman.config.environment import Borrowed

NAME = re.compile(r"[A-Za-z0-9._:/@-]{1,128}")
MAX_TOKENS = 100_000_000
MAX_MS = 24 * 3_600_000
MAX_USD = 1_000_000.0  # per million tokens, or per call
MAX_SECONDS = 30 * 86_400
MAX_LONG_SECONDS = 90 * 86_400


class Section(BaseModel):
    """Be the base of every mapping in the file: strict, closed, frozen."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def setting(description: str, default: Any = None) -> Any:
    """Return a field that may be left out. (A plain Field hides its default from a type checker without a plug-in.)"""
    return Field(default=default, description=description)


def borrowed_number(convert: Callable[[str], Any]) -> Callable[[Any], Any]:
    """Return a validator that reads a number or truth value out of text, only if the text came from `${NAME}`."""

    def read(value: Any) -> Any:
        if isinstance(value, Borrowed):
            try:
                return convert(value.strip())
            except (ValueError, KeyError):
                return str(value)
        return value

    return read


def _finite(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float) and not (abs(value) < 1e300 and math.isfinite(value)):
        raise PydanticCustomError("not_finite", "expected a finite number")
    return value


def _whole(value: Any) -> Any:
    if isinstance(value, float) and not value.is_integer():
        raise PydanticCustomError("int_type", "expected a whole number")
    return value


_TRUTH = {"true": True, "false": False, "yes": True, "no": False, "on": True, "off": False}

Whole = Annotated[int, Strict(), BeforeValidator(_whole), BeforeValidator(borrowed_number(int))]
Number = Annotated[float, Strict(), BeforeValidator(_finite), BeforeValidator(borrowed_number(float))]
Truth = Annotated[bool, Strict(), BeforeValidator(borrowed_number(lambda text: _TRUTH[text.lower()]))]
Text = Annotated[str, Field(min_length=1, max_length=4096)]
Name = Annotated[str, Field(min_length=1, max_length=128)]
Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:@-]{1,64}$")]  # what usage may be booked under
Tokens = Annotated[Whole, Field(ge=1, le=MAX_TOKENS)]
Milliseconds = Annotated[Whole, Field(ge=1, le=MAX_MS)]
Usd = Annotated[Number, Field(ge=0, le=MAX_USD)]
Port = Annotated[Whole, Field(ge=0, le=65535)]


_SECONDS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)([smhd]?)")
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")


def _seconds(value: Any) -> Any:
    """Read "30s", "15m", "24h" or "7d"; a number is seconds."""
    seconds = _read_seconds(value)
    if not 1.0 <= seconds <= MAX_SECONDS:
        raise PydanticCustomError("duration_range", "must be 1 second to 30 days")
    return seconds


def _long_seconds(value: Any) -> Any:
    seconds = _read_seconds(value)
    if not 1.0 <= seconds <= MAX_LONG_SECONDS:
        raise PydanticCustomError("long_duration_range", "must be 1 second to 90 days")
    return seconds


def _read_seconds(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or not (match[2] or isinstance(value, Borrowed)):
        raise PydanticCustomError("duration", "expected a duration")
    return float(match[1]) * _SECONDS.get(match[2], 1.0)


def _minute(value: Any) -> Any:
    """Read "HH:MM" as the minute of the day."""
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise PydanticCustomError("time_of_day", "expected a time of day")
    return int(match[1]) * 60 + int(match[2])


def _as_json(most_s: int) -> WithJsonSchema:
    number = {"type": "number", "minimum": 1, "maximum": most_s}
    return WithJsonSchema({"anyOf": [number, {"type": "string", "pattern": r"^\d+(\.\d+)?[smhd]$|\$\{"}]})


Duration = Annotated[float, BeforeValidator(_seconds), _as_json(MAX_SECONDS)]
LongDuration = Annotated[float, BeforeValidator(_long_seconds), _as_json(MAX_LONG_SECONDS)]
TimeOfDay = Annotated[
    int,
    BeforeValidator(_minute),
    WithJsonSchema({"type": "string", "pattern": r"^([01]\d|2[0-3]):[0-5]\d$|\$\{"}),
]
Positive = Annotated[Number, Field(gt=0, le=MAX_USD)]
Share = Annotated[Number, Field(ge=0, le=1)]
Prose = Annotated[str, Field(min_length=1, max_length=65_536)]


def mapping_or(other: str) -> Callable[[Any], str]:
    """Return what tells the two ways of writing a setting apart: as a mapping, or as `other`."""
    return lambda value: "mapping" if isinstance(value, dict | BaseModel) else other


def number_or(other: str) -> Callable[[Any], str]:
    """Return what tells the two ways of writing a setting apart: as a number, or as the word `other`."""
    return lambda value: other if value == other else "number"


class SecretFile(Section):
    """Say which file holds the secret."""

    file: Text = Field(description="File that holds the secret and nothing else; relative to the config file.")


SecretText = Annotated[
    Annotated[Text, Tag("text")] | Annotated[SecretFile, Tag("mapping")],
    Discriminator(mapping_or("text")),
]
Candidate = Annotated[
    Annotated[Name, Tag("name")] | Annotated[dict[Name, Number], Field(min_length=1, max_length=1), Tag("mapping")],
    Discriminator(mapping_or("name")),
]
