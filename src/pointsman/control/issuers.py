"""Issuers: fetches the public keys of issuers, on a schedule and when somebody met an unknown one, and publishes them.

The addresses come from the config, or from the discovery document of an issuer in the config (OpenID Connect Discovery 1.0):
https only, but for this machine; redirects are not followed; time and size are bounded. What cannot be fetched changes
nothing: the keys of before go on, for `stores.tokens.MOST_AGE_MS`.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from pointsman.config.addresses import issuer_url_fault
from pointsman.core.issuer import Issuer
from pointsman.core.policy import Policy
from pointsman.observe.log import LOG
from pointsman.stores import issuers_file
from pointsman.stores.issuers_file import IssuerKeys, PublishedError
from pointsman.stores.tokens import MOST_KEYS, public, usable

DISCOVERY = "/.well-known/openid-configuration"
REFRESH_S = 300.0  # how old an issuer's keys become before they are fetched again
AGAIN_S = 10.0  # least time between two fetches from one issuer, whoever asks for them, and after a failure
FETCH_S = 5.0  # for one document
MOST_DOCUMENT_BYTES = 256 * 1024
T = TypeVar("T")


class FetchError(Exception):
    """Say why an issuer's keys could not be had."""


class _Discovery(msgspec.Struct):
    issuer: str
    jwks_uri: str


class _KeySet(msgspec.Struct):
    keys: list[dict[str, object]]


class Issuers:
    """Keep the keys of the issuers of the present config published; one thread at a time. `failed` is called for every
    failure; `clock` gives seconds that never go back."""

    def __init__(
        self,
        data: Path,
        policy: Callable[[], Policy],
        failed: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._data, self._policy, self._failed, self._clock = data, policy, failed, clock
        self._had: dict[tuple[str, str], IssuerKeys] = {}
        self._due_s: dict[str, float] = {}  # by name of the issuer
        self._tried_s: dict[str, float] = {}
        self._said: dict[str, str] = {}
        self._begun = False

    def step(self) -> None:
        """Look once: fetch what is due. What goes wrong is counted, and said once; a later step tries again."""
        issuers, now_s = self._policy().listener.issuers, self._clock()
        if not issuers:
            return
        if not self._begun:
            self._begin()
        for name in issuers_file.wanted(self._data):
            if name in self._due_s:
                self._due_s[name] = min(self._due_s[name], self._tried_s[name] + AGAIN_S)
        due = [one for one in issuers if now_s >= self._due_s.get(one.name, 0.0) or self._key(one) not in self._had]
        fetched = [one for one in due if now_s >= self._tried_s.get(one.name, -AGAIN_S) + AGAIN_S and self._fetch(one)]
        if fetched:
            self._publish({self._key(one) for one in issuers})

    def _begin(self) -> None:
        """Go on with what was published before this process started: an issuer may be down just now."""
        self._begun = True
        try:
            self._had = {(one.url, one.source): one for one in issuers_file.read(self._data)}
        except PublishedError:
            self._had = {}

    def _fetch(self, issuer: Issuer) -> bool:
        """Fetch the keys of one issuer; return whether they were had."""
        self._tried_s[issuer.name] = self._clock()
        self._due_s[issuer.name] = self._tried_s[issuer.name] + AGAIN_S
        try:
            keys = keys_of(issuer)
        except FetchError as error:
            self._fail(issuer.name, str(error))
            return False
        self._due_s[issuer.name] = self._tried_s[issuer.name] + REFRESH_S
        self._said.pop(issuer.name, None)
        self._had[self._key(issuer)] = IssuerKeys(
            url=issuer.url, source=issuer.jwks_url, fetched_ms=time.time_ns() // 1_000_000, keys=keys
        )
        return True

    def _publish(self, wanted: set[tuple[str, str]]) -> None:
        self._had = {key: one for key, one in self._had.items() if key in wanted}
        try:
            issuers_file.publish(self._data, list(self._had.values()))
        except OSError as error:
            self._fail("", f"{self._data / issuers_file.PUBLISHED}: {error.strerror}")

    def _fail(self, name: str, text: str) -> None:
        self._failed()
        if self._said.get(name) != text:
            self._said[name] = text
            whose = f"the keys of issuer {name}" if name else "the keys of issuers"
            LOG.warning("issuer_failed", f"{whose}: {text}; the keys known before go on")

    @staticmethod
    def _key(issuer: Issuer) -> tuple[str, str]:
        return issuer.url, issuer.jwks_url


def keys_of(issuer: Issuer) -> tuple[dict[str, str], ...]:
    """Return the public keys of an issuer that can be used. Raise FetchError."""
    context = _context(issuer.ca_file)
    url = issuer.jwks_url
    if not url:
        found = _read(issuer.url.rstrip("/") + DISCOVERY, context, _Discovery)
        if found.issuer != issuer.url:
            raise FetchError("its discovery document is that of another issuer")
        fault, _ = issuer_url_fault(found.jwks_uri, loopback=issuer.url.startswith("http://"))
        if fault:
            raise FetchError(f"the jwks_uri of its discovery document {fault}")
        url = found.jwks_uri
    given = _read(url, context, _KeySet).keys
    if len(given) > MOST_KEYS:
        raise FetchError(f"it has more than {MOST_KEYS} keys")
    keys = tuple(public(one) for one in given if usable([one]))
    if not keys:
        raise FetchError("none of its keys can be used to check a signature")
    return keys


def _context(ca_file: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context()
        if ca_file:
            context.load_verify_locations(ca_file)
    except OSError as error:
        raise FetchError(f"{ca_file}: {error}") from None
    return context


def _read(url: str, context: ssl.SSLContext, kind: type[T]) -> T:
    """Return a JSON document. Raise FetchError."""
    try:
        return msgspec.json.decode(_get(url, context), type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise FetchError(f"{urlsplit(url).hostname} does not answer with the document that is looked for") from None


def _get(url: str, context: ssl.SSLContext) -> bytes:
    """Return what a URL answers with status 200. Raise FetchError; no redirect is followed."""
    parts, until_s = urlsplit(url), time.monotonic() + FETCH_S
    host, path = parts.hostname or "", (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection = (
        http.client.HTTPSConnection(host, parts.port, timeout=FETCH_S, context=context)
        if parts.scheme == "https"
        else http.client.HTTPConnection(host, parts.port, timeout=FETCH_S)
    )
    cut = threading.Timer(2 * FETCH_S, _cut, [connection])
    cut.daemon = True
    cut.start()
    try:
        connection.request("GET", path, headers={"accept": "application/json", "connection": "close"})
        answer = connection.getresponse()
        if answer.status != 200:
            raise FetchError(f"{host} answers with status {answer.status}")
        return _body(answer, until_s, host)
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: no name that a host can have
        raise FetchError(f"{host}: {error or type(error).__name__}") from None
    finally:
        cut.cancel()
        connection.close()


def _cut(connection: http.client.HTTPConnection) -> None:
    """End an answer that comes in drops, each of them in time."""
    with contextlib.suppress(OSError, AttributeError):
        connection.sock.shutdown(socket.SHUT_RDWR)


def _body(answer: http.client.HTTPResponse, until_s: float, host: str) -> bytes:
    data = b""
    while piece := answer.read1(65_536):
        data += piece
        if len(data) > MOST_DOCUMENT_BYTES:
            raise FetchError(f"{host} answers with more than {MOST_DOCUMENT_BYTES} bytes")
        if time.monotonic() > until_s:
            raise FetchError(f"{host} did not answer within {FETCH_S:.0f} s")
    return data
