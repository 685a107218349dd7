"""Bodies: on a route that stores them, request and answer go to files of their own, redacted, in a thread beside the loop.

They pass by the journal, the ledger and the log. What is waiting is bounded: what does not fit is left out and counted.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pointsman.core.bodies import StoreBounds, Storing
from pointsman.core.outcome import Outcome
from pointsman.core.policy import Key
from pointsman.core.redaction import redacted
from pointsman.dialects.assembled import assembled
from pointsman.gateway.complaints import COMPLAINTS
from pointsman.gateway.headers import STORE_HEADER
from pointsman.gateway.kept import Recording
from pointsman.observe.metrics import Metrics
from pointsman.stores import bodies as store
from pointsman.stores.private import PrivateError

if TYPE_CHECKING:
    from pointsman.gateway.exchange import Exchange

WRITE_S = 0.2  # how long bodies are collected for one write
MOST_WAITING_BYTES = 16 * 1024 * 1024
TIMES_READ = (
    4  # what is so many times longer than `max_bytes` is left out whole: cutting first would cut redaction short
)
MOST_DATA = 2_048  # characters of a `data:` URL that are kept
_any = msgspec.json.Decoder().decode
_json = msgspec.json.Encoder().encode


class Tape:
    """Hold what is to be stored of one exchange. `recording`: of its stream, as far as the last attempt came."""

    recording: Recording | None = None

    def __init__(self, bodies: Bodies, storing: Storing) -> None:
        self._bodies, self._storing = bodies, storing

    def settled(self, exchange: Exchange, outcome: Outcome, answer: bytes) -> None:
        """Hand over what there is, once. `answer`: the last bytes towards the client."""
        said, streamed = b"", self.recording is not None
        if self.recording is not None:
            said = self.recording.whole()
        elif not exchange.streams:
            said = answer.partition(b"\r\n\r\n")[2]
        self._bodies.take(Taken(exchange, self._storing, outcome.kind.value, said, streamed=streamed))


class Taken:
    """Hold what was taken of an exchange until it is written."""

    def __init__(self, exchange: Exchange, storing: Storing, outcome: str, answer: bytes, *, streamed: bool) -> None:
        key = exchange.incoming.caller
        assert isinstance(key, Key)
        self.id, self.at_ms, self.caller = exchange.request.id, exchange.at_ms, key.who
        self.route, self.outcome, self.storing = exchange.options.label, outcome, storing
        self.request, self.answer, self.streamed = exchange.incoming.body, answer, streamed
        self.hit = "" if exchange.hit is None else exchange.hit.request_id
        self.size = len(self.request) + len(answer)


class Bodies:
    """Collect what is to be stored, and write it beside the loop."""

    def __init__(self, data: Path, number: int, metrics: Metrics) -> None:
        self._store, self._metrics = store.Bodies(data, str(number)), metrics
        self._waiting: list[Taken] = []
        self._waiting_bytes = 0
        self._pool: ThreadPoolExecutor | None = None

    def tape(self, storing: Storing, exchange: Exchange, bounds: StoreBounds, key: Key) -> Tape | None:
        """Return what stores an exchange; None when its client, its tenant or chance does not want it."""
        if exchange.incoming.headers.get(STORE_HEADER, b"on") != b"on" or exchange.head.router.store is False:
            return None
        if bounds.never and not {f"{kind}:{name}" for kind, name in zip(_KINDS, key.who, strict=True)}.isdisjoint(
            bounds.never
        ):
            return None
        # Other digits of the id than those that anything is drawn with.
        return Tape(self, storing) if int(exchange.request.id[-8:], 16) < storing.sample * (1 << 32) else None

    def take(self, taken: Taken) -> None:
        """Have it written soon; when too much waits it is left out."""
        if self._waiting_bytes + taken.size > MOST_WAITING_BYTES:
            self._metrics.bodies_lost += 1
            return
        if not self._waiting:
            asyncio.get_running_loop().call_later(WRITE_S, self._write)
        self._waiting.append(taken)
        self._waiting_bytes += taken.size

    def close(self) -> None:
        """Write what waits; to be called once, at the end."""
        if self._pool is not None:
            self._pool.shutdown()
        self._put(self._collected())

    def _collected(self) -> list[Taken]:
        waiting, self._waiting = self._waiting, []
        return waiting

    def _write(self) -> None:
        self._pool = self._pool or ThreadPoolExecutor(1, "bodies")
        batch = self._collected()
        if batch:
            future = asyncio.get_running_loop().run_in_executor(self._pool, self._put, batch)
            future.add_done_callback(lambda _: self._written(batch))

    def _written(self, batch: list[Taken]) -> None:
        self._waiting_bytes -= sum(taken.size for taken in batch)

    def _put(self, batch: list[Taken]) -> None:
        """Redact and write a batch."""
        try:
            if batch:
                self._store.add([_body(taken) for taken in batch])
                self._metrics.bodies_stored += len(batch)
        except (OSError, PrivateError) as error:
            self._metrics.bodies_lost += len(batch)
            COMPLAINTS.say(f"bodies cannot be stored: {error}", "not_kept")


_KINDS = ("key", "project", "team", "organisation")


def _body(taken: Taken) -> store.Body:
    storing, gaps = taken.storing, []
    request, gap = _told(taken.request, storing)
    gaps += [_gap("request", gap)] if gap else []
    answer, gap = _told(assembled(taken.answer) if taken.streamed else taken.answer, storing)
    if taken.hit:
        gap = gap or f"the kept answer of {taken.hit}"
    elif taken.streamed and not taken.answer:
        gap = "longer than 1 MiB, or nothing came"
    gaps += [_gap("answer", gap)] if gap else []
    until_ms = store.until_of(taken.at_ms, storing.ttl_s)
    return store.Body(
        taken.id, taken.at_ms, until_ms, taken.caller, taken.route, taken.outcome, request, answer, "; ".join(gaps)
    )


def _gap(part: str, why: str) -> str:
    return f"{part}: {why}"


def _told(data: bytes, storing: Storing) -> tuple[str, str]:
    """Return a body as it is stored, and what is not there of it."""
    if len(data) > storing.max_bytes * TIMES_READ:
        return "", f"{len(data)} bytes, which is too long"
    try:
        text = _json(_without(_any(data), storing)).decode()
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        text = redacted(data.decode("utf-8", "replace"), storing.redact, storing.patterns)
    whole = text.encode()
    if len(whole) <= storing.max_bytes:
        return text, ""
    return whole[: storing.max_bytes].decode("utf-8", "ignore"), f"cut, of {len(whole)} bytes"


def _without(value: Any, storing: Storing) -> Any:
    """Return a JSON value with its texts redacted, and data URLs cut: what is in a picture is looked at by nobody here."""
    if isinstance(value, str):
        if value.startswith("data:") and len(value) > MOST_DATA:
            return f"[data, {len(value)} characters]"
        return redacted(value, storing.redact, storing.patterns)
    if isinstance(value, list):
        return [_without(each, storing) for each in value]
    if isinstance(value, dict):
        return {
            redacted(name, storing.redact, storing.patterns): _without(each, storing) for name, each in value.items()
        }
    return value
