"""PostgreSQL: a Link runs statements one after the other, for callers that wait: the pump's thread, requests of the admin
listener, commands. The driver is asyncpg, on an event loop of the Link's own that runs only while somebody waits.

Nothing here waits without a bound: the server ends a statement after the limit, and what has not come GRACE_S later, because
the server or the way to it hangs, is given up together with the connection. No error repeats the URL: it may hold a password.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

from pointsman.stores.sql import Values, for_postgres, tables_for_postgres

if TYPE_CHECKING:
    import asyncpg

CONNECT_S = 5.0
GRACE_S = 2.0  # beyond the limit of a statement, for the server's own word on it
CLOSE_S = 1.0
_VERSION = "CREATE TABLE version (number BIGINT); INSERT INTO version VALUES (0);"
_TABLES = "SELECT 1 FROM pg_tables WHERE schemaname = :schema AND tablename = 'version'"
T = TypeVar("T")


class LinkError(Exception):
    """Say what a database did not do."""


class LinkAway(LinkError):
    """Say that a database cannot be reached, or was lost under way: whether the last commit is kept is not known."""


class LinkBusy(LinkError):
    """Say that a database did not answer in time."""


class TooNew(LinkError):
    """Say that the tables were made by a newer version of the program."""


class Missing(LinkError):
    """Say that the tables are not there, or not all of them."""


class Rows(list[Any]):
    """The rows of a statement, as stores.sql.Rows."""

    def fetchone(self) -> Any:
        return self[0] if self else None

    def fetchall(self) -> list[Any]:
        return self


def without_password(url: str) -> tuple[str, str]:
    """Return a URL without its password, and that. Raise ValueError."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    user, _, password = user.partition(":")
    return urlunsplit((parts.scheme, user + at + host, parts.path, parts.query, "")), unquote(password)


def shown(url: str) -> str:
    """Return a URL as it may be shown: without its password, and without what stands behind `?`. Raise ValueError."""
    return without_password(url)[0].partition("?")[0]


class Link:
    """One connection to a database, made when it is needed, and made again after it was lost. Not shared between threads at
    a time. Tables are in a schema of their own; `own`: statements that are other ones here."""

    def __init__(
        self,
        url: str,
        schema: str,
        *,
        limit_s: float,
        read_only: bool = False,
        own: Mapping[str, str] | None = None,
    ) -> None:
        self.name = shown(url)
        self.schema = schema
        self._url, self._limit_s, self._own = url, limit_s, own or {}
        limit = str(max(1, int(limit_s * 1000)))
        self._settings = {
            "application_name": f"pointsman {os.getpid()}",
            "search_path": schema,
            "statement_timeout": limit,
            "idle_in_transaction_session_timeout": str(max(1_000, int(limit_s * 1000))),
            "default_transaction_read_only": "on" if read_only else "off",
        }
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: asyncpg.Connection | None = None
        self._inside = False  # a transaction, which no other connection may go on with
        self._task: asyncio.Future[Any] | None = None  # the statement under way
        self._interrupted = False

    def execute(self, statement: str, values: Values = ()) -> Rows:
        """Run one statement, written as `stores/sql.py` says."""
        text, names = for_postgres(self._own.get(statement, statement))
        given = [_value_of(values, name) for name in names]
        return Rows(self.run(lambda connection: connection.fetch(text, *given)))

    def executemany(self, statement: str, rows: Iterable[Values]) -> None:
        """Run one statement for each row, all of them or none."""
        text, names = for_postgres(self._own.get(statement, statement))
        given = [[_value_of(row, name) for name in names] for row in rows]
        self.run(lambda connection: connection.executemany(text, given))

    @contextlib.contextmanager
    def transaction(self, lock: int = 0, kind: str = "READ COMMITTED") -> Iterator[None]:
        """Commit what is done inside, or nothing of it. `lock`: alone among all transactions with this number."""
        self.run(lambda connection: connection.execute(f"BEGIN ISOLATION LEVEL {kind}"))
        self._inside, done = True, False
        try:
            if lock:
                self.run(lambda connection: connection.execute(f"SELECT pg_advisory_xact_lock({lock})"))
            yield
            self.run(lambda connection: connection.execute("COMMIT"))
            done = True
        finally:
            if not done:
                with contextlib.suppress(LinkError):
                    self.run(lambda connection: connection.execute("ROLLBACK"))
            self._inside = False

    def run(self, work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        """Return what `work` gives with the connection. Raise LinkError; nothing else leaves the driver."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        return self._loop.run_until_complete(self._run(work))

    def interrupt(self) -> None:
        """End the statement under way, from another thread, and refuse all that come after with LinkBusy."""
        self._interrupted = True
        loop, task = self._loop, self._task
        if loop is not None and task is not None:
            with contextlib.suppress(RuntimeError):  # the loop has just been closed
                loop.call_soon_threadsafe(task.cancel)  # the driver tells the server

    def close(self) -> None:
        """Close the connection and the loop; the Link may be used again. As `run`, never from within an event loop."""
        if self._loop is not None:
            if self._connection is not None and not self._connection.is_closed():
                with contextlib.suppress(Exception):  # whatever is wrong with it, it is given up
                    self._loop.run_until_complete(self._connection.close(timeout=CLOSE_S))
            self._drop()
            self._loop.run_until_complete(asyncio.sleep(0))  # transports close in a turn of the loop
            self._loop.close()
            self._loop = None

    async def _run(self, work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        if self._connection is not None and self._connection.is_closed():
            self._drop()
        if self._connection is None:
            if self._inside:
                raise LinkAway(f"{self.name}: the connection was lost")
            self._connection = await self._bounded(self._connect(), CONNECT_S)
        return await self._bounded(_awaited(work, self._connection), self._limit_s + GRACE_S)

    async def _bounded(self, work: Awaitable[T], limit_s: float) -> T:
        """Wait for a piece of work, but not for its end when it is cancelled: the driver may wait for the server there."""
        self._task = task = asyncio.ensure_future(work)
        task.add_done_callback(lambda ended: None if ended.cancelled() else ended.exception())
        if self._interrupted:
            task.cancel()
        done, _ = await asyncio.wait({task}, timeout=limit_s)
        self._task = None
        if not done:
            self._drop()
            task.cancel()
            raise LinkAway(f"{self.name}: no answer within {limit_s:.0f} s")
        if task.cancelled():
            self._drop()
            raise LinkBusy(f"{self.name}: the question was interrupted")
        error = task.exception()  # the driver's own, OSError, TimeoutError, ValueError and others
        if error is None:
            return task.result()
        if isinstance(error, LinkError) or not isinstance(error, Exception):
            raise error
        raise self._told(error) from None

    def _told(self, error: Exception) -> LinkError:
        """Return what is wrong, in one line, as a LinkError; give the connection up unless the server has said it."""
        import asyncpg

        said = str(error.args[0]) if error.args else type(error).__name__
        line = f"{self.name}: {said.splitlines()[0] if said else type(error).__name__}"
        if isinstance(error, asyncpg.QueryCanceledError):
            return LinkBusy(f"{self.name}: the question takes too long")
        # What a statement was refused for; anything else says that there is nobody to ask.
        if isinstance(error, asyncpg.PostgresError) and not isinstance(error, _away()):
            return LinkError(line)
        if isinstance(error, asyncpg.DataError | ValueError | TypeError):
            return LinkError(line)
        self._drop()
        if isinstance(error, TimeoutError | asyncio.CancelledError):
            line = f"{self.name}: no answer within {CONNECT_S:.0f} s"
        elif isinstance(error, OSError):
            line = f"{self.name}: {os.strerror(error.errno) if error.errno else 'cannot be reached'}"
        return LinkAway(line)

    async def _connect(self) -> asyncpg.Connection:
        try:
            import asyncpg
        except ImportError:
            raise LinkError(
                f"{self.name}: the driver is not installed: pip install 'pointsman[postgres]', or pip install asyncpg"
            ) from None
        bare, password = without_password(self._url)
        given = {"password": password} if password else {}
        connection: asyncpg.Connection = await asyncpg.connect(
            bare, **given, timeout=CONNECT_S, server_settings=self._settings
        )
        return connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):  # it is given up in any case
                connection.terminate()


def migrate(link: Link, lock: int, scripts: Sequence[str]) -> None:
    """Make the tables, or bring them to the newest version, each step in a transaction; several processes may do so at
    once. Raise LinkError, TooNew among them."""
    for number in range(version_of(link, len(scripts)) + 1, len(scripts) + 1):
        with link.transaction(lock):
            if version_of(link, len(scripts)) >= number:
                continue  # another process was first
            step = _step(link.schema, number, scripts[number - 1])
            link.run(lambda connection, step=step: connection.execute(step))  # type: ignore[misc]


def version_of(link: Link, newest: int) -> int:
    """Return the version of the tables, 0 when there are none. Raise LinkError, TooNew among them."""
    # Asked of the catalog's tables: what a session remembers of names may be of before it waited for the lock.
    if not link.execute(_TABLES, {"schema": link.schema}):
        return 0
    found = link.execute("SELECT number FROM version")
    version = int(found[0][0]) if found else 0
    if version > newest:
        raise TooNew(
            f"{link.name} was written by a newer version of pointsman (format {version}; this one knows up to {newest}): "
            "use that version, or another database"
        )
    return version


def _step(schema: str, number: int, script: str) -> str:
    first = f"CREATE SCHEMA IF NOT EXISTS {schema};\n{_VERSION}\n" if number == 1 else ""
    return f"{first}{tables_for_postgres(script)}; UPDATE version SET number = {number}"  # noqa: S608  a number of ours


def _value_of(values: Values, name: str) -> object:
    return values[name] if isinstance(values, Mapping) else values[int(name)]


async def _awaited(work: Callable[[asyncpg.Connection], Awaitable[T]], connection: asyncpg.Connection) -> T:
    return await work(connection)


def _away() -> tuple[type[Exception], ...]:
    """Return what a server says when it cannot be used now by anybody, or not any more by us."""
    import asyncpg

    return (
        asyncpg.PostgresConnectionError,
        asyncpg.AdminShutdownError,
        asyncpg.CrashShutdownError,
        asyncpg.CannotConnectNowError,
        asyncpg.TooManyConnectionsError,
        asyncpg.IdleInTransactionSessionTimeoutError,
        asyncpg.ReadOnlySQLTransactionError,  # a server that is not the first any more
        asyncpg.InvalidAuthorizationSpecificationError,
        asyncpg.InvalidCatalogNameError,
    )
