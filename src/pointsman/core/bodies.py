"""Bodies: what a route says of storing requests and answers. Nothing is stored unless it says so."""

from __future__ import annotations

import msgspec

MOST_TTL_S = 90 * 86_400.0
DETECTORS = ("emails", "phones", "cards", "ips")  # what `redact` may name


class Storing(msgspec.Struct, frozen=True, kw_only=True):
    """Hold for how long (at most MOST_TTL_S) and how much of a request and of its answer is stored, of which share of the
    requests, and what is taken out first: DETECTORS, and `patterns` as `core/redaction.py` reads them."""

    ttl_s: float
    sample: float = 1.0
    max_bytes: int = 256 * 1024
    redact: tuple[str, ...] = DETECTORS
    patterns: tuple[str, ...] = ()


class StoreBounds(msgspec.Struct, frozen=True, kw_only=True):
    """Hold whose bodies are never stored, as names of keys, projects, teams and organisations with what they are in front
    (`team:legal`), and how many bytes of bodies a data folder keeps at most."""

    never: tuple[str, ...] = ()
    max_bytes: int = 1024 * 1024 * 1024
