"""Callers: who may call: organisation → team → project → key, and who may change that. The nouns and the protocol of a
key store, whatever back end keeps it.

A key that belongs to an organisation is booked as `ORGANISATION/NAME`, one without as `NAME`, so that no two keys of the
store share a name in the ledger, in counts and in limits. Nothing is reached by its id alone: every question is asked by
an Acting, which is bound to one organisation or to none, and to who asks (S4).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

from pointsman.core.policy import Key
from pointsman.core.priority import PRIORITIES, RANKS, Priority

GroupKind = Literal["organisation", "team", "project"]
Role = Literal["admin", "viewer"]
PARENTS: dict[GroupKind, GroupKind | None] = {"organisation": None, "team": "organisation", "project": "team"}
PREFIXES: dict[str, str] = {
    "organisation": "org",
    "team": "team",
    "project": "proj",
    "key": "key",
    "admin key": "adm",
}
NAME = re.compile(r"(?![pa]k-pm-)[A-Za-z0-9._:@-]{1,64}")  # and no key by mistake
ROUTE = re.compile(r"[A-Za-z0-9._:/@-]{1,128}")
MOST_ROUTES, MOST_TAGS, MOST_KEYS = 256, 16, 20_000
MOST_LISTED = 500
MOST_CONCURRENCY = 1_000_000
NEVER_MS = 1 << 60


class CallersError(Exception):
    """Say why the key store did not do what was asked.

    CallersError
    ├── NotThere      no such organisation, team, project or key, or not for who asks
    ├── Unfit         what was given cannot be taken; `param` names it
    ├── InTheWay      what is there already forbids it
    └── Unavailable   the store cannot be read or written: absent, locked, damaged, of a newer version
    """


class NotThere(CallersError):
    """Say that there is no such thing for who asks. `param`: where it was named; None: it is what was asked for."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class Unfit(CallersError):
    """Say that a value cannot be taken."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(f"{param} {message}")
        self.param = param


class InTheWay(CallersError):
    """Say that something there forbids what was asked."""


class Unavailable(CallersError):
    """Say that the store cannot be used."""


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Hold an organisation, a team or a project. `parent` and `organisation` are ids."""

    id: str
    kind: GroupKind
    name: str
    parent: str = ""
    organisation: str
    created_ms: int


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what may be changed of a key. `routes` None: all; `concurrency` None: limits.key_concurrency."""

    routes: tuple[str, ...] | None = None
    tags: tuple[str, ...] = ()
    priority: Priority = "normal"
    tier: str = ""
    concurrency: int | None = None


class StoredKey(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a key of the store without its text, which is nowhere. Times are Unix milliseconds."""

    id: str
    name: str
    label: str  # what usage is booked under
    project: str = ""  # id
    path: tuple[str, str, str] = ("", "", "")  # names of organisation, team and project
    settings: Settings = Settings()
    shown: str  # how its text begins
    created_ms: int
    rotated_ms: int | None = None
    expires_ms: int | None = None
    revoked_ms: int | None = None
    last_used: str = ""  # day, UTC

    def state(self, now_ms: int) -> Literal["active", "expired", "revoked"]:
        if self.revoked_ms is not None:
            return "revoked"
        return "expired" if self.expires_ms is not None and self.expires_ms <= now_ms else "active"


class AdminKey(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a key of the admin API without its text. `organisation` is an id; "": it is bound to none."""

    id: str
    name: str
    role: Role
    organisation: str = ""
    shown: str
    created_ms: int
    expires_ms: int | None = None
    revoked_ms: int | None = None

    def is_active(self, now_ms: int) -> bool:
        return self.revoked_ms is None and (self.expires_ms is None or self.expires_ms > now_ms)


class AuditRow(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one change: who did what to what, and what it was before and after, as JSON without secrets."""

    seq: int
    at_ms: int
    actor: str
    action: str
    target: str
    organisation: str
    before: str
    after: str
    hash: str  # see stores.audit


class Page(msgspec.Struct, frozen=True):
    """Ask for a part of a list: what comes `after` the item with this cursor, at most `limit`."""

    after: int = 0
    limit: int = 100


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what workers need of the store. `secrets` are (digest, index into `keys`, valid until in Unix ms); `closed`:
    there has been a key, so nobody is let in without one; `mark`: of the pepper that the digests were made with."""

    revision: int
    closed: bool
    mark: bytes
    keys: tuple[Key, ...] = ()
    secrets: tuple[tuple[bytes, int, int], ...] = ()


class Acting(Protocol):
    """What somebody may do with a store. Of an Acting that is bound to an organisation everything outside of it is
    NotThere. Each change and its row of the audit log are one transaction."""

    def add_group(self, kind: GroupKind, name: str, parent: str = "") -> Group: ...
    def group(self, kind: GroupKind, id: str) -> Group: ...
    def groups(self, kind: GroupKind, parent: str = "", page: Page = ...) -> tuple[list[Group], int]: ...
    def rename_group(self, kind: GroupKind, id: str, name: str) -> Group: ...
    def remove_group(self, kind: GroupKind, id: str) -> None: ...
    def project_at(self, path: Sequence[str]) -> Group: ...
    def add_key(
        self, name: str, project: str = "", settings: Settings = ..., expires_ms: int | None = None
    ) -> tuple[StoredKey, str]: ...
    def key(self, id: str) -> StoredKey: ...
    def keys(self, project: str = "", page: Page = ...) -> tuple[list[StoredKey], int]: ...
    def change_key(self, id: str, changes: Mapping[str, Any]) -> StoredKey: ...
    def rotate_key(self, id: str, grace_ms: int) -> tuple[StoredKey, str]: ...
    def revoke_key(self, id: str) -> StoredKey: ...
    def add_admin_key(
        self, name: str, role: Role, organisation: str = "", expires_ms: int | None = None
    ) -> tuple[AdminKey, str]: ...
    def admin_keys(self, page: Page = ...) -> tuple[list[AdminKey], int]: ...
    def revoke_admin_key(self, id: str) -> AdminKey: ...
    def note(
        self, action: str, target: str, after: Mapping[str, object], before: Mapping[str, object] | None = None
    ) -> None: ...
    def audit(self, page: Page = ...) -> list[AuditRow]: ...


class Store(Protocol):
    """A key store. Used by one thread at a time. Every method may raise Unavailable."""

    def acting(self, actor: str, organisation: str = "") -> Acting: ...
    def admin_key(self, digest: bytes) -> AdminKey | None: ...
    def organisation(self, name: str) -> str: ...
    def revision(self) -> int: ...
    def published(self) -> Published: ...
    def used(self, days: Mapping[str, str]) -> None: ...
    def close(self) -> None: ...


def checked_name(name: str) -> str:
    """Return a name of a group or key. Raise Unfit."""
    if not NAME.fullmatch(name):
        raise Unfit("name", "is 1 to 64 of the characters A-Z a-z 0-9 . _ : @ -, and no key")
    return name


def checked_settings(given: Settings) -> Settings:
    """Return settings whose every value is in bounds. Raise Unfit."""
    routes = given.routes or ()
    if len(routes) > MOST_ROUTES or not all(ROUTE.fullmatch(route) for route in routes):
        raise Unfit("routes", f"are at most {MOST_ROUTES} names of routes")
    if len(given.tags) > MOST_TAGS or not all(NAME.fullmatch(tag) for tag in given.tags):
        raise Unfit("tags", f"are at most {MOST_TAGS} names")
    if given.priority not in PRIORITIES:
        raise Unfit("priority", f"is one of {', '.join(PRIORITIES)}")
    if given.tier and not NAME.fullmatch(given.tier):
        raise Unfit("tier", "is a name")
    if given.concurrency is not None and not 1 <= given.concurrency <= MOST_CONCURRENCY:
        raise Unfit("concurrency", f"is 1 to {MOST_CONCURRENCY}")
    return given


def caller_of(key: StoredKey) -> Key:
    """Return a stored key as the data plane knows it; it is found by its digests, of which there may be several."""
    organisation, team, project = key.path
    return Key(
        name=key.label,
        digest=b"",
        project=project,
        team=team,
        organisation=organisation,
        tier=key.settings.tier,
        routes=key.settings.routes,
        concurrency=key.settings.concurrency,
        rank=RANKS[key.settings.priority],
        tags=key.settings.tags,
    )
