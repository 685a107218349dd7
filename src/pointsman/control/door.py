"""Door: who may do what on the admin listener, decided by the table of endpoints before anything else is read (S3, S6).

The token may do everything; admin keys of the key store have a role, and may be bound to one organisation; so have tokens of
issuers whose roles are mapped. Credentials come as a bearer token or as the password of HTTP basic authentication, and
are compared by digests under a secret of this process, so that time tells nothing of them (S1). Who fails too often
waits. What a browser sends for a page changes nothing; without a credential the Host header must name this machine, so
that no page reads by a name of its own.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import secrets
import time
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pointsman.control.endpoints import Endpoint, Who
from pointsman.control.replies import Refusal, error_reply
from pointsman.core.keys import ADMIN, is_key
from pointsman.core.tokens import Expired, NoKeys, NoRight, TokenError, is_token
from pointsman.core.tries import Tries, network_of
from pointsman.stores.callers import AdminKey, CallersError
from pointsman.stores.private import PrivateError

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
_OF_PAGES = ("origin", "sec-fetch-site")  # one of them comes with every request that a page makes to change something
_HEADERS_RAW = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
_NO_TRIES = {NoKeys: "issuer_unavailable", NoRight: "forbidden_role", Expired: "unauthorized"}  # nobody guesses these
_READING = ("GET", "HEAD", "OPTIONS")


class Keys:
    """Say whose a credential is: `token` gives the admin token, `find` an admin key by its text, `holder` who has a token of
    an issuer; None: none is taken."""

    def __init__(
        self,
        token: Callable[[], str],
        find: Callable[[bytes], AdminKey | None],
        holder: Callable[[bytes], Who] | None = None,
    ) -> None:
        self._token, self._find, self._holder = token, find, holder
        self._secret = secrets.token_bytes(32)

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

    def __init__(self, app: ASGIApp, endpoints: Sequence[Endpoint], keys: Keys, hosts: frozenset[str] | None) -> None:
        self._app, self._keys, self._hosts = app, keys, hosts
        self._rows = [(row.method, row.pattern, row) for row in endpoints]
        self._tries = Tries(time.monotonic)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_HEADERS_RAW]
            await send(message)

        refused = await self._refusal(scope)
        await (refused or self._app)(scope, receive, guarded)

    async def _refusal(self, scope: Scope) -> Response | None:
        """Return the answer to who may not; note who it is of who may."""
        headers, row = Headers(scope=scope), self._row(scope["method"], scope["path"])
        if row is not None and row.access == "open":
            return None
        try:
            who = await self._who(headers, _address(scope))
        except Refusal as refusal:
            reply = error_reply(refusal.code, str(refusal))
            if refusal.code == "unauthorized":
                reply.headers["www-authenticate"] = 'Basic realm="pointsman"'
            elif refusal.code == "too_many_tries":
                reply.headers["retry-after"] = str(refusal.param)
            return reply
        except (CallersError, PrivateError) as error:
            return error_reply("callers_unavailable", str(error))
        if scope["method"] not in _READING and any(name in headers for name in _OF_PAGES):
            return error_reply("forbidden_origin", "this is not taken from web pages")
        if who is None:
            return self._unknown(headers, row)
        if row is not None and (
            (row.access == "admin" and who.role != "admin") or (who.organisation and not row.bound)
        ):
            return error_reply("forbidden_role", "this admin key may not do this")
        scope.setdefault("state", {})["who"] = who
        return None

    def _unknown(self, headers: Headers, row: Endpoint | None) -> Response | None:
        """Return the answer to who gave no credential."""
        if self._hosts is not None and _host(headers.get("host", "")) not in self._hosts:
            return error_reply("forbidden_host", "this host name is not served here")
        if row is not None and row.access == "local" and self._hosts is not None:
            return None
        reply = error_reply("unauthorized", "send the admin token or an admin key, as bearer token or as password")
        reply.headers["www-authenticate"] = 'Basic realm="pointsman"'
        return reply

    async def _who(self, headers: Headers, address: str) -> Who | None:
        """Return who asks; None: no credential was given. Raise Refusal when it is a wrong one, or one too many."""
        credential = _credential(headers.get("authorization", ""))
        if credential is None:
            return None
        wait_s = self._tries.wait_s(address)
        if wait_s > 0.0:
            raise Refusal("too_many_tries", "too many failed tries from this address; wait", str(int(wait_s) + 1))
        why = "this is neither the admin token nor an admin key that is good"
        try:
            who = await asyncio.to_thread(self._keys.who, credential)
        except TokenError as error:
            if type(error) in _NO_TRIES:
                raise Refusal(_NO_TRIES[type(error)], str(error)) from None
            who, why = None, str(error)
        if who is None:
            self._tries.failed(address)
            raise Refusal("unauthorized", why)
        return who

    def _row(self, method: str, path: str) -> Endpoint | None:
        wanted = "GET" if method == "HEAD" else method
        found = (row for verb, pattern, row in self._rows if verb == wanted and pattern.fullmatch(path))
        return next(found, None)


def _address(scope: Scope) -> str:
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
