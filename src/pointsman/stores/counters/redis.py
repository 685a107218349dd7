"""Redis as the server of shared counters: `redis://`. One script a decision, one round trip."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from hashlib import sha1

from pointsman.core.address import address_of
from pointsman.stores.counters import resp, scripts
from pointsman.stores.counters.link import Link
from pointsman.stores.counters.resp import RespFault, command
from pointsman.stores.counters.server import OWNER_MS, Done, Fault

_SHA = {
    text: sha1(text.encode(), usedforsecurity=False).hexdigest()
    for text in (scripts.RESERVE, scripts.SETTLE, scripts.BEAT)
}


class RedisServer:
    """Run the scripts as `owner`, one worker of one replica. Raise ValueError for a bad URL."""

    def __init__(self, url: str, owner: str, up: Callable[[int], None], down: Callable[[], None]) -> None:
        self._owner = owner
        self._up = up
        self.why = ""
        self._link = Link(address_of(url), self._connected, down)

    @property
    def is_up(self) -> bool:
        return self._link.is_up

    def open(self) -> None:
        self._link.open()

    def close(self) -> None:
        self._link.close()

    async def finish(self) -> None:
        await self._link.finish()

    def reserve(self, latest_us: int, names: Sequence[str], figures: Sequence[int], done: Done) -> None:
        self._run(scripts.RESERVE, names, (latest_us, *figures), done)

    def settle(self, number: int, names: Sequence[str], figures: Sequence[int], done: Done) -> None:
        self._run(scripts.SETTLE, names, (number, *figures), done)

    def beat(self, known: Mapping[str, int] | None, done: Done) -> None:
        pairs: list[str | int] = []
        for name, amount in (known or {}).items():
            pairs += (scripts.COUNTER + name, amount)
        keys = (scripts.OWNERS, scripts.HOLDS + self._owner)
        parts = (self._owner, scripts.HOLDS, OWNER_MS, int(known is not None), *pairs)
        self._send(command("EVALSHA", _SHA[scripts.BEAT], len(keys), *keys, *parts), done)

    def _run(self, script: str, names: Sequence[str], parts: Sequence[int], done: Done) -> None:
        keys = [scripts.HOLDS + self._owner, *(scripts.COUNTER + name for name in names)]
        self._send(command("EVALSHA", _SHA[script], len(keys), *keys, *parts), done)

    def _send(self, data: bytes, done: Done) -> None:
        self._link.send(data, partial(self._answered, done))

    def _answered(self, done: Done, reply: resp.Reply) -> None:
        if reply is None:
            done(None)
        elif isinstance(reply, list):
            done([one for one in reply if isinstance(one, int)])
        else:
            if isinstance(reply, RespFault) and str(reply).startswith("NOSCRIPT"):
                self._load()
            self.why = str(reply)
            done(Fault(self.why))

    def _connected(self) -> None:
        self._load()
        self._link.send(command("TIME"), self._told_time)

    def _load(self) -> None:
        for text in _SHA:
            self._link.send(command("SCRIPT", "LOAD", text), lambda reply: None)

    def _told_time(self, reply: resp.Reply) -> None:
        if isinstance(reply, RespFault):
            self.why = str(reply)
        elif isinstance(reply, list) and len(reply) == 2:
            self.why = ""
            self._up(int(reply[0]) * 1_000_000 + int(reply[1]))  # type: ignore[arg-type]
