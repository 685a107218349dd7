"""The streaming load: N connections that read paced streams and note when each event came.

    echo '{"port": 1, "model": "pace-10", "key": "...", "connections": 100, "seconds": 6, "ramp_s": 1, "once": false}' \\
        | python streamload.py

Each connection asks for one stream after another until the time is over (`once`: for one). Prints one JSON object; times
are milliseconds. A gap is the time between two reads of one stream that brought events; events that came together
have a gap of 0, so holding events back shows. The rate is that of the time when all connections are open.
"""

from __future__ import annotations

import json
import random
import select
import socket
import sys
import time
from typing import Any

import payloads

_END = b"\r\n0\r\n\r\n"
_GIVE_UP_S = 30.0  # after the time is over, for streams still open


class Reader:
    """One connection and the stream it reads."""

    __slots__ = ("asked", "events", "last", "sock", "tail")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.asked = self.last = 0.0
        self.events = 0
        self.tail = b""


class Load:
    """Run one load and collect what it saw."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        body = payloads.request(spec["model"], stream=True)
        self.request = payloads.http(spec["port"], body, spec["key"])
        self.poll = select.epoll()
        self.readers: dict[int, Reader] = {}
        self.first_ms: list[float] = []
        self.gaps_ms: list[float] = []
        self.events = self.steady = self.complete = self.failed = self.most_open = 0
        self.note = ""

    def run(self) -> dict[str, Any]:
        spec = self.spec
        began = time.monotonic()
        self.until = began + spec["seconds"]
        self.all_open = began + spec["ramp_s"]
        # At random moments: streams that begin in step with their pace would come in clumps.
        chance = random.Random(1)
        opens = sorted((began + chance.uniform(0, spec["ramp_s"]) for _ in range(spec["connections"])), reverse=True)
        while (opens or self.readers) and time.monotonic() < self.until + _GIVE_UP_S:
            while opens and opens[-1] <= time.monotonic():
                opens.pop()
                self._open()
            self.most_open = max(self.most_open, len(self.readers))
            # select on the epoll object: its timeout has microseconds where epoll's own has milliseconds
            select.select([self.poll], [], [], max(0.0, opens[-1] - time.monotonic()) if opens else 1.0)
            for number, _ in self.poll.poll(0):
                self._readable(self.readers[number])
        self.failed += len(self.readers)
        return self._result()

    def _result(self) -> dict[str, Any]:
        return {
            "streams": self.complete,
            "failed": self.failed,
            "note": self.note,
            "events": self.events,
            "events_per_s": self.steady / max(0.001, self.until - self.all_open),
            "most_open": self.most_open,
            "first_ms": percentiles(self.first_ms),
            "gap_ms": percentiles(self.gaps_ms),
        }

    def _open(self) -> None:
        sock = socket.create_connection(("127.0.0.1", self.spec["port"]), timeout=10)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = Reader(sock)
        self.readers[sock.fileno()] = reader
        self.poll.register(sock, select.EPOLLIN)
        self._ask(reader)

    def _ask(self, reader: Reader) -> None:
        reader.asked = time.monotonic()
        reader.last = 0.0
        reader.events = 0
        reader.tail = b""
        reader.sock.send(self.request)

    def _readable(self, reader: Reader) -> None:
        try:
            data = reader.sock.recv(262144)
        except OSError:
            data = b""
        now = time.monotonic()
        if not data or (not reader.last and not data.startswith(b"HTTP/1.1 200")):
            self.note = self.note or data[:200].decode("latin-1")
            self.failed += 1
            self._close(reader)
            return
        seen = (reader.tail[-1:] + data).count(b"\n\n")
        if seen:
            self._note(reader, seen, now)
        reader.tail = (reader.tail + data)[-len(_END) :]
        if reader.tail == _END:
            self._finished(reader, now)

    def _note(self, reader: Reader, seen: int, now: float) -> None:
        if reader.last:
            self.gaps_ms.append((now - reader.last) * 1000)
            self.gaps_ms += [0.0] * (seen - 1)
        else:
            self.first_ms.append((now - reader.asked) * 1000)
        reader.last = now
        reader.events += seen
        self.events += seen
        if self.all_open <= now < self.until:
            self.steady += seen

    def _finished(self, reader: Reader, now: float) -> None:
        whole = reader.events == payloads.EVENTS + 3  # the end, the usage and [DONE] behind the content
        self.complete += whole
        self.failed += not whole
        if self.spec["once"] or now >= self.until:
            self._close(reader)
        else:
            self._ask(reader)

    def _close(self, reader: Reader) -> None:
        self.poll.unregister(reader.sock)
        del self.readers[reader.sock.fileno()]
        reader.sock.close()


def percentiles(values: list[float]) -> dict[str, float]:
    """Return p50, p99 and the largest; empty when nothing was measured."""
    ordered = sorted(values)
    if not ordered:
        return {}
    at = len(ordered) - 1
    return {"p50": ordered[at // 2], "p99": ordered[int(at * 0.99)], "max": ordered[-1]}


if __name__ == "__main__":
    print(json.dumps(Load(json.load(sys.stdin)).run()))
