"""Quota schema: the YAML face of `quotas`: who may use how much of what in what time."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from pointsman.config.fields import Name, Section, Share, Tokens, setting
from pointsman.core.quotas import ASSUMED_OUTPUT_TOKENS, NOTIFY_AT

NANO = 1_000_000_000
MOST_WAIT_MS = 60_000
_PERIODS = {"second": "s", "minute": "m", "hour": "h", "day": "d", "week": "w", "month": "mo"}
_PERIODS |= {short: short for short in _PERIODS.values()}
_WORDS = "|".join(_PERIODS)
_AMOUNT = re.compile(rf"(\d{{1,12}}(?:\.\d{{1,9}})?)([kM]?) ?/ ?({_WORDS})")
_FACTORS = {"": 1, "k": 1_000, "M": 1_000_000}


def _amount(value: Any) -> Any:
    """Read "60/m", "100k/minute" or "9.50/month" as billionths and a period."""
    match = _AMOUNT.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise PydanticCustomError("quota_amount", "expected an amount and a period")
    return int(Decimal(match[1]) * _FACTORS[match[2]] * NANO), _PERIODS[match[3]]


Amount = Annotated[
    tuple[int, str],
    BeforeValidator(_amount),
    WithJsonSchema({"type": "string", "pattern": rf"^\d+(\.\d+)?[kM]? ?/ ?({_WORDS})$|\$\{{"}),
]


class Quota(Section):
    """What a caller may use. At most one of organisation, team, project and key; without one, of everyone together."""

    name: Name | None = setting("What errors and metrics call it. Default: made of the rest.")
    organisation: Name | None = setting("Of this organisation; default: of each that no other quota names.")
    team: Name | None = setting("Of this team; default: of each that no other quota names.")
    project: Name | None = setting("Of this project; default: of each that no other quota names.")
    key: Name | None = setting("Of this key; default: of each that no other quota names.")
    route: Name | None = setting("Only on this route.")
    model: Name | None = setting("Only at deployments of this model, as the provider calls it.")
    provider: Name | None = setting("Only at this provider.")
    requests: Amount | None = setting('Most requests: "60/m", "10k/d".')
    input_tokens: Amount | None = setting("Most input tokens.")
    output_tokens: Amount | None = setting("Most output tokens.")
    tokens: Amount | None = setting("Most input and output tokens together.")
    usd: Amount | None = setting('Most USD: "10/d", "0.50/h", "200/month".')
    over: Literal["refuse", "notify"] = setting("What is done with a request that does not fit.", "refuse")
    degrade: Name | None = setting("The route that answers a request that does not fit.")
    wait_ms: Annotated[int, Field(ge=0, le=MOST_WAIT_MS)] = setting(
        "Longest that a request waits for room before it is refused or sent on.", 0
    )
    notify_at: Annotated[Share, Field(gt=0)] = setting("Share of the amount at which it is told.", NOTIFY_AT)
    assume_output: Tokens = setting(
        "Output tokens reserved when neither client nor route says how long an answer may be.", ASSUMED_OUTPUT_TOKENS
    )
