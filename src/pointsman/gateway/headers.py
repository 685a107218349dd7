"""Headers as the parser gives them: names in the sender's spelling. `wanted` picks and normalises the few that matter.

Clients and providers send the same names again and again, so the answer to "which of these names do we want" is remembered
for each list of names; the memory is bounded and short lists only are kept, because anyone may invent names.
"""

from __future__ import annotations

Picks = tuple[tuple[str, bytes], ...]
_MAX_SHAPES = 1024
_MAX_SHAPE_BYTES = 2048


class Wanted:
    """Remember which headers one side wants, by lower-case name."""

    def __init__(self, *names: str) -> None:
        self._names = {name.encode(): name for name in names}
        self._shapes: dict[tuple[bytes, ...], Picks] = {}

    def of(self, headers: dict[bytes, bytes]) -> dict[str, bytes]:
        """Return the wanted headers by lower-case name; the last of several spellings counts."""
        shape = tuple(headers)
        picks = self._shapes.get(shape)
        if picks is None:
            picks = self._learn(shape)
        return {name: headers[spelled] for name, spelled in picks}

    def _learn(self, shape: tuple[bytes, ...]) -> Picks:
        picks = tuple((self._names[name.lower()], name) for name in shape if name.lower() in self._names)
        if len(self._shapes) < _MAX_SHAPES and sum(map(len, shape)) < _MAX_SHAPE_BYTES:
            self._shapes[shape] = picks
        return picks
