"""What the mock's server needs of a provider's wire format. Formed here from the public formats on purpose, without
`pointsman.dialects`: a mistake made there must not be mirrored by the thing that tests it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from pointsman.lab.mock.answer import ChoicePlan, Plan
from pointsman.lab.mock.ask import Ask, Received, Rejected
from pointsman.lab.mock.config import ModelSpec
from pointsman.lab.mock.steps import Step

Headers = tuple[tuple[str, str], ...]
JSON: Headers = (("content-type", "application/json"),)


class Wire(Protocol):
    """One provider's wire format, the server's side of it."""

    bad_key_status: int

    def finds(self, method: str, path: str) -> str | None:
        """Return what the path names below the prefix: `chat`, `models`, `count`, or None if nothing."""
        ...

    def secret(self, received: Received) -> str | None:
        """Return the key the client sent, None if it sent none."""
        ...

    def parse(self, received: Received) -> Ask:
        """Return what is asked. Raises Rejected."""
        ...

    def reply(self, plan: Plan, ask: Ask) -> bytes: ...

    def stream(self, plan: Plan, ask: Ask) -> Iterator[Step]:
        """Yield one step per event, without pace."""
        ...

    def headers(self, key: str, *, stream: bool) -> Headers: ...

    def error(self, problem: Rejected, key: str) -> bytes: ...

    def error_event(self, problem: Rejected) -> bytes: ...

    def filler_event(self, size: int) -> bytes:
        """Return one content event whose text is `size` bytes long."""
        ...

    def models(self, models: dict[str, ModelSpec]) -> bytes: ...


def bearer(received: Received) -> str | None:
    """Return the token of an `Authorization: Bearer` header."""
    scheme, _, token = received.headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def round_robin(streams: list[Iterator[Step]]) -> Iterator[Step]:
    """Interleave the events of several choices, one of each in turn."""
    while streams:
        alive = []
        for stream in streams:
            step = next(stream, None)
            if step is not None:
                yield step
                alive.append(stream)
        streams = alive


def nothing_said(choice: ChoicePlan) -> bool:
    return not (choice.text or choice.calls or choice.reasoning or choice.refusal)
