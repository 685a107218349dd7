"""The streaming upstream: paced server-sent events on epoll, one queue per pace, so that thousands cost little.

    python streamserver.py PORT

A request for model `pace-N` is answered with one event every N milliseconds; without the upstream key it gets 401.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
import sys
import time
from collections import deque

import payloads

_MODEL = re.compile(rb'"model": ?"pace-(\d+)"')
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_KEY = re.compile(rb"(?i)\r\nauthorization: *bearer " + payloads.UPSTREAM_KEY.encode() + rb"\r\n")
_DENIED = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"


class Peer:
    """One connection: what was read of its request, and how far its stream is."""

    __slots__ = ("at", "owed", "read", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.read = b""
        self.owed = b""  # what the socket did not take
        self.at = 0


class Server:
    """Serve until killed."""

    def __init__(self, port: int) -> None:
        self.listener = socket.create_server(("127.0.0.1", port), backlog=4096)
        self.listener.setblocking(False)
        self.poll = select.epoll()
        self.poll.register(self.listener, select.EPOLLIN)
        self.peers: dict[int, Peer] = {}
        self.queues: dict[float, deque[tuple[float, Peer]]] = {}  # pace in s -> (due, peer), sorted since pace is equal
        self.parts = payloads.stream_parts()

    def run(self) -> None:
        while True:
            self._write_due()
            # select on the epoll object: its timeout has microseconds where epoll's own has milliseconds
            select.select([self.poll], [], [], self._wait_s())
            for number, _ in self.poll.poll(0):
                if number == self.listener.fileno():
                    self._accept()
                else:
                    self._readable(self.peers[number])

    def _wait_s(self) -> float:
        due = min((queue[0][0] for queue in self.queues.values() if queue), default=None)
        return 1.0 if due is None else max(0.0, due - time.monotonic())

    def _write_due(self) -> None:
        now = time.monotonic()
        for pace_s, queue in self.queues.items():
            while queue and queue[0][0] <= now:
                due, peer = queue.popleft()
                if self._write(peer):
                    queue.append((due + pace_s, peer))

    def _write(self, peer: Peer) -> bool:
        """Write the next event; tell whether more are to come."""
        data = peer.owed + self.parts[peer.at]
        try:
            sent = peer.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._close(peer)
            return False
        peer.owed = data[sent:]
        peer.at += 1
        return peer.at < len(self.parts)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                sock, _ = self.listener.accept()
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.peers[sock.fileno()] = Peer(sock)
                self.poll.register(sock, select.EPOLLIN)

    def _readable(self, peer: Peer) -> None:
        try:
            data = peer.sock.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._close(peer)
            return
        peer.read += data
        head, end, body = peer.read.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if end and length and len(body) >= int(length[1]):
            peer.read = b""
            self._answer(peer, head + b"\r\n", body)

    def _answer(self, peer: Peer, head: bytes, body: bytes) -> None:
        model = _MODEL.search(body)
        if not _KEY.search(head) or not model:
            peer.sock.send(_DENIED)
            return
        peer.at = 0
        peer.owed = b""
        pace_s = int(model[1]) / 1000
        if self._write(peer):
            self.queues.setdefault(pace_s, deque()).append((time.monotonic() + pace_s, peer))

    def _close(self, peer: Peer) -> None:
        number = peer.sock.fileno()
        if number >= 0:
            self.poll.unregister(number)
            del self.peers[number]
            peer.sock.close()


if __name__ == "__main__":
    Server(int(sys.argv[1])).run()
