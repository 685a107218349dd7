"""Sessions: who has logged in with a browser, kept in this process alone.

The cookie is 256 random bits that say nothing; what it stands for is here, so that logging out ends it for good, which a
signed cookie could not. It is found by its digest, so that time tells nothing of it (S1). The credential stays with it and
is looked at again with every request: a key that is revoked, or a token that has changed, ends its sessions at once.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie

IDLE_S = 3_600.0  # after the last page that somebody asked for
LASTS_S = 12 * 3_600.0  # however busy
MOST_SESSIONS = 256  # beyond, the one that was used longest ago ends


class Session:
    """Hold one login. `csrf` goes with every form that changes something (S6)."""

    __slots__ = ("began_s", "credential", "csrf", "used_s")

    def __init__(self, credential: bytes, now_s: float) -> None:
        self.credential = credential
        self.csrf = secrets.token_urlsafe(24)
        self.began_s = self.used_s = now_s

    def allows(self, csrf: str) -> bool:
        """Tell whether a form came from a page of this session."""
        return hmac.compare_digest(self.csrf.encode(), csrf.encode())


class Sessions:
    """Keep sessions. `clock` gives seconds, of the monotonic clock."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._by_digest: OrderedDict[bytes, Session] = OrderedDict()

    def open(self, credential: bytes) -> str:
        """Begin a session; return the text of its cookie."""
        text, now_s = secrets.token_urlsafe(32), self._clock()
        for digest in [one for one, session in self._by_digest.items() if self._is_over(session)]:
            del self._by_digest[digest]
        self._by_digest[_digest(text)] = Session(credential, now_s)
        if len(self._by_digest) > MOST_SESSIONS:
            self._by_digest.popitem(last=False)
        return text

    def find(self, text: str, *, by_itself: bool = False) -> Session | None:
        """Return the session of a cookie; None: there is none any more. What a page asks for `by_itself` is no use of it."""
        digest = _digest(text)
        session = self._by_digest.get(digest)
        if session is None:
            return None
        if self._is_over(session):
            del self._by_digest[digest]
            return None
        if not by_itself:
            session.used_s = self._clock()
            self._by_digest.move_to_end(digest)
        return session

    def end(self, text: str) -> None:
        """End the session of a cookie, if there is one."""
        self._by_digest.pop(_digest(text), None)

    def _is_over(self, session: Session) -> bool:
        now_s = self._clock()
        return now_s - session.used_s > IDLE_S or now_s - session.began_s > LASTS_S


def cookie_name(port: int) -> str:
    """Return the name of the cookie: browsers keep those of all ports of a machine together."""
    return f"pointsman_{port}"


def set_cookie(port: int, text: str, *, secure: bool) -> str:
    """Return the header that gives a browser its cookie; with "" the one that takes it away."""
    age = f"; Max-Age={int(LASTS_S)}" if text else "; Max-Age=0"
    return f"{cookie_name(port)}={text}; Path=/; HttpOnly; SameSite=Strict{age}{'; Secure' if secure else ''}"


def cookie_of(header: str, port: int) -> str:
    """Return the cookie's text in a Cookie header; "" when there is none."""
    try:
        found = SimpleCookie(header).get(cookie_name(port))
    except CookieError:
        return ""
    return found.value if found is not None else ""


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
