"""Issuer: who vouches for callers that have no key of ours: an OpenID Connect provider whose signed tokens are taken."""

from __future__ import annotations

from typing import Literal

import msgspec

from pointsman.core.priority import NORMAL

# Signatures with a key pair only (RFC 7518, RFC 8037): with HS256 a public key would be a password that everybody knows.
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
Grant = Literal["viewer", "admin", "organisation_viewer", "organisation_admin"]  # the last two: of the token's own
CURVES = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "EdDSA"}
DEFAULT_ALGORITHMS: tuple[Algorithm, ...] = ("RS256", "ES256")
DEFAULT_LEEWAY_MS = 30_000


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """Hold which claim of a token says what of a caller: a name, or a path of names joined by dots. "": none does."""

    user: str = "sub"
    organisation: str = ""
    team: str = ""
    project: str = ""
    tier: str = ""
    routes: str = ""
    roles: str = ""


class Issuer(msgspec.Struct, frozen=True, kw_only=True):
    """Hold whose tokens are taken, for whom, and what they grant. `url` is the claim `iss`, to the letter."""

    name: str  # callers are booked as NAME#SUBJECT
    url: str
    audiences: tuple[str, ...]
    jwks_url: str = ""  # "": what its discovery document says
    ca_file: str = ""
    algorithms: tuple[Algorithm, ...] = DEFAULT_ALGORITHMS
    leeway_ms: int = DEFAULT_LEEWAY_MS  # that its clock and ours may differ
    required: dict[str, str | None] = {}  # claim -> what it must be or contain; None: anything
    claims: Claims = Claims()
    organisation: str = ""  # of all its callers
    routes: tuple[str, ...] | None = None  # None: all; those of the claim are of these
    route_prefix: str = ""  # of what counts in the claim of routes; it is cut off
    roles: dict[str, Grant] = {}  # value of the claim of roles -> what its holder may do on the admin listener
    concurrency: int | None = None  # most requests at a time of one caller; None: the limits' default
    rank: int = NORMAL
    tags: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()  # tokens (`jti`) and users that are refused
