"""Stored requests and answers by the admin API and on a page: for who has the access `bodies`, bound to nobody; whoever reads
or deletes one stands in the audit log before they have it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from pointsman.control import keystore
from pointsman.control.bodies import StoredReply, stored_reply
from pointsman.control.dashboard import asked, stored
from pointsman.control.dashboard.frame import shell_of
from pointsman.control.endpoints import Call, Endpoint, Form, Who
from pointsman.control.replies import Refusal
from pointsman.stores.bodies import Bodies, Body
from pointsman.stores.choose import Stores
from pointsman.stores.private import PrivateError

NONE = "nothing is stored of this request: its route stores nothing, it was left out, or its time is over"
T = TypeVar("T")


class StoredApi:
    """Answer for the bodies in a data folder."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    def endpoints(self) -> list[Endpoint]:
        """Return the rows of the table."""
        path, codes = "/v1/requests/{id}/bodies", ("bodies_unavailable",)
        page = "/requests/{id}/bodies"
        return [
            Endpoint(
                method="GET", path=path, access="bodies", what="What is stored of a request and its answer.",
                handler=self.show, reply=StoredReply, named=True, codes=codes,
            ),
            Endpoint(
                method="DELETE", path=path, access="bodies", what="Delete what is stored of a request.",
                handler=self.delete, reply=StoredReply, status=204, named=True, codes=codes,
            ),
            asked.page(page, "What is stored of a request and its answer.", self.page, access="bodies"),
            asked.form(page, "Delete what is stored of a request.", self.delete_by_form, access="bodies"),
        ]  # fmt: skip

    def show(self, call: Call) -> StoredReply:
        return stored_reply(self._shown(call.who, call.id, call.now_ms))

    def delete(self, call: Call) -> None:
        self._delete(call.who, call.id, call.now_ms)

    def page(self, request: Request) -> Response:
        found = self._shown(asked.who(request), request.path_params["id"], asked.now_ms())
        return HTMLResponse(stored.stored_page(shell_of(request), found))

    def delete_by_form(self, request: Request, form: Form) -> Response:
        id = request.path_params["id"]
        self._delete(asked.who(request), id, asked.now_ms())
        return RedirectResponse(f"/requests/{id}", 303)

    def _shown(self, who: Who, id: str, now_ms: int) -> Body:
        found = self._found(id, now_ms)
        self._note(who, "bodies.show", id)
        return found

    def _delete(self, who: Who, id: str, now_ms: int) -> None:
        self._found(id, now_ms)
        self._note(who, "bodies.delete", id)
        _asked(lambda: Bodies(self._stores.data).delete(lambda body: body.id == id))

    def _found(self, id: str, now_ms: int) -> Body:
        """Return the body of a request. Raise Refusal when there is none, or its time is over though it is still there."""
        found = _asked(lambda: Bodies(self._stores.data).find(id))
        if found is None or found.until_ms <= now_ms:
            raise Refusal("not_found", NONE)
        return found

    def _note(self, who: Who, action: str, id: str) -> None:
        """Write into the audit log who does this. Raise CallersError, PrivateError: then it is not done."""
        with keystore.acting(self._stores, who.name) as acting:
            acting.note(action, id, {})


def _asked(ask: Callable[[], T]) -> T:
    """Return an answer of the store, or raise Refusal."""
    try:
        return ask()
    except (OSError, PrivateError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Refusal("bodies_unavailable", f"what is stored cannot be read: {why}") from None
