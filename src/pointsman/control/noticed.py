"""Noticed: what was told to whom, by the admin API and on its page. It is of the whole router, so not for who is bound."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from pointsman.control.bodies import Notices, notice_reply
from pointsman.control.dashboard import asked, notices
from pointsman.control.dashboard.frame import shell_of
from pointsman.control.endpoints import Call, Endpoint
from pointsman.control.period import since_ms
from pointsman.control.replies import Refusal
from pointsman.core.notice import KINDS, Noted
from pointsman.stores.choose import Stores
from pointsman.stores.ledger import LedgerError
from pointsman.stores.notices import NEWEST, Wish, listed

LIMIT_S = 2.0  # for one question to the ledger
_TIME = {"type": "string", "pattern": "^[0-9]{1,6}[smhdw]$"}
_TEXTS: dict[str, Any] = {
    "kind": {"type": "string", "enum": list(KINDS)},
    "since": {**_TIME, "description": "Before now; or an ISO date or time (UTC). Default: all."},
    "until": {**_TIME, "description": "As `since`; left out itself. Default: now."},
}


class NoticesApi:
    """Answer for the notices in the ledger's database."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    def endpoints(self) -> list[Endpoint]:
        """Return the rows of the table."""
        return [
            Endpoint(
                method="GET",
                path="/v1/notices",
                access="viewer",
                what="What was told to which channels, the newest first.",
                handler=self.notices,
                reply=Notices,
                listed=True,
                texts=_TEXTS,
                codes=("ledger_unavailable",),
            ),
            asked.page("/notices", "What was told to which channels.", self.page),
        ]

    def notices(self, call: Call) -> Notices:
        given = call.query
        if given.get("kind", KINDS[0]) not in KINDS:
            raise Refusal("invalid_request", f"kind is one of {', '.join(KINDS)}", "kind")
        times = {name: since_ms(given[name], call.now_ms) for name in ("since", "until") if name in given}
        wish = Wish(
            kind=given.get("kind", ""),
            since_ms=times.get("since", 0),
            until_ms=times.get("until", NEWEST),
            before=call.page.after or NEWEST,
            most=call.page.limit,
        )
        found, following = self._listed(wish)
        return Notices([notice_reply(one) for one in found], following or None)

    def page(self, request: Request) -> Response:
        """Return the page. What the ledger cannot answer is said on it."""
        given, shell = asked.given(request), shell_of(request)
        before = given.get("before", "")
        wish = notices.Wish(
            kind=given["kind"] if given.get("kind") in KINDS else "",
            since=given.get("since", ""),
            before=int(before) if before.isascii() and before.isdecimal() and len(before) < 19 else 0,
        )
        start_ms = asked.since(wish.since) if wish.since else 0
        question = Wish(kind=wish.kind, since_ms=start_ms, before=wish.before or NEWEST, most=notices.LISTED)
        try:
            found, following = self._listed(question)
        except LedgerError as error:
            return HTMLResponse(notices.notices_page(shell, wish, [], trouble=asked.trouble(error)), 503)
        return HTMLResponse(notices.notices_page(shell, wish, found, following))

    def _listed(self, wish: Wish) -> tuple[list[Noted], int]:
        with self._stores.reader(LIMIT_S) as reader:
            return listed(reader.ask, wish)
