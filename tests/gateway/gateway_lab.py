"""The providers' side: mock servers of all three wires in a thread of their own, and the config that routes to them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop
from gateway_faults import CUTS, DIALECTS, FAULTS, ODD, TTFT_MS, models, rules

from pointsman.lab.mock import Entry, MockServer

T = TypeVar("T")
FAST = {"ttft_ms": {"p50": 0, "p95": 0}, "tokens_per_s": 0, "output_tokens": {"p50": 20, "p95": 20}}
THINKS = FAST | {"reasoning": {"tokens": {"p50": 12, "p95": 12}}}
SLOW = FAST | {"ttft_ms": {"p50": 30_000, "p95": 30_000}}
PACED = FAST | {"tokens_per_s": 40, "output_tokens": {"p50": 400, "p95": 400}}
STEADY = FAST | {"tokens_per_s": 400}  # so that each event comes by itself
SMALL = FAST | {"context": 600, "max_output": 100}
PRICES = {"openai": (2.5, 10.0), "anthropic": (3.0, 15.0), "gemini": (0.3, 2.5)}
BASES = {"openai": "/v1", "anthropic": "/v1", "gemini": "/v1beta"}
SECRET = "sk-upstream-canary-0123456789"


def mock_values() -> dict[str, Any]:
    """Return the mock's configuration: one provider per wire; the model's name says what it plays."""
    named = {"m": FAST, "thinks": THINKS, "slow": SLOW, "paced": PACED, "small": SMALL}
    named |= {name: STEADY if name in ODD or name.startswith("cut-") else FAST for name in models()}
    named["cut-late"] = STEADY | {"output_tokens": {"p50": 100, "p95": 100}}
    return {
        "providers": [
            {"name": dialect, "dialect": dialect, "keys": {"main": SECRET}, "models": named} for dialect in DIALECTS
        ],
        "script": rules(),
        "seed": 7,
    }


class Lab:
    """Mock providers, running. All methods are to be called from the tests' thread."""

    def __init__(self, values: dict[str, Any] | None = None) -> None:
        self._values = values or mock_values()
        self.loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.server: MockServer

    def __enter__(self) -> Lab:
        self._thread.start()
        self.server = self.run(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self.server.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        self.loop.close()

    async def _start(self) -> MockServer:
        server = MockServer(self._values)
        await server.start()
        return server

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the lab's loop and return what it gives."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    def base_url(self, name: str) -> str:
        """Return what `base_url` says for a provider; its name starts with its dialect."""
        return self.server.url(name) + BASES[name.partition("-")[0]]

    def script(self, new: list[dict[str, Any]]) -> None:
        async def put() -> None:
            self.server.script(list(new))

        self.run(put())

    def down(self, name: str) -> None:
        self.run(self.server.down(name))

    def up(self, name: str) -> None:
        self.run(self.server.up(name))

    def served(self, request_id: str | None = None, *, model: str | None = None) -> list[Entry]:
        """Return what the providers booked, of one request or of one model."""

        async def look() -> list[Entry]:
            return [
                e for e in self.server.log
                if (request_id is None or e.request_id == request_id) and (model is None or e.model == model)
            ]  # fmt: skip

        return self.run(look())

    def active(self, name: str) -> int:
        """Return how many requests a provider is answering now."""
        state = self.server.state()["providers"][name]["active"]
        assert isinstance(state, int)
        return state


def provider(lab: Lab, name: str, **more: Any) -> dict[str, Any]:
    """Return the config of one mock provider."""
    dialect = name.partition("-")[0]
    return {"dialect": dialect, "base_url": lab.base_url(name), "api_key": SECRET} | more


def deployment(name: str, model: str, **more: Any) -> dict[str, Any]:
    cost_in, cost_out = PRICES[name.partition("-")[0]]
    facts = {"context": 128_000, "max_output": 16_384, "tools": True, "json_schema": True}
    return {"provider": name, "model": model, "price": {"input": cost_in, "output": cost_out}} | facts | more


def router_config(lab: Lab, **more: Any) -> dict[str, Any]:
    """Return the config of the shared router: for each fault a route whose first candidate plays it."""
    deployments: dict[str, Any] = {}
    routes: dict[str, Any] = {}
    for dialect in DIALECTS:
        for model in ("m", "thinks", "slow", "paced"):
            deployments[f"{dialect}-{model}"] = deployment(dialect, model)
        for fault in FAULTS:
            for stream in fault.streams if dialect in fault.dialects else ():
                model = fault.model(stream)
                deployments[f"{dialect}-{model}"] = deployment(dialect, model, ttft_ms=TTFT_MS, whole_ms=TTFT_MS)
                routes[f"{dialect}/{model}"] = {"candidates": [f"{dialect}-{model}", "openai-m"]}
        for name in (*ODD, *(f"cut-{cut}" for _, cut, _, _ in CUTS)):
            deployments[f"{dialect}-{name}"] = deployment(dialect, name)
            routes[f"{dialect}/{name}"] = {
                "candidates": [f"{dialect}-{name}", "openai-m"],
                "timeouts": {"idle_ms": 300},
            }
    routes["any"] = {"candidates": [f"{dialect}-m" for dialect in DIALECTS], "strategy": "weighted"}
    routes["auto"] = {"candidates": ["openai-m", "anthropic-m", "gemini-m"]}
    return {
        "providers": {dialect: provider(lab, dialect) for dialect in DIALECTS},
        "deployments": deployments,
        "routes": routes,
    } | more


def small_config(lab: Lab, deployments: dict[str, Any], routes: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a config over the lab's providers with just these deployments and routes."""
    used = {d["provider"] for d in deployments.values()}
    providers = {name: provider(lab, name) for name in DIALECTS if name in used}
    return {"providers": providers | more.pop("providers", {}), "deployments": deployments, "routes": routes} | more
