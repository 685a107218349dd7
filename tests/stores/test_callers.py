"""What every key store does, whatever keeps it; and what is published of it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from pointsman.stores import callers_file
from pointsman.stores.audit import GENESIS, broken_at
from pointsman.stores.callers import (
    MOST_LISTED,
    AuditRow,
    InTheWay,
    NotThere,
    Page,
    Published,
    Settings,
    Store,
    Unavailable,
    Unfit,
)
from pointsman.stores.callers_postgres import PostgresCallers
from pointsman.stores.callers_sqlite import FILE, SqliteCallers
from pointsman.stores.private import PrivateError, kept, pepper_of

PEPPER = b"p" * 43
DAY_MS = 86_400_000


class Clock:
    now_ms = 1_800_000_000_000

    def __call__(self) -> int:
        return self.now_ms


def sqlite_store(request: pytest.FixtureRequest, clock: Clock) -> Store:
    return SqliteCallers(request.getfixturevalue("tmp_path") / FILE, PEPPER, create=True, clock=clock)


def postgres_store(request: pytest.FixtureRequest, clock: Clock) -> Store:
    return PostgresCallers(request.getfixturevalue("postgres_url"), PEPPER, clock=clock)


# A back end adds itself here.
STORES: dict[str, Callable[[pytest.FixtureRequest, Clock], Store]] = {
    "sqlite": sqlite_store,
    "postgres": postgres_store,
}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, clock: Clock) -> Iterator[Store]:
    made = STORES[request.param](request, clock)
    yield made
    made.close()


def test_nothing_is_published_of_an_empty_store(store: Store) -> None:
    published = store.published()
    assert not published.closed and published.keys == () and published.secrets == ()


def test_a_key_is_published_under_its_digest_until_it_ends(store: Store, clock: Clock) -> None:
    acting = store.acting("me")
    settings = Settings(routes=("a",), priority="low", tier="t", concurrency=2)
    key, text = acting.add_key("dev", settings=settings, expires_ms=clock.now_ms + 1000)
    published = store.published()
    [(mark, place, until_ms)] = published.secrets
    caller = published.keys[place]
    assert (caller.name, caller.routes, caller.rank, caller.tier, caller.concurrency) == ("dev", ("a",), 3, "t", 2)
    assert until_ms == clock.now_ms + 1000 and published.closed and text.encode() not in mark
    clock.now_ms += 1000
    assert store.published().secrets == () and acting.key(key.id).state(clock.now_ms) == "expired"
    acting.change_key(key.id, {"expires_ms": None})
    assert len(store.published().secrets) == 1


def test_a_rotated_key_has_two_digests_for_the_time_of_grace(store: Store, clock: Clock) -> None:
    acting = store.acting("me")
    key, _ = acting.add_key("dev")
    [(first, _, _)] = store.published().secrets
    acting.rotate_key(key.id, 5_000)
    ends = {mark: until_ms for mark, _, until_ms in store.published().secrets}
    assert len(ends) == 2 and ends[first] == clock.now_ms + 5_000
    acting.rotate_key(key.id, DAY_MS)
    assert {m: u for m, _, u in store.published().secrets}[first] == clock.now_ms + 5_000  # no grace is made longer
    clock.now_ms += 5_000
    assert first not in {mark for mark, _, _ in store.published().secrets}
    with pytest.raises(Unfit):
        acting.rotate_key(key.id, 31 * DAY_MS)


def test_a_revoked_key_is_gone_for_good_and_its_name_too(store: Store) -> None:
    acting = store.acting("me")
    key, _ = acting.add_key("dev")
    acting.revoke_key(key.id)
    assert store.published() == msgspec.structs.replace(store.published(), keys=(), secrets=(), closed=True)
    for change in (
        lambda: acting.change_key(key.id, {"tier": "x"}),
        lambda: acting.rotate_key(key.id, 0),
        lambda: acting.add_key("dev"),
    ):
        with pytest.raises(InTheWay):
            change()


def test_every_change_raises_the_revision_and_has_its_row_in_the_chain(store: Store) -> None:
    acting = store.acting("me")
    seen = [store.revision()]

    def changed() -> None:
        assert store.revision() > seen[-1]
        seen.append(store.revision())

    project = acting.project_at(("acme", "support", "bot"))
    changed()
    assert acting.project_at(("acme", "support", "bot")) == project
    key, _ = acting.add_key("dev", project.id)
    changed()
    acting.rename_group("team", project.parent, "sales")
    changed()
    acting.rotate_key(key.id, 0)
    changed()
    acting.revoke_key(key.id)
    changed()
    admin, _ = acting.add_admin_key("ops", "viewer")
    acting.revoke_admin_key(admin.id)
    acting.note("config.reload", "v2", {"ok": True})
    rows = acting.audit()
    assert [row.action for row in rows] == [
        *("organisation.create", "team.create", "project.create", "key.create", "team.rename", "key.rotate"),
        *("key.revoke", "admin_key.create", "admin_key.revoke", "config.reload"),
    ]
    assert {row.actor for row in rows} == {"me"} and broken_at(rows) == (0, rows[-1].hash)
    renamed = rows[4]
    assert '"support"' in renamed.before and '"sales"' in renamed.after


def test_a_failed_change_leaves_nothing_behind(store: Store) -> None:
    acting = store.acting("me")
    acting.add_key("dev")
    before = store.published(), acting.audit()
    for change in (
        lambda: acting.add_key("dev"),
        lambda: acting.add_key("a b"),
        lambda: acting.add_key("pk-pm-0123456789"),
        lambda: acting.add_key("x", "proj_none"),
        lambda: acting.add_key("x", settings=Settings(tags=("a b",))),
        lambda: acting.add_group("team", "t", "org_none"),
        lambda: acting.add_admin_key("x", "root"),  # type: ignore[arg-type]
        lambda: acting.revoke_key("key_none"),
    ):
        with pytest.raises((InTheWay, Unfit, NotThere)):
            change()
    assert (store.published(), acting.audit()) == before


def test_pages_are_bounded_and_lead_to_the_end(store: Store) -> None:
    acting = store.acting("me")
    for n in range(5):
        acting.add_key(f"k{n}")
    first, after = acting.keys(page=Page(0, 2))
    rest, end = acting.keys(page=Page(after, 10 * MOST_LISTED))
    assert [key.name for key in first + rest] == [f"k{n}" for n in range(5)] and end == 0


def test_when_a_key_was_last_used_is_kept_as_a_day(store: Store) -> None:
    acting = store.acting("me")
    key, _ = acting.add_key("dev")
    revision = store.revision()
    store.used({"dev": "2026-11-22", "nobody": "2026-11-22"})
    store.used({"dev": "2026-11-21"})
    assert acting.key(key.id).last_used == "2026-11-22" and store.revision() == revision


def test_s04_an_acting_of_one_organisation_reaches_no_other(store: Store) -> None:
    everywhere = store.acting("me")
    ours, theirs = (everywhere.project_at((name, "team", "project")) for name in ("acme", "globex"))
    key, _ = everywhere.add_key("dev", theirs.id)
    bound = store.acting("them", ours.organisation)
    before = store.published()
    for reach in (
        lambda: bound.key(key.id),
        lambda: bound.revoke_key(key.id),
        lambda: bound.rotate_key(key.id, 0),
        lambda: bound.change_key(key.id, {"tier": "x"}),
        lambda: bound.group("organisation", theirs.organisation),
        lambda: bound.rename_group("team", theirs.parent, "x"),
        lambda: bound.remove_group("project", theirs.id),
        lambda: bound.add_key("x", theirs.id),
        lambda: bound.add_group("project", "x", theirs.parent),
        lambda: bound.add_group("organisation", "new"),
    ):
        with pytest.raises(NotThere):
            reach()
    with pytest.raises(Unfit):
        bound.add_key("x")
    assert store.published() == before
    assert [group.name for group in bound.groups("organisation")[0]] == ["acme"]
    assert bound.keys()[0] == [] and {row.organisation for row in bound.audit()} == {ours.organisation}


# --- the audit log
def log(folder: Path) -> list[AuditRow]:
    with SqliteCallers(folder / FILE, PEPPER, create=True) as store:
        acting = store.acting("me")
        for n in range(6):
            acting.add_key(f"k{n}")
        return acting.audit()


@pytest.mark.parametrize("field", [name for name in AuditRow.__struct_fields__ if name != "hash"])
def test_s24_a_changed_row_breaks_the_chain(tmp_path: Path, field: str) -> None:
    rows = log(tmp_path)
    value = getattr(rows[3], field)
    rows[3] = msgspec.structs.replace(rows[3], **{field: value + (1 if isinstance(value, int) else "x")})
    assert broken_at(rows)[0] == 4


def test_s24_rows_taken_out_put_in_or_swapped_break_the_chain(tmp_path: Path) -> None:
    rows = log(tmp_path)
    assert broken_at(rows) == (0, rows[-1].hash) and broken_at([]) == (0, GENESIS)
    assert broken_at(rows[:2] + rows[3:])[0] == 3
    assert broken_at(rows[1:])[0] == 1
    assert broken_at([*rows[:2], rows[2], *rows[2:]])[0] == 4
    assert broken_at([*rows[:2], rows[3], rows[2], *rows[4:]])[0] == 3


def test_s24_the_file_takes_no_change_of_the_log_and_the_command_finds_one(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from command_line import app

    rows = log(tmp_path)
    (tmp_path / "pepper").write_bytes(PEPPER)
    verify = ["audit", "verify", "--data", str(tmp_path)]
    assert CliRunner().invoke(app, [*verify, "--head", rows[-1].hash]).exit_code == 0
    db = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    for statement in ("UPDATE audit SET actor = 'x'", "DELETE FROM audit", "DELETE FROM audit WHERE seq = 6"):
        with pytest.raises(sqlite3.DatabaseError, match="append-only"):
            db.execute(statement)
    for trigger in ("audit_is_not_changed", "audit_is_not_cut"):  # who may write the file may do this too
        db.execute(f"DROP TRIGGER {trigger}")
    db.execute("DELETE FROM audit WHERE seq = 6")
    assert CliRunner().invoke(app, verify).exit_code == 0  # the end was cut off: only a noted hash tells
    assert CliRunner().invoke(app, [*verify, "--head", rows[-1].hash]).exit_code == 1
    db.execute("UPDATE audit SET actor = 'somebody else' WHERE seq = 3")
    db.close()
    found = CliRunner().invoke(app, verify)
    assert found.exit_code == 1 and "Row 3" in found.output


# --- files
def test_s25_files_are_private(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    pepper = pepper_of(tmp_path, {}, make=True)
    with SqliteCallers(tmp_path / FILE, pepper, create=True) as store:
        store.acting("me").add_key("dev")
        callers_file.publish(tmp_path, store.published)
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_file()}
    assert set(modes.values()) == {0o600} and {"pepper", FILE, "callers"} <= set(modes)


def test_a_store_is_refused_that_is_none_of_ours_or_newer_or_of_another_pepper(tmp_path: Path) -> None:
    def opened(pepper: bytes = PEPPER) -> None:
        SqliteCallers(tmp_path / FILE, pepper).close()

    with pytest.raises(Unavailable, match="there is no key store"):
        opened()
    log(tmp_path)
    opened()
    with pytest.raises(Unavailable, match="another pepper"):
        opened(b"q" * 43)
    db = sqlite3.connect(tmp_path / FILE)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(Unavailable, match="newer version"):
        opened()
    for path in tmp_path.glob(FILE + "*"):
        path.unlink()
    other = sqlite3.connect(tmp_path / FILE)
    other.execute("CREATE TABLE t (x)")
    other.close()
    with pytest.raises(Unavailable, match="not a key store"):
        opened()


def test_what_is_published_is_read_again_and_damage_is_seen(tmp_path: Path) -> None:
    made = Published(revision=3, closed=True, mark=b"m" * 8)
    assert callers_file.publish(tmp_path, lambda: made) == made == callers_file.read(tmp_path)
    path = tmp_path / callers_file.PUBLISHED
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(Unavailable):
            callers_file.read(tmp_path)
        path.write_bytes(whole[:place])
        with pytest.raises(Unavailable):
            callers_file.read(tmp_path)


def test_who_publishes_and_never_ends_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    callers_file.prepare(tmp_path)
    monkeypatch.setattr(callers_file, "LOCK_S", 0.1)
    with (tmp_path / "run" / "callers.lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Unavailable, match="publishing"):
            callers_file.publish(tmp_path, lambda: callers_file.NOTHING)


def test_a_secret_is_made_once_however_many_make_it(tmp_path: Path) -> None:
    code = "import sys, pathlib; from pointsman.stores.private import kept; print(kept(pathlib.Path(sys.argv[1]), make=True))"
    words = [sys.executable, "-c", code, str(tmp_path / "pepper")]
    running = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    assert len({process.communicate()[0] for process in running}) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["pepper"]
    assert kept(tmp_path / "nothing", make=False) is None
    (tmp_path / "short").write_text("short")
    with pytest.raises(PrivateError, match="shorter"):
        kept(tmp_path / "short", make=True)


def test_s14_values_reach_sql_as_parameters_only() -> None:
    import ast
    import inspect

    from pointsman.stores import callers_acting, callers_sqlite

    for module in (callers_acting, callers_sqlite):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("execute", "executemany", "number"):
                assert not isinstance(node.args[0], ast.JoinedStr)
                if isinstance(node.args[0], ast.BinOp):
                    assert isinstance(node.args[0].left, ast.Constant) and "PRAGMA" in node.args[0].left.value
