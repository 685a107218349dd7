"""The checks: what must hold after each step, and when all has come to rest. Numbers are those of the invariants."""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

from sim_answers import client_problems, events_of, said_by
from sim_clients import Client, Response, Sent, read_responses
from sim_loop import OWNER
from sim_providers import Served
from sim_scenario import REPLY_TEXT, RESTS_S
from sim_world import SimWorld

from pointsman.control.pump import Pump
from pointsman.core.entry import Admitted, AttemptRow, Settled
from pointsman.core.filters import HEALTH_REASONS, is_last_resort
from pointsman.core.health import may_probe
from pointsman.core.outcome import CLASSES, Blame, Kind
from pointsman.core.policy import Route
from pointsman.core.run import MIN_USEFUL_MS
from pointsman.gateway.kept import MOST_ANSWER_BYTES
from pointsman.stores.journal import HEADER, SUFFIX

SWEEP_MS = 50.0
SLACK_MS = 50.0  # of a deadline
GONE_S = 1.0  # within which the provider must hear that a client left
BUFFER_BYTES = 256 * 1024
EXTRA_TEXT = frozenset({"f57-big-event"})  # faults that make a provider say more than it planned


class Case(NamedTuple):
    """Hold all that is known of one request."""

    admitted: Admitted
    settled: Settled | None
    owner: int  # worker that admitted it
    client: Client | None
    sent: Sent | None
    response: Response | None

    @property
    def ready_ms(self) -> float:
        """Return the monotonic time that the times of its rows count from."""
        assert self.settled is not None
        return self.admitted.request.received_ms - self.settled.queue_ms

    @property
    def end_ms(self) -> float:
        assert self.settled is not None
        return self.ready_ms + self.settled.ended_ms


# --- after each step -------------------------------------------------------------------------------------------------


def check_step(world: SimWorld) -> None:
    """Look at what may never be, not even for a moment: I16, I20, I21."""
    worker = world.worker
    if worker is None:
        return
    now_ms = world.clock.now_ms()
    live = worker.live
    if any(state.ejections for state in live.states):
        probes = Counter[int]()
        for exchange in worker.active:
            attempt = exchange.attempt
            if attempt is None or attempt.answered_ms:
                continue
            at = live._at(exchange.world, attempt.step.deployment)
            if at >= 0 and live.states[at].soft and not attempt.probe:
                continue  # sent to as the last resort
            if at >= 0 and live.states[at].ejections and live.states[at].open_until_ms <= attempt.started_ms:
                probes[at] += 1
        for at, count in probes.items():
            if count > 1:
                world.problems.append(f"I16: {count} probes at once of {live.world.names[at]}")
    _check_starts(world, now_ms)
    limits = worker.limits
    for exchange in worker.active:
        idle_ms = max(exchange.options.idle_ms, limits.ttft_ms, *(s.ttft_ms for s in exchange.options.steps), 0.0)
        most_ms = now_ms - idle_ms - limits.connect_ms - 2 * SWEEP_MS - limits.write_stall_ms - 8_000
        if exchange.request.received_ms < most_ms and exchange.request.deadline_ms + 2 * SWEEP_MS < now_ms:
            world.problems.append(f"I21: {exchange.request.id} is older than all its limits")


def _check_starts(world: SimWorld, now_ms: float) -> None:
    """I11, I16: what was ejected or cooling before this step, and still is, is sent nothing in it; but the last resort."""
    assert world.worker is not None
    live = world.worker.live
    before, world.states = world.states, (live.world, list(live.states))
    for exchange in world.worker.active:
        attempt = exchange.attempt
        if attempt is None or attempt in world.looked_at or exchange.world is not live.world:
            continue
        world.looked_at.add(attempt)
        if before[0] is not live.world or (exchange.rows and exchange.rows[-1].outcome == Kind.STALE):
            continue  # the same send once more, on a fresh connection
        at = attempt.step.deployment
        was, now = before[1][at], live.states[at]
        for name, number in (("open_until_ms", "I16"), ("cool_until_ms", "I11")):
            if name == "open_until_ms" and (was.soft or may_probe(was, now_ms)):
                world.hit["sent to the last resort"] += was.open_until_ms > now_ms
            elif min(getattr(was, name), getattr(now, name)) > now_ms:
                world.problems.append(f"{number}: sent to {live.world.names[at]} before its {name}")


# --- at rest ---------------------------------------------------------------------------------------------------------


def check_stopped(world: SimWorld) -> None:
    """Look at a worker that has drained, before its process ends: nothing may be left (I35, I3)."""
    worker, say = world.worker, world.problems.append
    assert worker is not None
    if worker.active:
        say(f"I35: {len(worker.active)} exchanges are left")
    held = {name: nano for name, nano in worker.live.spending._held.items() if nano}
    if held:
        say(f"I3: holds are left: {held}")
    quotas = worker.live.quotas
    if quotas.lines.count or quotas.lines._lines:
        say(f"I35: {quotas.lines.count} requests wait for room in a quota")
    if quotas.store is not None:
        store: Any = quotas.store
        held = {name: store.held[slot] for name, slot in store._rows.items() if store.held[slot]}
        if held:
            say(f"I3: quotas hold {held}")
    if worker.cache._flights._flights:
        say(f"I35: requests wait for the answer of another: {list(worker.cache._flights._flights)}")
    tasks = [task for task in world.loop.tasks_of(world.owner) if OWNER.get() != world.owner]
    if tasks:
        say(f"I35: {len(tasks)} tasks are left: {tasks[0]}")
    if worker.books._records:
        say("I35: records wait to be written")
    counts = Counter[int]()
    for link in world.network.links:
        end = link.front
        if end.owner == world.owner and link.name != "client" and end.lost_s is None and not end.is_closing():
            connection = end.protocol
            counts[id(connection.origin)] += 1
            if connection.sink is not None or connection not in connection.origin._idle:
                say(f"I35: a connection to a provider is open and not idle ({link.name}.{link.number})")
    for origin in worker.live.world.origins.values():
        if origin.open != counts[id(origin)]:
            say(f"I35: an origin counts {origin.open} open connections, {counts[id(origin)]} are")
        if origin._connecting:
            say("I35: an origin is still connecting")


def check_rest(world: SimWorld) -> None:
    """Look at the whole of a run that has ended."""
    for failure in world.loop.failures:
        world.problems.append(f"I0: not caught: {failure}")
    cases = list(_cases(world))
    sends: dict[str, list[Any]] = defaultdict(list)
    for send in world.sends:
        sends[send.id].append(send)
    served: dict[str, list[Served]] = defaultdict(list)
    for one in world.providers.served:
        served[one.id].append(one)
    _check_books(world, cases)
    _check_replay(world)
    for case in cases:
        for problem in (
            *_attempts(world, case, len(sends[case.admitted.id])),
            *_times(case),
            *_commit(world, case, sends[case.admitted.id]),
            *_decision(world, case),
            *_gone(world, case, served[case.admitted.id]),
            *_whole(world, case),
            *_truth(world, case, served[case.admitted.id]),
        ):
            world.problems.append(f"{problem} [{case.admitted.client_id}]")
        world.problems += _kept(world, case, served)
    world.problems += _quotas(world, cases)
    world.problems += _rests(world, cases, served)
    world.problems += _amplification(world, cases)
    for client in world.clients:
        world.problems += [f"{problem} [client {client.plan['id']}]" for problem in client_problems(client)]
    for link in world.network.links:
        for end in (link.front, link.back):
            if end.peak_bytes > BUFFER_BYTES + 65_536 + (MOST_ANSWER_BYTES if _keeps_answers(world) else 0):
                world.problems.append(f"I20: {end.peak_bytes} bytes waited for a reader")
    slow = [c for c in world.clients if c.plan["slow"] and c.link is not None]
    for client in slow:
        assert client.link is not None
        bound = client.plan["slow"]["high"] + 65_536 * 2 + 4096
        if any(
            response.headers.get("x-pointsman-cache") in ("hit", "stale")
            for response in read_responses(bytes(client.data))
        ):
            bound += MOST_ANSWER_BYTES  # a kept answer is written in one piece
        if client.link.back.peak_bytes > bound:
            world.problems.append(f"I20: {client.link.back.peak_bytes} bytes waited for a slow reader")


def _keeps_answers(world: SimWorld) -> bool:
    """Tell whether answers may be given again: they are written in one piece."""
    routes = world.scenario.config["routes"].values()
    return any("cache" in route or any("cached" in rung for rung in route.get("degrade", ())) for route in routes)


def _cases(world: SimWorld) -> Iterator[Case]:
    admitted: dict[str, tuple[Admitted, int]] = {}
    settled: dict[str, Settled] = {}
    for written in world.written:
        for record in written.records:
            if isinstance(record, Admitted):
                if record.id in admitted:
                    world.problems.append(f"I1: {record.id} was admitted twice")
                admitted[record.id] = record, written.owner
            elif isinstance(record, Settled):
                if record.id in settled:
                    world.problems.append(f"I1: {record.id} was settled twice")
                if record.id not in admitted:
                    world.problems.append(f"I1: {record.id} was settled, not admitted")
                settled[record.id] = record
    places: dict[str, tuple[Client, Sent, Response | None]] = {}
    for client in world.clients:
        found = read_responses(bytes(client.data))
        for at, sent in enumerate(client.sent):
            places[sent.id] = client, sent, found[at] if at < len(found) else None
    for record, owner in admitted.values():
        client, sent, response = places.get(record.client_id, (None, None, None))
        yield Case(record, settled.get(record.id), owner, client, sent, response)


def _check_books(world: SimWorld, cases: list[Case]) -> None:
    """I1, I2: each admitted request has one row, of its Settled record or recovered; no other row is there."""
    say = world.problems.append
    rows = {row[0]: row for row in _columns(world, "requests", "id, outcome, recovered, attempts, charge_nano")}
    ids = {case.admitted.id for case in cases}
    for id in ids - set(rows):
        say(f"I1: {id} has no row")
    for id in set(rows) - ids:
        say(f"I1: the row {id} is of no admitted request")
    for case in cases:
        row = rows.get(case.admitted.id)
        if row is None:
            continue
        if bool(row[2]) is not (case.settled is None):
            say(f"I1: {case.admitted.id} is {'' if row[2] else 'not '}recovered, but {case.settled}")
        if case.settled is None and case.owner not in world.crashed and not world.unwritten:
            say(f"I1: {case.admitted.id} was never settled, though its worker did not die")
        if case.settled is not None and row[3] != len(case.settled.attempts):
            say(f"I2: {case.admitted.id} has {row[3]} attempts, {len(case.settled.attempts)} were settled")
    attempts = Counter(row[0] for row in _columns(world, "attempts", "request_id, n"))
    for case in cases:
        if case.settled is not None and attempts[case.admitted.id] != len(case.settled.attempts):
            say(f"I2: {case.admitted.id} has {attempts[case.admitted.id]} rows of attempts")


def _check_replay(world: SimWorld) -> None:
    """I2: the whole journal, read again, changes nothing."""
    before = world.rows("requests"), world.rows("attempts")
    folder = world.folder / "again"
    folder.mkdir()
    for owner in dict.fromkeys(written.owner for written in world.written):
        frames = b"".join(written.frames for written in world.written if written.owner == owner)
        (folder / f"again-{owner}.000001{SUFFIX}").write_bytes(HEADER + frames)
    pump = Pump(folder, world.ledger, world.replay)
    with contextlib.redirect_stderr(world.errors):  # torn writes are kept aside, and said
        while pump.step() or pump.behind:
            pass
    if (world.rows("requests"), world.rows("attempts")) != before:
        world.problems.append("I2: the journal, read again, changes the ledger")


def _columns(world: SimWorld, table: str, columns: str) -> list[tuple[Any, ...]]:
    return list(world.ledger._db.execute(f"SELECT {columns} FROM {table}"))


def _attempts(world: SimWorld, case: Case, sends: int) -> Iterator[str]:
    """I9, I13, I28: how many, never again where the client is to blame, of one config version."""
    admitted, settled = case.admitted, case.settled
    policy = world.policies[admitted.config_version]
    if settled is None:
        return
    rows = settled.attempts
    route = policy.routes[admitted.request.route]
    most = (route.attempts or policy.limits.attempts) + sum(1 for rung in route.degrade if rung.candidates)
    resent = any(row.outcome == Kind.STALE for row in rows)
    if len(rows) > most + resent:
        yield f"I9: {len(rows)} attempts, {most} are allowed"
    if sends > len(rows):
        yield f"I6: {sends} requests were sent, {len(rows)} are booked"
    deployments = {d.name: d for d in policy.deployments}
    for n, row in enumerate(rows):
        place = deployments.get(row.deployment)
        if place is None or (place.provider, place.wire.model) != (row.provider, row.model):
            yield f"I28: attempt {n + 1} went to {row.deployment}, which its config has not"
        at_fault = CLASSES[Kind(row.outcome)].blame is Blame.CLIENT and row.outcome != Kind.CLIENT_GONE
        if at_fault and any(later.deployment == row.deployment for later in rows[n + 1 :]):
            yield f"I13: {row.deployment} was asked again after {row.outcome}"
    if case.response is not None and case.response.headers.get("x-pointsman-config", admitted.config_version) != (
        admitted.config_version
    ):
        yield "I28: the answer names another config version"


def _times(case: Case) -> Iterator[str]:
    """I10: no attempt without the time for it, no end long after the deadline."""
    if case.settled is None:
        return
    deadline_ms = case.admitted.request.deadline_ms
    for n, row in enumerate(case.settled.attempts):
        left_ms = deadline_ms - case.ready_ms - row.started_ms
        if n and left_ms < MIN_USEFUL_MS - 0.01:
            yield f"I10: attempt {n + 1} began {left_ms:.1f} ms before the deadline"
    if case.end_ms > deadline_ms + SLACK_MS + SWEEP_MS:
        yield f"I10: ended {case.end_ms - deadline_ms:.0f} ms after the deadline"


def _route_of(world: SimWorld, case: Case) -> Route:
    return world.policies[case.admitted.config_version].routes[case.admitted.request.route]


def _commit(world: SimWorld, case: Case, sends: list[Any]) -> Iterator[str]:
    """I8: nothing is sent to a provider once the client has the beginning of an answer, but where that is declared."""
    if case.response is None or case.client is None or case.client.link is None:
        return
    declared = (
        "x-pointsman-continuation" in case.response.headers or case.client.plan["slow"]
    )  # its head may not be read
    if declared and _route_of(world, case).continuation:
        return
    written = case.client.link.back.writes
    begun = next((tick for tick, _, upto in written if upto > case.response.offset), None)
    if begun is not None and any(send.tick > begun for send in sends):
        yield "I8: sent to a provider after the answer had begun"


def _decision(world: SimWorld, case: Case) -> Iterator[str]:
    """I29: the decision can be made again, and says whom the first attempt went to. I15: nobody is only chosen when no
    candidate answers most requests. I16: what ramps up is not first where another is."""
    decided = world.replay.decided(case.admitted)
    if decided is None:
        yield "I29: the decision cannot be made again"
        return
    reasons, snapshot = decided.decision.reasons, case.admitted.snapshot
    world.hit["ramping"] += "ramping" in reasons
    if decided.decision.order and reasons and reasons[decided.decision.order[0]]:
        yield f"I16: {reasons[decided.decision.order[0]]} was asked first"
    for reason, state in zip(reasons, snapshot.states, strict=False):
        if _route_of(world, case).bounds is not None:
            break  # what is left may cost too much, or be too slow
        if not decided.decision.order and reason in HEALTH_REASONS and is_last_resort(state, snapshot.now_ms):
            yield "I15: nobody was asked, and one answers most requests"
    if case.settled is None:
        return
    if case.settled.attempts:
        decision = decided.decision
        asked = min(case.settled.attempts, key=lambda row: row.started_ms)
        waited = case.settled.cache and asked.started_ms > case.settled.decided_ms  # for an answer that did not come
        if not decision.order or (not waited and decision.candidates[decision.order[0]] != asked.deployment):
            yield f"I29: {asked.deployment} was asked first, the replay says {decision.order}"


def _gone(world: SimWorld, case: Case, served: list[Served]) -> Iterator[str]:
    """I22: when a client has gone, its providers hear of it; nobody is called gone who was there."""
    client = case.client
    if client is None or client.link is None:
        return
    gone_s = client.link.back.lost_s
    policy = world.policies[case.admitted.config_version]
    if gone_s is not None and gone_s >= 0:
        for one in served:
            most_s = GONE_S
            if policy.providers.get(one.provider) is None or policy.providers[one.provider].bills_cancelled:
                most_s += policy.limits.client_drain_ms / 1000
            if one.arrived_s <= gone_s and (one.finished_s is None or one.finished_s > gone_s + most_s):
                yield f"I22: {one.provider} went on for {(one.finished_s or 999) - gone_s:.1f} s after the client had gone"
    if (
        case.settled is not None
        and case.settled.outcome == Kind.CLIENT_GONE
        and client.left_s is None
        and not client.plan["slow"]
        and not client.plan["pipeline"]
    ):
        yield "I22: a client is said to be gone that was there"


def _whole(world: SimWorld, case: Case) -> Iterator[str]:
    """Each client that waits gets a whole answer, of the status that is booked."""
    client, settled, response = case.client, case.settled, case.response
    if client is None or client.link is None or settled is None or client.left_s is not None:
        return
    if settled.outcome == Kind.CLIENT_GONE or case.owner in world.crashed or client.plan["slow"]:
        return
    if response is None or not response.whole:
        yield f"I17: settled as {settled.outcome} {settled.status}, but the answer is not whole"
    elif response.status != settled.status:
        yield f"I17: booked as {settled.status}, told as {response.status}"


# --- what clients and providers see --------------------------------------------------------------------------------


def _truth(world: SimWorld, case: Case, served: list[Served]) -> Iterator[str]:
    """I18: what is called complete is all that its provider said; what is not is the beginning of it."""
    response, settled = case.response, case.settled
    if response is None or response.problem or response.status != 200 or settled is None or not response.whole:
        return
    text, complete = said_by(response)
    if response.streams and events_of(response.body)[0][-1:] == [b"[DONE]"] and not complete:
        yield "I18: [DONE] without a finish reason"
    if settled.outcome == Kind.DEGRADED:
        if settled.degraded == "reply" and text != REPLY_TEXT:
            yield f"I18: the ladder said {text[:60]!r}"
        return
    if (settled.outcome == Kind.OK) is not complete:
        yield f"I18: booked as {settled.outcome}, told as {'complete' if complete else 'not complete'}"
    said = [one for one in served if one.text is not None]
    if not said or any(EXTRA_TEXT & set(one.faults) for one in said):
        return
    route = _route_of(world, case)
    world.hit["hedge"] += any(row.outcome == Kind.CANCELLED for row in settled.attempts)
    if route.continuation and len(said) > 1:
        world.hit["continuation"] += b"continued_by" in response.body
        if complete and not any(text.endswith((one.text or "").lstrip()) for one in said):
            yield f"I18: complete, but {text[-60:]!r} is not the end of any answer"
        return
    # Who was asked last need not be who answered: of a hedge, or when an answer that says nothing is passed on after all.
    any_of_them = route.hedge is not None or any(row.outcome == Kind.SILENT for row in settled.attempts)
    answers = [one.text or "" for one in (said if any_of_them else said[-1:])]
    if complete and text not in answers:
        yield f"I18: complete, but {text[-60:]!r} is not {answers[-1][-60:]!r}"
    elif not complete and not any(one.startswith(text) for one in answers):
        yield f"I18: {text[:60]!r} was never said"


def _kept(world: SimWorld, case: Case, served: dict[str, list[Served]]) -> Iterator[str]:
    """I23: an answer given again is one that a provider gave, whole, to a request that asked the same."""
    if case.settled is None or case.settled.hit is None:
        return
    world.hit["cache hit"] += 1
    hit, response = case.settled.hit, case.response
    first = [one for one in served[hit.request_id] if one.model == hit.model]
    if case.settled.attempts or not first:
        yield f"I23: the answer of {hit.request_id} was given again, which {hit.model} never gave"
    elif case.settled.outcome == Kind.OK and response is not None and response.whole and not response.problem:
        text, complete = said_by(response)
        said = [one.text or "" for one in first if one.text is not None]
        if not complete or (said and not any(EXTRA_TEXT & set(one.faults) for one in first) and text not in said):
            yield f"I23: {text[-60:]!r} was given again, {said} was said"


def _quotas(world: SimWorld, cases: list[Case]) -> Iterator[str]:
    """I4, I3: no more comes in than the quotas allow, and what is counted is what was used."""
    worker, policy = world.worker, world.policy
    if worker is None or world.crashed or world.clock.jump_s or worker.live.quotas.store is None:
        return
    store = worker.live.quotas.store
    world.hit["waited for a quota"] += worker.books.metrics.quotas.get("", 0) + sum(
        count for key, count in worker.books.metrics.quotas.items() if key.endswith("waited")
    )
    world.hit["quota refused"] += sum(n for key, n in worker.books.metrics.quotas.items() if key.endswith("refused"))
    for (at, _), counter in worker.live.quotas._counters.items():
        quota = policy.quotas[at]
        concerned = [
            case
            for case in cases
            if case.settled is not None
            and quota.route in ("", case.admitted.asked_model, _route_of(world, case).name)
            and not any(row.usage.source == "unknown" for row in case.settled.attempts)
        ]
        whole = len(concerned) == len(cases)
        if quota.rate_us or not whole or quota.route or counter.name not in store._rows:  # type: ignore[attr-defined]
            continue
        (used, _, _, _) = store.read([counter])[0]
        rows = [row for case in concerned if case.settled is not None for row in case.settled.attempts]
        expected = {
            "requests": sum(_somebody(world, case) for case in cases),
            "output_tokens": sum(row.usage.output_tokens for row in rows),
            "usd": sum(max(0, row.charge_nano) for row in rows),
        }[quota.measure]
        world.hit["quota compared"] += 1
        if used != expected:
            yield f"I3: {counter.name} counts {used}, {expected} was used"
        if quota.over == "refuse" and quota.measure == "requests" and used > quota.amount:
            yield f"I4: {used} requests, {quota.amount} are allowed"
    for quota in policy.quotas:
        if quota.measure == "requests" and quota.period == "s" and not quota.route and not world.reloaded_ms:
            times = sorted(case.admitted.request.received_ms for case in cases if _somebody(world, case))
            for n, at_ms in enumerate(times):
                within = sum(at_ms <= one < at_ms + 1_000.0 for one in times[n:])
                if within > 2 * quota.amount + 1:
                    yield f"I4: {within} requests within a second, {quota.amount} are allowed"


def _somebody(world: SimWorld, case: Case) -> bool:
    """Tell whether there was anybody to ask: a request that nobody can take costs no quota."""
    decided = world.replay.decided(case.admitted)
    return decided is not None and bool(decided.decision.order)


def _rests(world: SimWorld, cases: list[Case], served: dict[str, list[Served]]) -> list[str]:
    """I11: nothing is sent to a quota group before the time that its 429 named."""
    rows: list[tuple[float, float, Case, AttemptRow]] = []
    for case in cases:
        if case.settled is not None:
            rows += [(case.ready_ms + r.started_ms, case.ready_ms + r.ended_ms, case, r) for r in case.settled.attempts]
    found: list[str] = []
    for _, ended_ms, case, row in rows:
        if row.outcome != Kind.RATE_LIMITED:
            continue
        reasons = [s.faults for s in served[case.admitted.id] if s.model == row.model]
        rest_s = RESTS_S.get(reasons[0][0], 0.0) if len(reasons) == 1 and len(reasons[0]) == 1 else 0.0
        if world.clock.jump_s and ("f15-429-date",) in reasons:
            continue  # a date says nothing between clocks that differ
        group = _group(world, case, row)
        for start_ms, _, other, sent in rows:
            if (
                ended_ms + 0.01 < start_ms < ended_ms + rest_s * 1000 - 1
                and other.owner == case.owner
                and other.admitted.config_version == case.admitted.config_version
                and _group(world, other, sent) == group
                # Of a deployment that a reload has changed nothing is known any more.
                and not any(min(case.ready_ms, other.ready_ms) <= at <= start_ms for at in world.reloaded_ms)
            ):
                found.append(
                    f"I11: {sent.deployment} was asked {(start_ms - ended_ms) / 1000:.3f} s after a 429 that rests "
                    f"{rest_s} s; outcome {sent.outcome} [{other.admitted.client_id}]"
                )
    return found


def _group(world: SimWorld, case: Case, row: AttemptRow) -> str:
    provider = world.policies[case.admitted.config_version].providers[row.provider]
    return provider.quota_group or provider.name


def _amplification(world: SimWorld, cases: list[Case]) -> list[str]:
    """I9: sends beyond the first to what has just failed stay within the budget of the quota group."""
    rows = sorted(
        (
            (case.ready_ms + row.started_ms, case.ready_ms + row.ended_ms, n, _group(world, case, row), row, case.owner)
            for case in cases
            if case.settled is not None
            for n, row in enumerate(case.settled.attempts)
        ),
        key=lambda entry: entry[:3],
    )
    retries, firsts = Counter[tuple[str, int]](), Counter[tuple[str, int]]()
    for start_ms, _, n, group, row, owner in rows:
        before = [
            r for _, end_ms, _, _, r, o in rows if end_ms < start_ms and r.deployment == row.deployment and o == owner
        ]
        failed = bool(before) and CLASSES[Kind(before[-1].outcome)].blame is Blame.PROVIDER
        if n and failed:
            retries[group, owner] += 1
        else:
            firsts[group, owner] += 1
    return [
        f"I9: {count} retries at {group}, {firsts[group, owner]} first sends"
        for (group, owner), count in retries.items()
        if count > 21 + 0.5 * world.loop.time() + 0.15 * (firsts[group, owner] + count)
    ]
