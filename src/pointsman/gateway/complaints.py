"""Complaints: what a worker says on standard error. It never waits for a reader: a pipe that is full, a disk that is full or
a reader that has stopped costs lines, which are counted, and nothing else (fault 100)."""

from __future__ import annotations

import asyncio
import os
import select
import traceback
from typing import Any

STANDARD_ERROR = 2
MOST_BYTES = 4096  # of one complaint: a pipe that can be written to takes so many at once (PIPE_BUF, pipe(7))


class Complaints:
    """Write to a descriptor if it takes it now. `lost` counts what could not be written."""

    def __init__(self, descriptor: int = STANDARD_ERROR) -> None:
        self.lost = 0
        self._descriptor = descriptor

    def say(self, text: str) -> None:
        data = f"pointsman: {text}\n".encode(errors="replace")
        if len(data) > MOST_BYTES:
            data = data[: MOST_BYTES - 4] + b"...\n"
        try:
            poll = select.poll()
            poll.register(self._descriptor, select.POLLOUT)
            if any(event & select.POLLOUT for _, event in poll.poll(0)):
                os.write(self._descriptor, data)
                return
        except OSError:
            pass
        self.lost += 1

    def on_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Say what asyncio has nobody else to tell."""
        error = context.get("exception")
        lines = "" if error is None else "".join(traceback.format_exception(error))
        self.say(f"{context.get('message', 'an error')}\n{lines[-MOST_BYTES // 2 :]}".rstrip())


COMPLAINTS = Complaints()
