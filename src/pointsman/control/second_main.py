"""The second process of the pump: books the journals it was given until it has caught up with them.

Started by `control/second.py:Second` as `python -m pointsman.control.second_main`. On standard input it reads one line of JSON
(Start); end of file means to end after the step under way, as the control process wants it or is dead. On standard output it
writes its Counts after each step, a line of JSON. An error ends it: the control process tries again, and tells.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from pathlib import Path

import msgspec

from pointsman.control.pump import Pump
from pointsman.control.replay import Policies
from pointsman.control.second import Start
from pointsman.observe.log import LOG
from pointsman.stores.ledger import LedgerError
from pointsman.stores.sqlite import FILE, SqliteWriter


def run(start: Start) -> None:
    """Book until there is nothing left to be read at once, or told to end. Raise LedgerError, OSError."""
    data = Path(start.data)
    with contextlib.closing(SqliteWriter(data / FILE)) as writer:
        pump = Pump(data / "journal", writer, Policies(writer), only=frozenset(start.incarnations))
        while not _is_told():
            pump.move()
            os.write(1, msgspec.json.encode(pump.counts) + b"\n")
            if not pump.behind:
                return


def _is_told() -> bool:
    """Tell whether the pipe from the control process has ended: nothing else comes through it."""
    return bool(select.select([0], [], [], 0.0)[0])


def main() -> None:
    """Run one second process."""
    os.umask(0o077)
    for number in (signal.SIGHUP, signal.SIGINT):  # the control process hears of what they mean, and decides
        signal.signal(number, signal.SIG_IGN)
    with os.fdopen(0, "rb", buffering=0, closefd=False) as stdin:
        line = stdin.readline()
    if not line:
        return
    start = msgspec.json.decode(line, type=Start)
    LOG.configure("control", start.format, start.level)
    LOG.hook()
    try:
        run(start)
    except BrokenPipeError:  # nobody hears us any more
        return
    except (LedgerError, OSError) as error:
        LOG.warning("second_pump_lost", f"the second process of the pump ends: {error}")
        sys.exit(1)


if __name__ == "__main__":
    main()
