"""Segment: reading one journal file forward in bounded pieces."""

from __future__ import annotations

from pathlib import Path

from pointsman.stores.journal import FRAME_HEAD_BYTES, MAX_PAYLOAD, scan

PIECE_BYTES = 1024 * 1024  # read at a time: some two thousand requests
FRAME_BYTES = FRAME_HEAD_BYTES + MAX_PAYLOAD  # no frame is longer
DAMAGED_SUFFIX = ".damaged"
MOST_KEPT_ASIDE = 16  # damaged segments; the oldest go first


class Segment:
    """Read one segment from `offset` on. `skipped` are the damaged bytes met so far; `ended`: read to its last byte."""

    def __init__(self, path: Path, offset: int, skipped: int) -> None:
        self.path = path
        self.name = path.name
        self.offset = offset
        self.skipped = skipped
        self.ended = False
        self.more = False  # the last piece was full: what follows it is there already

    def read(self, *, complete: bool) -> list[tuple[int, int, bytes]]:
        """Return the next records as (start, end, payload). `complete`: the writer is through with this file.

        A piece in which nothing can be read is read again, larger than any frame; what holds no frame even then is
        damage. Raise OSError when the file cannot be read.
        """
        before = self.offset
        found, last = self._piece(PIECE_BYTES, complete)
        if not last and self.offset == before:
            found, last = self._piece(2 * FRAME_BYTES, complete)
        if not last and self.offset == before:
            self.skipped += FRAME_BYTES
            self.offset += FRAME_BYTES  # a frame that starts before would have been whole in this piece
        return found

    def keep_aside(self) -> None:
        """Rename the file out of the pump's way, for the operator to look at."""
        self.path.rename(self.path.with_name(self.name + DAMAGED_SUFFIX))
        kept = sorted(self.path.parent.glob("*" + DAMAGED_SUFFIX))
        for path in kept[:-MOST_KEPT_ASIDE]:
            path.unlink(missing_ok=True)

    def _piece(self, size: int, complete: bool) -> tuple[list[tuple[int, int, bytes]], bool]:
        """Return the records of the next `size` bytes, and whether the file ends there."""
        with self.path.open("rb", buffering=0) as file:
            file.seek(self.offset)
            data = file.read(size)
        last = len(data) < size
        seen = scan(data, self.offset, ended=last and complete)
        self.skipped += seen.skipped
        self.offset = seen.offset
        self.ended = last and complete
        self.more = not last
        return seen.frames, last
