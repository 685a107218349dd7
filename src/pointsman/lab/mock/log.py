"""The mock's own record of what it served: the provider's side of the three logs that tests compare."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

Outcome = Literal["complete", "cut", "client_gone"]


class Entry(msgspec.Struct, kw_only=True):
    """Hold one served request. `seq` counts ends, `number` the provider's arrivals (it fixes the answer; 0: a
    connection that was cut before a request was read). Tokens are the mock's (`ask.count_tokens`).

    `outcome`: complete (every byte that was due was handed to the socket) · cut (a fault or `down` ended it) ·
    client_gone (the client closed first).
    """

    seq: int = 0
    number: int = 0
    time_s: float = 0.0  # wall clock at arrival
    duration_ms: float = 0.0
    provider: str = ""
    model: str = ""
    path: str = ""
    key: str = ""  # the name of the key, never the key
    request_id: str = ""  # x-request-id as received
    stream: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0  # what the reply would have in full
    written_tokens: int = 0  # what was handed to the socket
    cached_tokens: int = 0
    status: int = 0
    fault: str = ""  # the rules that took effect, joined by +
    outcome: Outcome = "complete"
    connection: int = 0
    bytes_written: int = 0

    def mark(self, fault: str) -> None:
        """Note a fault that took effect."""
        self.fault = f"{self.fault}+{fault}" if self.fault else fault


class MockLog:
    """Keep the newest `size` entries in memory and, with a file, append each as a line of JSON."""

    def __init__(self, size: int, file: Path | None = None) -> None:
        self._entries: deque[Entry] = deque(maxlen=size)
        self._seq = 0
        self._file: BinaryIO | None = file.open("ab", buffering=0) if file else None

    def add(self, entry: Entry) -> None:
        self._seq += 1
        entry.seq = self._seq
        self._entries.append(entry)
        if self._file is not None:
            self._file.write(msgspec.json.encode(entry) + b"\n")

    def since(self, seq: int) -> list[Entry]:
        """Return the entries still held whose `seq` is greater, oldest first."""
        return [entry for entry in self._entries if entry.seq > seq]

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Entry:
        return self._entries[index]

    def clear(self) -> None:
        """Forget what is in memory; `seq` goes on."""
        self._entries.clear()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
