"""Callers: the admin API of who may call: organisations, teams, projects, keys, admin keys, and the audit log."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import msgspec

from pointsman.control import bodies, keystore
from pointsman.control.bodies import admin_key_reply, audit_reply, group_reply, key_reply
from pointsman.control.endpoints import Call, Endpoint
from pointsman.control.replies import Refusal
from pointsman.stores.callers import PARENTS, Acting, GroupKind, Settings
from pointsman.stores.choose import Stores


class CallersApi:
    """Answer for the key store of a data folder. `taken` tells whether the config has a key of a name."""

    def __init__(self, stores: Stores, taken: Callable[[str], bool]) -> None:
        self._stores, self._taken = stores, taken

    def endpoints(self) -> list[Endpoint]:
        """Return the rows of the table."""
        made: list[tuple[GroupKind, Any]] = [
            ("organisation", bodies.NewOrganisation),
            ("team", bodies.NewTeam),
            ("project", bodies.NewProject),
        ]
        rows = [row for kind, new in made for row in self._of_groups(kind, new)]
        return rows + self._of_keys() + self._of_admins()

    def _of_groups(self, kind: GroupKind, new: Any) -> list[Endpoint]:
        above, path = PARENTS[kind], f"/v1/{kind}s"
        one, a = f"{path}/{{id}}", "an" if kind == "organisation" else "a"
        reply = bodies.GroupReply
        return [
            _row(
                "GET",
                path,
                f"List the {kind}s.",
                partial(self.groups, kind),
                bodies.Groups,
                listed=True,
                filters=(above,) if above else (),
            ),
            _row("POST", path, f"Add {a} {kind}.", partial(self.add_group, kind), reply, body=new, status=201),
            _row("GET", one, f"Show {a} {kind}.", partial(self.group, kind), reply),
            _row("PATCH", one, f"Rename {a} {kind}.", partial(self.rename_group, kind), reply, body=bodies.Rename),
            _row("DELETE", one, f"Remove an empty {kind}.", partial(self.remove_group, kind), reply, status=204),
        ]

    def _of_keys(self) -> list[Endpoint]:
        one, reply = "/v1/keys/{id}", bodies.KeyReply
        filters = ("project",)
        return [
            _row("GET", "/v1/keys", "List the keys.", self.keys, bodies.Keys, listed=True, filters=filters),
            _row("POST", "/v1/keys", "Make a key.", self.add_key, reply, body=bodies.NewKey, status=201),
            _row("GET", one, "Show a key.", self.key, reply),
            _row("PATCH", one, "Change a key.", self.change_key, reply, body=bodies.KeyChange),
            _row("POST", one + "/rotate", "Give a key another text.", self.rotate, reply, body=bodies.Rotation),
            _row("POST", one + "/revoke", "End a key for good.", self.revoke, reply),
        ]

    def _of_admins(self) -> list[Endpoint]:
        path, reply = "/v1/admin-keys", bodies.AdminKeyReply
        rows = [
            _row("GET", path, "List the admin keys.", self.admin_keys, bodies.AdminKeys, listed=True, access="admin"),
            _row("POST", path, "Make an admin key.", self.add_admin_key, reply, body=bodies.NewAdminKey, status=201),
            _row("POST", path + "/{id}/revoke", "End an admin key for good.", self.revoke_admin_key, reply),
        ]
        unbound = [msgspec.structs.replace(row, bound=False) for row in rows]
        return [*unbound, _row("GET", "/v1/audit", "Read the audit log.", self.audit, bodies.Audit, listed=True)]

    def _acting(self, call: Call) -> AbstractContextManager[Acting]:
        return keystore.acting(self._stores, call.who.name, call.who.organisation)

    # --- organisations, teams, projects
    def groups(self, kind: GroupKind, call: Call) -> bodies.Groups:
        with self._acting(call) as acting:
            rows, following = acting.groups(kind, call.query.get(PARENTS[kind] or "", ""), call.page)
        return bodies.Groups([group_reply(row) for row in rows], following or None)

    def add_group(self, kind: GroupKind, call: Call) -> bodies.GroupReply:
        parent = getattr(call.body, PARENTS[kind]) if PARENTS[kind] else ""  # type: ignore[arg-type]
        with self._acting(call) as acting:
            return group_reply(acting.add_group(kind, call.body.name, parent))

    def group(self, kind: GroupKind, call: Call) -> bodies.GroupReply:
        with self._acting(call) as acting:
            return group_reply(acting.group(kind, call.id))

    def rename_group(self, kind: GroupKind, call: Call) -> bodies.GroupReply:
        with self._acting(call) as acting:
            return group_reply(acting.rename_group(kind, call.id, call.body.name))

    def remove_group(self, kind: GroupKind, call: Call) -> None:
        with self._acting(call) as acting:
            acting.remove_group(kind, call.id)

    # --- keys
    def keys(self, call: Call) -> bodies.Keys:
        with self._acting(call) as acting:
            rows, following = acting.keys(call.query.get("project", ""), call.page)
        return bodies.Keys([key_reply(row, call.now_ms) for row in rows], following or None)

    def add_key(self, call: Call) -> bodies.KeyReply:
        given: bodies.NewKey = call.body
        if given.project is None and self._taken(given.name):
            raise Refusal("in_the_way", "the config file has a key of this name", "name")
        settings = Settings(
            routes=None if given.routes is None else tuple(given.routes),
            tags=tuple(given.tags),
            priority=given.priority,
            tier=given.tier,
            concurrency=given.concurrency,
        )
        with self._acting(call) as acting:
            key, text = acting.add_key(given.name, given.project or "", settings, given.expires_ms)
        return key_reply(key, call.now_ms, text)

    def key(self, call: Call) -> bodies.KeyReply:
        with self._acting(call) as acting:
            return key_reply(acting.key(call.id), call.now_ms)

    def change_key(self, call: Call) -> bodies.KeyReply:
        given = {
            name: value
            for name in call.body.__struct_fields__
            if (value := getattr(call.body, name)) is not msgspec.UNSET
        }
        changes = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
        with self._acting(call) as acting:
            return key_reply(acting.change_key(call.id, changes), call.now_ms)

    def rotate(self, call: Call) -> bodies.KeyReply:
        with self._acting(call) as acting:
            key, text = acting.rotate_key(call.id, call.body.grace_s * 1000)
        return key_reply(key, call.now_ms, text)

    def revoke(self, call: Call) -> bodies.KeyReply:
        with self._acting(call) as acting:
            return key_reply(acting.revoke_key(call.id), call.now_ms)

    # --- admin keys and the audit log
    def admin_keys(self, call: Call) -> bodies.AdminKeys:
        with self._acting(call) as acting:
            rows, following = acting.admin_keys(call.page)
        return bodies.AdminKeys([admin_key_reply(row, call.now_ms) for row in rows], following or None)

    def add_admin_key(self, call: Call) -> bodies.AdminKeyReply:
        given: bodies.NewAdminKey = call.body
        with self._acting(call) as acting:
            key, text = acting.add_admin_key(given.name, given.role, given.organisation or "", given.expires_ms)
        return admin_key_reply(key, call.now_ms, text)

    def revoke_admin_key(self, call: Call) -> bodies.AdminKeyReply:
        with self._acting(call) as acting:
            return admin_key_reply(acting.revoke_admin_key(call.id), call.now_ms)

    def audit(self, call: Call) -> bodies.Audit:
        with self._acting(call) as acting:
            rows = acting.audit(call.page)
        return bodies.Audit([audit_reply(row) for row in rows], rows[-1].seq if len(rows) == call.page.limit else None)


def _row(method: str, path: str, what: str, handler: Callable[..., Any], reply: Any, **more: Any) -> Endpoint:
    """Return a row of the table: who reads is a viewer, who changes an admin, unless it says otherwise."""
    access = more.pop("access", "viewer" if method == "GET" else "admin")
    return Endpoint(
        method=method, path=path, what=what, handler=handler, reply=reply, access=access, **{"bound": True, **more}
    )
