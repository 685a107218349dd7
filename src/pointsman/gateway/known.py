"""Known: a request head that was read before on the same connection, so that the same head need not be read again.

SDKs send the same bytes with every request of a connection but for the digits of content-length. Why this is safe:

- The parser is deterministic. Between two messages it is always in the same state, so a head that it has read whole in
  that state it would read alike again; only heads whose one varying part is the digits of the only content-length are kept.
- Of a request that is read here the parser sees nothing, so it stays between two messages.
- A request is read here only if it is there whole, with nothing behind it; any other bytes go to the parser.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from hmac import compare_digest
from operator import eq
from typing import TYPE_CHECKING

from pointsman.core.policy import Limits

if TYPE_CHECKING:
    from pointsman.gateway.once import Claim

END_OF_HEAD = b"\r\n\r\n"
MAX_DIGITS = 12  # of a content-length that is read here; the parser reads the others
_PLAIN_START = re.compile(rb"[A-Z]+ [^ \r\n]+ HTTP/1\.1\r\n").match
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)\r\n", re.IGNORECASE).search
_SECRET = re.compile(rb"auth|key|token|cookie|secret", re.IGNORECASE).search
_PECULIAR = re.compile(rb"transfer-encoding|expect|upgrade|trailer|content-encoding", re.IGNORECASE).search


class Incoming:
    """One request as it came: method, target, the wanted headers, body. `refused` is an answer decided without the body."""

    body = b""
    ready_ms = 0.0  # when its last byte was there
    waited = False  # it was not answered at once then
    caller: object | None = None
    generation: object | None = None  # of the keys that the caller was found among
    refused: bytes | None = None
    close = False
    claim: Claim | None = None  # of its Idempotency-Key
    known = False  # its head was a Known one, so it is of HTTP/1.1

    def __init__(self, method: bytes, target: bytes, headers: dict[str, bytes]) -> None:
        self.method = method
        self.target = target
        self.headers = headers


class Known:
    """Hold one head and what the parser made of it. `caller` was let in with it by the keys of `generation`."""

    caller: object | None = None
    generation: object | None = None
    wanted: object | None = None  # what picked its headers

    def __init__(self, head: bytes, digits: tuple[int, int], incoming: Incoming, limits: Limits) -> None:
        self._before, self._digits, self._after = head[: digits[0]], head[digits[0] : digits[1]], head[digits[1] :]
        # A proxy may send several clients' requests over one connection: what holds a key is compared in equal time.
        self._same_before, self._same_after = _comparison(self._before), _comparison(self._after)
        self._length = len(incoming.body)
        self._method, self._target, self._headers = incoming.method, incoming.target, incoming.headers
        self._limits = limits

    def awaits(self, data: bytes, limits: Limits) -> int:
        """Return how long the body is that is still to come, if `data` is this head and nothing more and the body is within
        the limits; else 0."""
        before, after = self._before, self._after
        begin, end = len(before), len(data) - len(after)
        if not 0 < end - begin <= MAX_DIGITS:
            return 0
        digits = data[begin:end]
        if (
            digits.isdigit()
            and int(digits) <= limits.body_bytes
            and limits is self._limits
            and self._same_after(data[end:], after)
            and self._same_before(data[:begin], before)
        ):
            return int(digits)
        return 0

    def read(self, data: bytes, limits: Limits) -> Incoming | None:
        """Return the request that `data` is, if it is exactly one, whole, with this head; else None."""
        before, after = self._before, self._after
        begin = len(before)
        end = data.find(b"\r", begin, begin + MAX_DIGITS)
        behind = end + len(after)
        if end < 0 or not self._same_after(data[end:behind], after) or not self._same_before(data[:begin], before):
            return None
        digits = data[begin:end]
        if digits != self._digits or limits is not self._limits:
            # isdigit is true of one or more of the ten ASCII digits and nothing else: no sign, no space.
            if limits is not self._limits or not digits.isdigit() or int(digits) > limits.body_bytes:
                return None
            self._digits, self._length = digits, int(digits)
            self._headers = {**self._headers, "content-length": digits}
        if len(data) - behind != self._length:
            return None
        incoming = Incoming(self._method, self._target, self._headers)
        incoming.known = True
        incoming.body = data[behind:]
        return incoming


def _comparison(part: bytes) -> Callable[[bytes, bytes], bool]:
    return compare_digest if _SECRET(part) else eq


def known_of(data: bytes, incoming: Incoming, limits: Limits) -> Known | None:
    """Return what can be remembered of `data`, one whole request that the parser made `incoming` of, from its first byte
    on; None when its head holds anything that is not plain."""
    end = len(data) - len(incoming.body)
    head = data[:end]
    found = _LENGTH(head)
    if (
        found is None
        or int(found[1]) != len(incoming.body) > limits.body_bytes
        or incoming.close
        or end > limits.header_bytes - MAX_DIGITS
        or head.find(END_OF_HEAD) != end - len(END_OF_HEAD)  # else line ends follow the body
        or head.lower().count(b"content-length") != 1
        or not _PLAIN_START(head)
        or _PECULIAR(head)
    ):
        return None
    return Known(head, found.span(1), incoming, limits)
