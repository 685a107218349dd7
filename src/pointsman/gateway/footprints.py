"""Footprints: what a request leaves on a route with `signals`, made when it is admitted. Elsewhere nothing here is called."""

from __future__ import annotations

import os
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

import msgspec
from msgspec import UNSET, Raw

from pointsman.core.footprint import LOOKED_BYTES, Digests, Footprint, Signals
from pointsman.core.policy import Key
from pointsman.dialects.relay_request import Head
from pointsman.dialects.said import SESSION_HEADERS
from pointsman.gateway.complaints import COMPLAINTS
from pointsman.gateway.edge import Incoming
from pointsman.gateway.gate import RETRIES
from pointsman.stores.private import PEPPER_VARIABLE, PrivateError, kept

FILE = "signals-key"  # in the data folder
TIMEOUT = "x-stainless-read-timeout"
ONCE = "idempotency-key"
MOST_PATIENCE_MS = 86_400_000
MOST_PARTS = 16  # of a message, that are read
MOST_BACK = 64  # messages that are looked at for the user's last
_NONE = Raw(b"")


class _Message(msgspec.Struct, gc=False):
    role: str = ""
    content: Raw = _NONE


class _Part(msgspec.Struct, gc=False):
    text: str = ""


class _Who(msgspec.Struct, gc=False):
    user: Raw = _NONE
    safety_identifier: Raw = _NONE
    prompt_cache_key: Raw = _NONE


_NOBODY = _Message()
_raws = msgspec.json.Decoder(list[Raw]).decode
_message = msgspec.json.Decoder(_Message).decode
_content = msgspec.json.Decoder(str | list[_Part] | None).decode
_who = msgspec.json.Decoder(_Who).decode


class Footprints:
    """Make the Footprint of a request. The key is made once for a data folder, or of the pepper in the environment, which
    routers share; without a key nothing is made, which is said once."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._digests: Digests | None = None

    def of(self, rules: Signals, head: Head, incoming: Incoming, key: Key, tags: tuple[str, ...]) -> Footprint | None:
        """Return the Footprint of a request; None when it has none: several answers are asked for at once, or it has one of
        `rules.skip_tags`."""
        if (head.n is not None and head.n > 1) or (rules.skip_tags and not set(tags).isdisjoint(rules.skip_tags)):
            return None
        digests = self._digests or self._open()
        if digests is None:
            return None
        headers = incoming.headers
        waits = headers.get(TIMEOUT)
        try:
            name = _name_of(head, incoming)
            raws = list(map(bytes, _raws(head.messages)))
            whole, past, before, words = _asked(digests, raws)
            return Footprint(
                digests.of(key.name.encode(), name or _beginning(raws)),
                whole,
                past,
                before,
                words,
                bool(name),
                headers.get(RETRIES, b"0") != b"0" or ONCE in headers,
                0 if waits is None else _patience_ms(waits),
            )
        except (msgspec.MsgspecError, UnicodeError):  # the provider will say so
            return None

    def _open(self) -> Digests | None:
        try:
            text = os.environ.get(PEPPER_VARIABLE) or kept(self._data / FILE, make=True)
        except PrivateError as error:
            COMPLAINTS.say(f"signals cannot be made: {error}", "not_kept")
            return None
        assert text is not None
        key = blake2b(text.encode(), digest_size=32, person=b"pm-signals").digest()
        self._digests = Digests(key)
        return self._digests


def _asked(digests: Digests, raws: list[bytes]) -> tuple[bytes, bytes, bytes, bytes]:
    """Return digests of all messages, of those up to the answer before the last question and of those before it, and the
    sketch of the question. The middle ones are b"" where the messages do not end in a question."""
    count, total = len(raws), sum(map(len, raws))
    whole = digests.messages(count, total, raws[-1] if raws else b"")
    place, last, question = count, None, total
    while place:
        message = _message(raws[place - 1])
        if message.role != "user":
            break
        place, last, question = place - 1, last or message, question - len(raws[place - 1])
    if last is None:  # a tool answers, or the answer is to be gone on with
        last = next((one for one in map(_message, reversed(raws[-MOST_BACK:])) if one.role == "user"), _NOBODY)
        return whole, b"", b"", digests.words(_text(last.content))
    past, before = b"", digests.messages(place, question, raws[place - 1] if place else b"")
    if place > 1 and message.role == "assistant":
        past = digests.messages(place - 1, question - len(raws[place - 1]), raws[place - 2])
    return whole, past, before, digests.words(_text(last.content))


def _beginning(messages: list[bytes]) -> bytes:
    """Return what stays while a conversation grows: the messages up to the user's first."""
    for place, message in enumerate(messages):
        if _message(message).role == "user":
            return b"\0".join(each[:1_024] for each in messages[: place + 1][-4:])
    return b""


def _name_of(head: Head, incoming: Incoming) -> bytes:
    """Return who or which session asks, as far as the client says; b"" when it does not."""
    if head.pointsman is not UNSET and head.router.session:
        return b"s" + head.router.session.encode()
    headers = incoming.headers
    for name in SESSION_HEADERS:
        if name in headers:
            return b"s" + headers[name]
    found = _who(incoming.body)
    given = (bytes(found.safety_identifier), bytes(found.user), bytes(found.prompt_cache_key))
    return next((b"u" + text for text in given if len(text) > 2 and text != b"null"), b"")  # more than ""


def _text(content: Raw) -> bytes:
    """Return the beginning of what a message says."""
    said = _content(content) if content else None
    if isinstance(said, list):
        said = " ".join(part.text[:LOOKED_BYTES] for part in said[:MOST_PARTS])
    return said[:LOOKED_BYTES].encode("utf-8", "replace") if said else b""


@lru_cache(maxsize=64)
def _patience_ms(said: bytes) -> int:
    """Return an SDK's read timeout in milliseconds; 0 for what is none."""
    try:
        seconds = float(said)
    except ValueError:
        return 0
    return int(seconds * 1000) if 0.0 < seconds < MOST_PATIENCE_MS / 1000 else 0
