"""Log: what is written to standard error, as the config says it."""

from __future__ import annotations

from typing import Literal

import msgspec

Level = Literal["info", "warning", "error"]


class LogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the format, the least level, and which requests get a line when they are booked; `sample`: the share of those
    that ended well."""

    format: Literal["text", "json"] = "text"
    level: Level = "info"
    requests: Literal["none", "errors", "all"] = "none"
    sample: float = 1.0
