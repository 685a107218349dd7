"""Signals: what a footprint costs a request, in microseconds of one core: `.venv/bin/python bench/signals.py`."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pointsman.core.footprint import Signals
from pointsman.core.policy import Key, Route
from pointsman.dialects.relay_request import read_head
from pointsman.gateway.footprints import Footprints
from pointsman.gateway.known import Incoming

TURNS, TIMES = 15, 4_000
QUESTION = "How tall is the Eiffel tower, and when was it built by the company of the same name?"


def best_us(work: Callable[[], object]) -> float:
    """Return the shortest mean time of a call, over some turns."""
    best = float("inf")
    for _ in range(TURNS):
        begun = time.perf_counter()
        for _ in range(TIMES):
            work()
        best = min(best, (time.perf_counter() - begun) / TIMES)
    return best * 1e6


def one(turns: int, headers: dict[str, bytes]) -> Callable[[], object]:
    """Return what makes the footprint of a conversation with so many answers in it."""
    said = [{"role": "system", "content": "You are a helpful assistant. " * 20}]
    for _ in range(turns):
        said += [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": "It is 330 m tall. " * 30}]
    body = json.dumps({"model": "m", "messages": [*said, {"role": "user", "content": QUESTION}]}).encode()
    incoming, head = Incoming(b"POST", b"/", headers), read_head(body)
    incoming.body = body
    made, key, rules = Footprints(Path(tempfile.mkdtemp())), Key(name="dev", digest=b""), Signals()
    return lambda: made.of(rules, head, incoming, key, ())


def main() -> None:
    """Print a line for each case."""
    route = Route(name="r", candidates=())
    print(f"{'off':44}{best_us(lambda: route.signals is None):6.2f} us (with the call)")
    for turns in (0, 1, 10):
        for what, headers in (("nobody named", {}), ("a session named", {"x-session-id": b"talk-1"})):
            told = f"{turns} earlier answer{'s' if turns != 1 else ''}, {what}"
            print(f"{told:44}{best_us(one(turns, headers)):6.2f} us")


if __name__ == "__main__":
    main()
