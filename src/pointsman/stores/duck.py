"""DuckDB: a connection of its own for one caller, bounded in memory, threads, disk and time, that reaches nothing but the
folders it is given and loads nothing from anywhere. Comes with the extra `analytics`."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from pointsman.stores.ledger import LedgerBusy, LedgerError
from pointsman.stores.sql import Values, for_duckdb

MISSING = "DuckDB is not installed: pip install 'pointsman[analytics]'"
_SETTINGS = (
    "autoinstall_known_extensions = false",
    "autoload_known_extensions = false",
    "enable_progress_bar = false",
    "TimeZone = 'UTC'",
)


class Bounds(msgspec.Struct, frozen=True):
    """Hold what a connection may use. `memory_mib`: beyond it goes to disk what can, into a folder of its own among
    the system's temporary ones, up to `disk_mib`; `threads` 0: one for each processor, at most 8."""

    memory_mib: int = 4_096
    disk_mib: int = 16_384
    threads: int = 0

    @property
    def workers(self) -> int:
        return self.threads or min(8, os.cpu_count() or 1)


class Duck:
    """Run statements. Not shared between threads, but for `interrupt`. Every method raises LedgerError."""

    def __init__(self, folders: Sequence[Path], bounds: Bounds, limit_s: float) -> None:
        try:
            import duckdb
        except ImportError:
            raise LedgerError(MISSING) from None
        self._duckdb, self._limit_s, self._interrupted = duckdb, limit_s, False
        self._spill = Path(tempfile.mkdtemp(prefix="pointsman-duckdb-"))
        self._db = duckdb.connect(":memory:")
        listed = ", ".join(f"'{quoted(folder.resolve())}'" for folder in (*folders, self._spill))
        for setting in (
            *_SETTINGS,
            f"memory_limit = '{bounds.memory_mib}MiB'",
            f"threads = {bounds.workers}",
            f"temp_directory = '{quoted(self._spill)}'",
            f"max_temp_directory_size = '{bounds.disk_mib}MiB'",
            f"allowed_directories = [{listed}]",
            "enable_external_access = false",
            "lock_configuration = true",
        ):
            self.run(f"SET {setting}")

    def close(self) -> None:
        self._db.close()
        shutil.rmtree(self._spill, ignore_errors=True)

    def interrupt(self) -> None:
        """End what is asked now, from another thread, and refuse what would be asked later."""
        self._interrupted = True
        self._db.interrupt()

    def run(self, statement: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a statement: with values written as `stores/sql.py` says, without them as it stands, as a path in
        it may look like the name of a value."""
        text, names = for_duckdb(statement) if values else (statement, ())
        given = {name: values[name] for name in names}  # type: ignore[call-overload]  # by name
        with self._told(), self._limited():
            if self._interrupted:
                raise LedgerBusy("the question was interrupted")
            return self._db.execute(text, given or None).fetchall()

    @contextlib.contextmanager
    def _limited(self) -> Iterator[None]:
        """Interrupt what takes longer than the limit."""
        timer = threading.Timer(self._limit_s, self._db.interrupt)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Turn the library's errors into LedgerError, in one line."""
        try:
            yield
        except self._duckdb.InterruptException:
            raise LedgerBusy("the question takes too long, or was interrupted") from None
        except self._duckdb.OutOfMemoryException:
            raise LedgerError("DuckDB needs more memory than it may use: raise --memory-mib, or ask for less") from None
        except self._duckdb.Error as error:
            raise LedgerError(f"DuckDB: {str(error).splitlines()[0]}") from None


def quoted(path: Path) -> str:
    """Return a path as it stands between single quotes."""
    return str(path).replace("'", "''")
