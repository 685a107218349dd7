"""`pointsman status` and GET /v1/health/deployments: what the workers know of the deployments, in one table."""

from __future__ import annotations

import json
import time
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from command_line import app
from pointsman.core.health import State
from pointsman.core.standing import Standings, merged, standing_of

NOW_MS = 1_000_000.0
WELL = State(
    ttft_ms=210.0, tps=80.0, measured_ms=NOW_MS - 500, window_ok=19.0, window_all=20.0, ttft_p95_ms=400.0, sampled=20
)
AWAY = State(ejections=2, failures=5, open_until_ms=NOW_MS + 4_000, why="server_error")


def publish(folder: Path, number: int, *states: State, age_s: float = 0.0) -> None:
    run = folder / "run"
    run.mkdir(exist_ok=True)
    named = [standing_of(f"d{n}", "lab", state, NOW_MS) for n, state in enumerate(states)]
    part = Standings(int((time.time() - age_s) * 1000), number, "v1", named)
    (run / f"standing-{number}.msgpack").write_bytes(msgspec.msgpack.encode(part))


def ran(folder: Path, *more: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["status", "--data", str(folder), *more])
    return result.exit_code, result.output


def test_the_worst_that_a_worker_says_is_shown_and_how_many_say_it(tmp_path: Path) -> None:
    publish(tmp_path, 1, WELL, WELL)
    publish(tmp_path, 2, WELL, AWAY)
    code, said = ran(tmp_path)
    assert code == 1 and "2 workers, config v1" in said
    lines = [" ".join(line.split()) for line in said.splitlines()]
    assert "d0 lab healthy - 95.0% 210 ms 400 ms 80 20" in lines
    assert any(line.startswith("d1 lab open for 4 s (1/2) 5 x server_error") for line in lines)


def test_all_well_is_exit_code_0_and_json_has_every_figure(tmp_path: Path) -> None:
    publish(tmp_path, 1, WELL)
    code, said = ran(tmp_path, "--json")
    assert code == 0
    [worker] = json.loads(said)["workers"]
    [one] = worker["deployments"]
    assert (one["breaker"], one["again_ms"], one["success"], one["tokens_per_s"]) == ("closed", 0, 0.95, 80.0)


@pytest.mark.parametrize("kept", ["nothing", "old", "garbage"])
def test_where_nobody_runs_it_is_said(tmp_path: Path, kept: str) -> None:
    if kept == "old":
        publish(tmp_path, 1, WELL, age_s=60.0)
    elif kept == "garbage":
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "standing-1.msgpack").write_bytes(b"\xff")
    code, said = ran(tmp_path)
    assert code == 2 and "no router is running" in said


def test_a_deployment_never_measured_shows_no_figures() -> None:
    [(one, away)] = merged([Standings(0, 1, "v1", [standing_of("d", "lab", State(), NOW_MS)])])
    assert (one.success, one.ttft_p95_ms, one.tokens_per_s, one.measured_s_ago, away) == (None, None, None, None, 0)
