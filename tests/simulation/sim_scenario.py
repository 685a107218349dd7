"""Scenarios: what one seed stands for: topology, traffic, faults, reloads, crashes, drain. Plain values, to be shrunk."""

from __future__ import annotations

import copy
import json
import random
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from pointsman.config.load import Options, load_text
from pointsman.core.policy import Policy

KEY = "sk-test-0123456789abcdef0123456789abcdef"
SECRETS = ("sk-upstream-canary-0123456789", "sk-upstream-rotated-0123456789")
FIRST_PORT = 9001
BASES = {"openai": "/v1", "anthropic": "/v1", "gemini": "/v1beta"}
TEXTS = ("hello there", "write a poem about the sea", "what is the capital of Peru?", "sum up this: " + "word " * 60)
STRATEGIES = ("priority", "weighted", "fastest", "cheapest", "best", "objective")
REPLY_TEXT = "We are sorry; please come back in a while."
_429 = {"do": "status", "status": 429}


def _status(status: int, **more: Any) -> dict[str, Any]:
    return {"do": "status", "status": status, **more}


# name -> the mock's rule; a rule without `do` is played by the simulator's own network or provider.
FAULTS: dict[str, dict[str, Any]] = {
    "f01-dns": {"net": "dns"},
    "f03-refused": {"net": "refuse"},
    "f04-connect-hangs": {"net": "hang"},
    "f05-tls": {"net": "tls"},
    "f03-closed-at-once": {"do": "eof", "at": "accept"},
    "f03-reset-at-once": {"do": "reset", "at": "accept"},
    "f06-accepts-then-silent": {"do": "stall", "at": "accept"},
    "f07-stale-connection": {"do": "close_after", "ms": 1},
    "f07-stale-connection-later": {"do": "close_after", "ms": 400},
    "f14-429": _429,
    "f14-429-seconds": _429 | {"retry_after": "2"},
    "f15-429-fraction": _429 | {"retry_after": "1.5"},
    "f15-429-date": _429 | {"retry_after_date_s": 4.0},
    "f15-429-ms": _429 | {"retry_after_ms": "700"},
    "f15-429-negative": _429 | {"retry_after": "-1"},
    "f15-429-nan": _429 | {"retry_after": "NaN"},
    "f15-429-a-day": _429 | {"retry_after": "86400"},
    "f17-quota": _429 | {"code": "insufficient_quota"},
    "f18-500": _status(500),
    "f18-503": _status(503),
    "f18-503-retry-after": _status(503, retry_after="1"),
    "f18-529": _status(529),
    "f19-401": _status(401),
    "f20-404": _status(404, code="model_not_found"),
    "f21-context": _status(400, code="context_length_exceeded", message="maximum context length exceeded"),
    "f22-400": _status(400, message="temperature must be at most 2"),
    "f23-filter": {"do": "content_filter"},
    "f24-error-body-200": {"do": "body", "text": '{"error":{"message":"failed","type":"server_error","code":null}}'},
    "f25-html-200": {"do": "html"},
    "f26-empty-200": {"do": "empty"},
    "f26-no-choices": {"do": "body", "text": '{"id":"x","object":"chat.completion","model":"m","choices":[]}'},
    "f27-no-content": {"do": "no_content"},
    "f28-no-usage": {"do": "no_usage"},
    "f28-bad-usage": {"do": "bad_usage"},
    "f33-truncated": {"do": "truncate"},
    "f33-wrong-length": {"do": "wrong_content_length"},
    "f34-silent": {"do": "stall", "at": "headers"},
    "f35-drip": {"do": "drip", "at": "headers", "ms": 150},
    "f35-endless-header": {"own": "endless_header"},
    "f36-slow": {"do": "delay", "at": "headers", "ms": 3000},
    "f41-eof-no-event": {"do": "eof", "at": "event:0"},
    "f41-reset-no-event": {"do": "reset", "at": "event:0"},
    "f42-error-event-first": {"do": "error_event", "at": "event:0"},
    "f43-role-then-error": {"do": "role_then_error"},
    "f44-reset-after-content": {"do": "reset", "at": "content:3"},
    "f44-eof-after-content": {"do": "eof", "at": "content:2"},
    "f44-error-event-later": {"do": "error_event", "at": "content:4"},
    "f45-stall-after-content": {"do": "stall", "at": "content:3"},
    "f45-stall-before-content": {"do": "stall", "at": "event:1"},
    "f46-pings-only": {"do": "comments", "count": -1, "ms": 300},
    "f47-garbage-event": {"do": "garbage", "at": "content:2"},
    "f48-slices": {"do": "slices", "bytes": 1},
    "f49-crlf": {"do": "crlf", "text": "crlf"},
    "f50-comments": {"do": "comments", "at": "event:1", "count": 3},
    "f53-no-done": {"do": "no_done"},
    "f53-no-finish": {"do": "no_finish"},
    "f53-behind-done": {"do": "garbage", "at": "end"},
    "f53-double-finish": {"do": "double_finish"},
    "f57-big-event": {"do": "big_event", "at": "content:1", "bytes": 60_000},
    "f82-disk-full": {"disk": True},
    "f86-clock-jump": {"jump_s": 3600},
    "f86-clock-back": {"jump_s": -3600},
}
STREAM_FAULTS = ("f41", "f42", "f43", "f44", "f45", "f46", "f47", "f53")  # what goes wrong late is drawn more often
# How long a 429 of this fault makes its quota group rest, at least.
RESTS_S = {"f14-429-seconds": 2.0, "f15-429-fraction": 1.5, "f15-429-date": 2.9, "f15-429-ms": 0.7,
           "f15-429-a-day": 120.0, "f14-429": 5.0}  # fmt: skip


@dataclass
class Scenario:
    """Hold a run before it is run. Times are virtual seconds; list members may be dropped one by one."""

    seed: int
    config: dict[str, Any]
    speeds: dict[str, Any]  # of each model of the mock
    clients: list[dict[str, Any]]
    faults: list[dict[str, Any]]
    reloads: list[dict[str, Any]]
    crashes: list[dict[str, Any]]
    drain_s: float
    parts: tuple[str, ...] = field(default=("faults", "clients", "reloads", "crashes"), repr=False)


def draw(seed: int) -> Scenario:
    """Return the scenario of a seed; each part has a random stream of its own."""

    def stream(name: str) -> random.Random:
        return random.Random(f"{seed}:{name}")

    config, speeds = _topology(stream("topology"))
    _declare(stream("declared"), config)
    end_s = stream("end").choice((4.0, 10.0, 25.0, 45.0))
    crashes = [_crash(stream(f"crash{i}"), end_s) for i in range(stream("crashes").choice((0, 0, 0, 1, 2)))]
    _tenancy(stream("tenancy"), config, bool(crashes))
    faults = [
        _fault(stream(f"fault{i}"), config, end_s) for i in range(stream("faults").choice((0, 1, 2, 3, 4, 5, 6, 6)))
    ]
    if stream("focus").random() < 0.4:  # everything at once, at one place: that is where state is shared
        for fault in faults:
            fault |= {"provider": "p0", "start_s": 0.0, "probability": 0.4}
    reloads = [_reload(stream(f"reload{i}"), end_s) for i in range(stream("reloads").choice((0, 0, 1, 2, 3)))]
    count = stream("clients").choice((3, 8, 16, 30))
    clients = [_client(stream(f"client{i}"), i, config, end_s) for i in range(count)]
    return Scenario(seed, config, speeds, clients, faults, reloads, crashes, end_s + stream("drain").choice((0, 1, 5)))


def _topology(rng: random.Random) -> tuple[dict[str, Any], dict[str, Any]]:
    providers: dict[str, Any] = {}
    for i in range(rng.randint(1, 4)):
        dialect = rng.choice(("openai", "openai", "openai", "anthropic", "gemini"))
        url = f"http://127.0.0.1:{FIRST_PORT + i}{BASES[dialect]}"
        providers[f"p{i}"] = {"dialect": dialect, "base_url": url, "api_key": SECRETS[0]}
        if rng.random() < 0.3:
            providers[f"p{i}"]["quota_group"] = "shared"
    deployments: dict[str, Any] = {}
    speeds: dict[str, Any] = {}
    for i in range(rng.randint(1, 8)):
        price = {"input": rng.choice((0.1, 1, 3)), "output": rng.choice((0.4, 4, 15))}
        context = rng.choice((200, 128_000, 128_000))
        deployments[f"d{i}"] = {"provider": rng.choice(list(providers)), "model": f"m{i}", "context": context,
                                "price": price, "max_output": 16_384, "tools": True, "json_schema": True,
                                "quality": rng.choice((0.3, 0.6, 0.9))}  # fmt: skip
        if rng.random() < 0.1:
            deployments[f"d{i}"]["ttft_ms"] = 900
            deployments[f"d{i}"]["whole_ms"] = 900
        fast = rng.choice((0, 50, 300))
        speeds[f"m{i}"] = {"ttft_ms": {"p50": fast, "p95": fast * 3}, "tokens_per_s": rng.choice((0, 20, 200)),
                           "output_tokens": {"p50": rng.choice((2, 15, 40)), "p95": 60},
                           "early_headers": rng.random() < 0.3}  # fmt: skip
    routes = {f"r{i}": _route(rng, list(deployments)) for i in range(rng.randint(1, 3))}
    if len(routes) > 1 and rng.random() < 0.3:
        arms = {"a": {"weight": 3, "use": "r0"}, "b": {"weight": 1, "use": "r1"}}
        routes["split"] = {"split": {"by": rng.choice(("request", "session")), "arms": arms}}
    if rng.random() < 0.3:
        routes["ruled"] = {"rules": [{"when": "request.stream", "use": "r0"}], "candidates": [next(iter(deployments))]}
    limits = {"connect_ms": rng.choice((400, 3000)), "ttft_ms": rng.choice((1500, 4000)), "header_ms": 3000,
              "idle_ms": rng.choice((800, 5000)), "total_ms": rng.choice((6000, 15000)), "body_ms": 3000,
              "write_stall_ms": rng.choice((1000, 5000)), "drain_ms": rng.choice((500, 4000, 20_000)),
              "keepalive_ms": 4000, "attempts": rng.randint(1, 5), "breaker_failures": rng.randint(1, 5),
              "breaker_open_ms": rng.choice((400, 2000)), "breaker_open_max_ms": 8000,
              "upstream_max_age_ms": rng.choice((2000, 300_000)),
              "upstream_idle_per_host": rng.choice((1, 8)),
              "journal_segment_bytes": rng.choice((2048, 16_384, 1 << 26)),
              "stream_buffer_bytes": rng.choice((4096, 262_144))}  # fmt: skip
    limits["whole_ms"] = limits["ttft_ms"]
    config = {"providers": providers, "deployments": deployments, "routes": routes, "limits": limits,
              "keys": [{"name": "dev", "key": KEY}], "server": {"port": 0, "admin_port": 0}}  # fmt: skip
    return config, speeds


def _declare(rng: random.Random, config: dict[str, Any]) -> None:
    """Let some routes hedge, go on after a break or follow what was measured, and some providers bill what is cancelled."""
    for deployment in config["deployments"].values():
        if rng.random() < 0.5:
            deployment["prefill"] = rng.choice(("last", "prefix", "continue"))
    for provider in config["providers"].values():
        provider["bills_cancelled"] = rng.random() < 0.2
    for route in config["routes"].values():
        if len(route.get("candidates", ())) > 1 and rng.random() < 0.3:
            route["hedge"] = rng.choice(("p95", {"after_ms": 1}, {"after_ms": 200}))
        if route.get("candidates") and rng.random() < 0.3:
            route["continuation"] = True
        if rng.random() < 0.2:
            route["timeouts"] = route.get("timeouts", {}) | {"adaptive": True}
    config["limits"] |= {"client_drain_ms": rng.choice((300, 5000)), "stream_keepalive_ms": rng.choice((0, 200, 15_000)),
                         "retry_wait_ms": rng.choice((0, 2500, 8000))}  # fmt: skip


def _tenancy(rng: random.Random, config: dict[str, Any], crashes: bool) -> None:
    """Give some runs quotas, and where no worker is killed some routes a cache: what a killed one holds is not ours to free."""
    if rng.random() < 0.4:
        drawn = [
            {"requests": f"{rng.choice((2, 5, 20))}/s", "wait_ms": rng.choice((0, 600, 5_000))},
            {"requests": f"{rng.choice((5, 20, 60))}/d", "wait_ms": rng.choice((0, 500))},
            {"output_tokens": f"{rng.choice((2_000, 20_000))}/d", "assume_output": 300},
            {"tokens": f"{rng.choice((3_000, 30_000))}/m", "assume_output": 300, "wait_ms": rng.choice((0, 2_000))},
            {"usd": f"{rng.choice((0.01, 0.2))}/d", "over": rng.choice(("refuse", "notify")), "assume_output": 300},
        ]
        config["quotas"] = rng.sample(drawn, rng.randint(1, 3))
        if rng.random() < 0.3 and "r1" in config["routes"]:
            one = config["quotas"][0]
            one |= {"route": "r0"} | ({} if one.get("over") == "notify" else {"degrade": "r1"})
        config["server"]["counters"] = "memory:"
        config["limits"]["waiting_requests"] = rng.choice((1, 5, 1_000))
    for route in config["routes"].values():
        if not crashes and "candidates" in route and rng.random() < 0.2:
            route["cache"] = {"ttl": "1h", "pace": rng.choice(("recorded", "at_once"))}


def _route(rng: random.Random, names: list[str]) -> dict[str, Any]:
    candidates = rng.sample(names, rng.randint(1, len(names)))
    strategy = rng.choice(STRATEGIES)
    route: dict[str, Any] = {"strategy": strategy, "candidates": [{n: rng.randint(1, 5)} for n in candidates]}
    if strategy not in ("weighted",):
        route["candidates"] = candidates
    if strategy == "objective":
        route["objective"] = {"latency": 1, "cost": 1}
    if rng.random() < 0.4:
        rungs: list[dict[str, Any]] = [
            {"candidates": [rng.choice(names)], "max_output": 30},
            {"cached": {"max_age": "1h"}},
        ]
        last: dict[str, Any] = rng.choice(({"reply": REPLY_TEXT}, {"refuse": {"retry_after": "7s"}}))
        route["degrade"] = [rung for rung in rungs if rng.random() < 0.5] + [last]
    if rng.random() < 0.2:
        route["limits"] = {"ttft_ms_p95": 500}
        route["relax"] = ["ttft_ms_p95"]
    elif rng.random() < 0.2:
        route["limits"] = {"usd_per_day": rng.choice((0.0001, 0.01))}
    if rng.random() < 0.2:
        route["sticky"] = {"by": "conversation", "ttl": "60s"}
    if rng.random() < 0.2:
        route["timeouts"] = {"total_ms": rng.choice((1500, 4000))}
    if rng.random() < 0.1:
        route["explore"] = 0.3
    if rng.random() < 0.2:
        route["attempts"] = rng.randint(1, 5)
    return route


def _fault(rng: random.Random, config: dict[str, Any], end_s: float) -> dict[str, Any]:
    start_s = rng.choice((0.0, rng.uniform(0, end_s)))
    names = list(FAULTS) if rng.random() < 0.5 else [name for name in FAULTS if name[:3] in STREAM_FAULTS]
    names = ["f82-disk-full"] if rng.random() < 0.06 else names
    return {"name": rng.choice(names), "provider": rng.choice(list(config["providers"])),
            "start_s": start_s, "end_s": start_s + rng.choice((0.5, 3.0, 10.0, 100.0)),
            "probability": rng.choice((1.0, 0.5, 0.5, 0.2))}  # fmt: skip


def _reload(rng: random.Random, end_s: float) -> dict[str, Any]:
    what = rng.choice(("limits", "drop", "key", "weights", "move", "same", "quota"))
    return {"at_s": rng.uniform(0, end_s), "what": what, "draw": rng.random()}


def _crash(rng: random.Random, end_s: float) -> dict[str, Any]:
    """Return a kill: at a time, or in the n-th write of the journal: before it, inside it, behind it."""
    if rng.random() < 0.5:
        return {"at_s": rng.uniform(0.1, end_s), "down_s": rng.choice((0.05, 1.0))}
    where = rng.choice(("before", "inside", "behind"))
    return {"append": rng.randint(1, 25), "where": where, "down_s": rng.choice((0.05, 1.0))}


def _client(rng: random.Random, number: int, config: dict[str, Any], end_s: float) -> dict[str, Any]:
    names = [*config["routes"], *(["d0"] if rng.random() < 0.3 else [])]
    requests = [
        {"route": rng.choice(names), "stream": rng.random() < 0.7, "text": rng.choice(TEXTS),
         "usage": rng.random() < 0.3, "deadline_s": rng.choice((None, None, None, 0.03, 0.4, 2.0)),
         "gap_s": rng.choice((0.0, 0.1, 2.0))}
        for _ in range(rng.choice((1, 1, 2, 4, 8)))
    ]  # fmt: skip
    at_s = rng.choice((rng.uniform(0, end_s), rng.uniform(0, 3.0), end_s / 2))
    client: dict[str, Any] = {"id": number, "at_s": at_s, "requests": requests, "pipeline": rng.random() < 0.15,
                              "pieces": rng.random() < 0.2, "slow": None, "leave": None}  # fmt: skip
    if rng.random() < 0.15:
        client["slow"] = {"window": 64, "high": 200, "every_s": rng.choice((0.02, 0.3, 30.0))}
    if rng.random() < 0.25:
        client["leave"] = rng.choice(({"after_s": rng.choice((0.0, 0.05, 0.4, 2.0))}, {"events": rng.randint(1, 6)}))
        client["leave"]["how"] = rng.choice(("close", "abort"))
    return client


def policy_of(config: dict[str, Any]) -> Policy:
    """Return a config, compiled."""
    return load_text(json.dumps(config), "simulation.yaml", {}, Options(today=date(2026, 11, 22))).policy


def reloaded(config: dict[str, Any], reload: dict[str, Any]) -> dict[str, Any]:
    """Return a config after one change of it."""
    config, rng, what = copy.deepcopy(config), random.Random(reload["draw"]), reload["what"]
    if what == "limits":
        config["limits"] |= {"idle_ms": rng.choice((900, 4000)), "attempts": rng.randint(1, 5)}
    elif what == "drop" and len(config["deployments"]) > 1:
        gone = rng.choice(list(config["deployments"]))
        fewer = copy.deepcopy(config)
        if _without(fewer, gone):
            del fewer["deployments"][gone]
            config = fewer
    elif what == "key":
        config["providers"][rng.choice(list(config["providers"]))]["api_key"] = SECRETS[1]
    elif what == "weights":
        for route in config["routes"].values():
            route.get("candidates", []).reverse()
    elif what == "move":
        one = config["deployments"][rng.choice(list(config["deployments"]))]
        one["provider"] = rng.choice(list(config["providers"]))
    elif what == "quota":
        config["providers"][rng.choice(list(config["providers"]))]["quota_group"] = "shared"
    return config


def _without(config: dict[str, Any], gone: str) -> bool:
    """Take a deployment out of all routes; False when one would have none left."""
    for route in config["routes"].values():
        if "candidates" in route:
            route["candidates"] = [
                c for c in route["candidates"] if (c if isinstance(c, str) else next(iter(c))) != gone
            ]
            if not route["candidates"]:
                return False
            if len(route["candidates"]) == 1:
                route.pop("hedge", None)
        for rung in route.get("degrade", []):
            if rung.get("candidates") == [gone]:
                rung["candidates"] = [next(d for d in config["deployments"] if d != gone)]
    return True
