"""The schema of `server.oidc`: whose tokens are taken beside keys."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pointsman.config.bounds import Count
from pointsman.config.fields import Label, Name, Section, Text, Whole, setting
from pointsman.core.issuer import DEFAULT_ALGORITHMS, DEFAULT_LEEWAY_MS, Algorithm, Grant
from pointsman.core.priority import Priority


class Claims(Section):
    """Which claim of a token says what of a caller: its name, or a path of names joined by dots. One that is named for
    organisation, team or project must be in every token."""

    user: Text = setting("Who it is; booked as NAME#USER.", "sub")
    organisation: Text | None = setting("The organisation they belong to.")
    team: Text | None = setting("Their team.")
    project: Text | None = setting("Their project.")
    tier: Text | None = setting("A label for rules: `caller.tier`.")
    routes: Text | None = setting("The routes they may use, a list or words; without it in a token: none.")
    roles: Text | None = setting("What `roles` looks at, a list or words.")


class Issuer(Section):
    """An OpenID Connect provider whose signed tokens are taken beside keys."""

    issuer: Text = Field(description="Its URL, to the letter as in the claim `iss`. https, or http on this machine.")
    audience: Annotated[list[Text], Field(min_length=1, max_length=16)] = Field(
        description="What the claim `aud` must name, one of these: tokens for others are not taken."
    )
    name: Label | None = setting("What its callers are booked as: NAME#USER. Default: the host in `issuer`.")
    jwks_url: Text | None = setting("Where its keys are. Default: what its discovery document says.")
    ca_file: Text | None = setting("PEM file of extra trust anchors; relative to the config file.")
    algorithms: Annotated[list[Algorithm], Field(min_length=1)] = setting(
        "Signatures that are taken.", list(DEFAULT_ALGORITHMS)
    )
    leeway_s: Annotated[Whole, Field(ge=0, le=300)] = setting(
        "How far its clock and ours may differ.", DEFAULT_LEEWAY_MS // 1000
    )
    required_claims: Annotated[dict[Text, Text | None], Field(max_length=32)] = setting(
        "Claim -> what it must be or contain; nothing: it must be there.", {}
    )
    claims: Claims = setting("Which claim says what of a caller.", Claims())
    organisation: Label | None = setting("The organisation of all its callers, in place of a claim.")
    routes: Annotated[list[Name], Field(max_length=256)] | None = setting("Routes its callers may use. Default: all.")
    route_prefix: Text | None = setting("Of what counts in the claim of routes; cut off: `model:`.")
    roles: Annotated[dict[Text, Grant], Field(max_length=256)] = setting(
        "Value of the claim of roles -> what it grants on the admin listener. Without it: nothing.", {}
    )
    concurrency: Count | None = setting("Most requests at a time of one caller. Default: limits.key_concurrency.")
    priority: Priority = setting("The highest class its callers' requests may name, and their class.", "normal")
    tags: Annotated[list[Label], Field(max_length=16)] = setting("Kept with the rows of their requests.", [])
    denied: Annotated[list[Text], Field(max_length=10_000)] = setting(
        "Tokens (`jti`) and users that are refused from now on.", []
    )
