"""Admin: the API and pages of the control process, on their own listener. They show; all one can do is ask the router to
read its config file again.

Loopback without a token; with POINTSMAN_ADMIN_TOKEN everything but /livez asks for it (S6), as a bearer token or as the
password of HTTP basic authentication. Without a token the Host header must name this machine, so that no web page can
read the pages through a name of its own that resolves here. What a browser sends for a page cannot change anything, with or
without a token: no page of ours does.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pointsman import __version__
from pointsman.control import pages
from pointsman.control.explanation import Explanation, explain
from pointsman.control.html import STYLE
from pointsman.control.measures import gather, scrape
from pointsman.control.period import since_ms
from pointsman.control.pump import Counts
from pointsman.control.reports import group_names, usage_of, usage_report
from pointsman.core.policy import Policy
from pointsman.stores.ledger import LedgerError, LedgerMissing, UsageQuery, UsageRow
from pointsman.stores.sqlite import FILE, SqliteReader
from pointsman.stores.versions import Versions, outcome

LIMIT_S = 2.0  # for one question to the ledger
RECENT = 50  # requests on the status page
DEFAULT_SINCE = "24h"
NO_ROW = UsageRow((), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, None, None)
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
OPEN_PATHS = frozenset({"/livez"})
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
        self._data = data
        self._counts = counts
        self._ask = ask

    def app(self, token: str, hosts: frozenset[str]) -> ASGIApp:
        """Return the application behind its guard. `hosts`: the names it answers to when there is no token."""
        routes = [
            Route("/", self.status),
            Route("/style.css", self.style),
            Route("/livez", self.livez),
            Route("/metrics", self.metrics),
            Route("/v1/config", self.config),
            Route("/v1/config/reload", self.reload, methods=["POST"]),
            Route("/v1/usage", self.usage),
            Route("/v1/decisions/{id}", self.decision),
            Route("/requests/{id}", self.request),
        ]
        handlers = {HTTPException: _http_error, LedgerError: _ledger_error, ValueError: _value_error}
        return Guard(Starlette(routes=routes, exception_handlers=handlers), token, hosts)  # type: ignore[arg-type]

    def livez(self, request: Request) -> Response:
        """Say that this process answers."""
        return PlainTextResponse("ok\n")

    def style(self, request: Request) -> Response:
        """Return the pages' only asset."""
        return Response(STYLE, media_type="text/css")

    def metrics(self, request: Request) -> Response:
        """Return the metrics of the workers and of the ledger."""
        return Response(scrape(self._data, self._counts), media_type="text/plain; version=0.0.4; charset=utf-8")

    def config(self, request: Request) -> Response:
        """Return which version is served, the outcome of the last reload, and the versions before, newest first."""
        entries = Versions(self._data).entries()[-MOST_VERSIONS:]
        known = {"version": self.policy.version, "source": self.policy.source}
        return _json({**known, "last": outcome(self._data), "versions": entries[::-1]})

    async def reload(self, request: Request) -> Response:
        """Have the config file read again, and return what came of it."""
        token, until_s = secrets.token_hex(8), time.monotonic() + RELOAD_WAIT_S
        self._ask(token)
        while time.monotonic() < until_s:
            found = outcome(self._data)
            if token in found.get("answers", ()):
                if not found["ok"]:
                    return _error(409, found["error"], "config_not_changed")
                return _json({"version": found["version"], "restart": found["restart"]})
            await asyncio.sleep(RELOAD_LOOK_S)
        return _error(503, f"no outcome within {RELOAD_WAIT_S:.0f} s; look at /v1/config", "reload_unfinished")

    def usage(self, request: Request) -> Response:
        """Return sums by one or two columns: ?by=route,model&since=7d."""
        by = group_names(request.query_params.getlist("by") or ["route"])
        start_ms = _since(request.query_params.get("since", DEFAULT_SINCE))
        with self._reader() as reader:
            return _json(usage_report(usage_of(reader, UsageQuery(by=by, since_ms=start_ms))))

    def decision(self, request: Request) -> Response:
        """Return why a request went where it went."""
        return _json(self._explanation(request))

    def request(self, request: Request) -> Response:
        """Return the page that explains one request."""
        return HTMLResponse(pages.explain_page(self._explanation(request)))

    def status(self, request: Request) -> Response:
        """Return the status page; what the ledger cannot answer in time is left out and said."""
        since = request.query_params.get("since", DEFAULT_SINCE)
        start_ms = _since(since)
        total, trouble = NO_ROW, ""
        routes: list[UsageRow] = []
        deployments: list[UsageRow] = []
        recent: list[dict[str, Any]] = []
        try:
            with self._reader() as reader:
                recent = reader.recent(RECENT)
                routes, total = reader.usage(UsageQuery(by=("route",), since_ms=start_ms))
                deployments, _ = reader.usage(UsageQuery(by=("deployment",), since_ms=start_ms))
        except LedgerMissing:
            trouble = "The ledger is not there yet."
        except LedgerError as error:
            trouble = f"{error}. Try a shorter period."
        metrics, workers = gather(self._data)
        shown = pages.Status(
            version=__version__,
            policy=self.policy,
            reload=outcome(self._data),
            since=since,
            workers=workers,
            active=metrics.active,
            lag_bytes=self._counts.lag_bytes,
            breakers=metrics.breakers,
            total=total,
            routes={row.group[0]: row for row in routes},
            deployments={row.group[0]: row for row in deployments},
            recent=recent[::-1],
            trouble=trouble,
        )
        return HTMLResponse(pages.status_page(shown))

    def _explanation(self, request: Request) -> Explanation:
        text = request.path_params["id"]
        with self._reader() as reader:
            found = reader.find(text)
            entry = reader.entry(found[0]) if len(found) == 1 else None
        if entry is None:
            raise HTTPException(404, "several requests have this id" if found else "no request of this id is booked")
        return explain(entry)

    def _reader(self) -> SqliteReader:
        return SqliteReader(self._data / FILE, LIMIT_S)


class Guard:
    """Let in whoever may, and put the security headers on every answer."""

    def __init__(self, app: ASGIApp, token: str, hosts: frozenset[str]) -> None:
        self._app = app
        self._token = token
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_HEADERS_RAW]
            await send(message)

        headers = Headers(scope=scope)
        refused = None if scope["path"] in OPEN_PATHS else self._refusal(headers)
        if refused is None and scope["method"] not in ("GET", "HEAD") and any(name in headers for name in _OF_PAGES):
            refused = _error(403, "this is not taken from web pages", "forbidden_origin")
        await (refused or self._app)(scope, receive, guarded)

    def _refusal(self, headers: Headers) -> Response | None:
        if not self._token:
            return (
                None
                if _host(headers.get("host", "")) in self._hosts
                else _error(403, "this host name is not served here", "forbidden_host")
            )
        if hmac.compare_digest(_credential(headers.get("authorization", "")), self._token.encode()):
            return None
        refusal = _error(401, "send POINTSMAN_ADMIN_TOKEN as bearer token or as password", "unauthorized")
        refusal.headers["www-authenticate"] = 'Basic realm="pointsman"'
        return refusal


_OF_PAGES = ("origin", "sec-fetch-site")  # one of them comes with every request that a page makes to change something
_HEADERS_RAW = [(name.encode(), value.encode()) for name, value in HEADERS.items()]


def _host(header: str) -> str:
    """Return the name in a Host header, without its port; "" when there is none."""
    try:
        return urlsplit("//" + header).hostname or ""
    except ValueError:
        return ""


def _credential(header: str) -> bytes:
    scheme, _, rest = header.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip().encode()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest, validate=True).partition(b":")[2]
        except binascii.Error:
            return b""
    return b""


def _since(text: str) -> int:
    return since_ms(text, time.time_ns() // 1_000_000)


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _error(status: int, message: str, code: str) -> Response:
    return _json({"error": {"message": message, "type": "admin_error", "code": code}}, status)


def _wants_page(request: Request) -> bool:
    return request.url.path == "/" or request.url.path.startswith("/requests/")


def _told(request: Request, status: int, message: str, code: str) -> Response:
    if _wants_page(request):
        return HTMLResponse(pages.message_page(str(status), message), status)
    return _error(status, message, code)


def _http_error(request: Request, error: HTTPException) -> Response:
    return _told(request, error.status_code, error.detail, "not_found" if error.status_code == 404 else "http_error")


def _ledger_error(request: Request, error: LedgerError) -> Response:
    return _told(request, 503, str(error), "ledger_unavailable")


def _value_error(request: Request, error: ValueError) -> Response:
    return _told(request, 400, str(error), "invalid_request")
