"""Strangers: what is answered to who has no good credential (S2). Who has one never comes here."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from pointsman.core.tokens import Expired, NoKeys, is_token
from pointsman.core.tries import Tries, network_of
from pointsman.gateway.answers import Refused

if TYPE_CHECKING:
    from pointsman.gateway.callers import Callers
    from pointsman.gateway.clock import Clock
    from pointsman.gateway.edge import Edge

_GUESSED = ("invalid_api_key", "invalid_token")  # not what was good until lately, nor what nobody can tell
MOST_SEEN = 4_096  # wrong credentials that are remembered, the latest: shown again they are no new try


class Strangers:
    """Refuse whoever nobody knows, and count wrong credentials by address: who shows too many different ones is told to wait.
    A good one passes from any address, so nobody is locked out by a neighbour."""

    def __init__(self, callers: Callers, clock: Clock) -> None:
        self._callers = callers
        self._tries = Tries(lambda: clock.now_ms() / 1000)
        self._seen: OrderedDict[tuple[str, int], None] = OrderedDict()

    def refused(self, credential: bytes | None, edge: Edge | None) -> Refused:
        """Return the refusal of a request with this credential, with which nobody was found."""
        if not credential:
            return Refused(401, "send your key as `Authorization: Bearer KEY`", "missing_api_key")
        why = self._why(credential)
        if why.code not in _GUESSED or edge is None:
            return why
        peer = edge.transport.get_extra_info("peername")
        address = network_of(peer[0]) if isinstance(peer, tuple) and peer else ""
        mark = address, hash(credential)
        if mark in self._seen:
            self._seen.move_to_end(mark)
            return why  # a client that does not know yet that its key was ended guesses nothing
        wait_s = self._tries.wait_s(address)
        if wait_s > 0.0:
            message = f"too many wrong credentials from this address; {why.message}"
            return Refused(429, message, "too_many_tries", retry_after_s=int(wait_s) + 1, final=True)
        self._tries.failed(address)
        self._seen[mark] = None
        if len(self._seen) > MOST_SEEN:
            self._seen.popitem(last=False)
        return why

    def _why(self, credential: bytes) -> Refused:
        wrong = self._callers.wrong if is_token(credential) else None
        if wrong is None:
            return Refused(401, "this key is not known", "invalid_api_key")
        if isinstance(wrong, NoKeys):
            return Refused(503, str(wrong), "issuer_unavailable", retry_after_s=2)
        if isinstance(wrong, Expired):
            return Refused(401, str(wrong), "token_expired")
        return Refused(401, str(wrong), "invalid_token")
