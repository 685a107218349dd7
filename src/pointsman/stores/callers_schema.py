"""The schema of the key store, as migrations, and its statements: for SQLite as they stand, for PostgreSQL through
`stores/sql.py`. `:within` is the id of the organisation that who
asks is bound to, '' when it is bound to none: no statement that reads or changes by id goes without it (S4)."""

from __future__ import annotations

from typing import Any

import msgspec

from pointsman.stores.callers import AdminKey, Group, Settings, StoredKey

APPLICATION_ID = 0x504D4341  # "PMCA"

_V1 = """
CREATE TABLE caller_groups (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,               -- organisation, team, project
    name TEXT NOT NULL,
    parent TEXT NOT NULL,             -- id; '' of an organisation
    organisation TEXT NOT NULL,       -- id; its own of an organisation
    created_ms INTEGER NOT NULL,      -- Unix milliseconds, as all times
    UNIQUE (kind, parent, name)
);
CREATE TABLE keys (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    project TEXT NOT NULL,            -- id; '': of nobody
    organisation TEXT NOT NULL,       -- id
    settings TEXT NOT NULL,           -- JSON of stores.callers.Settings
    shown TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    rotated_ms INTEGER,
    expires_ms INTEGER,
    revoked_ms INTEGER,
    last_used TEXT NOT NULL,          -- day, UTC
    UNIQUE (organisation, name)       -- also of revoked ones: what was booked is not to be taken for another's
);
CREATE INDEX keys_project ON keys (project, seq);
CREATE TABLE secrets (
    digest BLOB PRIMARY KEY,          -- HMAC-SHA-256 with the pepper
    key TEXT NOT NULL,                -- id
    until_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX secrets_key ON secrets (key);
CREATE TABLE admin_keys (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL,               -- admin, viewer
    organisation TEXT NOT NULL,       -- id; '': all
    digest BLOB NOT NULL UNIQUE,
    shown TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER,
    revoked_ms INTEGER
);
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY,          -- 1, 2, 3 ... without a gap
    at_ms INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    organisation TEXT NOT NULL,
    before TEXT NOT NULL,             -- JSON, without secrets
    after TEXT NOT NULL,
    hash TEXT NOT NULL                -- see stores.audit
);
"""

_V1_SQLITE = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
INSERT INTO meta VALUES ('revision', 0);
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only')
;; END;
CREATE TRIGGER audit_is_not_cut BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only')
;; END;
"""

# Triggers and columns of any type are written differently.
_V1_POSTGRES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BIGINT, mark BYTEA);
INSERT INTO meta VALUES ('revision', 0, NULL);
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$;
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE TRIGGER audit_is_not_cut BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION refuse();
"""

MIGRATIONS: tuple[str, ...] = (_V1 + _V1_SQLITE,)
POSTGRES_MIGRATIONS: tuple[str, ...] = (_V1 + _V1_POSTGRES,)


def statements(script: str) -> list[str]:
    """Return the statements of a migration: each ends a line with `;`, and `;;` at the head of one is a semicolon inside."""
    return [one.replace("\n;;", ";").strip() for one in script.split(";\n") if one.strip()]


_MINE = "(:within = '' OR organisation = :within)"

REVISION = "SELECT value FROM meta WHERE name = 'revision'"
RAISE_REVISION = "UPDATE meta SET value = value + 1 WHERE name = 'revision'"
MARK = "SELECT value FROM meta WHERE name = 'pepper'"
SET_MARK = "INSERT INTO meta VALUES ('pepper', ?) ON CONFLICT DO NOTHING"
POSTGRES_OWN = {
    MARK: "SELECT mark FROM meta WHERE name = 'pepper'",
    SET_MARK: "INSERT INTO meta VALUES ('pepper', 0, ?) ON CONFLICT DO NOTHING",
}

_GROUP = "SELECT id, kind, name, parent, organisation, created_ms, seq FROM caller_groups WHERE kind = :kind"
GROUP = f"{_GROUP} AND id = :id AND {_MINE}"
GROUP_NAMED = f"{_GROUP} AND parent = :parent AND name = :name AND {_MINE}"
GROUPS = f"{_GROUP} AND (:parent = '' OR parent = :parent) AND seq > :after AND {_MINE} ORDER BY seq LIMIT :limit"
COUNT_GROUPS = "SELECT COUNT(*) FROM caller_groups"
ADD_GROUP = """INSERT INTO caller_groups (id, kind, name, parent, organisation, created_ms)
    VALUES (:id, :kind, :name, :parent, :organisation, :created_ms)"""
RENAME_GROUP = "UPDATE caller_groups SET name = :name WHERE id = :id"
REMOVE_GROUP = "DELETE FROM caller_groups WHERE id = :id"
CHILDREN = "SELECT COUNT(*) FROM caller_groups WHERE parent = ?"
KEYS_IN = "SELECT COUNT(*) FROM keys WHERE project = ?"

_KEY = """SELECT k.id, k.name, k.project, o.name, t.name, p.name, k.settings, k.shown, k.created_ms, k.rotated_ms,
    k.expires_ms, k.revoked_ms, k.last_used, k.organisation, k.seq
    FROM keys k LEFT JOIN caller_groups p ON p.id = k.project LEFT JOIN caller_groups t ON t.id = p.parent
    LEFT JOIN caller_groups o ON o.id = t.parent"""
_MY_KEY = "(:within = '' OR k.organisation = :within)"
KEY = f"{_KEY} WHERE k.id = :id AND {_MY_KEY}"
KEYS = f"""{_KEY} WHERE (:project = '' OR k.project = :project) AND k.seq > :after AND {_MY_KEY}
    ORDER BY k.seq LIMIT :limit"""
LIVE_KEYS = f"{_KEY} WHERE k.revoked_ms IS NULL AND (k.expires_ms IS NULL OR k.expires_ms > ?) ORDER BY k.seq"
COUNT_LIVE = "SELECT COUNT(*) FROM keys WHERE revoked_ms IS NULL AND (expires_ms IS NULL OR expires_ms > ?)"
ANY_KEY = "SELECT EXISTS (SELECT 1 FROM keys)"
ADD_KEY = """INSERT INTO keys (id, name, project, organisation, settings, shown, created_ms, expires_ms, last_used)
    VALUES (:id, :name, :project, :organisation, :settings, :shown, :created_ms, :expires_ms, '')"""
CHANGE_KEY = "UPDATE keys SET settings = :settings, expires_ms = :expires_ms WHERE id = :id"
ROTATE_KEY = "UPDATE keys SET shown = :shown, rotated_ms = :now WHERE id = :id"
REVOKE_KEY = "UPDATE keys SET revoked_ms = :now WHERE id = :id"
USED = "UPDATE keys SET last_used = :day WHERE id = :id AND last_used < :day"

ADD_SECRET = "INSERT INTO secrets (digest, key, until_ms) VALUES (?, ?, ?)"  # noqa: S105  a statement
END_SECRETS = "UPDATE secrets SET until_ms = :until WHERE key = :key AND until_ms > :until"
DROP_ENDED = "DELETE FROM secrets WHERE key = ? AND until_ms <= ?"
SECRETS = "SELECT digest, key, until_ms FROM secrets WHERE until_ms > ?"

_ADMIN = """SELECT id, name, role, organisation, shown, created_ms, expires_ms, revoked_ms, seq FROM admin_keys"""
ADMIN = f"{_ADMIN} WHERE id = :id AND {_MINE}"
ADMIN_BY_DIGEST = f"{_ADMIN} WHERE digest = ?"
ADMINS = f"{_ADMIN} WHERE seq > :after AND {_MINE} ORDER BY seq LIMIT :limit"
ADD_ADMIN = """INSERT INTO admin_keys (id, name, role, organisation, digest, shown, created_ms, expires_ms)
    VALUES (:id, :name, :role, :organisation, :digest, :shown, :created_ms, :expires_ms)"""
REVOKE_ADMIN = "UPDATE admin_keys SET revoked_ms = :now WHERE id = :id"

_AUDIT = "SELECT seq, at_ms, actor, action, target, organisation, before, after, hash FROM audit"
AUDIT = f"{_AUDIT} WHERE seq > :after AND {_MINE} ORDER BY seq LIMIT :limit"
LAST_AUDIT = "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1"
ADD_AUDIT = "INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"


def key_of(row: tuple[Any, ...]) -> StoredKey:
    """Return a key as a row of the `KEY` statements has it."""
    id, name, project, organisation, team, project_name, settings, shown, *times, last_used, _, _ = row
    created_ms, rotated_ms, expires_ms, revoked_ms = times
    return StoredKey(
        id=id,
        name=name,
        label=f"{organisation}/{name}" if organisation else name,
        project=project,
        path=(organisation or "", team or "", project_name or ""),
        settings=msgspec.json.decode(settings, type=Settings),
        shown=shown,
        created_ms=created_ms,
        rotated_ms=rotated_ms,
        expires_ms=expires_ms,
        revoked_ms=revoked_ms,
        last_used=last_used,
    )


def admin_key_of(row: tuple[Any, ...]) -> AdminKey:
    """Return an admin key as a row of the `ADMIN` statements has it."""
    id, name, role, organisation, shown, created_ms, expires_ms, revoked_ms, _ = row
    return AdminKey(
        id=id,
        name=name,
        role=role,
        organisation=organisation,
        shown=shown,
        created_ms=created_ms,
        expires_ms=expires_ms,
        revoked_ms=revoked_ms,
    )


def group_of(row: tuple[Any, ...]) -> Group:
    """Return a group as a row of the `GROUP` statements has it."""
    id, kind, name, parent, organisation, created_ms, _ = row
    return Group(id=id, kind=kind, name=name, parent=parent, organisation=organisation, created_ms=created_ms)
