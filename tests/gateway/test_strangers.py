"""Who guesses credentials is slowed, by address; who has a good one never is (S2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from gateway_lab import Lab, router_config
from gateway_raw import AUTH, Response, Wire, fetch, get
from gateway_router import Router

from pointsman.core.tries import MOST_ADDRESSES, TRIES, TRY_S, Tries, network_of
from pointsman.gateway import strangers
from pointsman.gateway.counts import Counts
from pointsman.gateway.strangers import Strangers

StartRouter = Callable[..., Router]


def ask(router: Router, key: str) -> Response:
    with Wire(router.port) as wire:
        wire.send(get("/v1/models", auth=f"authorization: Bearer {key}"))
        return wire.response()


def test_s02_who_shows_many_wrong_keys_waits_and_who_has_a_good_one_does_not(
    lab: Lab, start_router: StartRouter
) -> None:
    router = start_router(router_config(lab))
    ended = "sk-ended-0123456789abcdef"
    assert [ask(router, ended).status for _ in range(3 * TRIES)] == [401] * 3 * TRIES  # a key that was good lately
    assert [ask(router, f"sk-guess-{n:020d}").status for n in range(TRIES - 1)] == [401] * (TRIES - 1)
    late = ask(router, "sk-guess-another")
    assert (late.status, late.error["code"]) == (429, "too_many_tries")
    assert 1 <= int(late.headers["retry-after"]) <= TRY_S + 1 and late.headers["x-should-retry"] == "false"
    assert ask(router, ended).status == 401
    assert fetch(router, "/v1/models", auth=AUTH).status == 200
    assert fetch(router, "/v1/models", auth="x: y").error["code"] == "missing_api_key"
    with Wire(router.port) as wire:  # before the body, too
        wire.send(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-api-key: sk-g2\r\ncontent-length: 30000000\r\n\r\n"
        )
        assert wire.response().status == 429
    metrics = fetch(router, "/metrics", auth=AUTH).body.decode()
    assert 'pointsman_refused_total{code="too_many_tries"} 2' in metrics


class Peer:
    """An edge, as far as strangers see it."""

    transport: Any

    def __init__(self, host: str) -> None:
        self.transport = self
        self._host = host

    def get_extra_info(self, name: str) -> tuple[str, int]:
        return self._host, 1


class Clock:
    at_ms = 1_000_000.0

    def now_ms(self) -> float:
        return self.at_ms


def test_s02_addresses_are_counted_apart_and_none_of_it_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strangers, "MOST_SEEN", 50)
    clock, wrong = Clock(), type("Callers", (), {"wrong": None})()
    made = Strangers(wrong, clock)  # type: ignore[arg-type]

    def status(host: str, n: int) -> int:
        return made.refused(b"sk-%d" % n, Peer(host)).status  # type: ignore[arg-type]

    assert [status("2001:db8::1", n) for n in range(TRIES + 1)] == [401] * TRIES + [429]
    assert status("2001:db8::2", 900) == 429 and status("2001:db8:0:1::2", 901) == 401  # one client has a /64
    assert status("10.0.0.1", 902) == 401 and status("::ffff:10.0.0.1", 903) == 401
    clock.at_ms += TRY_S * 1000
    assert status("2001:db8::3", 904) == 401
    for n in range(3_000):
        status(f"10.1.{n // 250}.{n % 250}", n)
    assert len(made._seen) == 50 and len(made._tries._spent) == MOST_ADDRESSES
    assert network_of("fe80::1%eth0") == "fe80::/64" and network_of("nonsense") == ""
    assert isinstance(made._tries, Tries)


def test_callers_without_a_key_have_accounts_that_make_room_when_they_are_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pointsman.gateway.counts.MOST_VISITORS", 3)
    counts = Counts()
    for name in ("a", "b", "c"):
        assert not counts.visit(name, 2)
    counts.accounts["b"].enter()
    counts.adopt((), 100)
    assert set(counts.accounts) == {"a", "b", "c"}  # a reload forgets nobody
    assert counts.visit("d", 2) and set(counts.accounts) == {"b", "d"}
    assert not counts.visit("b", 1) and counts.accounts["b"].is_full()
