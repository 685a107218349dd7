"""What is known of the routes that answer similar questions: files, changed under a lock by whoever has a verdict.

DIR/trust-<digest of route and settings>.json
"""

from __future__ import annotations

import os
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import msgspec

from pointsman.core.policy import Semantic
from pointsman.core.trust import Trust, begun, judged, settings_of
from pointsman.stores.similar import locked

MOST_ROUTES = 1_000


class Trusts:
    """Read and change what is known. `get` costs one look at the file's stamp; nothing raises, and what cannot be written is
    known to this worker only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, tuple[tuple[int, int], Trust]] = {}  # by place, with the stamp of its file
        self.failed = 0

    def get(self, route: str, semantic: Semantic) -> Trust:
        """Return what is known of a route, the beginning when nothing is or its settings are others now."""
        place = f"{route}\0{settings_of(semantic)}"  # with other settings nothing is known, with those of before again
        return self._read(place) or begun(route, semantic)

    def judge(
        self, route: str, semantic: Semantic, at_ms: int, *, wrong: bool, down: bool = False
    ) -> tuple[Trust, str]:
        """Add one verdict; return what is known then, and what it has changed."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with locked(self._folder):
                trust, change = judged(self.get(route, semantic), semantic, at_ms, wrong=wrong, down=down)
                self._write(f"{route}\0{trust.settings}", trust)
        except OSError:
            self.failed += 1
            trust, change = judged(self.get(route, semantic), semantic, at_ms, wrong=wrong, down=down)
            place = f"{route}\0{trust.settings}"
            self._known[place] = (self._stamp(place), trust)
        return trust, change

    def _read(self, place: str) -> Trust | None:
        stamp, known = self._stamp(place), self._known.get(place)
        if known is not None and known[0] == stamp:
            return known[1]
        try:
            trust = msgspec.json.decode(_path(self._folder, place).read_bytes(), type=Trust)
        except (OSError, msgspec.MsgspecError):
            return None
        if len(self._known) < MOST_ROUTES:
            self._known[place] = (stamp, trust)
        return trust

    def _stamp(self, place: str) -> tuple[int, int]:
        try:
            stat = os.stat(_path(self._folder, place))
        except OSError:
            return 0, 0
        return stat.st_ino, stat.st_mtime_ns

    def _write(self, place: str, trust: Trust) -> None:
        path = _path(self._folder, place)
        fresh = path.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(trust))
        fresh.replace(path)


def all_trusts(folder: Path) -> list[Trust]:
    """Return what is known of every route with the settings that it had a verdict with last, by name."""
    found: dict[str, tuple[int, Trust]] = {}
    for path in folder.glob("trust-*.json"):
        with suppress(OSError, msgspec.MsgspecError):
            trust = msgspec.json.decode(path.read_bytes(), type=Trust)
            found[trust.route] = max(found.get(trust.route, (0, trust)), (path.stat().st_mtime_ns, trust))
    return [found[route][1] for route in sorted(found)]


def _path(folder: Path, place: str) -> Path:
    return folder / f"trust-{blake2b(place.encode(), digest_size=8).hexdigest()}.json"
