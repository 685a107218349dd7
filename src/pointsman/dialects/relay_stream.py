"""OpenAI wire in, OpenAI wire out: relay a stream in whole events as they came.

Until the first content each event is decoded. From that one the stream's template is learned: the bytes around the text of
an event that carries nothing but text. An event that fits the template is forwarded at once; one that does not is forwarded
after a few byte searches that rule out anything but content, or is decoded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from pointsman.core.outcome import Kind, Outcome
from pointsman.core.usage import NO_USAGE
from pointsman.dialects.relay_reply import NULL, UNREADABLE, Body, Choice, decode_body, read_usage

QUOTE: Final = 0x22  # as numbers: to find one of those in bytes takes a fifth of the time
LF: Final = 0x0A
CR: Final = 0x0D
MAX_EVENT_BYTES = 8 * 1024 * 1024
_CONTENT = re.compile(rb'"content"\s*:\s*"')
_PADDING = re.compile(rb'"obfuscation"\s*:\s*"([^"\\]*)"')  # OpenAI pads events to one length; a random string
_BOUNDARY = re.compile(rb"\r?\n\r?\n|\r\r")
_CONTENT_MEMBERS = frozenset(
    {
        "content", "tool_calls", "function_call", "refusal", "reasoning_content", "reasoning", "reasoning_details", "audio",
    }
)  # fmt: skip


HEADS: Final = 16  # lengths of segments whose beginning one stream remembers; a power of two
LESSONS = (
    4  # events with content that are looked at until one of them is the template: the first often tells the role too
)


class Watched:
    """What is told that content came."""

    progress = False


class RelayStream:
    """Relay one OpenAI stream. `feed` returns the bytes to forward: whole events only, the provider's noise removed.

    After each `feed`, `content`, `failure` and `done` say what has been seen; `usage` is the last reported; `text_bytes`
    is about how much content was relayed, for an estimate when the provider reports no usage.
    """

    __slots__ = (
        "_around", "_carry", "_lessons", "_middle", "_overhead", "_prefix", "_show_usage", "_tail", "content", "done",
        "events", "failure", "finishes", "served_model", "text_bytes", "usage",
    )  # fmt: skip

    def __init__(self, *, show_usage: bool) -> None:
        self._show_usage = show_usage
        self._carry = b""  # of an event that is not whole yet
        self.finishes: set[str] = set()  # reasons for which choices have ended
        self._overhead = 0  # bytes of an event beside its text
        self._prefix = self._middle = self._tail = b""  # the template; unknown until an event with text came
        self._around = -1  # bytes of prefix and tail
        self._lessons = LESSONS
        self.content = False
        self.done = False
        self.failure: Outcome | None = None
        self.usage = NO_USAGE
        self.served_model = ""
        self.events = 0
        self.text_bytes = 0

    def feed(self, data: bytes) -> bytes:
        if self.done:
            return b""  # nothing follows a terminal marker (faults 53, 61)
        # What the template leaves of an event is its text, one string without a quote in it, and so one event without a
        # line feed; or text, middle and padding, which is such a string too.
        text = data.removeprefix(self._prefix).removesuffix(self._tail)
        if len(data) - len(text) == self._around and not self._carry:
            padding = b""
            if self._middle:
                text, found, padding = text.partition(self._middle)
                if not found:
                    padding = b"\n"
            if QUOTE not in text and LF not in text and QUOTE not in padding and LF not in padding and CR not in data:
                self.text_bytes += len(text)
                return data
        if not self._carry and not self._lessons and _is_plain(data):
            events = data.count(b"\n\n")
            self.text_bytes += max(events, len(data) - events * self._overhead)
            return data
        return self._examine(data)

    def tap(self, lines: list[bytes], send: Callable[[bytes], object], watched: Watched) -> Tap | None:
        """Return what passes on whole chunks of one event; None until there is a template.

        `lines` are the size lines of chunks by the length of the segment."""
        return Tap(self, lines, send, watched) if self._around >= 0 else None

    def close(self) -> tuple[bytes, Outcome]:
        """Return the last bytes to forward and the Outcome that the end of the provider's bytes means: Ok only behind a
        terminal marker and a finish reason (I18)."""
        out = b""
        rest, self._carry = self._carry, b""
        if rest and not self.done and self.failure is None and (rest.endswith(b"\r\r") or _payload(rest) == b"[DONE]"):
            out = self._event(rest.rstrip(b"\r"))  # the blank line behind the last event is missing or of CRs
        if self.failure is not None:
            return out, self.failure
        if self.done:
            return out, Outcome(Kind.OK, 200)
        if not self.events and not rest:
            return b"", Outcome(Kind.EMPTY, 200, "the stream ended without an event")
        return out, Outcome(Kind.TRUNCATED, 200, "the stream ended before its terminal marker")

    def _examine(self, data: bytes) -> bytes:
        """Look at each event by itself; keep an incomplete last one for later."""
        known = max(0, len(self._carry) - 3)  # where a boundary may stand that was not seen before
        data, self._carry = self._carry + data, b""
        kept: list[bytes] = []
        at = 0
        for begin, end in _boundaries(data, known):
            if end == len(data) and data.endswith(b"\r\r"):
                break  # perhaps the first half of CR LF CR LF
            event, at = data[at:begin], end
            kept.append(self._event(event))
            if self.done or self.failure is not None:
                return b"".join(kept)  # nothing follows a terminal marker (faults 53, 61)
        self._carry = data[at:]
        if len(self._carry) > MAX_EVENT_BYTES:
            self.failure = Outcome(Kind.BROKEN, 200, "an event is larger than 8 MiB")
        return b"".join(kept)

    def _event(self, event: bytes) -> bytes:
        """Return one event as it is to be forwarded, b"" for none, and note what it says."""
        payload = _payload(event)
        if payload is None:
            return b""  # comments and fields without data: transport only (fault 50)
        self.events += 1
        if payload == b"[DONE]":
            if self.finishes:
                self.done = True
                return b"data: [DONE]\n\n"
            self.failure = Outcome(Kind.TRUNCATED, 200, "the stream ended without a finish reason")
            return b""
        try:
            body = decode_body(payload)
        except UNREADABLE:
            if self.content:
                return b"data: " + payload + b"\n\n"  # same wire: forwarded as it came (fault 47)
            self.failure = Outcome(Kind.BROKEN, 200, "an event is not valid JSON")
            return b""
        if bytes(body.error) not in NULL:
            self.failure = Outcome(Kind.SERVER_ERROR, 200, bytes(body.error).decode(errors="replace")[:500])
            return b""
        return self._note(body, payload)

    def _note(self, body: Body, payload: bytes) -> bytes:
        if body.model and not self.served_model:
            self.served_model = body.model
        usage = read_usage(bytes(body.usage))
        if usage.source != "unknown":
            self.usage = usage
        for choice in body.choices or ():
            self._note_choice(choice, payload)
        if usage.source != "unknown" and not body.choices and not self._show_usage:
            return b""  # the client did not ask for it (K5)
        return b"data: " + payload + b"\n\n"

    def _note_choice(self, choice: Choice, payload: bytes) -> None:
        if choice.finish_reason:
            self.finishes.add(choice.finish_reason)
        delta = choice.delta or {}
        size = sum([_size(value) for name, value in delta.items() if name in _CONTENT_MEMBERS])
        if not size:
            return
        self.content = True
        self.text_bytes += size
        if self._lessons and not choice.finish_reason:
            self._overhead = len(payload) + 8 - size
            self._learn(payload, delta)
            self._lessons = self._lessons - 1 if self._around < 0 else 0

    def _learn(self, payload: bytes, delta: dict[str, Any]) -> None:
        """Remember how an event that carries nothing but text looks around the text."""
        given = delta.get("content")
        text = msgspec.json.encode(given) if len(delta) == 1 and isinstance(given, str) else b""
        found = _CONTENT.search(payload)
        if (
            not text
            or found is None
            or b"\n" in payload
            or payload.count(text) != 1
            or not payload.startswith(text, found.end() - 1)
        ):
            return
        rest = payload[found.end() + len(text) - 2 :]
        self._prefix = b"data: " + payload[: found.end()]
        padding = _PADDING.search(rest)
        if padding is None:
            self._tail = rest + b"\n\n"
        else:
            self._middle, self._tail = rest[: padding.start(1)], rest[padding.end(1) :] + b"\n\n"
        self._around = len(self._prefix) + len(self._tail)


class Tap:
    """Pass on each segment that is one whole chunk with one event of a stream's template. It does what `feed` does of such an
    event, for less: framing and template are compared together."""

    __slots__ = ("_heads", "_lines", "_middle", "_most", "_prefix", "_send", "_sizes", "_stream", "_tail", "_watched")

    def __init__(
        self, stream: RelayStream, lines: list[bytes], send: Callable[[bytes], object], watched: Watched
    ) -> None:
        self._stream = stream
        self._lines = lines
        self._send = send
        self._watched = watched
        self._prefix, self._middle, self._tail = stream._prefix, stream._middle, stream._tail + b"\r\n"
        self._heads, self._sizes = [b""] * HEADS, [-1] * HEADS  # of segments, and their length
        self._most = len(lines)

    def passes(self, data: bytes) -> bool:
        """Pass a segment on and tell so; False, with nothing done, when it is something else."""
        size = len(data)
        place = size & (HEADS - 1)
        if self._sizes[place] != size:
            if size >= self._most:
                return False
            self._heads[place], self._sizes[place] = self._lines[size] + self._prefix, size
        head, tail, stream = self._heads[place], self._tail, self._stream
        begin = len(head)
        end = size - len(tail)
        # Slices: where this is compiled they are compared with nothing in between, elsewhere as fast as by a method.
        if end < begin or data[:begin] != head or data[end:] != tail:
            return False
        text = data[begin:end]
        if LF in text or CR in text or stream._carry or stream.done:
            return False
        if self._middle:
            text, found, padding = text.partition(self._middle)
            if not found or QUOTE in padding:
                return False
        if QUOTE in text:
            return False
        stream.text_bytes += len(text)
        self._watched.progress = True
        self._send(data)
        return True


def _boundaries(data: bytes, start: int) -> Iterator[tuple[int, int]]:
    """Yield where each boundary between events begins and ends, from `start` on."""
    if b"\r" in data:
        yield from (found.span() for found in _BOUNDARY.finditer(data, start))
        return
    at = data.find(b"\n\n", start)
    while at >= 0:
        yield at, at + 2
        at = data.find(b"\n\n", at + 2)


def _is_plain(data: bytes) -> bool:
    """Tell whether data is whole events none of which can be anything but content: no search finds more."""
    return (
        data[-2:] == b"\n\n"
        and data[:5] == b"data:"
        and b"\r" not in data
        and b'"finish_reason":"' not in data
        and b'"finish_reason": "' not in data
        and b"[DONE]" not in data
        and b'"error"' not in data
        and b"\n:" not in data
        and b"\nid:" not in data
        and ((at := data.find(b'"usage"')) < 0 or (data[at + 7 : at + 12] == b":null" and data.count(b'"usage"') == 1))
    )


def _size(value: object) -> int:
    """Return about how many bytes of content a member of a delta carries; at least 1 when it carries any."""
    if not value:
        return 0
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, list):  # tool calls: what counts is the name and the arguments
        called = [call.get("function") or {} for call in value if isinstance(call, dict)]
        return max(1, sum(len(str(f.get("name") or "")) + len(str(f.get("arguments") or "")) for f in called))
    return max(1, len(msgspec.json.encode(value)))


def _payload(event: bytes) -> bytes | None:
    """Return the joined data lines of one SSE event, None when it has none."""
    if event[:6] == b"data: " and b"\n" not in event and b"\r" not in event:
        return event[6:]
    lines = [
        line[6:] if line[5:6] == b" " else line[5:]
        for line in event.removeprefix(b"\xef\xbb\xbf").splitlines()
        if line.startswith(b"data:")
    ]
    return b"\n".join(lines) if lines else None
