"""Reckonings: what past requests would have cost at other prices, kept beside the ledger's rows, which are never changed.

A reckoning is made once; the tables refuse changes and deletions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from pointsman.core.usage import Usage
from pointsman.stores.ledger_attempts import IS_LONE
from pointsman.stores.sql import Db, Values

MOST_LISTED = 1_000
MOST_SUMS = 100_000
PAGE = 2_000  # requests read at a time
Ask = Callable[[str, Values], list[Any]]

MIGRATION = """
CREATE TABLE reckonings (
    id TEXT PRIMARY KEY,
    made_ms INTEGER NOT NULL,
    actor TEXT NOT NULL,
    since_ms INTEGER NOT NULL,
    until_ms INTEGER NOT NULL,
    upto_seq INTEGER NOT NULL,        -- the last request that was looked at
    origin TEXT NOT NULL,             -- where the prices were from
    sha256 TEXT NOT NULL,             -- of the prices that were met
    attempts INTEGER NOT NULL,
    booked_nano INTEGER NOT NULL,
    booked_unpriced INTEGER NOT NULL,
    reckoned_nano INTEGER NOT NULL,
    unpriced INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE reckoning_sums (
    id TEXT NOT NULL,
    day TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    deployment TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    booked_nano INTEGER NOT NULL,
    booked_unpriced INTEGER NOT NULL,
    reckoned_nano INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    newly_priced INTEGER NOT NULL,
    newly_priced_nano INTEGER NOT NULL,
    assumed INTEGER NOT NULL,
    carried INTEGER NOT NULL,
    PRIMARY KEY (id, day, provider, model, deployment)
) WITHOUT ROWID;
CREATE TRIGGER reckonings_are_not_changed BEFORE UPDATE ON reckonings BEGIN SELECT RAISE(ABORT, 'what was reckoned is not changed'); END;
CREATE TRIGGER reckonings_are_not_deleted BEFORE DELETE ON reckonings BEGIN SELECT RAISE(ABORT, 'what was reckoned is not deleted'); END;
CREATE TRIGGER reckoning_sums_are_not_changed BEFORE UPDATE ON reckoning_sums BEGIN SELECT RAISE(ABORT, 'what was reckoned is not changed'); END;
CREATE TRIGGER reckoning_sums_are_not_deleted BEFORE DELETE ON reckoning_sums BEGIN SELECT RAISE(ABORT, 'what was reckoned is not deleted'); END;
"""  # noqa: E501  a statement with a semicolon inside has to stand on one line

# reckoning_charges: of each request whose charge is another than was booked, what it is then (no figure: unpriced).
CHARGES = """
ALTER TABLE reckonings ADD COLUMN charges INTEGER NOT NULL DEFAULT -1;
CREATE TABLE reckoning_charges (
    reckoning TEXT NOT NULL,
    row_seq INTEGER NOT NULL,
    reckoned_nano INTEGER,
    reckoned_state TEXT NOT NULL,
    PRIMARY KEY (reckoning, row_seq)
) WITHOUT ROWID;
CREATE TRIGGER reckoning_charges_are_not_changed BEFORE UPDATE ON reckoning_charges BEGIN SELECT RAISE(ABORT, 'what was reckoned is not changed'); END;
CREATE TRIGGER reckoning_charges_are_not_deleted BEFORE DELETE ON reckoning_charges BEGIN SELECT RAISE(ABORT, 'what was reckoned is not deleted'); END;
"""  # noqa: E501


class Sums(msgspec.Struct, kw_only=True):
    """Hold the sums of some attempts. `booked_*` is what the ledger says; `reckoned_nano` what they cost at the other prices,
    `unpriced` how many have none there either; `newly_priced` those that the ledger has no price of and this has, and their
    cost; `assumed` those whose service tier is not known, reckoned as standard; `carried` those whose booked charge was taken
    over, because nothing of them was counted."""

    attempts: int = 0
    booked_nano: int = 0
    booked_unpriced: int = 0
    reckoned_nano: int = 0
    unpriced: int = 0
    newly_priced: int = 0
    newly_priced_nano: int = 0
    assumed: int = 0
    carried: int = 0


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the sums of one UTC day, provider, model and deployment."""

    day: str
    provider: str
    model: str
    deployment: str
    sums: Sums


class Reckoning(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what a reckoning is of, and its totals. `charges`: how many requests have another charge than was booked; -1: it was
    made before these were kept."""

    id: str
    made_ms: int
    actor: str
    since_ms: int
    until_ms: int
    upto_seq: int
    origin: str
    sha256: str
    attempts: int
    booked_nano: int
    booked_unpriced: int
    reckoned_nano: int
    unpriced: int
    charges: int = -1

    @property
    def difference_nano(self) -> int:
        return self.reckoned_nano - self.booked_nano


class Sent(msgspec.Struct, frozen=True, gc=False):
    """Hold one attempt as the ledger has it; `n` is 0 for a request without one. `charge_nano` None: unpriced."""

    seq: int
    at_ms: int
    day: str
    recovered: bool
    n: int
    provider: str
    model: str
    deployment: str
    usage: Usage
    charge_nano: int | None
    price_version: str


_HEAD, _SUMS = Reckoning.__struct_fields__, Sums.__struct_fields__
_ADD = f"INSERT INTO reckonings ({', '.join(_HEAD)}) VALUES ({', '.join('?' * len(_HEAD))})"  # noqa: S608  our own table
_PLACE = ("id", "day", "provider", "model", "deployment")
_ADD_SUMS = f"""INSERT INTO reckoning_sums ({", ".join((*_PLACE, *_SUMS))})
VALUES ({", ".join("?" * (len(_PLACE) + len(_SUMS)))})"""  # noqa: S608
_ADD_CHARGE = "INSERT INTO reckoning_charges (reckoning, row_seq, reckoned_nano, reckoned_state) VALUES (?, ?, ?, ?)"
_LISTED = f"SELECT {', '.join(_HEAD)} FROM reckonings ORDER BY made_ms DESC, id LIMIT :most"  # noqa: S608
_FIND = f"SELECT {', '.join(_HEAD)} FROM reckonings WHERE id >= :text AND id < :end ORDER BY id LIMIT 2"  # noqa: S608
_LINES = f"""SELECT {", ".join((*_PLACE[1:], *_SUMS))} FROM reckoning_sums WHERE id = :id
ORDER BY day, provider, model, deployment LIMIT :most"""  # noqa: S608
_TOKENS = Usage.__struct_fields__[:-1]
_LONE = f"CASE WHEN r.{IS_LONE} THEN "
_COUNTED = ", ".join(f"COALESCE(a.{one}, {_LONE} r.{one} ELSE 0 END)" for one in _TOKENS)
_SENT = f"""SELECT r.seq, r.at_ms, r.day, r.recovered, COALESCE(a.n, {_LONE} 1 ELSE 0 END), COALESCE(a.provider, r.provider),
    COALESCE(a.model, r.model), COALESCE(a.deployment, r.deployment), {_COUNTED},
    COALESCE(a.usage_source, {_LONE} r.usage_source ELSE 'unknown' END),
    CASE WHEN a.n IS NULL THEN r.charge_nano ELSE a.charge_nano END, COALESCE(a.price_version, r.price_version)
FROM (
    SELECT * FROM requests WHERE seq > :after AND seq <= :upto AND at_ms >= :since AND at_ms < :until ORDER BY seq LIMIT :most
) r LEFT JOIN sends a ON a.request_id = r.id ORDER BY r.seq, 5"""  # noqa: S608


def sent(ask: Ask, since_ms: int, until_ms: int, upto_seq: int) -> Iterator[Sent]:
    """Yield the attempts of the requests of a time, in the order of booking, a page at a time; a request without one is
    yielded itself. Raise LedgerError."""
    after = 0
    while True:
        values = {"after": after, "upto": upto_seq, "since": since_ms, "until": until_ms, "most": PAGE}
        rows = ask(_SENT, values)
        if not rows:
            return
        for row in map(tuple, rows):
            seq, at_ms, day, recovered, n, provider, model, deployment, *counted = row
            *usage, charge_nano, price_version = counted
            place = (provider, model, deployment)
            yield Sent(seq, at_ms, day, bool(recovered), n, *place, Usage(*usage), charge_nano, price_version)
        after = rows[-1][0]


def keep(db: Db, made: Reckoning, lines: Iterable[Line]) -> None:
    """Store a reckoning, inside a transaction."""
    db.execute(_ADD, msgspec.structs.astuple(made))
    rows = [
        (made.id, one.day, one.provider, one.model, one.deployment, *msgspec.structs.astuple(one.sums)) for one in lines
    ]
    if rows:
        db.executemany(_ADD_SUMS, rows)


def keep_charges(db: Db, id: str, charges: Iterable[tuple[int, int | None, str]]) -> None:
    """Store charges of requests (`seq`, nano-dollars, state), inside a transaction, before the reckoning itself."""
    rows = [(id, *one) for one in charges]
    if rows:
        db.executemany(_ADD_CHARGE, rows)


def charges_kept(ask: Ask, id: str) -> int:
    """Return how many charges a reckoning has."""
    return int(ask("SELECT COUNT(*) FROM reckoning_charges WHERE reckoning = :id", {"id": id})[0][0])


def reckonings(ask: Ask) -> list[Reckoning]:
    """Return all, the newest first, MOST_LISTED at most."""
    return [Reckoning(**dict(zip(_HEAD, tuple(row), strict=True))) for row in ask(_LISTED, {"most": MOST_LISTED})]


def reckoning(ask: Ask, text: str) -> Reckoning | None:
    """Return the one whose id a text is, or alone begins."""
    found = ask(_FIND, {"text": text, "end": text + "\uffff"}) if text else []
    if not found or (len(found) > 1 and found[0][0] != text):
        return None
    return Reckoning(**dict(zip(_HEAD, tuple(found[0]), strict=True)))


def reckoned(ask: Ask, id: str) -> list[Line]:
    """Return the sums of a reckoning by day, provider, model and deployment. For bills that take over what the ledger has
    no price of: `newly_priced` attempts and `newly_priced_nano`."""
    found = []
    for row in map(tuple, ask(_LINES, {"id": id, "most": MOST_SUMS})):
        day, provider, model, deployment, *figures = row
        found.append(
            Line(
                day=day,
                provider=provider,
                model=model,
                deployment=deployment,
                sums=Sums(**dict(zip(_SUMS, figures, strict=True))),
            )
        )
    return found
