"""Cache key: what makes two requests ask for the same answer: whose they are, what decides, and what they mean. Pure.

A key is a digest over an unambiguous encoding, so that no choice of names or texts makes two of them meet (S17).
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from pointsman.core.policy import Cache, Policy, Route

FORMAT = 2  # of keys and of what is kept under them; raised when either changes its meaning
SHARE_BYTES, KEY_BYTES = 12, 20
MOST_REQUEST_BYTES = 256 * 1024  # requests with larger bodies are not looked up

# Members that say who asks, how the answer travels or how it is booked, and cannot change it.
VOLATILE = (
    *("model", "stream", "stream_options", "pointsman", "user", "safety_identifier", "metadata"),
    *("prompt_cache_key", "prompt_cache_retention"),
)
# Members whose answers hold what the nouns of core.chat do not: a stream of those is not made of a reply, nor the reverse.
UNSHARED = frozenset({"logprobs", "top_logprobs", "modalities", "audio", "web_search_options", "functions"})


class Caching(msgspec.Struct, frozen=True):
    """Hold how a route keeps answers, and a digest of all that decides what they are."""

    settings: Cache
    mark: bytes
    label: str
    space: str = ""  # of vectors: those of another one say nothing here


class CacheKey(NamedTuple):
    """Hold what an answer is kept under: `share` is the tenant's part of a route, `key` the request. `shared`: a stream
    may be made of a reply, and a reply of a stream."""

    share: str
    key: str
    shared: bool


def caching_of(policy: Policy, route: Route) -> Caching | None:
    """Return the Caching of a route; None when it keeps nothing, or the policy is one of the ledger, which has no providers.

    Whatever may lead to another answer is in the mark: candidates and whom they call, how one is drawn, what the route
    changes in the request. Prices, waits and retries are not.
    """
    if route.cache is None or not policy.providers:
        return None
    deployments = {one.name: one for one in policy.deployments}
    called = []
    for name in route.candidates:
        one = deployments[name]
        provider = policy.providers[one.provider]
        called.append(
            (name, one.wire, one.region, provider.dialect, provider.base_url, provider.path, provider.headers)
        )
    edits = (sorted(route.params.items()), route.prompt_prefix, route.max_output_tokens)
    decides = (FORMAT, route.hidden, route.name, called, route.strategy, route.weights, route.objective, *edits)
    mark = blake2b(msgspec.msgpack.encode(decides), digest_size=16).digest()
    semantic = route.cache.semantic
    maker = None if semantic is None else deployments.get(semantic.embeddings)
    space = "" if maker is None else f"{policy.providers[maker.provider].base_url} {maker.wire.model}"
    return Caching(route.cache, mark, route.hidden or route.name, space)


def key_of(caching: Caching, who: tuple[str, str, str, str], body: bytes, beta: bytes | None = None) -> CacheKey | None:
    """Return what the answer to a chat request body is kept under; None when it is not to be kept.

    `who` is key, project, team, organisation. `beta`: a header of the client that reaches the provider.
    """
    if len(body) > MOST_REQUEST_BYTES:
        return None
    try:
        members = decoded(body)
        for name in VOLATILE:
            if name in members:
                del members[name]
        canonical = encoded(members)
    except (msgspec.MsgspecError, OverflowError, RecursionError, UnicodeError):
        return None
    share = share_of(caching.settings.scope, caching.label, who)
    digest = blake2b(caching.mark + share + canonical, digest_size=KEY_BYTES)  # the first two are always of one length
    if beta is not None:
        digest.update(b"\0" + beta)  # the canonical text holds no NUL
    return _new(CacheKey, (share.hex(), digest.hexdigest(), UNSHARED.isdisjoint(members)))


@lru_cache(maxsize=4096)
def share_of(scope: str, label: str, who: tuple[str, str, str, str]) -> bytes:
    """Return the digest that names a tenant's part of a route. Keys without a project, team or organisation of their own
    share nothing with each other: their scope is the key."""
    at = _SCOPES.index(scope)
    tenant = (scope, *who[at:]) if who[at] else ("key", *who)
    return blake2b(msgspec.msgpack.encode((FORMAT, label, tenant)), digest_size=SHARE_BYTES).digest()


def ambiguous(body: bytes) -> bool:
    """Tell whether some object of a JSON body names a member twice: a provider may read the other one than we did."""
    found = False

    def look(pairs: list[tuple[str, Any]]) -> None:
        nonlocal found
        found = found or len({name for name, _ in pairs}) < len(pairs)

    _scan(body.decode(), look)
    return found


def _scan(text: str, look: Any) -> None:
    import json  # the only decoder that tells of members named twice; asked for answers that are kept, not for look-ups

    json.loads(text, object_pairs_hook=look)


def _number(text: str) -> int | float:
    """Return a number by its value: 1, 1.0 and 10e-1 are one."""
    value = float(text)
    if value != value or value in (float("inf"), float("-inf")):
        raise OverflowError(text)
    return int(value) if value.is_integer() and abs(value) < float(1 << 64) else value


_new = tuple.__new__  # of a NamedTuple: a third of the time of calling it
_SCOPES = ("key", "project", "team", "organisation")
decoded = msgspec.json.Decoder(dict[str, Any], float_hook=_number).decode
encoded = msgspec.json.Encoder(order="sorted").encode
