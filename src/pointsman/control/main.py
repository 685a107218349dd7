"""The control process: the ledger pump and the admin listener, beside the data plane and never in its way.

Started by the supervisor as `python -m pointsman.control.main`. On standard input it reads one line of JSON (Start), then
the encoded policy; then, whenever the config has changed, a frame with the new one (`config/transport.py:Frames`), before
any worker gets it. End of file, like SIGTERM, means to book all that is in the journal and to end. On standard output it
writes `ready`, `kept VERSION` or `refused REASON` for each new policy, and `reload TOKEN` when the admin API asks for one.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import uvicorn
from starlette.types import ASGIApp

from pointsman.config import transport
from pointsman.config.addresses import is_loopback
from pointsman.config.transport import Frames
from pointsman.control.admin import Admin
from pointsman.control.audited import Audited
from pointsman.control.issuers import Issuers
from pointsman.control.keeper import LOOK_S, Keeper
from pointsman.control.notices import Notices, NoticesThread
from pointsman.control.observing import Observer
from pointsman.control.price_watch import PriceWatch
from pointsman.control.pump import Pump
from pointsman.control.rates import Rates
from pointsman.control.replay import OWED, Policies
from pointsman.control.retention import Keeping
from pointsman.control.second import Second
from pointsman.control.stored import StoredBodies
from pointsman.core.policy import OWN_FILE, Policy
from pointsman.core.secret import secrets_of
from pointsman.observe.log import LOG
from pointsman.stores.choose import Stores, stores_of
from pointsman.stores.ledger import LedgerError
from pointsman.stores.private import TOKEN_VARIABLE, PrivateError, admin_token_of

NICE = 19  # the least share of a busy core: the ledger may be late, an answer not
POLL_S = 0.5  # how soon the pump looks again when it has caught up: each look costs a transaction, however few the rows
AWAY_S = 5.0  # how rarely while the ledger cannot be reached
DATE_S = 1.0  # between two looks of the admin listener at the clock
FLUSH_S = 60.0  # for booking at the end; what is left stays in the journal
LOCK_RETRY_S = 0.5
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
MOST_CONNECTIONS = 64
PIPE_BYTES = 1 << 20  # read from the supervisor at a time
PIPE_LINE_CHARACTERS = 500  # told to it in one line


class Start(msgspec.Struct):
    """Hold what the supervisor tells the control process."""

    data: str
    policy_bytes: int
    admin_host: str = "127.0.0.1"


class PumpThread(threading.Thread):
    """Run a pump until told to stop, and then until there is nothing left. `failed` is set when it dies by itself."""

    def __init__(self, pump: Pump, data: Path) -> None:
        super().__init__(name="pump", daemon=True)
        self.stopping = threading.Event()
        self.failed = True
        self.pump = pump
        self.second: Second | None = None
        self._data = data

    def run(self) -> None:
        with _only_one(self._data / "pump.lock", self.stopping) as lock:
            if lock >= 0:
                if self.second is not None:
                    self.second.locks = (lock,)
                self._pump_on()
        self.failed = False

    def _pump_on(self) -> None:
        wait_s, until_s = POLL_S, float("inf")
        while True:
            stopping = self.stopping.is_set()
            if self.second is not None:
                self.second.stop() if stopping else self.second.look()
            if stopping:
                until_s = min(until_s, time.monotonic() + FLUSH_S)
            busy = self.pump.step()
            if stopping and (not busy or time.monotonic() > until_s):
                return
            wait_s = POLL_S if self.pump.counts.up else min(AWAY_S, wait_s * 1.25)
            if not self.pump.behind:
                self.stopping.wait(wait_s if not stopping else 0.0)


class IssuersThread(threading.Thread):
    """Look after the keys of issuers as long as this process lives; nobody waits for it, as it may wait for a name server."""

    def __init__(self, issuers: Issuers) -> None:
        super().__init__(name="issuers", daemon=True)
        self._issuers = issuers

    def run(self) -> None:
        while True:
            self._issuers.step()
            time.sleep(LOOK_S)


@contextlib.contextmanager
def _only_one(path: Path, stopping: threading.Event) -> Iterator[int]:
    """Hold the lock of a data folder's pump, and give its descriptor; wait for another that has it, and say so. -1: told to
    stop before."""
    fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    mine = said = False
    try:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                mine = True
                break
            except BlockingIOError:
                if not said:
                    LOG.info("waiting_for_lock", f"another process books {path.parent}; waiting for it to end")
                said = True
                if stopping.wait(LOCK_RETRY_S):
                    break
        yield fd if mine else -1
    finally:
        os.close(fd)


class Server(uvicorn.Server):
    """Leave the signals to this process, and end when it does."""

    def __init__(self, config: uvicorn.Config, ending: asyncio.Event) -> None:
        super().__init__(config)
        self._ending = ending

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        """Wait for the end; uvicorn's own looks for it ten times a second, a quarter of what an idle router uses."""
        while not (self._ending.is_set() or await self.on_tick(0)):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), DATE_S)


class Follower:
    """Take over each new policy that the supervisor sends: keep it in the ledger, so that decisions of workers that adopt
    it can be made again; show it; say so."""

    def __init__(self, stores: Stores, admin: Admin) -> None:
        self.ended = asyncio.Event()  # the supervisor is gone, or wants us to end
        self._stores, self._admin = stores, admin
        self._frames = Frames()
        self._keeping: set[asyncio.Task[None]] = set()

    def hear(self) -> None:
        """Take what the pipe has now."""
        data = os.read(0, PIPE_BYTES)
        if not data:
            asyncio.get_running_loop().remove_reader(0)
            self.ended.set()
        for encoded in self._frames.feed(data):
            task = asyncio.get_running_loop().create_task(self._follow(transport.decode(encoded)))
            self._keeping.add(task)
            task.add_done_callback(self._keeping.discard)

    async def _follow(self, policy: Policy) -> None:
        try:
            await asyncio.to_thread(_keep, self._stores, policy)
        except (LedgerError, OSError) as error:
            tell(f"refused {error}")
            return
        if stores_of(self._stores.data, policy.listener) != self._stores:
            LOG.warning("restart_needed", "server.ledger and server.callers: take a restart")
        self._admin.policy = policy
        speak(policy)
        tell(f"kept {policy.version}")


def _keep(stores: Stores, policy: Policy) -> None:
    """Store a policy through a connection of its own: the pump's is in use, and may wait for another process's lock."""
    writer = stores.writer()
    try:
        Policies(writer, stores.data / OWED).keep(policy)
    finally:
        writer.close()


def speak(policy: Policy) -> None:
    """Write to standard error as a config version wants it."""
    LOG.configure("control", policy.listener.log.format, policy.listener.log.level, secrets_of(policy))


def tell(line: str) -> None:
    """Say a line to the supervisor."""
    os.write(1, " ".join(line.split())[:PIPE_LINE_CHARACTERS].encode() + b"\n")


async def serve(admin: Admin, app: ASGIApp, listener: socket.socket, pump: PumpThread, stores: Stores) -> None:
    """Answer until told to end, then let the pump finish."""
    loop, follower = asyncio.get_running_loop(), Follower(stores, admin)
    ending = follower.ended
    loop.add_signal_handler(signal.SIGTERM, ending.set)
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # the terminal's goes to the supervisor too, which decides
    loop.add_reader(0, follower.hear)
    config = uvicorn.Config(
        app,
        log_config=None,  # what it has to say goes into our log
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        proxy_headers=False,  # an address that anybody may write into a header is none to count tries by (S2)
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=2,
    )
    server = Server(config, ending)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    keeper = Keeper(stores, admin.count_store_error)
    audited = Audited(stores, lambda: admin.policy, admin.count_store_error)
    if stores.shares_callers:  # until it is published workers let nobody in
        await asyncio.to_thread(keeper.step)
    keeping = asyncio.create_task(_keep_callers(keeper, audited, admin.rates, ending))
    os.setpriority(os.PRIO_PROCESS, 0, NICE)  # of this thread, and of those that it starts from here on
    IssuersThread(Issuers(stores.data, lambda: admin.policy, admin.count_issuer_error)).start()
    notices = Notices(stores, lambda: admin.policy, admin.ledger_is_up, admin.count_unsent_notice)
    NoticesThread(notices).start()
    watch = PriceWatch(stores, lambda: admin.policy, notices.tell)
    admin.price_counts = watch.counts
    watch.start()
    retention = Keeping(stores, lambda: admin.policy)
    admin.deleted_rows = lambda: retention.deleted
    retention.start()
    stored = StoredBodies(stores, lambda: admin.policy, pump.pump.counts)
    stored.start()
    observer = Observer(lambda: admin.policy)
    admin.exports, pump.pump.booked = observer.exports, observer.booked
    observer.start()
    if stores.ledger == OWN_FILE and (os.cpu_count() or 1) > 1:
        # What a second process books is seen by no observer.
        pump.second = Second(
            pump.pump, str(stores.data), lambda: admin.policy.listener.log, lambda: not observer.is_wanted()
        )
    pump.start()
    tell("ready")
    while not ending.is_set() and pump.is_alive():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ending.wait(), 1.0)
    loop.remove_reader(0)
    ending.set()
    pump.stopping.set()
    server.should_exit = True
    await serving
    await keeping
    await asyncio.to_thread(pump.join)
    await asyncio.to_thread(observer.stop)


async def _keep_callers(keeper: Keeper, audited: Audited, rates: Rates, ending: asyncio.Event) -> None:
    """Look after the key store, and at what the workers do, to the end."""
    while not ending.is_set():
        await asyncio.to_thread(keeper.step)
        await asyncio.to_thread(audited.step)
        await asyncio.to_thread(rates.look)
        LOG.look()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ending.wait(), LOOK_S)
    await asyncio.to_thread(keeper.close)


def hosts_of(host: str) -> frozenset[str] | None:
    """Return the names of this machine for an admin listener on a loopback `host`; None when others reach it."""
    return LOOPBACK_HOSTS | {host.strip("[]").lower()} if is_loopback(host) else None


def checked_token(host: str, data: Path, policy: Policy) -> str:
    """Return the admin token, made if there is none: never a known one. Raise PrivateError when it cannot be had, SystemExit
    beyond loopback when nobody chose one: nobody would know that it is open (S6)."""
    given = policy.listener.admin_token
    if given is not None:
        return given.reveal()
    if not is_loopback(host) and admin_token_of(data, os.environ) is None:
        raise SystemExit(
            f"pointsman: the admin listener on {host} would be open to others: set {TOKEN_VARIABLE} or server.admin_token, "
            "or listen on 127.0.0.1"
        )
    return admin_token_of(data, os.environ, make=True) or ""


def run(start: Start, policy: Policy) -> int:
    """Run the control process to its end; return its exit code."""
    speak(policy)
    LOG.hook()
    data = Path(start.data)
    data.mkdir(parents=True, exist_ok=True)
    token = checked_token(start.admin_host, data, policy)
    stores = stores_of(data, policy.listener)
    stores.note()
    writer = stores.writer()
    policies = Policies(writer, data / OWED)
    policies.keep(policy)
    pump = Pump(data / "journal", writer, policies)
    thread = PumpThread(pump, data)
    family = socket.AF_INET6 if ":" in start.admin_host else socket.AF_INET
    listener = socket.create_server((start.admin_host, policy.listener.admin_port), family=family, backlog=128)
    admin = Admin(data, policy, pump.counts, lambda token: tell(f"reload {token}"))
    asyncio.run(serve(admin, admin.app(token, hosts_of(start.admin_host)), listener, thread, stores))
    writer.close()
    return int(thread.failed)


def main() -> None:
    """Run one control process."""
    os.umask(0o077)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the supervisor's affair, also when sent to all of us
    with os.fdopen(0, "rb", buffering=0, closefd=False) as stdin:
        start = msgspec.json.decode(stdin.readline() or b"null", type=Start)
        body = b""
        while len(body) < start.policy_bytes:
            more = stdin.read(start.policy_bytes - len(body))
            if not more:
                raise SystemExit("pointsman control: the supervisor went away")
            body += more
    sys.exit(run(start, transport.decode(body)))


if __name__ == "__main__":
    try:
        main()
    except (OSError, LedgerError, PrivateError) as error:
        sys.exit(LOG.last_word("control", error))
