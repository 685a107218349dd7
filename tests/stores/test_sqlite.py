"""What only the ledger in SQLite does: what it says of a file, and that its readers cannot write."""

from __future__ import annotations

import ast
import inspect
import sqlite3
from pathlib import Path

import pytest
from records import admitted, request_row, settled

from pointsman.stores import ledger_postgres, ledger_reading, sqlite
from pointsman.stores.ledger import Batch, LedgerError, LedgerMissing
from pointsman.stores.sqlite import FILE, SqliteReader, SqliteWriter


def test_what_is_no_ledger_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(LedgerMissing, match="there is no ledger at"):
        SqliteReader(tmp_path / "none.sqlite")
    other = tmp_path / "other.sqlite"
    sqlite3.connect(other).execute("CREATE TABLE t (a)").connection.commit()
    text = tmp_path / "text.sqlite"
    text.write_text("no database " * 100)
    for wrong in (other, text):
        for opening in (SqliteWriter, SqliteReader):
            with pytest.raises(LedgerError):
                opening(wrong)


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    SqliteWriter(tmp_path / FILE).close()
    with SqliteReader(tmp_path / FILE) as reader, pytest.raises(sqlite3.OperationalError):
        reader._db.execute("DELETE FROM requests")


def test_f90_a_reader_does_not_wait_for_the_writer(tmp_path: Path) -> None:
    writer = SqliteWriter(tmp_path / FILE)
    writer.write(Batch(requests=[request_row(admitted(), settled(), None, {})]))
    writer._db.execute("BEGIN IMMEDIATE")
    with SqliteReader(tmp_path / FILE) as reader:
        assert reader.recent(1)[0]["outcome"] == "ok"
    writer._db.execute("ROLLBACK")
    writer.close()


def test_s14_statements_are_not_put_together_where_they_are_executed() -> None:
    modules = (sqlite, ledger_reading, ledger_postgres)
    for node in [node for module in modules for node in ast.walk(ast.parse(inspect.getsource(module)))]:
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("execute", "executemany", "_all", "_rows"):
            assert not isinstance(node.args[0], ast.JoinedStr)
            if isinstance(node.args[0], ast.BinOp):
                assert isinstance(node.args[0].left, ast.Constant) and "PRAGMA" in node.args[0].left.value
