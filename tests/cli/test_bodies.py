"""The commands `bodies`: what is stored is shown and deleted, and who did so stands in the audit log."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
from typer.testing import CliRunner

from command_line import app
from pointsman.stores.bodies import Bodies, Body

STORED = Body("req_1", 1, 1 << 42, ("dev", "", "", ""), "r", "ok", "what was asked", "what was answered")


def run(data: Path, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["bodies", *words, "--data", str(data)])
    return done.exit_code, done.output


def actions(data: Path) -> list[str]:
    done = CliRunner().invoke(app, ["audit", "--json", "--data", str(data)])
    rows = json.loads(done.output)
    assert all("what was" not in json.dumps(row) for row in rows)
    return [row["action"] for row in rows if row["action"].startswith("bodies.")]


def test_show_delete_purge(tmp_path: Path) -> None:
    kept = Bodies(tmp_path)
    kept.add([STORED, msgspec.structs.replace(STORED, id="req_2")])
    code, told = run(tmp_path, "show", "req_1")
    assert code == 0 and json.loads(told)["request"] == "what was asked"
    assert run(tmp_path, "delete", "req_1")[0] == 0
    assert kept.find("req_1") is None and kept.find("req_2") is not None
    assert [run(tmp_path, word, "req_1")[0] for word in ("show", "delete")] == [1, 1]
    assert run(tmp_path, "purge", "--yes")[0] == 0 and kept.files() == []
    assert sorted(actions(tmp_path)) == ["bodies.delete", "bodies.purge", "bodies.show"]
