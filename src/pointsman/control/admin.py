"""Admin: the pages and the API of the control process, on their own listener, behind a Door.

What is here shows; all one can do is have the config file read again. Who may call is the affair of `control/callers.py`.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp

from pointsman.control import keystore, openapi
from pointsman.control.billing.api import BillingApi
from pointsman.control.callers import CallersApi
from pointsman.control.dashboard.accounts import Accounts
from pointsman.control.dashboard.asked import Sources
from pointsman.control.dashboard.keys_site import KeysSite
from pointsman.control.dashboard.site import Site
from pointsman.control.dashboard.watching import Watching
from pointsman.control.door import Door, Keys
from pointsman.control.endpoints import Endpoint, Who
from pointsman.control.explanation import Explanation, explain
from pointsman.control.holders import Holders
from pointsman.control.measures import scrape
from pointsman.control.noticed import NoticesApi
from pointsman.control.observing import Exports
from pointsman.control.period import since_ms
from pointsman.control.price_watch import Counts as PriceCounts
from pointsman.control.pump import Counts
from pointsman.control.rates import Rates
from pointsman.control.replies import HANDLERS, error_reply, json_reply
from pointsman.control.reporting import ReportApi
from pointsman.control.reports import TAGGED, group_names, usage_of, usage_report
from pointsman.control.sessions import Sessions
from pointsman.control.similar import similar_rows
from pointsman.control.stored_api import StoredApi
from pointsman.core.keys import peppered
from pointsman.core.policy import Policy
from pointsman.observe.log import LOG
from pointsman.stores.callers import AdminKey, CallersError
from pointsman.stores.choose import stores_of
from pointsman.stores.ledger import GROUPS, Reader, UsageQuery
from pointsman.stores.private import PrivateError, pepper_of
from pointsman.stores.versions import Versions, outcome

LIMIT_S = 2.0  # for one question to the ledger
DEFAULT_SINCE = "24h"
RELOAD_WAIT_S = 20.0  # for the outcome of a reload
RELOAD_LOOK_S = 0.05
MOST_VERSIONS = 50  # listed, the newest


class Admin:
    """Answer the admin listener's requests. `counts` is the pump's own, changed under way; `policy` is what is served;
    `ask` passes the token of a wished reload on to the supervisor."""

    def __init__(
        self, data: Path, policy: Policy, counts: Counts, ask: Callable[[str], None] = lambda token: None
    ) -> None:
        self.policy = policy
        self.exports = Exports()
        self.deleted_rows: Callable[[], int] = lambda: 0  # by retention
        self.price_counts = PriceCounts()
        self._data = data
        self._stores = stores_of(data, policy.listener)  # those of the start: others take a restart
        self._counts = counts
        self._ask = ask
        self._token_of_start = ""
        holders = Holders(self._stores, lambda: self.policy.listener.issuers)
        self._keys = Keys(lambda: self._token() or self._token_of_start, self._admin_key, holders.who)
        self._sessions = Sessions(time.monotonic)
        self.rates = Rates(data)

    def app(self, token: str, hosts: frozenset[str] | None) -> ASGIApp:
        """Return the application behind its door. `token`: who has it may do everything, unless the config names another;
        `hosts`: the names of this machine, None when the listener is open to others."""
        endpoints = self.endpoints()
        self._token_of_start = token
        app = Starlette(routes=[row.route() for row in endpoints], exception_handlers=HANDLERS)  # type: ignore[arg-type]
        return Door(app, endpoints, self._keys, self._sessions, hosts)

    def endpoints(self) -> list[Endpoint]:
        """Return all there is to ask."""
        callers = CallersApi(self._stores, lambda name: any(key.name == name for key in self.policy.keys))
        sources = self._sources()
        billing = BillingApi(self._stores, lambda: self.policy.listener.billing, self._organisation)
        return [
            _raw("/livez", "Say that this process answers.", self.livez, access="open"),
            _raw("/metrics", "The metrics of the workers and of the ledger.", self.metrics, access="local"),
            _raw("/openapi.json", "This document.", self.openapi, access="local"),
            _raw(
                "/v1/config", "Which version is served, the last reload, and versions before.", self.config, reply=Json
            ),
            _raw(
                "/v1/config/reload",
                "Have the config file read again.",
                self.reload,
                method="POST",
                access="admin",
                reply=Json,
                codes=("config_not_changed", "reload_unfinished"),
            ),
            _raw(
                "/v1/usage",
                "Sums by one or two columns.",
                self.usage,
                reply=Json,
                texts={"by": BY, "since": SINCE},
                bound=True,
                codes=("ledger_unavailable",),
            ),
            *ReportApi(self._stores, self._organisation, lambda: self.policy).endpoints(),
            _raw(
                "/v1/decisions/{id}",
                "Why a request went where it went.",
                self.decision,
                reply=Json,
                named=True,
                bound=True,
                codes=("ledger_unavailable",),
            ),
            _raw(
                "/v1/cache",
                "How often answers to similar questions were wrong, by route.",
                self.similar,
                reply=Json,
            ),
            *NoticesApi(self._stores).endpoints(),
            *StoredApi(self._stores).endpoints(),
            *callers.endpoints(),
            *billing.endpoints(),
            *Site(sources, self._keys, self._sessions, self.rates).endpoints(),
            *Watching(sources, self.rates).endpoints(),
            *Accounts(sources, billing).endpoints(),
            *KeysSite(self._stores, callers).endpoints(),
        ]

    def _sources(self) -> Sources:
        return Sources(
            self._data,
            self._stores,
            self._counts,
            lambda: self.policy,
            self._reader_for,
            self._organisation,
            self._explanation,
            self._reloaded,
        )

    def count_store_error(self) -> None:
        """Count a failure of the key store."""
        self._counts.store_errors += 1

    def ledger_is_up(self) -> bool:
        """Tell whether the last look at the ledger was good."""
        return bool(self._counts.up)

    def count_unsent_notice(self) -> None:
        """Count a message that no channel took."""
        self._counts.unsent_notices += 1

    def count_issuer_error(self) -> None:
        """Count a failure to have the keys of an issuer."""
        self._counts.issuer_errors += 1

    def _token(self) -> str:
        token = self.policy.listener.admin_token
        return "" if token is None else token.reveal()

    def _admin_key(self, text: bytes) -> AdminKey | None:
        """Return the admin key with this text, asking the store only if there is one."""
        if not self._stores.has_callers():
            return None
        with closing(keystore.opened(self._stores)) as store:
            return store.admin_key(peppered(pepper_of(self._data, os.environ) or b"", text))

    def openapi(self, request: Request) -> Response:
        """Return the description of the API."""
        return json_reply(openapi.document(self.endpoints()))

    def livez(self, request: Request) -> Response:
        """Say that this process answers."""
        return PlainTextResponse("ok\n")

    def metrics(self, request: Request) -> Response:
        """Return the metrics of the workers and of the ledger."""
        return Response(
            scrape(self._data, self._counts, self.exports, self.policy, self.deleted_rows(), self.price_counts),
            media_type="text/plain; version=0.0.4; charset=utf-8",
        )

    def config(self, request: Request) -> Response:
        """Return which version is served, the outcome of the last reload, and the versions before, newest first."""
        entries = Versions(self._data).entries()[-MOST_VERSIONS:]
        known = {"version": self.policy.version, "source": self.policy.source}
        return json_reply({**known, "last": outcome(self._data), "versions": entries[::-1]})

    async def reload(self, request: Request) -> Response:
        """Have the config file read again, and return what came of it."""
        found = await self._reloaded(request.scope["state"]["who"])
        if found is None:
            return error_reply("reload_unfinished", f"no outcome within {RELOAD_WAIT_S:.0f} s; look at /v1/config")
        if not found["ok"]:
            return error_reply("config_not_changed", found["error"])
        return json_reply({"version": found["version"], "restart": found["restart"]})

    async def _reloaded(self, who: Who) -> dict[str, Any] | None:
        """Have the config file read again; return the outcome, None when there is none in time."""
        token, until_s = secrets.token_hex(8), time.monotonic() + RELOAD_WAIT_S
        self._ask(token)
        while time.monotonic() < until_s:
            found = outcome(self._data)
            if token in found.get("answers", ()):
                await asyncio.to_thread(self._note_reload, who, found)
                return found
            await asyncio.sleep(RELOAD_LOOK_S)
        return None

    def _note_reload(self, who: Who, found: dict[str, Any]) -> None:
        """Write who reloaded into the audit log; that it cannot be written does not undo the reload."""
        told = {"ok": found["ok"], "version": found["version"]}
        try:
            with keystore.acting(self._stores, who.name) as acting:
                acting.note("config.reload", found["version"], told)
        except (CallersError, PrivateError) as error:
            LOG.error("audit_failed", f"the audit log has no row of a reload by {who.name}: {error}")

    def usage(self, request: Request) -> Response:
        """Return sums by one or two columns: ?by=route,model&since=7d."""
        by = group_names(request.query_params.getlist("by") or ["route"])
        start_ms = _since(request.query_params.get("since", DEFAULT_SINCE))
        with self._reader_for(request.scope["state"]["who"]) as reader:
            return json_reply(usage_report(usage_of(reader, UsageQuery(by=by, since_ms=start_ms))))

    def similar(self, request: Request) -> Response:
        """Return how often answers to similar questions were wrong, by route."""
        return json_reply({"routes": similar_rows(self._data)})

    def decision(self, request: Request) -> Response:
        """Return why a request went where it went."""
        return json_reply(self._explanation(request))

    def _explanation(self, request: Request) -> Explanation:
        text = request.path_params["id"]
        with self._reader_for(request.scope["state"]["who"]) as reader:
            found = reader.find(text)
            entry = reader.entry(found[0]) if len(found) == 1 else None
        if entry is None:
            raise HTTPException(404, "several requests have this id" if found else "no request of this id is booked")
        return explain(entry)

    def _reader_for(self, who: Who) -> Reader:
        """Return a reader of what who asks may see (S4). Raise CallersError when nobody can tell which organisation that is."""
        return self._stores.reader(LIMIT_S).of(self._organisation(who))

    def _organisation(self, who: Who) -> str:
        """Return the name of the organisation that who asks is bound to, "" for none. Raise CallersError."""
        if not who.organisation:
            return ""
        with keystore.acting(self._stores, who.name, who.organisation) as acting:
            return acting.group("organisation", who.organisation).name


Json = dict[str, Any]
BY = {
    "anyOf": [{"type": "string", "enum": list(GROUPS)}, {"type": "string", "pattern": f"^{TAGGED.pattern}$"}],
    "description": "Twice, or two with a comma, for two; `tag:NAME` by what follows `NAME:` in a tag.",
}
SINCE = {"type": "string", "pattern": "^[0-9]{1,6}[smhdw]$", "description": "Or an ISO date or time (UTC)."}


def _raw(path: str, what: str, handler: Callable[..., Any], method: str = "GET", **more: Any) -> Endpoint:
    """Return a row for a handler that answers by itself; a viewer's, unless it says otherwise."""
    return Endpoint(path=path, method=method, what=what, handler=handler, raw=True, **{"access": "viewer", **more})


def _since(text: str) -> int:
    return since_ms(text, time.time_ns() // 1_000_000)
