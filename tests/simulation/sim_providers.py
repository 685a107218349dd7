"""The mock providers, listening on the in-memory network, and a log of what reached them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from unittest import mock

from sim_loop import EPOCH_S, VirtualLoop
from sim_network import Network
from sim_scenario import FAULTS, FIRST_PORT, SECRETS, Scenario

from pointsman.lab.faults import Facts, Rule, Script, rules_of
from pointsman.lab.mock import provider as mock_provider
from pointsman.lab.mock import server as mock_server
from pointsman.lab.mock.answer import Plan
from pointsman.lab.mock.ask import Ask, Received
from pointsman.lab.mock.config import mock_config
from pointsman.lab.mock.http import Connection, Exchange
from pointsman.lab.mock.log import MockLog
from pointsman.lab.mock.provider import Provider
from pointsman.lab.mock.server import Listener
from pointsman.lab.mock.steps import Step, Steps
from pointsman.lab.mock.twist import twist
from pointsman.lab.mock.wheel import Wheel


@dataclass
class Served:
    """Hold one request as its provider saw it. `finished_s` None: still being answered. Times are virtual seconds."""

    id: str
    provider: str
    model: str
    arrived_s: float
    connection: int
    text: str | None = None  # what the provider said in full; None: something else than an answer
    faults: tuple[str, ...] = ()
    finished_s: float | None = None
    outcome: str = ""


class Providers:
    """Play all providers of a scenario. `hit` counts how often each fault really took effect."""

    def __init__(self, scenario: Scenario, network: Network, loop: VirtualLoop) -> None:
        self.loop, self.hit, self.served = loop, Counter[str](), list[Served]()
        names = list(scenario.config["providers"])
        self._net = [f for f in scenario.faults if "net" in FAULTS[f["name"]]]
        self._own = [f for f in scenario.faults if "own" in FAULTS[f["name"]]]
        self.name_of: dict[int, str] = {}  # rule -> fault
        rules = [self._rule(f) for f in scenario.faults if "do" in FAULTS[f["name"]]]
        keys = {"main": SECRETS[0], "rotated": SECRETS[1]}
        dialects = {name: one["dialect"] for name, one in scenario.config["providers"].items()}
        config = mock_config(
            {"providers": [{"name": n, "dialect": dialects[n], "keys": keys, "models": scenario.speeds} for n in names],
             "seed": scenario.seed}
        )  # fmt: skip
        wheel, script = _Wheel(loop, network), Script(rules, scenario.seed, loop.time())
        self.listeners: dict[int, _Listener] = {}
        for i, spec in enumerate(config.providers):
            port = FIRST_PORT + i
            provider = _Provider(spec, script, config.seed, 1.0)
            provider.sim = self
            listener = self.listeners[port] = _Listener([provider], wheel, MockLog(1), None)
            listener.sim = self
            network.back[port] = listener._connection
        network.trouble = self._trouble

    def _rule(self, fault: dict[str, Any]) -> Rule:
        match = {"provider": fault["provider"], "after_s": fault["start_s"], "before_s": fault["end_s"],
                 "probability": fault["probability"]}  # fmt: skip
        rule = rules_of([FAULTS[fault["name"]] | {"match": match}])[0]
        self.name_of[id(rule)] = fault["name"]
        return rule

    def _trouble(self, port: int) -> str:
        fault = self._active(self._net, f"p{port - FIRST_PORT}")
        return "" if fault is None else str(FAULTS[fault["name"]]["net"])

    def own(self, provider: str) -> str:
        fault = self._active(self._own, provider)
        return "" if fault is None else str(FAULTS[fault["name"]]["own"])

    def _active(self, faults: list[dict[str, Any]], provider: str) -> dict[str, Any] | None:
        now_s = self.loop.time()
        for fault in faults:
            if fault["provider"] == provider and fault["start_s"] <= now_s < fault["end_s"]:
                self.hit[fault["name"]] += 1
                return fault
        return None


class _Wheel(Wheel):
    """Keep the providers' time outside of any worker, so that a crash of one does not take it along."""

    def __init__(self, loop: VirtualLoop, network: Network) -> None:
        super().__init__(loop)
        self._outside = network.context

    def _arm(self) -> None:
        self._outside.copy().run(super()._arm)


class _Listener(Listener):
    sim: Providers

    def opened(self, connection: Connection) -> tuple[Rule, ...]:
        found = super().opened(connection)
        for rule in found:
            self.sim.hit[self.sim.name_of[id(rule)]] += 1
        return found

    def answer(self, received: Received) -> Exchange:
        exchange = super().answer(received)
        assert exchange.entry is not None, received
        return exchange

    def finished(self, exchange: Exchange) -> None:
        super().finished(exchange)
        entry = exchange.entry
        assert entry is not None
        asked = (entry.request_id, entry.provider, None)
        served = next(s for s in reversed(self.sim.served) if (s.id, s.provider, s.finished_s) == asked)
        served.finished_s, served.outcome = self.sim.loop.time(), entry.outcome
        marks = set(entry.fault.split("+"))
        for rule, name in served.__dict__.pop("rules", ()):
            if rule.label in marks:
                self.sim.hit[name] += 1


class _Provider(Provider):
    sim: Providers

    def answer(self, received: Received, what: str, now_s: float) -> Exchange:
        model = _model(received)
        served = Served(received.headers.get("x-request-id", ""), self.spec.name, model, now_s, received.connection)
        self.sim.served.append(served)
        return super().answer(received, what, now_s)

    def _play(self, ask: Ask, plan: Plan, rules: tuple[Rule, ...], exchange: Exchange) -> Steps:
        served = self.sim.served[-1]
        served.model = ask.model
        named = [(rule, self.sim.name_of[id(rule)]) for rule in rules]
        served.__dict__["rules"] = named
        served.faults = tuple(name for _, name in named)
        if self.sim.own(self.spec.name) == "endless_header":
            served.faults += ("f35-endless-header",)
            return _endless()
        if not any(rule.do in ("status", "body", "html", "empty") for rule in rules):
            served.text = twist(plan, rules, lambda rule, cut: None).choices[0].text
        return super()._play(ask, plan, rules, exchange)


def _endless() -> Iterator[Step]:
    yield Step(b"HTTP/1.1 200 OK\r\n")
    while True:
        yield Step(b"x-more: " + b"a" * 500 + b"\r\n", wait_ms=50.0)


def _model(received: Received) -> str:
    return received.path.rpartition("/")[2]


@contextmanager
def virtual_wall(loop: VirtualLoop) -> Iterator[None]:
    """Let the mock's own records and dates follow virtual time."""
    clock = SimpleNamespace(time=lambda: EPOCH_S + loop.time(), monotonic=time.monotonic)
    with mock.patch.object(mock_provider, "time", clock), mock.patch.object(mock_server, "time", clock):
        yield


__all__ = ["Facts", "Providers", "Served", "virtual_wall"]
