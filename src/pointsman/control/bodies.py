"""Bodies: what the admin API takes and gives, each as a closed struct: what is not named here is refused (S5)."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from pointsman.core.notice import Kind, Noted, State
from pointsman.core.priority import Priority
from pointsman.stores.bodies import Body as Stored
from pointsman.stores.callers import (
    MOST_CONCURRENCY,
    MOST_ROUTES,
    MOST_TAGS,
    NAME,
    ROUTE,
    AdminKey,
    AuditRow,
    Group,
    Role,
    StoredKey,
)
from pointsman.stores.callers_acting import MOST_GRACE_MS, MOST_TIME_MS

Name = Annotated[str, Meta(pattern=f"^{NAME.pattern}$", description="1 to 64 of A-Z a-z 0-9 . _ : @ -")]
Id = Annotated[str, Meta(max_length=64, description="An id that this API gave.")]
Time = Annotated[int, Meta(ge=0, le=MOST_TIME_MS, description="Unix milliseconds.")]
Routes = Annotated[
    list[Annotated[str, Meta(pattern=f"^{ROUTE.pattern}$")]],
    Meta(max_length=MOST_ROUTES, description="Routes that the key may use. Null: all."),
]
Tags = Annotated[list[Name], Meta(max_length=MOST_TAGS)]
Tier = Annotated[str, Meta(pattern="^[A-Za-z0-9._:@-]{0,64}$", description="A label for rules.")]
Concurrency = Annotated[int, Meta(ge=1, le=MOST_CONCURRENCY, description="Most requests at a time.")]
Grace = Annotated[int, Meta(ge=0, le=MOST_GRACE_MS // 1000, description="Seconds for which the text before goes on.")]


class Body(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Be the base of what is taken."""


class NewOrganisation(Body):
    name: Name


class NewTeam(Body):
    name: Name
    organisation: Id


class NewProject(Body):
    name: Name
    team: Id


class Rename(Body):
    name: Name


class NewKey(Body):
    name: Name
    project: Id | None = None
    routes: Routes | None = None
    tags: Tags = []
    priority: Priority = "normal"
    tier: Tier = ""
    concurrency: Concurrency | None = None
    expires_ms: Time | None = None


class KeyChange(Body):
    routes: Routes | UnsetType | None = UNSET
    tags: Tags | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET
    tier: Tier | UnsetType = UNSET
    concurrency: Concurrency | UnsetType | None = UNSET
    expires_ms: Time | UnsetType | None = UNSET


class Rotation(Body):
    grace_s: Grace = 0


class NewAdminKey(Body):
    name: Name
    role: Role
    organisation: Id | None = None
    expires_ms: Time | None = None


class GroupReply(msgspec.Struct, kw_only=True):
    """An organisation, a team or a project. `parent`: id of what it belongs to."""

    id: str
    kind: Literal["organisation", "team", "project"]
    name: str
    parent: str | None
    created_ms: int


class KeyReply(msgspec.Struct, kw_only=True):
    """A key. `booked_as`: its name in the ledger; `key`: its text, told once."""

    id: str
    name: str
    booked_as: str
    organisation: str | None  # names
    team: str | None
    project: str | None
    project_id: str | None
    routes: list[str] | None
    tags: list[str]
    priority: Priority
    tier: str
    concurrency: int | None
    shown: str
    state: Literal["active", "expired", "revoked"]
    created_ms: int
    rotated_ms: int | None
    expires_ms: int | None
    revoked_ms: int | None
    last_used: str | None  # day, UTC
    key: str | UnsetType = UNSET


class AdminKeyReply(msgspec.Struct, kw_only=True):
    """An admin key. `organisation`: id of the one it is bound to; `key`: its text, told once."""

    id: str
    name: str
    role: Role
    organisation: str | None
    shown: str
    state: Literal["active", "expired", "revoked"]
    created_ms: int
    expires_ms: int | None
    revoked_ms: int | None
    key: str | UnsetType = UNSET


class AuditReply(msgspec.Struct, kw_only=True):
    """A row of the audit log."""

    seq: int
    at_ms: int
    actor: str
    action: str
    target: str
    organisation: str | None
    before: msgspec.Raw
    after: msgspec.Raw
    hash: str


class ChannelReply(msgspec.Struct, kw_only=True):
    """What became of a notice in one channel, since when, after how many tries, and why not."""

    channel: str
    state: State
    at_ms: int
    tries: int
    reason: str


class NoticeReply(msgspec.Struct, kw_only=True):
    """A notice. `repeated`: how often the same was found again and told to nobody, the last time at `last_ms`; `channels`: all
    that want its kind."""

    id: str
    at_ms: int
    kind: Kind
    subject: str
    what: str
    text: str
    repeated: int
    last_ms: int
    channels: list[ChannelReply]


class StoredReply(msgspec.Struct, kw_only=True):
    """What is stored of a request, redacted and cut; it goes at `until_ms`. `left_out`: what is not there whole, and why."""

    id: str
    at_ms: int
    until_ms: int
    key: str
    project: str
    team: str
    organisation: str
    route: str
    outcome: str
    request: str
    answer: str
    left_out: str


class Groups(msgspec.Struct):
    data: list[GroupReply]
    next: int | None  # `after` of the next page


class Keys(msgspec.Struct):
    data: list[KeyReply]
    next: int | None


class AdminKeys(msgspec.Struct):
    data: list[AdminKeyReply]
    next: int | None


class Audit(msgspec.Struct):
    data: list[AuditReply]
    next: int | None


class Notices(msgspec.Struct):
    data: list[NoticeReply]
    next: int | None


def group_reply(group: Group) -> GroupReply:
    """Return a group as it is told."""
    return GroupReply(
        id=group.id, kind=group.kind, name=group.name, parent=group.parent or None, created_ms=group.created_ms
    )


def key_reply(key: StoredKey, now_ms: int, text: str | UnsetType = UNSET) -> KeyReply:
    """Return a key as it is told; `text` only when it was just made."""
    organisation, team, project = (name or None for name in key.path)
    return KeyReply(
        id=key.id,
        name=key.name,
        booked_as=key.label,
        organisation=organisation,
        team=team,
        project=project,
        project_id=key.project or None,
        routes=None if key.settings.routes is None else list(key.settings.routes),
        tags=list(key.settings.tags),
        priority=key.settings.priority,
        tier=key.settings.tier,
        concurrency=key.settings.concurrency,
        shown=key.shown,
        state=key.state(now_ms),
        created_ms=key.created_ms,
        rotated_ms=key.rotated_ms,
        expires_ms=key.expires_ms,
        revoked_ms=key.revoked_ms,
        last_used=key.last_used or None,
        key=text,
    )


def admin_key_reply(key: AdminKey, now_ms: int, text: str | UnsetType = UNSET) -> AdminKeyReply:
    """Return an admin key as it is told; `text` only when it was just made."""
    return AdminKeyReply(
        id=key.id,
        name=key.name,
        role=key.role,
        organisation=key.organisation or None,
        shown=key.shown,
        state="active" if key.is_active(now_ms) else "revoked" if key.revoked_ms is not None else "expired",
        created_ms=key.created_ms,
        expires_ms=key.expires_ms,
        revoked_ms=key.revoked_ms,
        key=text,
    )


def audit_reply(row: AuditRow) -> AuditReply:
    """Return a row of the audit log as it is told."""
    return AuditReply(
        seq=row.seq,
        at_ms=row.at_ms,
        actor=row.actor,
        action=row.action,
        target=row.target,
        organisation=row.organisation or None,
        before=msgspec.Raw(row.before.encode()),
        after=msgspec.Raw(row.after.encode()),
        hash=row.hash,
    )


def notice_reply(noted: Noted) -> NoticeReply:
    """Return a notice as it is told."""
    said = noted.notice
    channels = [
        ChannelReply(channel=name, state=one.state, at_ms=one.at_ms, tries=one.tries, reason=one.reason)
        for name, one in noted.told.items()
    ]
    return NoticeReply(
        id=noted.id,
        at_ms=noted.at_ms,
        kind=said.kind,
        subject=said.subject,
        what=said.what,
        text=said.text,
        repeated=noted.repeated,
        last_ms=noted.last_ms,
        channels=channels,
    )


def stored_reply(stored: Stored) -> StoredReply:
    """Return what is stored of a request as it is told."""
    key, project, team, organisation = stored.caller
    return StoredReply(
        id=stored.id,
        at_ms=stored.at_ms,
        until_ms=stored.until_ms,
        key=key,
        project=project,
        team=team,
        organisation=organisation,
        route=stored.route,
        outcome=stored.outcome,
        request=stored.request,
        answer=stored.answer,
        left_out=stored.left_out,
    )
