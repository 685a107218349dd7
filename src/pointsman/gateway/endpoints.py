"""Endpoints: the routes table of the data plane, and the small ones. None calls a provider but the chat endpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from pointsman.core.decide import Snapshot, decide
from pointsman.core.entry import Admitted
from pointsman.core.ids import request_id
from pointsman.core.outcome import Kind, Outcome
from pointsman.core.policy import Key
from pointsman.core.request import Request, names_of
from pointsman.dialects.base import WireError
from pointsman.dialects.relay_request import Head, read_features, read_head
from pointsman.gateway.answers import refusal, response
from pointsman.gateway.edge import Edge, Incoming, Work
from pointsman.gateway.exchange import Exchange
from pointsman.stores.journal import JournalError

if TYPE_CHECKING:
    from pointsman.core.decide import Plan
    from pointsman.gateway.worker import Worker

Handler = Callable[["Worker", Edge, Incoming], Work | None]
MAX_CLIENT_TIMEOUT_S = 86_400.0


def chat(worker: Worker, edge: Edge, incoming: Incoming) -> Work | None:
    """Answer POST /v1/chat/completions: parse, decide, book, send."""
    received_ms = worker.now_ms()
    body = incoming.body
    try:
        head = read_head(body)
        features = read_features(head, body)
    except WireError as error:
        return refuse(worker, edge, 400, str(error), "invalid_request")
    world, live = worker.live.world, worker.live
    options = world.options.get(head.model)
    key = incoming.caller
    assert isinstance(key, Key)
    if options is None or not _may(key, head.model):
        message = f"the model `{head.model[:200]}` does not exist or this key may not use it; GET /v1/models lists them"
        return refuse(worker, edge, 404, message, "model_not_found", param="model")
    at_ms = live.clock.wall_ms()
    bits = live.draw(144)
    request = Request(
        request_id(at_ms, bits >> 64),
        "chat",
        options.route.name,
        features,
        received_ms,
        received_ms + _deadline_ms(incoming, head, options.total_ms),
        head.service_tier,
        head.pointsman.attempts if head.pointsman is not None else None,
    )
    states = live.states
    snapshot = Snapshot(
        world.version, received_ms, bits & 0xFFFFFFFFFFFFFFFF, tuple([states[d] for d in options.deployments])
    )
    plan, decision = decide(request, options, snapshot, world.strategies[options.route.name])
    client_id = incoming.headers.get("x-request-id")
    record = Admitted(
        request.id,
        client_id.decode("latin-1") if client_id is not None else "",
        at_ms,
        key.name,
        key.project,
        key.team,
        key.organisation,
        "chat",
        features.stream,
        head.model,
        world.version,
        plan.hold_nano,
        decision,
    )
    try:
        worker.books.admit(record)
    except JournalError as error:
        return refuse(
            worker, edge, 503, f"the request cannot be booked, so it is not sent: {error}", "ledger_unavailable"
        )
    exchange = Exchange(worker, world, edge, incoming, head)
    if plan.steps:
        exchange.begin(request, plan, decision, worker.now_ms())
    else:
        exchange.nobody(request, plan, decision, _stands_in_the_way(plan, request))
    return exchange


def _may(key: Key, route: str) -> bool:
    return key.routes is None or route in key.routes


def _deadline_ms(incoming: Incoming, head: Head, most_ms: float) -> float:
    """Return the time the request has: the route's, or less when the client says that it waits less.

    The SDKs' read timeout bounds the whole wait only when the answer comes in one piece; of a stream it bounds each gap.
    """
    if head.pointsman is not None and head.pointsman.timeout_ms is not None:
        return min(most_ms, float(max(1, head.pointsman.timeout_ms)))
    said = incoming.headers.get("x-stainless-read-timeout")
    if said is None or head.stream:
        return most_ms
    try:
        seconds = float(said)
    except ValueError:  # the SDKs also send words such as NOT_GIVEN
        return most_ms
    return min(most_ms, seconds * 1000.0) if 0.0 < seconds < MAX_CLIENT_TIMEOUT_S else most_ms


def _stands_in_the_way(plan: Plan, request: Request) -> Outcome:
    """Return the Outcome of a request for which no deployment could be tried."""
    if plan.wait_ms:
        kind = Kind.RATE_LIMITED if plan.refused == "cooling" else Kind.OVERLOADED
        message = f"no deployment of `{request.route}` can be tried now ({plan.refused})"
        return Outcome(kind, 0, message, int(plan.wait_ms))
    features = request.features
    if plan.refused == "context":
        message = f"about {features.input_tokens} input tokens do not fit any model of `{request.route}`"
        return Outcome(Kind.CONTEXT_LENGTH, 0, message)
    wants = {
        "capability": f"no model of `{request.route}` is known to take: {', '.join(names_of(features.needs))}",
        "output": f"no model of `{request.route}` gives {features.output_tokens} output tokens",
        "unpriced": f"`{request.route}` forbids models whose price is unknown",
    }
    return Outcome(Kind.UNSUPPORTED, 0, wants.get(plan.refused, f"no deployment of `{request.route}`: {plan.refused}"))


def models(worker: Worker, edge: Edge, incoming: Incoming) -> None:
    """Answer GET /v1/models with the routes the caller may name, in OpenAI's shape."""
    key = incoming.caller
    assert isinstance(key, Key)
    rows = [_model(worker, name) for name in worker.live.world.options if _may(key, name)]
    reply(edge, 200, {"object": "list", "data": rows})


def model(worker: Worker, edge: Edge, incoming: Incoming) -> None:
    """Answer GET /v1/models/{id}."""
    name = path_of(incoming).split("/models/", 1)[1]
    key = incoming.caller
    assert isinstance(key, Key)
    if name not in worker.live.world.options or not _may(key, name):
        refuse(worker, edge, 404, f"the model `{name[:200]}` does not exist", "model_not_found", param="model")
        return
    reply(edge, 200, _model(worker, name))


def _model(worker: Worker, name: str) -> dict[str, object]:
    world = worker.live.world
    route = world.options[name].route
    deployments = [world.policy.deployments[d] for d in world.options[name].deployments]
    windows = [d.facts.context_tokens for d in deployments if d.facts.context_tokens]
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": deployments[0].provider if route.implicit else "pointsman",
        "pointsman": {
            "strategy": route.strategy,
            "candidates": list(route.candidates),
            "context_tokens": max(windows, default=None),
        },
    }


def livez(worker: Worker, edge: Edge, incoming: Incoming) -> None:
    """Answer that the process serves."""
    reply(edge, 200, {"status": "alive"})


def readyz(worker: Worker, edge: Edge, incoming: Incoming) -> None:
    """Answer whether new requests are welcome: not while draining."""
    reply(edge, 503 if worker.draining else 200, {"status": "draining" if worker.draining else "ready"})


def health(worker: Worker, edge: Edge, incoming: Incoming) -> None:
    """Answer with the breaker state of every deployment, as measured; no provider is called."""
    states = worker.live.health()
    whole = all(state in ("closed", "half_open") for state in states.values())
    reply(
        edge, 200, {"status": "ok" if whole else "degraded", "config": worker.live.world.version, "deployments": states}
    )


def metrics(worker: Worker, edge: Edge, incoming: Incoming) -> None:
    """Answer GET /metrics with the counters of all workers."""
    edge.write(response(200, worker.scrape(), kind=b"text/plain; version=0.0.4; charset=utf-8"))
    edge.finish()


def root(worker: Worker, edge: Edge, incoming: Incoming) -> None:
    """Answer probes of the bare address (some clients send HEAD / first)."""
    reply(edge, 200, {"name": "pointsman", "docs": "GET /v1/models lists what `model` may say"})


OPEN = frozenset({"/", "/livez", "/readyz", "/health", "/metrics"})  # asked without a key: by probes and scrapers
ROUTES: dict[tuple[bytes, str], Handler] = {
    (b"POST", "/chat/completions"): chat,
    (b"GET", "/models"): models,
    (b"GET", "/models/{id}"): model,
    (b"GET", "/livez"): livez,
    (b"GET", "/readyz"): readyz,
    (b"GET", "/health"): health,
    (b"GET", "/metrics"): metrics,
    (b"GET", "/"): root,
}
_PATHS = {path for _, path in ROUTES}
CHAT_TARGETS = {b"/v1/chat/completions": chat, b"/chat/completions": chat}


def path_of(incoming: Incoming) -> str:
    """Return the path without `/v1` and query: both spellings are one endpoint."""
    path = incoming.target.split(b"?", 1)[0].decode("latin-1")
    return path[3:] if path.startswith("/v1/") else path


def find(incoming: Incoming) -> Handler | tuple[int, str, str]:
    """Return the handler of a request, or status, message and code of the refusal."""
    if incoming.method == b"POST":
        known = CHAT_TARGETS.get(incoming.target)
        if known is not None:
            return known
    path = path_of(incoming)
    if path.startswith("/models/"):
        path = "/models/{id}"
    method = b"GET" if incoming.method == b"HEAD" else incoming.method
    handler = ROUTES.get((method, path))
    if handler is not None:
        return handler
    if path in _PATHS:
        allowed = ", ".join(sorted(m.decode() for m, p in ROUTES if p == path))
        return 405, f"{path} takes {allowed}", "method_not_allowed"
    return 404, f"no such endpoint: {path[:200]}", "endpoint_not_found"


def reply(edge: Edge, status: int, value: object) -> None:
    """Write a JSON answer and finish. To HEAD only the head is sent."""
    body = msgspec.json.encode(value)
    incoming = edge.current
    data = response(status, body, close=incoming is not None and incoming.close)
    if incoming is not None and incoming.method == b"HEAD":
        data = data[: -len(body)]
    edge.write(data)
    edge.finish()


def refuse(
    worker: Worker, edge: Edge, status: int, message: str, code: str, *, param: str | None = None
) -> Work | None:
    """Refuse a request that was not admitted: counted, not booked. Return None: nothing is left to do."""
    worker.books.metrics.refuse(code)
    incoming = edge.current
    close = incoming is not None and incoming.close
    edge.write(refusal(status, message, code, request_id=worker.live.new_id(), param=param, close=close))
    edge.finish()
    return None
