"""Descriptors and sockets: the router does not run out of them, and a client behind a cut cable is noticed."""

from __future__ import annotations

import contextlib
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gateway_lab import Lab, deployment, small_config
from gateway_raw import Wire, ask, fetch
from gateway_router import Router, until

from pointsman.gateway import descriptors

StartRouter = Callable[..., Router]
FILES = 120


@pytest.fixture
def few_files() -> Iterator[None]:
    """Let what is started now have few descriptors, soft and hard. (This process keeps its own.)"""
    ordinary = subprocess.Popen

    class Popen(ordinary):  # type: ignore[type-arg,misc]
        def __init__(self, *arguments: object, **more: object) -> None:
            limits = (FILES // 2, FILES)  # the soft one is lower: the worker must raise it
            more["preexec_fn"] = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            super().__init__(*arguments, **more)

    subprocess.Popen = Popen  # type: ignore[misc]
    yield
    subprocess.Popen = ordinary  # type: ignore[misc]


def test_f98_connections_stop_at_half_of_the_descriptors_and_it_recovers(
    lab: Lab, tmp_path: Path, few_files: None
) -> None:
    with Router(small_config(lab, {"m": deployment("openai", "m")}, {}), tmp_path) as router:
        assert f"{FILES} open files are allowed, so a worker takes {FILES // 2} client connections" in router.errors()
        wires = [Wire(router.port) for _ in range(FILES // 2)]
        until(lambda: router.descriptors() > FILES // 2)
        with Wire(router.port) as more:
            answer = more.response()
            assert (answer.status, answer.error["code"]) == (503, "overloaded")
        # Those who are in are served: there are descriptors left to ask a provider with.
        wires[0].close()
        until(lambda: accepted(router))
        for wire in wires[1:]:
            wire.close()
        assert ask(router, "m").status == 200
        router.check_books()


def accepted(router: Router) -> bool:
    with contextlib.suppress(OSError):
        return ask(router, "m").status == 200
    return False


def test_f98_when_there_are_none_left_the_loop_does_not_spin_and_comes_back(
    lab: Lab, tmp_path: Path, few_files: None
) -> None:
    config = small_config(lab, {"m": deployment("openai", "m")}, {})
    with Router(config, tmp_path) as router:
        before = router.descriptors()
        # What else the process may hold: the limit falls below what it has.
        resource.prlimit(router.pid, resource.RLIMIT_NOFILE, (before, FILES))
        wires = [socket.create_connection(("127.0.0.1", router.port)) for _ in range(20)]
        cpu_s, for_s = router.cpu_s(), 1.0
        time.sleep(for_s)
        assert router.alive and router.cpu_s() - cpu_s < for_s / 2
        for wire in wires:
            wire.close()
        resource.prlimit(router.pid, resource.RLIMIT_NOFILE, (FILES, FILES))
        until(lambda: accepted(router))


def test_f66_what_is_accepted_asks_silent_clients_whether_they_are_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        descriptors.keep_alive(listener.fileno())
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as taken:
            assert taken.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            for option, value in descriptors.KEEPALIVE.items():
                assert taken.getsockopt(socket.IPPROTO_TCP, option) == value


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/net/tcp is Linux")
def test_f66_a_client_that_is_silent_has_a_keepalive_timer(router: Router) -> None:
    with Wire(router.port) as wire:
        until(lambda: fetch(router, "/livez").status == 200)
        port = wire.sock.getsockname()[1]

        def timers() -> list[str]:
            """Return the timer of each socket whose other end is ours: 02 is keepalive (proc(5), /proc/net/tcp)."""
            rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
            return [row[5].partition(":")[0] for row in rows if row[2].endswith(f":{port:04X}") and row[3] == "01"]

        assert until(timers) == ["02"]
