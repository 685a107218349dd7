"""Names of providers: look-ups that fail, hang and change (faults 1, 2, 10), and a network that is down (fault 13)."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from gateway_capture import Capture
from gateway_lab import Lab, deployment, small_config
from gateway_raw import ask, elapsed_ms, fetch
from gateway_router import Router

from pointsman.core.outcome import CLASSES, Blame, Kind, Outcome, Retry
from pointsman.core.policy import Limits
from pointsman.gateway.reach import Reach
from pointsman.gateway.resolver import Resolver, needs_no_lookup
from pointsman.gateway.upstream import Connection, Origin

LIMITS = Limits(connect_ms=1_500, dns_ms=150)


class Names:
    """Play a resolver: each name's addresses, an error, or a hang until `released`."""

    def __init__(self, **known: object) -> None:
        self.known = known
        self.asked: list[str] = []
        self.released = threading.Event()
        self.now_ms = 1_000_000.0

    def clock(self) -> float:
        return self.now_ms

    def look_up(self, host: str) -> list[str]:
        self.asked.append(host)
        answer = self.known.get(host)
        if answer == "hang":
            assert self.released.wait(10)
            answer = self.known[host] if self.known[host] != "hang" else ["127.0.0.1"]
        if isinstance(answer, OSError):
            raise answer
        assert isinstance(answer, list)
        return list(answer)


NXDOMAIN = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
SERVFAIL = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


@pytest.fixture
def server() -> Iterator[Capture]:
    with Capture() as running:
        yield running


async def connected(origin: Origin) -> Connection | Outcome:
    got: asyncio.Future[Connection | Outcome] = asyncio.get_running_loop().create_future()
    origin.connect(got.set_result)
    return await got


async def reached(names: Names, resolver: Resolver, host: str, port: int, limits: Limits = LIMITS) -> str:
    """Return the address that a connection went to, or what was in the way."""
    result = await connected(Origin((host, port), None, limits, names.clock, resolver))
    if isinstance(result, Outcome):
        return f"{result.kind}: {result.message}"
    address = str(result.transport.get_extra_info("peername")[0])
    result.transport.abort()
    return address


# --- fault 1
@pytest.mark.parametrize(("error", "said"), [(NXDOMAIN, "not known"), (SERVFAIL, "Temporary failure")])
async def test_f01_a_name_that_is_not_found_is_unreachable_and_remembered_for_a_second(
    error: OSError, said: str, server: Capture
) -> None:
    names = Names(gone=error)
    resolver = Resolver(names.clock, names.look_up)
    for _ in range(3):
        got = await reached(names, resolver, "gone", server.port)
        assert got.startswith("unreachable: DNS: ") and said in got
    assert names.asked == ["gone"]
    names.now_ms += 1_000.0
    names.known["gone"] = ["127.0.0.1"]
    assert await reached(names, resolver, "gone", server.port) == "127.0.0.1"


async def test_f01_an_answer_is_kept_for_a_minute_and_beyond_while_the_resolver_fails(server: Capture) -> None:
    names = Names(up=["127.0.0.1"])
    resolver = Resolver(names.clock, names.look_up)
    for _ in range(2):
        assert await reached(names, resolver, "up", server.port) == "127.0.0.1"
        names.now_ms += 59_000.0
    assert names.asked == ["up"]
    names.known["up"] = SERVFAIL
    names.now_ms += 2_000.0
    assert await reached(names, resolver, "up", server.port) == "127.0.0.1"
    names.known["up"] = "hang"
    names.now_ms += 2_000.0
    assert await reached(names, resolver, "up", server.port) == "127.0.0.1"
    names.released.set()
    assert len(names.asked) == 3
    names.known["up"] = NXDOMAIN  # which is an answer
    await asyncio.sleep(0)
    names.now_ms += 120_000.0
    got = await reached(names, resolver, "up", server.port)
    while got == "127.0.0.1":  # that of the look-up that hung
        names.now_ms += 120_000.0
        got = await reached(names, resolver, "up", server.port)
    assert got.startswith("unreachable: DNS")


async def test_f01_what_is_no_name_at_all_is_unreachable() -> None:
    names = Names(**{"x" * 300: UnicodeError("label too long")})

    def look_up(host: str) -> list[str]:
        raise UnicodeError("label too long")

    got = await reached(names, Resolver(names.clock, look_up), "x" * 300, 1)
    assert got.startswith("unreachable") and "label too long" in got


# --- fault 2
async def test_f02_a_look_up_that_hangs_is_bounded_and_delays_no_other(server: Capture) -> None:
    names = Names(slow="hang", fine=["127.0.0.1"])
    resolver = Resolver(names.clock, names.look_up)
    begun = time.monotonic()
    waits = [asyncio.create_task(reached(names, resolver, "slow", server.port)) for _ in range(20)]
    assert await reached(names, resolver, "fine", server.port) == "127.0.0.1"
    assert not any(task.done() for task in waits)
    got = await asyncio.gather(*waits)
    assert all(one.startswith("unreachable: DNS") for one in got)
    assert elapsed_ms(begun) < 1_000
    assert names.asked.count("slow") == 1  # one at a time, and so one thread
    names.now_ms += 200.0  # the resolver is known to be silent: nobody waits for it again
    begun = time.monotonic()
    assert (await reached(names, resolver, "slow", server.port)).startswith("unreachable: DNS")
    assert elapsed_ms(begun) < 100
    names.released.set()


async def test_f02_the_threads_do_not_keep_a_worker_from_ending() -> None:
    names = Names(slow="hang")
    resolver = Resolver(names.clock, names.look_up)
    assert (await reached(names, resolver, "slow", 1)).startswith("unreachable")
    threads = [thread for thread in threading.enumerate() if thread.name == "dns slow"]
    assert len(threads) == 1 and threads[0].daemon
    names.released.set()
    threads[0].join(5)


# --- fault 10
async def test_f10_a_provider_that_has_moved_is_found_at_once() -> None:
    names = Names(moves=["127.0.0.3"])
    resolver = Resolver(names.clock, names.look_up)
    listener = socket.create_server(("127.0.0.2", 0))
    port = listener.getsockname()[1]
    assert (await reached(names, resolver, "moves", port)).startswith("unreachable: connect")
    names.known["moves"] = ["127.0.0.2"]
    names.now_ms += 1_500.0  # long before the answer is a minute old
    assert await reached(names, resolver, "moves", port) == "127.0.0.2"
    assert names.asked == ["moves", "moves"]
    listener.close()


async def test_f10_of_several_addresses_the_next_is_tried_and_stays_first() -> None:
    names = Names(many=["127.0.0.3", "127.0.0.2"])
    resolver = Resolver(names.clock, names.look_up)
    listener = socket.create_server(("127.0.0.2", 0))
    port = listener.getsockname()[1]
    assert await reached(names, resolver, "many", port) == "127.0.0.2"
    assert await resolver.addresses("many", 100.0) == ("127.0.0.2", "127.0.0.3")
    listener.close()
    begun = time.monotonic()
    assert (await reached(names, resolver, "many", port)).startswith("unreachable: connect")
    assert elapsed_ms(begun) < LIMITS.connect_ms + 200


async def test_f04_an_address_that_says_nothing_leaves_time_for_the_next() -> None:
    full = socket.socket()
    full.bind(("127.0.0.3", 0))
    full.listen(0)
    port = full.getsockname()[1]
    fillers = [socket.socket() for _ in range(4)]
    for filler in fillers:  # fill the backlog: the next SYN is dropped
        filler.setblocking(False)
        filler.connect_ex(full.getsockname())
    listener = socket.create_server(("127.0.0.2", port))
    names = Names(many=["127.0.0.3", "127.0.0.2"])
    limits = Limits(connect_ms=600, dns_ms=100)
    assert await reached(names, Resolver(names.clock, names.look_up), "many", port, limits) == "127.0.0.2"
    for sock in (full, listener, *fillers):
        sock.close()


async def test_an_address_needs_no_look_up(server: Capture) -> None:
    names = Names()
    assert await reached(names, Resolver(names.clock, names.look_up), "127.0.0.1", server.port) == "127.0.0.1"
    assert names.asked == []
    assert [needs_no_lookup(host) for host in ("::1", "10.0.0.7", "localhost", "api.example", "")] == [
        True, True, True, False, False,
    ]  # fmt: skip


# --- fault 13
NO_ROUTE, NO_FILES = OSError(errno.ENETUNREACH, "Network is unreachable"), OSError(errno.EMFILE, "Too many open files")
REFUSED, SILENT = ConnectionRefusedError(errno.ECONNREFUSED, "refused"), TimeoutError()


def test_f13_a_machine_that_is_cut_off_or_exhausted_is_to_blame_itself() -> None:
    assert Reach().failed("a", NO_FILES, 1_000.0) and Reach().failed("a", NO_ROUTE, 1_000.0)
    for error in (REFUSED, SILENT, SERVFAIL, OSError(errno.EHOSTUNREACH, "no route to host")):
        assert not Reach().failed("a", error, 1_000.0)


def test_f13_but_not_for_a_host_whose_address_alone_is_no_use_here() -> None:
    reach = Reach()
    reach.connected("b", 900.0)
    assert not reach.failed("a", NO_ROUTE, 1_000.0)
    assert reach.failed("a", NO_FILES, 1_000.0)
    assert reach.failed("a", NO_ROUTE, 2_500.0)
    reach.answered_since = lambda since_ms: since_ms < 2_600.0
    assert not reach.failed("a", NO_ROUTE, 2_600.0)


def test_f13_three_silent_hosts_and_nobody_else_are_taken_for_our_own_silence() -> None:
    reach = Reach()
    assert [reach.failed(host, SILENT, 1_000.0) for host in ("a", "a", "b", "c", "c")] == [False] * 3 + [True] * 2
    assert not reach.failed("d", SILENT, 2_500.0)  # too long ago
    reach = Reach()
    assert [reach.failed(host, error, 1_000.0) for host, error in (("a", REFUSED), ("b", SILENT), ("c", SILENT))] == [
        False
    ] * 3


def test_f13_a_local_fault_ends_the_request_and_touches_no_health() -> None:
    row = CLASSES[Kind.LOCAL]
    assert (row.blame, row.retry, row.status) == (Blame.ROUTER, Retry.NEVER, 503)


def test_f13_a_network_that_is_down_is_told_at_once_and_no_list_is_walked(
    lab: Lab, start_router: Callable[..., Router]
) -> None:
    address = "255.255.255.255"  # the kernel has no route for a connection to there
    config = small_config(
        lab,
        {
            "far": {"provider": "far", "model": "m", "price": {"input": 1, "output": 2}},
            "good": deployment("openai", "m"),
        },
        {"r": {"candidates": ["far", "good"]}, "kept": {"candidates": ["far"], "degrade": [{"reply": "later"}]}},
        providers={"far": {"dialect": "openai", "base_url": f"https://{address}/v1", "api_key": "sk-far-0001"}},
    )
    router = start_router(config)
    for _ in range(6):
        begun = time.monotonic()
        answer = ask(router, "r")
        assert answer.status == 503 and elapsed_ms(begun) < 500
        assert answer.error["code"] == "network_unavailable" and answer.error["origin"] == "router"
        assert answer.headers["retry-after"] == "1"
        assert [row.outcome for row in router.settled(answer.id).attempts] == ["local"]
    assert fetch(router, "/health").json["deployments"]["far"] == "closed"
    assert ask(router, "kept").headers["x-pointsman-degraded"] == "reply"
