"""What somebody may do with a key store in SQL (see stores.callers.Acting): each change with its row of the audit log."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from pointsman.core import keys as texts
from pointsman.stores import callers_schema as sql
from pointsman.stores.audit import GENESIS, hash_of
from pointsman.stores.callers import (
    MOST_KEYS,
    MOST_LISTED,
    NEVER_MS,
    PARENTS,
    PREFIXES,
    AdminKey,
    AuditRow,
    Group,
    GroupKind,
    InTheWay,
    NotThere,
    Page,
    Role,
    Settings,
    StoredKey,
    Unfit,
    checked_name,
    checked_settings,
)
from pointsman.stores.callers_schema import admin_key_of, group_of, key_of

if TYPE_CHECKING:
    from pointsman.stores.callers_sql import SqlCallers
    from pointsman.stores.sql import Db

ID_BYTES = 12  # random, of an id: not to be guessed
MOST_GROUPS = 100_000
MOST_GRACE_MS = 30 * 86_400_000
MOST_ACTOR_CHARACTERS = 200
MOST_TIME_MS = 253_402_300_799_000  # the year 9999
FIRST, PLAIN = Page(), Settings()
T = TypeVar("T")


class SqlActing:
    """See stores.callers.Acting. `within` is the id of the organisation that it is bound to; "": none."""

    def __init__(self, store: SqlCallers, actor: str, within: str) -> None:
        self._store, self._within = store, within
        self._actor = actor[:MOST_ACTOR_CHARACTERS]

    # --- organisations, teams, projects
    def add_group(self, kind: GroupKind, name: str, parent: str = "") -> Group:
        """Add an organisation, a team of an organisation, or a project of a team. Raise Unfit, NotThere, InTheWay."""
        with self._store.change() as db:
            return self._add_group(db, kind, checked_name(name), parent)

    def group(self, kind: GroupKind, id: str) -> Group:
        with self._store.told():
            return self._group(kind, id)

    def groups(self, kind: GroupKind, parent: str = "", page: Page = FIRST) -> tuple[list[Group], int]:
        """Return a page, all of them or those of one parent, oldest first, and the cursor of the next page; 0: the last."""
        with self._store.told():
            return self._listed(sql.GROUPS, page, group_of, kind=kind, parent=parent)

    def rename_group(self, kind: GroupKind, id: str, name: str) -> Group:
        """Give a group another name: what is booked from now on has it. Raise Unfit, NotThere, InTheWay."""
        with self._store.change() as db:
            before = self._group(kind, id)
            if before.name == checked_name(name):
                return before
            if kind == "organisation" and self._within:  # else who takes another's former name sees what it was booked
                raise InTheWay(
                    "what an organisation has used is found by its name: have it renamed by who is bound to none"
                )
            self._refuse_taken(kind, before.parent, name)
            db.execute(sql.RENAME_GROUP, {"id": id, "name": name})
            after = msgspec.structs.replace(before, name=name)
            self._note(db, f"{kind}.rename", id, before.organisation, before, after)
            return after

    def remove_group(self, kind: GroupKind, id: str) -> None:
        """Remove a group that has nothing in it. One that ever had a key stays: usage is booked under it."""
        with self._store.change() as db:
            before = self._group(kind, id)
            if self._store.number(sql.CHILDREN, id) + self._store.number(sql.KEYS_IN, id):
                raise InTheWay(f"this {kind} is not empty; what has had keys stays, for the sake of what was booked")
            db.execute(sql.REMOVE_GROUP, {"id": id})
            self._note(db, f"{kind}.delete", id, before.organisation, before, None)

    def project_at(self, path: Sequence[str]) -> Group:
        """Return the project with these names of organisation, team and project; add what of it is not there."""
        with self._store.change() as db:
            parent, found = "", None
            for kind, name in zip(PARENTS, path, strict=True):
                given = {"kind": kind, "parent": parent, "name": checked_name(name), "within": self._within}
                row = db.execute(sql.GROUP_NAMED, given).fetchone()
                found = group_of(row) if row else self._add_group(db, kind, name, parent)
                parent = found.id
            assert found is not None
            return found

    def _add_group(self, db: Db, kind: GroupKind, name: str, parent: str) -> Group:
        above = PARENTS[kind]
        if above is None and self._within:
            raise NotThere("an admin key of one organisation adds no other")
        over = self._group(above, parent, above) if above is not None else None
        self._refuse_taken(kind, parent if over else "", name)
        if self._store.number(sql.COUNT_GROUPS) >= MOST_GROUPS:
            raise InTheWay(f"there are {MOST_GROUPS} organisations, teams and projects, as many as there may be")
        id = self._id(kind)
        group = Group(
            id=id,
            kind=kind,
            name=name,
            parent=over.id if over else "",
            organisation=over.organisation if over else id,
            created_ms=self._store.now_ms(),
        )
        db.execute(sql.ADD_GROUP, msgspec.structs.asdict(group))
        self._note(db, f"{kind}.create", id, group.organisation, None, group)
        return group

    def _group(self, kind: GroupKind, id: str, param: str | None = None) -> Group:
        given = {"kind": kind, "id": id, "within": self._within}
        row = self._store.db.execute(sql.GROUP, given).fetchone()
        if row is None:
            raise NotThere(f"there is no {kind} with this id", param)
        return group_of(row)

    def _refuse_taken(self, kind: GroupKind, parent: str, name: str) -> None:
        given = {"kind": kind, "parent": parent, "name": name, "within": self._within}
        if self._store.db.execute(sql.GROUP_NAMED, given).fetchone():
            raise InTheWay(f"there is {'an' if kind == 'organisation' else 'a'} {kind} of this name")

    # --- keys
    def add_key(
        self, name: str, project: str = "", settings: Settings = PLAIN, expires_ms: int | None = None
    ) -> tuple[StoredKey, str]:
        """Add a key to a project; return it and its text, which is told this once. Raise Unfit, InTheWay."""
        checked_name(name)
        checked_settings(settings)
        with self._store.change() as db:
            if self._within and not project:
                raise Unfit("project", "is needed: this admin key is bound to an organisation")
            organisation = self._group("project", project, "project").organisation if project else ""
            now_ms, id = self._store.now_ms(), self._id("key")
            _check_end(expires_ms)
            if db.execute("SELECT 1 FROM keys WHERE organisation = ? AND name = ?", (organisation, name)).fetchone():
                raise InTheWay("there is or was a key of this name; a name is used once")
            if self._store.number(sql.COUNT_LIVE, now_ms) >= MOST_KEYS:
                raise InTheWay(f"there are {MOST_KEYS} keys, as many as there may be")
            text = texts.key_text(texts.CLIENT, self._store.chance(texts.CHANCE_BYTES))
            row = {"id": id, "name": name, "project": project, "organisation": organisation, "created_ms": now_ms}
            row |= {"settings": msgspec.json.encode(settings).decode(), "shown": texts.shown(text)}
            db.execute(sql.ADD_KEY, row | {"expires_ms": expires_ms})
            db.execute(sql.ADD_SECRET, (self._store.digest(text), id, NEVER_MS))
            key = self._key(id)
            self._note(db, "key.create", id, organisation, None, key)
            return key, text

    def key(self, id: str) -> StoredKey:
        with self._store.told():
            return self._key(id)

    def keys(self, project: str = "", page: Page = FIRST) -> tuple[list[StoredKey], int]:
        """Return a page of keys, all of them or those of a project, as `groups` does."""
        with self._store.told():
            return self._listed(sql.KEYS, page, key_of, project=project)

    def change_key(self, id: str, changes: Mapping[str, Any]) -> StoredKey:
        """Change settings of a key, or `expires_ms`. Raise Unfit, NotThere, InTheWay when it is revoked."""
        with self._store.change() as db:
            before = self._usable(id)
            given = dict(changes)
            expires_ms = given.pop("expires_ms", before.expires_ms)
            if "expires_ms" in changes:
                _check_end(expires_ms)
            settings = checked_settings(msgspec.structs.replace(before.settings, **given))
            encoded = msgspec.json.encode(settings).decode()
            db.execute(sql.CHANGE_KEY, {"id": id, "settings": encoded, "expires_ms": expires_ms})
            return self._changed(db, "key.change", before)

    def rotate_key(self, id: str, grace_ms: int) -> tuple[StoredKey, str]:
        """Give a key another text; the one before is taken for `grace_ms` more, at most MOST_GRACE_MS."""
        if not 0 <= grace_ms <= MOST_GRACE_MS:
            raise Unfit("grace_s", f"is 0 to {MOST_GRACE_MS // 1000}")
        with self._store.change() as db:
            before, now_ms = self._usable(id), self._store.now_ms()
            text = texts.key_text(texts.CLIENT, self._store.chance(texts.CHANCE_BYTES))
            db.execute(sql.END_SECRETS, {"until": now_ms + grace_ms, "key": id})
            db.execute(sql.DROP_ENDED, (id, now_ms))
            db.execute(sql.ADD_SECRET, (self._store.digest(text), id, NEVER_MS))
            db.execute(sql.ROTATE_KEY, {"id": id, "now": now_ms, "shown": texts.shown(text)})
            return self._changed(db, "key.rotate", before), text

    def revoke_key(self, id: str) -> StoredKey:
        """End a key for good, at once, with all its texts. Once more changes nothing."""
        with self._store.change() as db:
            before = self._key(id)
            if before.revoked_ms is not None:
                return before
            db.execute(sql.REVOKE_KEY, {"id": id, "now": self._store.now_ms()})
            db.execute(sql.DROP_ENDED, (id, NEVER_MS))
            return self._changed(db, "key.revoke", before)

    def _key(self, id: str) -> StoredKey:
        row = self._store.db.execute(sql.KEY, {"id": id, "within": self._within}).fetchone()
        if row is None:
            raise NotThere("there is no key with this id")
        return key_of(row)

    def _usable(self, id: str) -> StoredKey:
        key = self._key(id)
        if key.revoked_ms is not None:
            raise InTheWay("this key is revoked, for good")
        return key

    def _changed(self, db: Db, action: str, before: StoredKey) -> StoredKey:
        after = self._key(before.id)
        organisation = self._group("project", before.project).organisation if before.project else ""
        self._note(db, action, before.id, organisation, before, after)
        return after

    # --- admin keys and the audit log
    def add_admin_key(
        self, name: str, role: Role, organisation: str = "", expires_ms: int | None = None
    ) -> tuple[AdminKey, str]:
        """Add an admin key; return it and its text, which is told this once. Raise Unfit, InTheWay."""
        checked_name(name)
        if role not in ("admin", "viewer"):
            raise Unfit("role", "is admin or viewer")
        with self._store.change() as db:
            organisation = organisation or self._within
            if organisation:
                self._group("organisation", organisation, "organisation")
            _check_end(expires_ms)
            if db.execute("SELECT 1 FROM admin_keys WHERE name = ?", (name,)).fetchone():
                raise InTheWay("there is or was an admin key of this name; a name is used once")
            text = texts.key_text(texts.ADMIN, self._store.chance(texts.CHANCE_BYTES))
            key = AdminKey(
                id=self._id("admin key"),
                name=name,
                role=role,
                organisation=organisation,
                shown=texts.shown(text),
                created_ms=self._store.now_ms(),
                expires_ms=expires_ms,
            )
            db.execute(sql.ADD_ADMIN, msgspec.structs.asdict(key) | {"digest": self._store.digest(text)})
            self._note(db, "admin_key.create", key.id, organisation, None, key)
            return key, text

    def admin_keys(self, page: Page = FIRST) -> tuple[list[AdminKey], int]:
        with self._store.told():
            return self._listed(sql.ADMINS, page, admin_key_of)

    def revoke_admin_key(self, id: str) -> AdminKey:
        """End an admin key for good. Once more changes nothing. Raise NotThere."""
        with self._store.change() as db:
            row = db.execute(sql.ADMIN, {"id": id, "within": self._within}).fetchone()
            if row is None:
                raise NotThere("there is no admin key with this id")
            before = admin_key_of(row)
            if before.revoked_ms is not None:
                return before
            after = msgspec.structs.replace(before, revoked_ms=self._store.now_ms())
            db.execute(sql.REVOKE_ADMIN, {"id": id, "now": after.revoked_ms})
            self._note(db, "admin_key.revoke", id, before.organisation, before, after)
            return after

    def note(
        self, action: str, target: str, after: Mapping[str, object], before: Mapping[str, object] | None = None
    ) -> None:
        """Add a row to the audit log of what was done elsewhere, such as a reload."""
        with self._store.change(noted=False) as db:
            self._note(db, action, target, self._within, before, after)

    def audit(self, page: Page = FIRST) -> list[AuditRow]:
        """Return rows of the audit log, oldest first."""
        values = {"after": page.after, "limit": min(page.limit, MOST_LISTED), "within": self._within}
        with self._store.told():
            return [
                AuditRow(**dict(zip(_AUDIT, row, strict=True))) for row in self._store.db.execute(sql.AUDIT, values)
            ]

    def _note(self, db: Db, action: str, target: str, organisation: str, before: object, after: object) -> None:
        seq, last = db.execute(sql.LAST_AUDIT).fetchone() or (0, GENESIS)
        row = AuditRow(
            seq=seq + 1,
            at_ms=self._store.now_ms(),
            actor=self._actor,
            action=action,
            target=target,
            organisation=organisation,
            before=msgspec.json.encode(before).decode(),
            after=msgspec.json.encode(after).decode(),
            hash="",
        )
        db.execute(sql.ADD_AUDIT, (*msgspec.structs.astuple(row)[:-1], hash_of(last, row)))

    def _listed(
        self, statement: str, page: Page, made: Callable[[tuple[Any, ...]], T], **values: str
    ) -> tuple[list[T], int]:
        limit = min(page.limit, MOST_LISTED)
        given = {"after": page.after, "limit": limit + 1, "within": self._within, **values}
        rows = self._store.db.execute(statement, given).fetchall()
        return [made(row) for row in rows[:limit]], rows[limit - 1][-1] if len(rows) > limit else 0

    def _id(self, of: str) -> str:
        return f"{PREFIXES[of]}_{self._store.chance(ID_BYTES).hex()}"


_AUDIT = AuditRow.__struct_fields__


def _check_end(expires_ms: int | None) -> None:
    if expires_ms is not None and not 0 <= expires_ms <= MOST_TIME_MS:
        raise Unfit("expires_ms", f"is 0 to {MOST_TIME_MS} Unix milliseconds")
