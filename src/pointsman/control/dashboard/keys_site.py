"""The page of keys and its forms: what they take becomes a call of the admin API, which decides."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from pointsman.control import bodies
from pointsman.control.callers import CallersApi
from pointsman.control.dashboard.asked import form, page
from pointsman.control.dashboard.frame import shell_of
from pointsman.control.dashboard.keys import Keys, keys_page
from pointsman.control.endpoints import ID, Call, Endpoint, Form
from pointsman.control.replies import Refusal
from pointsman.stores.callers import MOST_LISTED, CallersError, GroupKind, InTheWay, NotThere, Page, Unavailable
from pointsman.stores.choose import Stores

LISTED = 100
DAY_MS = 86_400_000


class KeysSite:
    """Answer for the page of keys."""

    def __init__(self, stores: Stores, api: CallersApi) -> None:
        self._stores, self._api = stores, api

    def endpoints(self) -> list[Endpoint]:
        """Return the rows of the table."""
        return [
            page("/keys", "The keys of the key store.", self.page, bound=True),
            form("/keys", "Make a key.", self.make, bound=True),
            form("/keys/{id}/rotate", "Give a key another text.", self.rotate, bound=True),
            form("/keys/{id}/revoke", "End a key for good.", self.revoke, bound=True),
        ]

    def page(self, request: Request) -> Response:
        return self._answer(request)

    def make(self, request: Request, form: Form) -> Response:
        """Make a key, and show its text this once."""
        routes = [name.strip() for name in form.get("routes", "").split(",") if name.strip()]
        days = form.get("days", "")
        wanted = {
            "name": form.get("name", "").strip(),
            "project": form.get("project") or None,
            "routes": routes or None,
            "expires_ms": _now_ms() + int(days) * DAY_MS if days.isdecimal() and len(days) < 5 else None,
        }
        return self._change(request, self._api.add_key, bodies.NewKey, wanted)

    def rotate(self, request: Request, form: Form) -> Response:
        """Give a key another text, and show it this once."""
        grace = form.get("grace_s", "0")
        wanted = {"grace_s": int(grace) if grace.isdecimal() and len(grace) < 10 else 0}
        return self._change(request, self._api.rotate, bodies.Rotation, wanted)

    def revoke(self, request: Request, form: Form) -> Response:
        """End a key for good."""
        return self._change(request, self._api.revoke, None, {})

    def _change(
        self, request: Request, do: Callable[[Call], bodies.KeyReply], kind: Any, wanted: dict[str, Any]
    ) -> Response:
        """Do something, or say on the page why it was not done."""
        try:
            body = msgspec.convert(wanted, kind) if kind is not None else None
            made = do(self._call(request, body))
        except (CallersError, Refusal, msgspec.ValidationError) as error:
            if isinstance(error, Unavailable):
                raise
            status = 409 if isinstance(error, (InTheWay, Refusal)) else 404 if isinstance(error, NotThere) else 400
            return self._answer(request, trouble=f"Not done: {error}.", status=status)
        if made.key is msgspec.UNSET:
            return RedirectResponse("/keys", 303)
        return self._answer(request, made=made)

    def _answer(
        self, request: Request, made: bodies.KeyReply | None = None, trouble: str = "", status: int = 200
    ) -> Response:
        shell = shell_of(request)
        keys = Keys(made=made, trouble=trouble)
        if self._stores.has_callers():  # looking makes no store
            after = request.query_params.get("after", "")
            page = Page(int(after) if after.isdecimal() and len(after) < 19 else 0, LISTED)
            found = self._api.keys(self._call(request, None, page))
            keys = Keys(found.data, found.next or 0, self._projects(request) if shell.may_change else [], made, trouble)
        return HTMLResponse(keys_page(shell, keys), status)

    def _projects(self, request: Request) -> list[tuple[str, str]]:
        """Return the projects, by id and path."""
        call = self._call(request, None, Page(0, MOST_LISTED))
        named: dict[str, str] = {}
        kinds: tuple[GroupKind, ...] = ("organisation", "team", "project")
        for kind in kinds:
            for group in self._api.groups(kind, call).data:
                above = named.get(group.parent or "", "")
                named[group.id] = f"{above} / {group.name}" if above else group.name
        return sorted(((id, path) for id, path in named.items() if id.startswith("proj")), key=lambda one: one[1])

    def _call(self, request: Request, body: Any, page: Page | None = None) -> Call:
        id = request.path_params.get("id", "")
        if id and not ID.fullmatch(id):
            raise NotThere("there is no such key")
        return Call(request.scope["state"]["who"], id, body, {}, page or Page(), _now_ms())


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
