"""Tokens: what a signed token says, and whom it makes of its holder. Pure: the signature is checked by `stores.tokens`.

Compact JWS (RFC 7515) with the claims of a JSON Web Token (RFC 7519). Nothing of a token is told back: who sends a forged one
learns which check it failed, and nothing that it did not know.
"""

from __future__ import annotations

import binascii
import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from pointsman.core.issuer import Grant, Issuer
from pointsman.core.policy import Key

MOST_TOKEN_BYTES = 8_192
MOST_USER_CHARACTERS = 255  # of `sub` (OpenID Connect Core 1.0, section 2)
MOST_VALUES = 256  # of a claim that lists routes or roles
MOST_CLAIM_DEPTH = 8
MOST_TIME_S = 253_402_300_799  # the year 9999
_SHAPE = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_NAME = re.compile(r"[A-Za-z0-9._:@-]{1,64}")  # what may be booked as an organisation, a team or a project
_RANKS: tuple[Grant, ...] = ("admin", "viewer", "organisation_admin", "organisation_viewer")  # the first goes before


class TokenError(Exception):
    """Say why a token is not taken, in words that help its holder.

    TokenError
    ├── Expired       it was good
    ├── NoRight       it is good, but not for what is asked
    └── NoKeys        the keys of its issuer are not known now: no fault of the token
    """


class Expired(TokenError):
    """Say that a token was good until some time ago."""


class NoRight(TokenError):
    """Say that a token is good, and grants nothing where it is shown."""


class NoKeys(TokenError):
    """Say that nobody can tell whether a token is good."""


class Parsed(NamedTuple):
    """Hold a token whose signature has not been checked. `signed` is what `signature` is over."""

    algorithm: str
    kid: str | None
    claims: dict[str, Any]
    signed: bytes
    signature: bytes


class Holder(NamedTuple):
    """Hold who has a token that is good, until when in Unix milliseconds, and what it grants on the admin listener."""

    key: Key
    until_ms: int
    grant: Grant | None


class _Header(msgspec.Struct):
    alg: str
    kid: str | None = None
    crit: msgspec.Raw | None = None
    b64: bool = True


_header = msgspec.json.Decoder(_Header).decode
_claims = msgspec.json.Decoder(dict[str, Any]).decode


def is_token(credential: bytes) -> bool:
    """Tell whether a credential looks like a token rather than a key: JSON in base64url, and two dots."""
    return credential.startswith(b"eyJ") and credential.count(b".") == 2


def parsed(token: bytes) -> Parsed:
    """Return what a token says, believing none of it. Raise TokenError."""
    if len(token) > MOST_TOKEN_BYTES:
        raise TokenError(f"the token is larger than {MOST_TOKEN_BYTES} bytes")
    if not _SHAPE.fullmatch(token):
        raise TokenError("this is no signed token (JWS in its compact form)")
    signed, _, signature = token.rpartition(b".")
    head, _, body = signed.partition(b".")
    try:
        header, claims = _header(_bytes(head)), _claims(_bytes(body))
        made = Parsed(header.alg, header.kid, claims, signed, _bytes(signature))
    except (msgspec.MsgspecError, binascii.Error, UnicodeDecodeError, RecursionError):
        raise TokenError("the token cannot be read") from None
    if header.crit is not None or not header.b64:
        raise TokenError("the token asks for an extension that is not known here (`crit`)")
    return made


def holder_of(issuer: Issuer, claims: Mapping[str, Any], now_ms: int) -> Holder:
    """Return whom the claims of a token, whose signature holds, make of its holder. Raise TokenError, Expired."""
    until_ms = _lifetime(claims, now_ms, issuer.leeway_ms)
    if not _is_for(claims.get("aud"), issuer.audiences):
        raise TokenError("the token is for another audience")
    for name, wanted in issuer.required.items():
        found = _found(claims, name)
        if found is None or (wanted is not None and wanted not in _texts(found)):
            raise TokenError("the token lacks a claim that is required here, or it has another value")
    user = _found(claims, issuer.claims.user)
    if not isinstance(user, str) or not 0 < len(user) <= MOST_USER_CHARACTERS or not _is_plain(user):
        raise TokenError("the token does not say whose it is in a way that can be booked")
    if user in issuer.denied or claims.get("jti") in issuer.denied:
        raise TokenError("the token is revoked")
    organisation = issuer.organisation or _name(claims, issuer.claims.organisation)
    label = f"{issuer.name}#{user}"
    key = Key(
        name=f"{organisation}/{label}" if organisation else label,
        digest=b"",
        project=_name(claims, issuer.claims.project),
        team=_name(claims, issuer.claims.team),
        organisation=organisation,
        tier=_name(claims, issuer.claims.tier, optional=True),
        routes=_routes(issuer, claims),
        concurrency=issuer.concurrency,
        rank=issuer.rank,
        tags=issuer.tags,
    )
    return Holder(key, until_ms, _grant(issuer, claims))


def _is_for(audience: object, ours: tuple[str, ...]) -> bool:
    """Tell whether `aud`, a text or a list of texts, names one of our audiences, to the letter."""
    named = audience if isinstance(audience, list) else [audience]
    return any(isinstance(one, str) and one in ours for one in named[:MOST_VALUES])


def _bytes(part: bytes) -> bytes:
    return urlsafe_b64decode(part + b"=" * (-len(part) % 4))


def _lifetime(claims: Mapping[str, Any], now_ms: int, leeway_ms: int) -> int:
    """Return until when a token is good, which it is now. Raise TokenError, Expired."""
    times = {name: _time(claims[name]) for name in ("exp", "nbf", "iat") if claims.get(name) is not None}
    if "exp" not in times:
        raise TokenError("the token has no end (`exp`)")
    until_ms = times["exp"] + leeway_ms
    if until_ms <= now_ms:
        raise Expired("the token has expired; get a new one from its issuer")
    if max(times.get("nbf", 0), times.get("iat", 0)) > now_ms + leeway_ms:
        raise TokenError("the token is not good yet (`nbf`, `iat`); are the clocks right?")
    return until_ms


def _time(value: object) -> int:
    """Return a NumericDate as Unix milliseconds."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MOST_TIME_S:
        raise TokenError("the token has a time that is none (`exp`, `nbf`, `iat`)")
    return int(value * 1000)


def _found(claims: Mapping[str, Any], path: str) -> Any:
    """Return a claim, by its name or along a path of names; None: it is not there."""
    if path in claims:
        return claims[path]
    here: Any = claims
    for name in path.split(".", MOST_CLAIM_DEPTH):
        here = here.get(name) if isinstance(here, dict) else None
    return here


def _texts(value: object) -> list[str]:
    """Return what a claim says as texts: of a list its members, of a text its words too; truth values and numbers as JSON."""
    if isinstance(value, str):
        return [value, *value.split(" ")[:MOST_VALUES]]
    if isinstance(value, list):
        return [one for one in value[:MOST_VALUES] if isinstance(one, str)]
    return [] if value is None or isinstance(value, dict) else [msgspec.json.encode(value).decode()]


def _name(claims: Mapping[str, Any], path: str, *, optional: bool = False) -> str:
    """Return the name that a mapped claim holds; who maps one relies on it, so it must be there."""
    found = _found(claims, path) if path else None
    if not path or (found is None and optional):
        return ""
    if not isinstance(found, str) or not _NAME.fullmatch(found):
        raise TokenError("a claim of the token that says where its holder belongs is missing, or is no name")
    return found


def _routes(issuer: Issuer, claims: Mapping[str, Any]) -> tuple[str, ...] | None:
    if not issuer.claims.routes:
        return issuer.routes
    prefix = issuer.route_prefix
    named = [one.removeprefix(prefix) for one in _texts(_found(claims, issuer.claims.routes)) if one.startswith(prefix)]
    return tuple(dict.fromkeys(one for one in named if issuer.routes is None or one in issuer.routes))


def _grant(issuer: Issuer, claims: Mapping[str, Any]) -> Grant | None:
    if not issuer.roles:
        return None
    granted = {issuer.roles[one] for one in _texts(_found(claims, issuer.claims.roles)) if one in issuer.roles}
    return next((grant for grant in _RANKS if grant in granted), None)


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable()
