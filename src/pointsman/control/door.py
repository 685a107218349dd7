"""Door: who may do what on the admin listener, decided by the table of endpoints before anything else is read (S3, S6).

The token may do everything; admin keys of the key store have a role, and may be bound to one organisation; so have tokens of
issuers whose roles are mapped. Credentials come as a bearer token or as the password of HTTP basic authentication, and
are compared by digests under a secret of this process, so that time tells nothing of them (S1). Who fails too often
waits. Browsers log in: then a cookie opens the pages, and nothing else, and a form of a page changes what it says if it
names the secret of its session. Whatever else a browser sends for a page changes nothing; without a credential the Host
header must name this machine, so that no page reads by a name of its own.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import secrets
import time
from collections.abc import Callable, Sequence
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pointsman.control.endpoints import Endpoint, Who
from pointsman.control.replies import Refusal, told, wants_page
from pointsman.control.sessions import Sessions, cookie_of
from pointsman.core.keys import ADMIN, is_key
from pointsman.core.tokens import Expired, NoKeys, NoRight, TokenError, is_token
from pointsman.core.tries import Tries, network_of
from pointsman.stores.callers import AdminKey, CallersError
from pointsman.stores.private import PrivateError

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "frame-ancestors 'none'; form-action 'self'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with none a browser does not say which page a form is of
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_OF_PAGES = ("origin", "sec-fetch-site")  # one of them comes with every request that a page makes to change something
_HEADERS_RAW = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
_NO_TRIES = {NoKeys: "issuer_unavailable", NoRight: "forbidden_role", Expired: "unauthorized"}  # nobody guesses these
LIVE = "/live"  # asked for by a page itself, again and again
_READING = ("GET", "HEAD", "OPTIONS")


class Keys:
    """Say whose a credential is, and count who shows a wrong one: `token` gives the admin token, `find` an admin key by its
    text, `holder` who has a token of an issuer; None: none is taken."""

    def __init__(
        self,
        token: Callable[[], str],
        find: Callable[[bytes], AdminKey | None],
        holder: Callable[[bytes], Who] | None = None,
    ) -> None:
        self._token, self._find, self._holder = token, find, holder
        self._secret = secrets.token_bytes(32)
        self._tries = Tries(time.monotonic)

    async def let(self, credential: bytes, address: str) -> Who:
        """Return who has a credential that was shown from an address. Raise Refusal when it is a wrong one, or one too many,
        CallersError, PrivateError when the store cannot be asked."""
        wait_s = self._tries.wait_s(address)
        if wait_s > 0.0:
            raise Refusal("too_many_tries", "too many failed tries from this address; wait", str(int(wait_s) + 1))
        why = "this is neither the admin token nor an admin key that is good"
        try:
            who = await asyncio.to_thread(self.who, credential)
        except TokenError as error:
            if type(error) in _NO_TRIES:
                raise Refusal(_NO_TRIES[type(error)], str(error)) from None
            who, why = None, str(error)
        if who is None:
            self._tries.failed(address)
            raise Refusal("unauthorized", why)
        return who

    async def still(self, credential: bytes) -> Who | None:
        """Return who has the credential of a session; None: it is good no more. Raise CallersError, PrivateError."""
        try:
            return await asyncio.to_thread(self.who, credential)
        except TokenError:
            return None

    def who(self, credential: bytes) -> Who | None:
        """Return who has this credential; None: nobody. Raise TokenError when it is a token that is not taken, CallersError,
        PrivateError when the store cannot be asked."""
        token = self._token()
        if hmac.compare_digest(self._digest(credential), self._digest(token.encode())) and token:
            return Who("token", "admin")
        if self._holder is not None and is_token(credential):
            return self._holder(credential)
        if not is_key(credential, ADMIN):
            return None
        key = self._find(credential)
        if key is None or not key.is_active(time.time_ns() // 1_000_000):
            return None
        return Who(f"{key.name} ({key.id})", key.role, key.organisation)

    def _digest(self, text: bytes) -> bytes:
        return hmac.digest(self._secret, text, "sha256")


class Door:
    """Let in whoever may, and put the security headers on every answer. `hosts`: the names of this machine; None: the
    listener is not on loopback, so that nobody is known by being here."""

    def __init__(
        self,
        app: ASGIApp,
        endpoints: Sequence[Endpoint],
        keys: Keys,
        sessions: Sessions,
        hosts: frozenset[str] | None,
    ) -> None:
        self._app, self._keys, self._sessions, self._hosts = app, keys, sessions, hosts
        self._rows = [(row.method, row.pattern, row) for row in endpoints]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = message.get("headers", [])
                fixed = {name for name, _ in given}
                message["headers"] = [*given, *(pair for pair in _HEADERS_RAW if pair[0] not in fixed)]
            await send(message)

        scope.setdefault("state", {})
        try:
            refused = await self._refusal(scope)
        except Refusal as refusal:
            refused = self._told(Request(scope), refusal)
        except (CallersError, PrivateError) as error:
            refused = told(Request(scope), "callers_unavailable", str(error))
        await (refused or self._app)(scope, receive, guarded)

    async def _refusal(self, scope: Scope) -> Response | None:
        """Return the answer to who may not, or raise the Refusal; note who it is of who may."""
        headers, row = Headers(scope=scope), self._row(scope["method"], scope["path"])
        if row is not None and row.access == "open":
            self._check_page(headers, row)
            return None
        who = await self._who(scope, headers, row)
        if scope["method"] not in _READING and not (row is not None and row.form):
            if any(name in headers for name in _OF_PAGES):
                raise Refusal("forbidden_origin", "this is not taken from web pages")
        elif row is not None and row.form:
            self._check_page(headers, row)
        if who is None:
            return self._unknown(scope, headers, row)
        if row is not None and row.form and "session" not in scope["state"]:
            raise Refusal("forbidden_origin", "this is taken from the pages alone; for programs there is the admin API")
        if row is not None and not who.may(row.access, bound=row.bound):
            raise Refusal("forbidden_role", "this admin key may not do this")
        scope["state"]["who"] = who
        return None

    def _check_page(self, headers: Headers, row: Endpoint) -> None:
        """Raise Refusal when a form comes from a page of another place, or by a name that is not this machine's."""
        if not row.form:
            return
        host, origin = headers.get("host", ""), headers.get("origin")
        if self._hosts is not None and _host(host) not in self._hosts:
            raise Refusal("forbidden_host", "this host name is not served here")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            raise Refusal("forbidden_origin", "this form comes from another page")
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise Refusal("forbidden_origin", "this form comes from another page")

    def _unknown(self, scope: Scope, headers: Headers, row: Endpoint | None) -> Response | None:
        """Return the answer to who gave no credential."""
        if self._hosts is not None and _host(headers.get("host", "")) not in self._hosts:
            raise Refusal("forbidden_host", "this host name is not served here")
        if row is not None and row.access == "local" and self._hosts is not None:
            return None
        if row is not None and row.page and scope["method"] in _READING and wants_page(Request(scope)):
            path = scope["path"] + ("?" + scope["query_string"].decode("latin-1") if scope["query_string"] else "")
            return Response(status_code=303, headers={"location": f"/login?next={quote(path, safe='')}"})
        raise Refusal("unauthorized", "send the admin token or an admin key, as bearer token or as password")

    async def _who(self, scope: Scope, headers: Headers, row: Endpoint | None) -> Who | None:
        """Return who asks; None: no credential was given. Raise Refusal when it is a wrong one, or one too many."""
        credential = _credential(headers.get("authorization", ""))
        if credential is not None:
            return await self._keys.let(credential, address_of(scope))
        if row is None or not (row.page or row.form):
            return None
        text = cookie_of(headers.get("cookie", ""), port_of(scope))
        session = self._sessions.find(text, by_itself=scope["path"] == LIVE) if text else None
        if session is None:
            return None
        who = await self._keys.still(session.credential)
        if who is None:
            self._sessions.end(text)
            return None
        scope["state"]["session"] = session
        return who

    def _told(self, request: Request, refusal: Refusal) -> Response:
        reply = told(request, refusal.code, str(refusal))
        if refusal.code == "unauthorized" and not wants_page(request):
            reply.headers["www-authenticate"] = 'Basic realm="pointsman"'
        elif refusal.code == "too_many_tries":
            reply.headers["retry-after"] = str(refusal.param)
        return reply

    def _row(self, method: str, path: str) -> Endpoint | None:
        wanted = "GET" if method == "HEAD" else method
        found = (row for verb, pattern, row in self._rows if verb == wanted and pattern.fullmatch(path))
        return next(found, None)


def port_of(scope: Scope) -> int:
    """Return the port that was asked, by the name that the browser has for it."""
    try:
        return urlsplit("//" + Headers(scope=scope).get("host", "")).port or 80
    except ValueError:
        return 80


def address_of(scope: Scope) -> str:
    """Return whose tries are counted together."""
    client = Request(scope).client
    return network_of(client.host if client else "")


def _host(header: str) -> str:
    """Return the name in a Host header, without its port; "" when there is none."""
    try:
        return urlsplit("//" + header).hostname or ""
    except ValueError:
        return ""


def _credential(header: str) -> bytes | None:
    """Return the credential of an Authorization header; None when there is no such header."""
    scheme, _, rest = header.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip().encode()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest, validate=True).partition(b":")[2]
        except binascii.Error:
            return b""
    return b"" if header else None
