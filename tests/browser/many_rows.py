"""A ledger of many rows, made quickly: rows of a few thousand requests, copied inside the database to other moments."""

from __future__ import annotations

import random
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from ledgers import migrations
from records import admitted, attempt, decided, feedback, policy, request_row, settled

from pointsman.core.entry import Hit
from pointsman.core.policy import Deployment, Wire
from pointsman.core.pricing import Price, Rates
from pointsman.core.usage import Usage
from pointsman.stores import ledger_schema
from pointsman.stores.ledger import Batch, attempt_row, decision_row, feedback_row
from pointsman.stores.sqlite import FILE, SqliteWriter

BASE = 5_000
DAYS = 30
ROUTES = ("support", "drafts", "search", "code", "batch")
PLACES = {
    "sonnet": ("anthropic", "claude-sonnet-5-5", 60_000),
    "haiku": ("anthropic", "claude-haiku-5-5", 9_000),
    "luna": ("openai", "gpt-6-luna", 11_000),
    "flash": ("gemini", "gemini-4-flash", 3_000),
    "qwen-lab": ("lab", "qwen3-32b", 0),
}
ARMS = ("drafts/as-is", "drafts/shorter")
TEAMS = ("care", "growth", "platform", "research")


def fill(data: Path, rows: int, now_ms: int, seed: int = 7) -> float:
    """Make a ledger of so many requests of the last DAYS days; return the seconds it took. Its sums are made as for a ledger
    that comes from a version that had none."""
    began_s = time.monotonic()
    data.mkdir(parents=True, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch, migrations(patch, ledger_schema.MIGRATIONS[:4]):
        SqliteWriter(data / FILE).close()
        with closing(sqlite3.connect(data / FILE, isolation_level=None)) as db:
            for pragma in ("journal_mode = DELETE", "synchronous = OFF"):  # else each page is written twice
                db.execute("PRAGMA " + pragma).close()
            db.execute("BEGIN")
            _insert(db, _batch(random.Random(seed)))
            _copy(db, rows, now_ms)
            _judge(db)
            db.execute("COMMIT")
    writer = SqliteWriter(data / FILE)
    writer.close()
    return time.monotonic() - began_s


def _judge(db: sqlite3.Connection) -> None:
    """Judge some of the newest requests."""
    newest = db.execute(
        "SELECT id, at_ms, key, project, team, organisation, deployment FROM requests ORDER BY seq DESC LIMIT 3000"
    ).fetchall()
    rows = []
    for n, (id, at_ms, *caller, deployment) in enumerate(newest[::7]):
        up = n % 10 != 0 and not (deployment == "flash" and n % 3 == 0)
        given = feedback(n, at_ms=at_ms + 60_000, caller=tuple(caller), request_id=id, score=float(up),
                         thumbs="up" if up else "down")  # fmt: skip
        rows.append(feedback_row(given))
    db.executemany(ledger_schema.INSERT_FEEDBACK, rows)


def _insert(db: sqlite3.Connection, batch: Batch) -> None:
    """Store rows in the tables as they were then: without the columns that came later."""
    rows_of = {
        "requests": (ledger_schema.REQUEST_COLUMNS, batch.requests),
        "attempts": (ledger_schema.ATTEMPT_COLUMNS, batch.attempts),
        "decisions": (("request_id", "format", "blob"), batch.decisions),
    }
    for table, (names, rows) in rows_of.items():
        had = [n for n, name in enumerate(names) if name in _columns(db, table)]
        listed, marks = ", ".join(names[n] for n in had), ", ".join("?" * len(had))
        db.executemany(f"INSERT INTO {table} ({listed}) VALUES ({marks})", [[row[n] for n in had] for row in rows])


def _columns(db: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in db.execute(f"PRAGMA table_info({table})")]


def _copy(db: sqlite3.Connection, rows: int, now_ms: int) -> None:
    """Turn the rows there are into `rows` ones, evenly over the time, the newest last; of decisions only the newest stay."""
    copies = rows // BASE
    step_ms = DAYS * 86_400_000 // rows
    for table in ("requests", "attempts"):
        names = [name for name in _columns(db, table) if name != "seq"]
        db.execute(f"CREATE TEMP TABLE base_{table} AS SELECT * FROM {table} ORDER BY rowid" if table == "requests" else
                   f"CREATE TEMP TABLE base_{table} AS SELECT * FROM {table}")  # fmt: skip
        db.execute(f"DELETE FROM {table}")
        name = "id" if table == "requests" else "request_id"
        changed = {name: f"'req_' || printf('%012x', c.n) || substr({name}, 17)"}
        if table == "requests":
            at = f"{now_ms} - ({rows} - (c.n * {BASE} + b.rowid)) * {step_ms}"
            changed |= {"at_ms": at, "day": f"date(({at}) / 1000, 'unixepoch')"}
        listed = ", ".join(changed.get(each, f"b.{each}") for each in names)
        order = " ORDER BY c.n, b.rowid" if table == "requests" else ""
        db.execute(
            f"WITH RECURSIVE c(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM c WHERE n < {copies - 1}) "
            f"INSERT INTO {table} ({', '.join(names)}) SELECT {listed} FROM c CROSS JOIN base_{table} b{order}"
        )
    db.execute(f"UPDATE decisions SET request_id = 'req_' || printf('%012x', {copies - 1}) || substr(request_id, 17)")


def _batch(rng: random.Random) -> Batch:
    made = Batch()
    for n in range(BASE):
        route = rng.choices(ROUTES, (40, 30, 15, 10, 5))[0]
        team = rng.choice(TEAMS)
        organisation = rng.choices(("acme", "globex"), (4, 1))[0]
        caller = (f"{organisation}/{team}-{rng.randrange(3)}", "bot", team, organisation)
        sends = _sends(rng)
        asked = admitted(
            n, route=route, caller=caller, asked_model=route, tags=("env:prod",) if n % 3 else ("env:test",)
        )
        streamed = msgspec.structs.replace(asked.request.features, stream=True)
        asked = msgspec.structs.replace(asked, request=msgspec.structs.replace(asked.request, features=streamed))
        last = sends[-1]
        ended = settled(
            n, *sends, route=route, first_ms=last.answered_ms, ended_ms=last.ended_ms + 0.6, upstream_ms=last.ended_ms,
            **_more(rng, route, last),
        )  # fmt: skip
        if ended.hit is not None:
            ended = msgspec.structs.replace(
                ended, attempts=(), outcome="ok", first_ms=1.2, ended_ms=2.1, upstream_ms=0.0
            )
        arm = rng.choices(ARMS, (9, 1))[0] if route == "drafts" else ""
        first, other = sends[0].deployment, last.deployment if len(sends) > 1 else rng.choice(list(PLACES))
        why = decided(route=route, candidates=(other, first) if other != first else ("batch-only", first),
                      reason=f"weighted:{first}", **({"arm": arm, "arm_probability": 0.9} if arm else {}))  # fmt: skip
        made.requests.append(request_row(asked, ended, why.head, {}))
        made.attempts += [attempt_row(ended.id, at, one) for at, one in enumerate(ended.attempts, 1)]
        made.decisions.append(decision_row(asked.request.id, why))
    return made


def _more(rng: random.Random, route: str, last: Any) -> dict[str, Any]:
    """Return what is kept of answers in `search`, and who answers now and then in `code`."""
    if route == "code":
        return {"degraded": "smaller"} if rng.random() < 0.03 else {}
    if route != "search":
        return {}
    found = rng.choices(("hit", "semantic", "miss"), (20, 8, 72))[0]
    if found == "miss":
        return {"cache": found}
    saved = max(0, last.charge_nano)
    kept = Hit(
        f"req_{rng.getrandbits(112):028x}", last.deployment, last.provider, last.model, last.model, 60_000, saved
    )
    return {"cache": found, "hit": kept}


def _sends(rng: random.Random) -> list[Any]:
    name = rng.choices(list(PLACES), (20, 30, 30, 15, 5))[0]
    sends = []
    if rng.random() < 0.04:
        bad = rng.choice(("server_error", "rate_limited", "timeout"))
        message = "the provider is overloaded; try again" if bad != "timeout" else "nothing came within 30 s"
        failed = {"outcome": bad, "status": 503, "message": message, "usage": Usage(0, 0), "charge_nano": 0}
        sends.append(_send(rng, "luna", 0.3, **failed))
        if rng.random() < 0.2:
            return sends
    return [*sends, _send(rng, name, sends[-1].ended_ms if sends else 0.3)]


def _send(rng: random.Random, name: str, started_ms: float, **more: Any) -> Any:
    provider, model, rate = PLACES[name]
    given, made = rng.randrange(200, 8_000), rng.randrange(20, 900)
    first_ms = rng.lognormvariate(5.9, 0.4)
    return attempt(
        deployment=name, provider=provider, model=model, served_model=model, started_ms=started_ms,
        connected_ms=started_ms + 0.9, answered_ms=started_ms + first_ms, ended_ms=started_ms + first_ms + made * 9,
        **{"usage": Usage(given, made, given // 3), "charge_nano": _charge(rate, given, made),
           "charge_state": "measured" if rng.random() < 0.95 else "estimated", **more},
    )  # fmt: skip


def _charge(rate: int, given: int, made: int) -> int:
    """Return the charge by the price of `policy_of_rows`: output costs five times the input, the provider's cache a tenth."""
    cached = given // 3
    return (given - cached) * rate // 10 + cached * rate // 100 + made * rate // 2


def policy_of_rows() -> Any:
    """Return a policy with the routes and deployments of the rows."""
    made = policy()
    deployments = tuple(
        Deployment(
            name=name,
            provider=provider,
            wire=Wire(model=model),
            price=Price(
                rates=Rates(input=rate * 100_000, output=rate * 500_000, cache_read=rate * 10_000),
                version="p1",
                source="config",
            ),
        )
        for name, (provider, model, rate) in PLACES.items()
    )
    routes = {
        name: msgspec.structs.replace(made.routes["other"], name=name, candidates=tuple(PLACES)[n % 3 : n % 3 + 3])
        for n, name in enumerate(ROUTES)
    }
    return msgspec.structs.replace(made, deployments=deployments, routes=routes)
