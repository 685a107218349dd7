"""Measure how many requests a second each ledger books: rows, attempts and marks in batches, as the pump writes them.

    python bench/ledgers.py [postgresql://USER:PASSWORD@HOST:PORT/EMPTY_DATABASE]

Prints, for each size of batch, requests per second of wall time and microseconds of this process's CPU per request, the
best of some rounds.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from pointsman.core.entry import Admitted, AttemptRow, Filed, Record, Settled, decode_filed, encode_records
from pointsman.core.request import Features, Request
from pointsman.core.strategy import Snapshot
from pointsman.core.usage import Usage
from pointsman.stores.ledger import Batch, Mark, Writer
from pointsman.stores.ledger_columns import batch_of
from pointsman.stores.ledger_postgres import PostgresWriter
from pointsman.stores.sqlite import SqliteWriter

SIZES = (10, 100, 1_000)  # requests in a batch
ROUNDS, REQUESTS = 3, 4_000  # in a round
AT_MS = 1_790_000_000_000


def batch(first: int, size: int) -> Batch:
    """Return the rows of requests that nobody has booked yet."""
    records: list[Record] = []
    for n in range(first, first + size):
        id, at_ms = f"req_{AT_MS + n:012x}{n:016x}", AT_MS + n
        times, price = (0.3, 1.2, 200.3, 900.3), (120_000, "measured", "p1")
        attempt = AttemptRow("large", "lab", "large-1", "ok", 200, *times, Usage(1_000, 50), *price, "large-1", "")
        request = Request(id, "chat", "drafts", Features(1_000, 200), 4_999.0, 9_000.0)
        admitted = Admitted(request, "", at_ms, ("dev", "site", "web", "acme"), "drafts", Snapshot("v1", 5.0, 0.5, ()))
        settled = Settled(id, at_ms + 901, "drafts", "ok", 200, (attempt,), 0.01, 0.05, 200.4, 901.0, 900.85)
        records += [admitted, settled]
    read = decode_filed(encode_records(records))
    pairs = zip(read[::2], read[1::2], strict=True)
    ended = [(a, s) for a, s in pairs if isinstance(a, Filed) and isinstance(s, Settled)]
    made = batch_of(ended, [(None, None, {})] * size)
    made.recorded, made.marks = [], {"i1.000001.pmj": Mark(first)}
    return made


def measured(writer: Writer, size: int, first: int) -> tuple[float, float]:
    """Return requests per second, and microseconds of CPU per request."""
    batches = [batch(first + start, size) for start in range(0, REQUESTS, size)]
    began_s, cpu_s = time.perf_counter(), time.process_time()
    for one in batches:
        assert writer.write(one) == size
    return REQUESTS / (time.perf_counter() - began_s), (time.process_time() - cpu_s) * 1e6 / REQUESTS


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        writers: dict[str, Writer] = {"sqlite": SqliteWriter(Path(folder) / "ledger.sqlite")}
        if len(sys.argv) > 1:
            writers["postgresql"] = PostgresWriter(sys.argv[1], "bench")
        first = 0
        for size in SIZES:
            best: dict[str, tuple[float, float]] = {}
            for _ in range(ROUNDS):
                for name, writer in writers.items():  # in turn, so that a busy machine is unfair to both
                    rate, cpu_us = measured(writer, size, first)
                    kept = best.get(name, (0.0, 1e9))
                    best[name] = max(rate, kept[0]), min(cpu_us, kept[1])
                first += REQUESTS
            for name, (rate, cpu_us) in best.items():
                print(f"batches of {size:5}  {name:10} {rate:8.0f} requests/s {cpu_us:6.1f} us CPU")
        for writer in writers.values():
            writer.close()


if __name__ == "__main__":
    main()
