"""Routines: the decisions of `Cells` as PostgreSQL carries them out, each in one transaction and on the server's clock.

They are installed under names that hold a digest of their text, so that routers of two versions work side by side; the tables
have a number, which rises when their columns change. Rows are locked in one order, that of their names after the owner's own,
so nobody waits for one who waits for him. What was committed in the last moments before the server itself fails may be lost
(`synchronous_commit = off`): a decision does not wait for a disk.
"""

from __future__ import annotations

from hashlib import blake2b

from pointsman.stores.counters.server import KEPT_MS

LOCK = 0x706D_636E_7472  # of the installation, as an advisory lock
RESERVE, SETTLE = 1, 2  # kinds of steps

TABLES = """
CREATE TABLE IF NOT EXISTS pointsman_cells_1 (
  name text COLLATE "C" PRIMARY KEY, mark bigint NOT NULL, used bigint NOT NULL, held bigint NOT NULL, forget_ms bigint NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE IF NOT EXISTS pointsman_owners_1 (
  owner text COLLATE "C" PRIMARY KEY, until_ms bigint NOT NULL, last bigint NOT NULL, gone boolean NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE IF NOT EXISTS pointsman_holds_1 (
  owner text COLLATE "C", name text COLLATE "C", amount bigint NOT NULL, PRIMARY KEY (owner, name)
) WITH (fillfactor = 50);
"""

# `names` are sorted. `figures` are steps one after another: kind, how many counters, latest time or number; then for each
# counter its place in `names` and the figures that `Server.reserve` or `Server.settle` is given.
_COUNT = """
(me text, names text[], figures bigint[]) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
  marks bigint[] := '{}'; useds bigint[] := '{}'; helds bigint[] := '{}'; owns bigint[] := '{}'; forgets bigint[] := '{}';
  starts bigint[]; spent bigint[]; answer bigint[] := '{}'; part bigint[];
  changed boolean[] := '{}'; held_anew boolean[] := '{}';
  m bigint; u bigint; h bigint; own bigint; told bigint; told_before bigint;
  now_us bigint; wall bigint; at int := 1; p int; c int; n int; kind int; head bigint;
  rate bigint; lim bigint; amount bigint; actual bigint; start bigint; finish bigint;
  room bigint; reset bigint; wait bigint; worst bigint; refusing int;
BEGIN
  PERFORM set_config('synchronous_commit', 'off', true);
  LOOP
    SELECT last INTO told FROM pointsman_owners_1 WHERE owner = me FOR UPDATE;
    EXIT WHEN FOUND;
    wall := extract(epoch FROM clock_timestamp()) * 1000;
    INSERT INTO pointsman_owners_1 VALUES (me, wall + 10000, 0, false) ON CONFLICT DO NOTHING;
  END LOOP;
  told_before := told;
  FOR i IN 1 .. cardinality(names) LOOP
    LOOP
      SELECT mark, used, held, forget_ms INTO m, u, h, wait FROM pointsman_cells_1 WHERE name = names[i] FOR UPDATE;
      EXIT WHEN FOUND;
      INSERT INTO pointsman_cells_1 VALUES (names[i], 0, 0, 0, 0) ON CONFLICT DO NOTHING;
    END LOOP;
    SELECT x.amount INTO own FROM pointsman_holds_1 AS x WHERE x.owner = me AND x.name = names[i];
    marks[i] := m; useds[i] := u; helds[i] := h; owns[i] := coalesce(own, 0); forgets[i] := wait;
    changed[i] := false; held_anew[i] := false;
  END LOOP;
  now_us := extract(epoch FROM clock_timestamp()) * 1000000;
  wall := now_us / 1000;
  WHILE at <= cardinality(figures) LOOP
    kind := figures[at]; n := figures[at + 1]; head := figures[at + 2]; at := at + 3;
    IF kind = 1 THEN
      refusing := -1; worst := 0; part := '{}'; starts := '{}'; spent := '{}';
      FOR j IN 0 .. n - 1 LOOP
        p := at + 8 * j;
        c := figures[p]; rate := figures[p + 1]; lim := figures[p + 2]; amount := figures[p + 6];
        IF rate > 0 THEN
          start := CASE WHEN marks[c] > now_us AND marks[c] <= now_us + 2 * rate THEN marks[c] ELSE now_us END;
          finish := start + floor(least(amount::float8 * rate / lim, 4e18))::bigint;
          wait := finish - now_us - rate; reset := finish - now_us;
          room := floor(greatest((rate - reset)::float8 * lim / rate, -4e18))::bigint;
          starts[j] := finish; spent[j] := 0;
          part := part || ARRAY[room, reset, start, 0, 0];
        ELSE
          start := figures[p + 3]; finish := figures[p + 4];
          IF wall >= finish THEN start := finish; finish := figures[p + 5]; END IF;
          IF marks[c] > start THEN finish := marks[c] + (finish - start); start := marks[c]; END IF;
          u := CASE WHEN marks[c] = start THEN useds[c] ELSE 0 END;
          room := lim - u - helds[c] - amount; reset := finish * 1000 - now_us;
          wait := CASE WHEN room < 0 THEN reset ELSE 0 END;
          starts[j] := start; spent[j] := u;
          part := part || ARRAY[room, reset, start, u, helds[c]];
        END IF;
        IF figures[p + 7] = 1 AND wait > 0 THEN
          IF amount > lim THEN wait := -1; END IF;
          IF refusing < 0 OR (worst <> -1 AND (wait = -1 OR wait > worst)) THEN refusing := j; worst := wait; END IF;
        END IF;
      END LOOP;
      IF now_us > head THEN refusing := -2; END IF;
      answer := answer || ARRAY[refusing, worst, now_us] || part;
      IF refusing = -1 THEN
        FOR j IN 0 .. n - 1 LOOP
          p := at + 8 * j;
          c := figures[p]; rate := figures[p + 1]; amount := figures[p + 6];
          marks[c] := starts[j]; changed[c] := true;
          IF rate > 0 THEN
            forgets[c] := wall + rate / 500 + 1000;
          ELSE
            useds[c] := spent[j]; helds[c] := helds[c] + amount; owns[c] := owns[c] + amount; held_anew[c] := true;
            forgets[c] := greatest(figures[p + 5], starts[j]) + KEPT_MS;
          END IF;
        END LOOP;
      END IF;
      at := at + 8 * n;
    ELSE
      answer := answer || (head > told)::int::bigint;
      FOR j IN 0 .. n - 1 LOOP
        EXIT WHEN head <= told;
        p := at + 9 * j;
        c := figures[p]; rate := figures[p + 1]; lim := figures[p + 2];
        amount := figures[p + 6]; actual := figures[p + 7]; start := figures[p + 8];
        changed[c] := true;
        IF rate > 0 THEN
          finish := start + floor(least(amount::float8 * rate / lim, 4e18))::bigint;
          m := start + floor(least(actual::float8 * rate / lim, 4e18))::bigint;
          IF actual <= amount THEN
            marks[c] := marks[c] - greatest(0, finish - greatest(now_us, m));
          ELSE
            marks[c] := least(greatest(marks[c], now_us) + m - finish, now_us + 2 * rate);
          END IF;
          forgets[c] := wall + rate / 500 + 1000;
        ELSE
          start := figures[p + 3]; finish := figures[p + 4];
          IF wall >= finish THEN start := finish; finish := figures[p + 5]; END IF;
          IF marks[c] > start THEN finish := marks[c] + (finish - start); start := marks[c]; END IF;
          IF marks[c] <> start THEN useds[c] := 0; END IF;
          own := least(owns[c], amount);
          marks[c] := start; useds[c] := useds[c] + actual; helds[c] := greatest(0, helds[c] - own);
          owns[c] := owns[c] - own; held_anew[c] := true;
          forgets[c] := finish + KEPT_MS;
        END IF;
      END LOOP;
      told := greatest(told, head);
      at := at + 9 * n;
    END IF;
  END LOOP;
  FOR i IN 1 .. cardinality(names) LOOP
    IF changed[i] THEN
      UPDATE pointsman_cells_1 SET mark = marks[i], used = useds[i], held = helds[i], forget_ms = forgets[i]
        WHERE name = names[i];
    END IF;
    IF held_anew[i] THEN
      INSERT INTO pointsman_holds_1 AS x VALUES (me, names[i], owns[i])
        ON CONFLICT (owner, name) DO UPDATE SET amount = excluded.amount;
    END IF;
  END LOOP;
  IF told <> told_before THEN UPDATE pointsman_owners_1 SET last = told WHERE owner = me; END IF;
  RETURN answer;
END $$
"""

# `names` and `amounts`: what we know to hold, when `reconcile` says that we hold nothing else.
_BEAT = """
(me text, silent_ms bigint, reconcile boolean, names text[], amounts bigint[]) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
  now_us bigint := extract(epoch FROM clock_timestamp()) * 1000000;
  wall bigint := now_us / 1000;
  dead text[];
  back record;
BEGIN
  PERFORM set_config('synchronous_commit', 'off', true);
  INSERT INTO pointsman_owners_1 VALUES (me, wall + silent_ms, 0, false)
    ON CONFLICT (owner) DO UPDATE SET until_ms = wall + silent_ms, gone = false;
  dead := ARRAY(
    SELECT owner FROM pointsman_owners_1 WHERE NOT gone AND until_ms < wall ORDER BY owner LIMIT 16 FOR UPDATE SKIP LOCKED);
  FOR back IN
    SELECT given.name, sum(given.amount)::bigint AS amount FROM (
      SELECT x.name, x.amount FROM pointsman_holds_1 AS x WHERE x.owner = ANY (dead)
      UNION ALL
      SELECT x.name, x.amount - coalesce(k.amount, 0)
        FROM pointsman_holds_1 AS x LEFT JOIN unnest(names, amounts) AS k (name, amount) ON k.name = x.name
        WHERE reconcile AND x.owner = me AND x.amount > coalesce(k.amount, 0)
    ) AS given GROUP BY given.name ORDER BY given.name
  LOOP
    UPDATE pointsman_cells_1 SET held = greatest(0, held - back.amount) WHERE name = back.name;
  END LOOP;
  DELETE FROM pointsman_holds_1 WHERE owner = ANY (dead);
  UPDATE pointsman_owners_1 SET gone = true WHERE owner = ANY (dead);
  IF reconcile THEN
    UPDATE pointsman_holds_1 AS x SET amount = coalesce(k.amount, 0)
      FROM pointsman_holds_1 AS y LEFT JOIN unnest(names, amounts) AS k (name, amount) ON k.name = y.name
      WHERE x.owner = me AND y.owner = me AND y.name = x.name AND x.amount > coalesce(k.amount, 0);
  END IF;
  IF random() < 0.01 THEN
    DELETE FROM pointsman_holds_1 WHERE owner = me AND amount = 0;
    DELETE FROM pointsman_cells_1 WHERE name = ANY (ARRAY(
      SELECT name FROM pointsman_cells_1 WHERE held = 0 AND forget_ms < wall LIMIT 1000 FOR UPDATE SKIP LOCKED));
    DELETE FROM pointsman_owners_1 WHERE owner = ANY (ARRAY(
      SELECT owner FROM pointsman_owners_1 WHERE gone AND until_ms < wall - KEPT_MS LIMIT 1000 FOR UPDATE SKIP LOCKED));
  END IF;
  RETURN ARRAY[now_us];
END $$
"""


def _named(kind: str, text: str) -> tuple[str, str]:
    text = text.replace("KEPT_MS", str(KEPT_MS))
    name = f"pointsman_{kind}_{blake2b(text.encode(), digest_size=6).hexdigest()}"
    return name, f"CREATE OR REPLACE FUNCTION {name}{text}"


COUNT, MAKE_COUNT = _named("count", _COUNT)
BEAT, MAKE_BEAT = _named("beat", _BEAT)
IS_THERE = f"SELECT to_regproc('{COUNT}') IS NOT NULL AND to_regproc('{BEAT}') IS NOT NULL"
INSTALL = f"BEGIN; SELECT pg_advisory_xact_lock({LOCK}); {TABLES} {MAKE_COUNT}; {MAKE_BEAT}; COMMIT"
