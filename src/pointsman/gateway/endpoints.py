"""Endpoints: the routes table of the data plane, and the small ones. None calls a provider but the chat endpoint."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import unquote

import msgspec
from msgspec import UNSET

from pointsman.core.decide import decide, first, first_noted
from pointsman.core.entry import Admitted, on_trail, plan_on_trail
from pointsman.core.explain import told
from pointsman.core.ids import request_id
from pointsman.core.options import Options
from pointsman.core.policy import Key
from pointsman.core.priority import PRIORITIES
from pointsman.core.request import Request
from pointsman.core.routing import Asked, Routed, route
from pointsman.core.strategy import Snapshot
from pointsman.core.trace import carried
from pointsman.dialects.base import WireError
from pointsman.dialects.relay_request import Head, read_features, read_head
from pointsman.dialects.said import PRIORITY_HEADER, read_said
from pointsman.dialects.traits import with_traits
from pointsman.gateway.afterwards import hold
from pointsman.gateway.answers import Refused, refusal, response
from pointsman.gateway.cache import Part
from pointsman.gateway.edge import Edge, Incoming, Work
from pointsman.gateway.exchange import Exchange
from pointsman.gateway.feedback import feedback
from pointsman.gateway.gate import RETRIES
from pointsman.gateway.once import HEADER, once
from pointsman.gateway.refusals import unbooked
from pointsman.gateway.reservation import Reservation
from pointsman.gateway.within import Door, within
from pointsman.stores.journal import JournalError, is_away
from pointsman.strategies.guard import GUARDS

if TYPE_CHECKING:
    from pointsman.gateway.worker import Worker

Handler = Callable[["Worker", Edge, Incoming], Work | None]
MAX_CLIENT_TIMEOUT_S = 86_400.0


# A request that may be answered: its head, the name as the client wrote it, all that `decide` takes, where routing took it
# if the route asked for that, and when it came in Unix milliseconds. (A plain tuple: a class costs more on this path.)
Considered = tuple[Head, str, tuple[Options, Request, Snapshot], Routed | None, int]
Chosen = tuple[Head, str, tuple[Options, Request, Snapshot], Routed | None, int, int]  # and who is first, -1: nobody


def chat(worker: Worker, edge: Edge, incoming: Incoming) -> Work | None:
    """Answer POST /v1/chat/completions: read, decide, book, send; with an Idempotency-Key once only."""
    if HEADER in incoming.headers and incoming.claim is None:
        return once(worker, edge, incoming, chat, refuse)
    gate, active, key = worker.gate, len(worker.active), incoming.caller
    assert isinstance(key, Key)
    account, headers = gate.accounts.get(key.name), incoming.headers
    if (
        active >= gate.free
        or PRIORITY_HEADER in headers
        or (account is not None and account.under_way >= account.sure and account.is_full())
    ):
        stopped = _stopped(worker, incoming, key)
        if stopped is not None:
            return refuse(worker, edge, stopped)
    considered = consider(worker, edge, incoming)
    if considered is None:
        return None
    chosen = choose(considered)
    if worker.live.quotas.active and chosen[-1] >= 0:
        return within(worker, edge, incoming, chosen, DOOR)
    return carry(worker, edge, incoming, chosen, None)


def choose(considered: Considered) -> Chosen:
    """Return a request with the position of the candidate that is first in its decision, -1 when there is none."""
    head, name, case, routed, at_ms = considered
    options, request, snapshot = case
    if routed is None or not options.strategy.plugin:
        position = first(request, options, snapshot)
    else:
        position, snapshot = first_noted(request, options, snapshot)
        case = options, request, snapshot
    return head, name, case, routed, at_ms, position if routed is None or routed.error is None else -1


def again(worker: Worker, edge: Edge, incoming: Incoming, name: str) -> Chosen | None:
    """Choose anew: on the route of this name if one is given, which is where a quota sends the request."""
    considered = consider(worker, edge, incoming, name)
    return None if considered is None else choose(considered)


def carry(
    worker: Worker, edge: Edge, incoming: Incoming, chosen: Chosen, reservation: Reservation | None
) -> Work | None:
    """Book a request that may come in, and send it."""
    head, name, case, routed, at_ms, position = chosen
    options, request, snapshot = case
    headers, key, part = incoming.headers, incoming.caller, None
    assert isinstance(key, Key)
    if options.cache is not None or head.pointsman is not UNSET:
        found = _part(worker, incoming, head, options)
        if isinstance(found, Refused):
            return refuse(worker, edge, found, reservation)
        part = found
    exchange = Exchange(worker, edge, incoming, head, case)
    exchange.at_ms = at_ms
    session, tags = "", (*key.tags, *options.route.tags) if key.tags else options.route.tags
    if routed is not None:
        exchange.routed, session, tags = routed, routed.session, (*tags, *head.router.tags)
    if reservation is not None:
        exchange.reservation = reservation
        tags = (*tags, reservation.tag) if reservation.tag else tags
    given, clock = headers.get("x-request-id"), worker.live.clock
    client_id = "" if given is None else given[:128].decode("latin-1")
    # The journal's copy of the snapshot has its states packed already: the same bytes, for much less work.
    packed = options.states_of(worker.live.packed)  # type: ignore[arg-type]
    kept = Snapshot(snapshot.version, snapshot.now_ms, snapshot.seed, packed, snapshot.calm, snapshot.detail)
    if exchange.world.tracing is not None:
        exchange.trace = carried(headers.get("traceparent"), headers.get("tracestate"))
    who = (key.name, key.project, key.team, key.organisation)
    storing, signals = options.route.bodies, options.route.signals
    if storing is not None:
        exchange.tape = worker.bodies.tape(storing, exchange, exchange.world.policy.listener.bodies, key)
    footprint = None if signals is None else worker.footprints.of(signals, head, incoming, key, tags)
    record = Admitted(request, client_id, at_ms, who, name, kept, session, tags, exchange.trace, footprint)
    try:
        worker.books.admit(record, exchange)
    except JournalError as error:
        return refuse(worker, edge, unbooked(error), reservation)
    account = worker.gate.accounts.get(key.name)
    if account is not None:
        exchange.account = account
        account.enter()
    if part is not None and worker.cache.serves(part, exchange, position):
        return exchange
    if position < 0:
        exchange.nobody(clock.now_ms())
    else:
        if RETRIES in headers and headers[RETRIES] != b"0":
            worker.live.retried(exchange.world, options.steps[position].deployment)
        if routed is not None:
            hold(exchange, position)
        exchange.begin(position, clock.now_ms())
    return exchange


def _part(worker: Worker, incoming: Incoming, head: Head, options: Options) -> Part | Refused | None:
    """Return the part that a request has in the cache, if any; or its refusal, by the class that it names or because it
    wants a kept answer and there is none."""
    gate, active = worker.gate, len(worker.active)
    if head.router.priority is not None and active >= gate.free:
        key = incoming.caller
        assert isinstance(key, Key)
        stopped = gate.turns_away(incoming, key, active, head.router.priority)
        if stopped is not None:
            return stopped
    return worker.cache.look(options, head, incoming)


def _stopped(worker: Worker, incoming: Incoming, key: Key) -> Refused | None:
    try:
        return worker.gate.turns_away(incoming, key, len(worker.active))
    except KeyError:
        return Refused(400, f"`{PRIORITY_HEADER}` is one of {', '.join(PRIORITIES)}", "invalid_request")


def dry_run(worker: Worker, edge: Edge, incoming: Incoming) -> None:
    """Answer POST /v1/route: the whole decision of a chat request, with nobody called and nothing booked."""
    considered = consider(worker, edge, incoming)
    if considered is None:
        return
    _, name, (options, request, snapshot), routed, _ = considered
    plan, decision = decide(request, options, snapshot)
    if routed is not None:
        plan, decision = plan_on_trail(plan, routed), on_trail(decision, routed)
    reply(edge, 200, told(name, options, plan, decision))


def consider(worker: Worker, edge: Edge, incoming: Incoming, instead: str = "") -> Considered | None:
    """Read a chat request and gather all that its decision needs; None when it was refused. `instead` of the route that it
    names, another one, which the operator has named."""
    live, body, key, headers = worker.live, incoming.body, incoming.caller, incoming.headers
    received_ms = live.clock.now_ms() if incoming.waited else incoming.ready_ms
    assert isinstance(key, Key)
    try:
        head = read_head(body)
        features = read_features(head, body)
    except WireError as error:
        refuse(worker, edge, Refused(400, str(error), "invalid_request"))
        return None
    world, name = live.world, instead or head.model
    options = world.named.get(name)
    if options is None or not (key.routes is None or instead or name in key.routes):
        message = f"the model `{name[:200]}` does not exist or this key may not use it; GET /v1/models lists them"
        refuse(worker, edge, Refused(404, message, "model_not_found", param="model"))
        return None
    at_ms = live.clock.wall_ms()
    routed, detail = None, None
    if options.detailed or options.traits or head.pointsman is not UNSET:
        if options.traits:
            features = with_traits(features, bytes(head.messages))
        said = read_said(head, body, headers, world.policy.listener.rule_headers)
        around = live.surroundings(len(worker.active))
        routed = route(Asked(options, said, features, key, received_ms, at_ms), around)
        options, features, detail = routed.trail.options, routed.features, routed.detail
    waits, total_ms = headers.get("x-stainless-read-timeout"), options.total_ms
    request = Request(
        request_id(at_ms, live.id_bytes()),
        "chat",
        options.route.name,
        features,
        received_ms,
        received_ms + (total_ms if waits is None and head.pointsman is UNSET else _deadline_ms(waits, head, total_ms)),
        head.service_tier,
        None if head.pointsman is UNSET else head.router.attempts,
    )
    states = options.states_of(live.states)
    snapshot = Snapshot(world.version, received_ms, live.random(), states, live.calm, detail)
    return head, name, (options, request, snapshot), routed, at_ms


def _may(key: Key, route: str) -> bool:
    return key.routes is None or route in key.routes


def _deadline_ms(said: bytes | None, head: Head, most_ms: float) -> float:
    """Return the time the request has: the route's, or less when the client says that it waits less.

    The SDKs' read timeout bounds the whole wait only when the answer comes in one piece; of a stream it bounds each gap.
    """
    if head.pointsman is not UNSET and head.router.timeout_ms is not None:
        return min(most_ms, float(head.router.timeout_ms))
    return most_ms if said is None or head.stream else min(most_ms, _read_timeout_ms(said))


@lru_cache(maxsize=256)
def _read_timeout_ms(said: bytes) -> float:
    """Return an SDK's read timeout in milliseconds; infinite for what is none: they also send words such as NOT_GIVEN."""
    try:
        seconds = float(said)
    except ValueError:
        return math.inf
    return seconds * 1000.0 if 0.0 < seconds < MAX_CLIENT_TIMEOUT_S else math.inf


def models(worker: Worker, edge: Edge, incoming: Incoming) -> None:
    """Answer GET /v1/models with the routes the caller may name, in OpenAI's shape."""
    key = incoming.caller
    assert isinstance(key, Key)
    rows = [_model(worker, name) for name in worker.live.world.named if _may(key, name)]
    reply(edge, 200, {"object": "list", "data": rows})


def model(worker: Worker, edge: Edge, incoming: Incoming) -> None:
    """Answer GET /v1/models/{id}."""
    name = path_of(incoming).split("/models/", 1)[1]
    key = incoming.caller
    assert isinstance(key, Key)
    if name not in worker.live.world.named or not _may(key, name):
        refuse(worker, edge, Refused(404, f"the model `{name[:200]}` does not exist", "model_not_found", param="model"))
        return
    reply(edge, 200, _model(worker, name))


def _model(worker: Worker, name: str) -> dict[str, object]:
    world = worker.live.world
    route = world.options[name].route
    deployments = [world.policy.deployments[o.deployment] for o in world.options[name].options]
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
    plugins = GUARDS.states()
    away = is_away(worker.books.journal.folder)
    whole = not away and all(s in ("closed", "half_open", "ok") for s in (*states.values(), *plugins.values()))
    status = "ok" if whole else "degraded"
    told = {"status": status, "config": worker.live.world.version, "load": worker.load(), "deployments": states}
    reply(edge, 200, told | ({"plugins": plugins} if plugins else {}) | ({"ledger": "away"} if away else {}))


def deployments(worker: Worker, edge: Edge, incoming: Incoming) -> None:
    """Answer GET /v1/health/deployments: how each deployment stands in the eyes of this worker; no provider is called."""
    reply(edge, 200, worker.standings())


def metrics(worker: Worker, edge: Edge, incoming: Incoming) -> None:
    """Answer GET /metrics with the counters of all workers."""
    edge.answer(response(200, worker.scrape(), kind="text/plain; version=0.0.4; charset=utf-8", close=incoming.close))


def root(worker: Worker, edge: Edge, incoming: Incoming) -> None:
    """Answer probes of the bare address (some clients send HEAD / first)."""
    reply(edge, 200, {"name": "pointsman", "docs": "GET /v1/models lists what `model` may say"})


OPEN = frozenset({"/", "/livez", "/readyz", "/health", "/metrics"})  # asked without a key: by probes and scrapers
ROUTES: dict[tuple[bytes, str], Handler] = {
    (b"POST", "/chat/completions"): chat,
    (b"POST", "/route"): dry_run,
    (b"POST", "/feedback"): feedback,
    (b"GET", "/models"): models,
    (b"GET", "/models/{id}"): model,
    (b"GET", "/livez"): livez,
    (b"GET", "/readyz"): readyz,
    (b"GET", "/health"): health,
    (b"GET", "/health/deployments"): deployments,
    (b"GET", "/metrics"): metrics,
    (b"GET", "/"): root,
}
_PATHS = {path for _, path in ROUTES}
CHAT_TARGETS = frozenset({b"/v1/chat/completions", b"/chat/completions"})  # of `chat`, as they are mostly written


def path_of(incoming: Incoming) -> str:
    """Return the path without `/v1` and query: both spellings are one endpoint."""
    path = unquote(incoming.target.split(b"?", 1)[0].decode("latin-1"))
    return path[3:] if path.startswith("/v1/") else path


def find(incoming: Incoming) -> Handler | Refused:
    """Return the handler of a request, or its refusal."""
    path = path_of(incoming)
    if path.startswith("/models/"):
        path = "/models/{id}"
    method = b"GET" if incoming.method == b"HEAD" else incoming.method
    handler = ROUTES.get((method, path))
    if handler is not None:
        return handler
    if path in _PATHS:
        allowed = ", ".join(sorted(m.decode() for m, p in ROUTES if p == path))
        return Refused(405, f"{path} takes {allowed}", "method_not_allowed", allowed)
    return Refused(404, f"no such endpoint: {path[:200]}", "endpoint_not_found")


def reply(edge: Edge, status: int, value: object) -> None:
    """Write a JSON answer and finish. To HEAD only the head is sent."""
    incoming = edge.current
    edge.answer(response(status, msgspec.json.encode(value), close=incoming is not None and incoming.close))


def refuse(worker: Worker, edge: Edge, why: Refused, reservation: Reservation | None = None) -> Work | None:
    """Refuse a request that was not admitted: counted, not booked, and what it had reserved is given back. Return None:
    nothing is left to do."""
    if reservation is not None:
        reservation.settle((), sent=False)
    worker.books.metrics.refuse(why.code)
    incoming = edge.current
    given = None if incoming is None else incoming.headers.get("x-request-id")
    close = incoming is not None and incoming.close
    edge.answer(refusal(why, request_id=worker.live.new_id(), client_id=given, close=close))
    return None


DOOR = Door(carry, again, refuse)  # what comes after the quotas
