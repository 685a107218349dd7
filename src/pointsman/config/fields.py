"""Fields: the kinds of value a setting may have, each with its bounds and what it is called in an error."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Strict, Tag
from pydantic_core import PydanticCustomError

from pointsman.config.environment import Borrowed

NAME = re.compile(r"[A-Za-z0-9._:/@-]{1,128}")
MAX_TOKENS = 100_000_000
MAX_MS = 24 * 3_600_000
MAX_USD = 1_000_000.0  # per million tokens, or per call


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
Tokens = Annotated[Whole, Field(ge=1, le=MAX_TOKENS)]
Milliseconds = Annotated[Whole, Field(ge=1, le=MAX_MS)]
Usd = Annotated[Number, Field(ge=0, le=MAX_USD)]
Port = Annotated[Whole, Field(ge=0, le=65535)]


class SecretFile(Section):
    """Say which file holds the secret."""

    file: Text = Field(description="File that holds the secret and nothing else; relative to the config file.")


def _text_or_file(value: Any) -> str:
    return "file" if isinstance(value, dict | SecretFile) else "text"


SecretText = Annotated[
    Annotated[Text, Tag("text")] | Annotated[SecretFile, Tag("file")],
    Discriminator(_text_or_file),
]


def _name_or_weight(value: Any) -> str:
    return "weighted" if isinstance(value, dict) else "name"


Candidate = Annotated[
    Annotated[Name, Tag("name")] | Annotated[dict[Name, Number], Field(min_length=1, max_length=1), Tag("weighted")],
    Discriminator(_name_or_weight),
]
