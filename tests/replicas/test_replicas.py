"""Four routers are one: the bill, keys, budgets and answers, whichever of them takes a request."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from replica_world import (
    INPUT_NANO,
    KEYS,
    LAST_CENT_NANO,
    LAST_REQUEST,
    OF_LOAD,
    OUTPUT_NANO,
    REPLICAS,
    Answer,
    Replicas,
)
from serving import until

pytestmark = pytest.mark.serial
IN_FORCE_S = 2.0
EACH = 100


def test_the_bill_of_all_is_that_of_the_providers_to_the_nano_dollar(world: Replicas) -> None:
    world.begin()
    for clients in world.load:
        until(lambda clients=clients: len(clients.told) >= 40, 30)  # type: ignore[misc]
    world.rest()
    world.check()
    served = [entry for entries in world.books.served.values() for entry in entries]  # each attempt
    spent = sum(entry["prompt_tokens"] * INPUT_NANO + entry["completion_tokens"] * OUTPUT_NANO for entry in served)
    rows = world.books.rows.values()
    assert {entry["outcome"] for entry in served} == {"complete"} and len(served) == len(rows) >= 160
    assert sum(row["charge_nano"] for row in rows) == spent > 0
    assert {told.end for told in world.books.told.values()} == {"complete"}
    of_load = f"FROM requests WHERE client_id LIKE '{OF_LOAD}%'"  # the world has other tests' requests as well
    assert world.sql(f"SELECT count(*), count(DISTINCT id), sum(charge_nano) {of_load}") == (
        f"{len(rows)}|{len(rows)}|{spent}"
    )


def met(answers: list[Answer]) -> dict[int, int]:
    return {status: sum(one.status == status for one in answers) for status in {one.status for one in answers}}


def names(world: Replicas, team: str) -> list[str]:
    """Return the keys of a team's counters in Redis."""
    lines = world.redis.ask("KEYS", "*:counter:*").decode().split("\r\n")
    return [line for line in lines if f"team={team}" in line]


def counted(world: Replicas, team: str) -> tuple[int, int]:
    """Return what is used and held of a team's quota, as Redis has it."""
    [name] = names(world, team)
    used, held = (int(world.redis.ask("HGET", f"'{name}'", what).split()[-1]) for what in "uh")
    return used, held


def test_f76_f77_a_hundred_at_each_at_the_last_request_exactly_what_fits_is_admitted(world: Replicas) -> None:
    answers = world.burst(KEYS["requests"], "quick", EACH)
    assert met(answers) == {200: LAST_REQUEST, 429: REPLICAS * EACH - LAST_REQUEST}, world.failures()
    assert {one.code for one in answers} == {"", "rate_limit_exceeded"}
    until(lambda: counted(world, "requests") == (LAST_REQUEST, 0), 5)


def test_f76_f77_a_hundred_at_each_at_the_last_cent_exactly_what_fits_is_admitted(world: Replicas) -> None:
    answers = world.burst(KEYS["cents"], "slow", EACH, max_tokens=200)
    admitted = [one for one in answers if one.status == 200]
    refused = [one for one in answers if one.status == 429]
    assert len(admitted) + len(refused) == REPLICAS * EACH and {one.code for one in refused} == {"budget_exceeded"}
    # Nothing was settled before the last was decided: what fits is what is held.
    assert max(one.ended_s for one in refused) < min(one.ended_s for one in admitted)
    query = "SELECT count(*), min(hold_nano), max(hold_nano), sum(charge_nano) FROM requests WHERE team = 'cents'"
    until(lambda: world.sql(query).startswith(f"{len(admitted)}|"), 10)
    _, least, hold, spent = map(int, world.sql(query).split("|"))
    assert least == hold and len(admitted) == LAST_CENT_NANO // hold, world.failures()
    until(lambda: counted(world, "cents") == (spent, 0), 5)


def test_f84_redis_frozen_in_the_midst_of_a_burst_admits_no_more_than_was_left(world: Replicas) -> None:
    """The bound of docs/limits-and-budgets.md: each router by itself admits its part of what was left when it last heard."""
    left = {}
    for number in range(REPLICAS):
        left[number] = int(world.ask(number, KEYS["frozen"], "quick").headers["x-ratelimit-remaining-requests"])
    with world.redis.connected() as wire:
        [name] = names(world, "frozen")

        @contextlib.contextmanager
        def frozen() -> Iterator[None]:
            world.redis.freeze()
            # Asked now, and answered before anything that routers say after: what was granted up to here.
            wire.sendall(f"HMGET '{name}' u h\r\n".encode())
            yield
            world.redis.thaw()

        answers = world.burst(KEYS["frozen"], "quick", EACH, frozen())
        granted = sum(int(line) for line in wire.recv(1000).split(b"\r\n") if line.isdigit())
    admitted = sum(one.status == 200 for one in answers) + REPLICAS
    assert set(met(answers)) <= {200, 429}
    assert 0 < admitted - granted <= sum(rest // REPLICAS for rest in left.values())
    until(lambda: world.metric("pointsman_counters_local") == [0.0] * REPLICAS, 10)
    until(lambda: counted(world, "frozen") == (admitted, 0), 5)  # each was counted once
    if admitted >= LAST_REQUEST:
        assert world.ask(0, KEYS["frozen"], "quick").status == 429


def test_a_key_is_good_and_ended_everywhere_within_two_seconds_and_the_audit_chain_holds(world: Replicas) -> None:
    def met_by(key: str) -> set[int]:
        return {world.ask(number, key, "quick").status for number in range(REPLICAS)}

    for number in (0, 3):
        made = world.admin(number, "POST", "/v1/keys", {"name": f"made-at-{number}"})
        assert made.status == 201, made.body
        id, key = made.json["id"], made.json["key"]
        assert until(lambda key=key: met_by(key) == {200}, IN_FORCE_S) < IN_FORCE_S  # type: ignore[misc]
        rotated = world.admin((number + 1) % REPLICAS, "POST", f"/v1/keys/{id}/rotate", {}).json["key"]
        until(lambda key=key, rotated=rotated: (met_by(key), met_by(rotated)) == ({401}, {200}), IN_FORCE_S)  # type: ignore[misc]
        assert world.admin((number + 2) % REPLICAS, "POST", f"/v1/keys/{id}/revoke").status == 200
        until(lambda rotated=rotated: met_by(rotated) == {401}, IN_FORCE_S)  # type: ignore[misc]
    with ThreadPoolExecutor(REPLICAS) as pool:  # one chain, also when all change at once
        made_at_once = list(
            pool.map(
                lambda n: world.admin(n % REPLICAS, "POST", "/v1/keys", {"name": f"at-once-{n}"}).status, range(12)
            )
        )
    assert made_at_once == [201] * 12
    assert "All 18 rows hold." in world.command(0, "audit", "verify")


def cache_of(answer: Answer) -> str:
    return answer.headers["x-pointsman-cache"]


def test_i23_what_one_has_kept_all_give_and_to_no_other_tenant(world: Replicas) -> None:
    asked = [world.ask(number, KEYS["red"], "faq", "what are your hours?") for number in range(REPLICAS)]
    assert [cache_of(one) for one in asked] == ["miss", "hit", "hit", "hit"]
    assert len({one.json["choices"][0]["message"]["content"] for one in asked}) == 1
    for number in range(REPLICAS):
        other = world.ask(number, KEYS["blue"], "faq", "what are your hours?")
        assert cache_of(other) == ("miss" if number == 0 else "hit")  # its own
        assert other.json["id"] != asked[0].json["id"]


def test_f109_alike_at_all_at_once_are_one_call(world: Replicas) -> None:
    before = len(world.served("slow"))
    with ThreadPoolExecutor(REPLICAS * 3) as pool:
        asked = list(pool.map(lambda n: world.ask(n % REPLICAS, KEYS["red"], "slow-faq", "and on Sundays?"), range(12)))
    assert sorted(map(cache_of, asked)) == ["hit"] * 11 + ["miss"] and {one.status for one in asked} == {200}
    assert len(world.served("slow")) == before + 1
