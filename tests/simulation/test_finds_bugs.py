"""The simulation finds what it is there to find: a gateway that is broken on purpose does not pass.

Each break is one that was really made somewhere, or could be made by a careless change of one line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
from sim_run import run

from pointsman.control.pump import Pump
from pointsman.core.outcome import Outcome
from pointsman.gateway import live as live_module
from pointsman.gateway.books import Books
from pointsman.gateway.edge import Edge
from pointsman.gateway.exchange import Exchange
from pointsman.gateway.live import Live
from pointsman.gateway.sending import Sending

MOST_SEEDS = 150


@contextmanager
def replaced(owner: Any, name: str, make: Callable[[Any], Any]) -> Iterator[None]:
    """Put another function in the place of one, made from it."""
    with mock.patch.object(owner, name, make(getattr(owner, name))):
        yield


def settled_twice(before: Any) -> Any:
    def settle(self: Books, record: Any, edge: Edge, answer: bytes) -> None:
        before(self, record, edge, answer)
        if len(record.attempts) > 1:
            self._records.append(record)

    return settle


def no_probe_reserved(before: Any) -> Any:
    return lambda self, world, deployment, due_ms: None


def committed_before_content(before: Any) -> Any:
    def on_stream(self: Sending, data: bytes, chunk: bytes) -> None:
        if not self.committed and not self.over:
            self.exchange.commit(self, b"")
        before(self, data, chunk)

    return on_stream


def retried_after_commit(before: Any) -> Any:
    def ended(self: Exchange, attempt: Sending, outcome: Outcome) -> None:
        self.committed = False
        before(self, attempt, outcome)

    return ended


def provider_not_told_that_the_client_left(before: Any) -> Any:
    def stop(self: Sending) -> None:
        self.connection = None
        before(self)

    return stop


def retry_after_ignored(before: Any) -> Any:
    return lambda state, now_ms, retry_after_ms: state


def cut_stream_called_complete(before: Any) -> Any:
    def on_lost(self: Sending, outcome: Outcome) -> None:
        if self.committed and not self.over and self.pipe is not None:
            self.connection = None
            self.exchange.delivery.write(b"data: [DONE]\n\n")
            self._complete(self.pipe)
        else:
            before(self, outcome)

    return on_lost


def nothing_recovered(before: Any) -> Any:
    return lambda self, tail: tail.open.clear()


def sent_before_it_is_booked(before: Any) -> Any:
    def admit(self: Books, record: Any, sender: Any) -> None:
        before(self, record, sender)
        self._senders.pop()
        self._records.pop()
        sender.booked_in = True

    return admit


def hold_not_given_back(before: Any) -> Any:
    def ends(self: Exchange) -> bool:
        self.held = None
        return bool(before(self))

    return ends


# name -> what is broken, how, the invariant that says so, the seed to begin with: not far before one that meets it
BREAKS: dict[str, tuple[Any, str, Callable[[Any], Any], str, int]] = {
    "settled twice": (Books, "settle", settled_twice, "I1", 2),
    "a worker's last requests forgotten": (Pump, "_recover", nothing_recovered, "I1", 3),
    "sent before it is booked": (Books, "admit", sent_before_it_is_booked, "I1", 0),
    "holds leak": (Exchange, "_ends", hold_not_given_back, "I3", 7),
    "committed before content": (Sending, "on_stream", committed_before_content, "I8", 2),
    "retried after commit": (Exchange, "attempt_ended", retried_after_commit, "I8", 45),
    "retry-after ignored": (live_module, "cooled", retry_after_ignored, "I11", 5),
    "no probe reserved": (Live, "sending", no_probe_reserved, "I16", 11),
    "a cut stream called complete": (Sending, "on_lost", cut_stream_called_complete, "I18", 23),
    "provider not told": (Sending, "stop", provider_not_told_that_the_client_left, "I22", 8),
}


@pytest.mark.interpreted
@pytest.mark.parametrize("name", BREAKS)
def test_a_gateway_broken_on_purpose_is_found(name: str) -> None:
    owner, attribute, make, invariant, first = BREAKS[name]
    with replaced(owner, attribute, make):
        for seed in range(first, first + MOST_SEEDS):
            if invariant in run(seed).kinds:
                return
    pytest.fail(f"{MOST_SEEDS} seeds did not find it: {name}")
