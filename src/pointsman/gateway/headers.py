"""Headers as the parser gives them: names in the sender's spelling. `wanted` picks and normalises the few that matter.

Clients and providers send the same names again and again, so the answer to "which of these names do we want" is remembered
for each list of names; the memory is bounded and short lists only are kept, because anyone may invent names.
"""

from __future__ import annotations

from pointsman.dialects.said import PRIORITY_HEADER, SESSION_HEADERS

Picks = tuple[tuple[str, bytes], ...]
STORE_HEADER = "x-pointsman-store"  # anything but `on`: this request is not stored
NAMES = (
    "authorization",
    "x-api-key",
    "api-key",
    "x-request-id",
    "x-stainless-read-timeout",
    "x-stainless-retry-count",
    PRIORITY_HEADER,
    "content-encoding",
    "content-length",
    "expect",
    "idempotency-key",
    "openai-beta",
    "cache-control",
    "traceparent",
    "tracestate",
    STORE_HEADER,
    *SESSION_HEADERS,
)
OPEN_NAMES = ("host", "origin")  # without keys: what tells a program of this machine from a web page
_MAX_SHAPES = 1024
_MAX_SHAPE_BYTES = 2048


class Wanted:
    """Remember which headers one side wants, by lower-case name."""

    def __init__(self, *names: str) -> None:
        self._names = {name.encode(): name for name in names}
        self._shapes: dict[tuple[bytes, ...], Picks] = {}

    def of(self, headers: dict[bytes, bytes]) -> dict[str, bytes]:
        """Return the wanted headers by lower-case name; the last of several spellings counts."""
        shape = tuple(headers)
        picks = self._shapes.get(shape)
        if picks is None:
            picks = self._learn(shape)
        return {name: headers[spelled] for name, spelled in picks}

    def _learn(self, shape: tuple[bytes, ...]) -> Picks:
        picks = tuple((self._names[name.lower()], name) for name in shape if name.lower() in self._names)
        if len(self._shapes) < _MAX_SHAPES and sum(map(len, shape)) < _MAX_SHAPE_BYTES:
            self._shapes[shape] = picks
        return picks


def wanted_of(rule_headers: tuple[str, ...] = (), *, local_only: bool = False) -> Wanted:
    """Return what is looked at of a request's headers: by us, by rules, and where only this machine may call."""
    return Wanted(*NAMES, *rule_headers, *(OPEN_NAMES if local_only else ()))
