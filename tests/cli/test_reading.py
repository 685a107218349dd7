"""The commands that read the ledger: what they print, in how many columns, and what they say when they cannot."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from records import admitted, attempt, decided, feedback, policy, settled
from typer.testing import CliRunner, Result

from command_line import app
from pointsman.control.pump import Pump
from pointsman.control.replay import Policies
from pointsman.core.entry import Hit, Record, encode_records
from pointsman.core.usage import NO_USAGE
from pointsman.stores.journal import Journal
from pointsman.stores.sqlite import FILE, SqliteWriter

EVIL = "\x1b[31m<script>\r\n[bold]"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "100"})


def booked(data: Path, *records: Record, alive: bool = False) -> Journal:
    journal = Journal(data / "journal", "i1", 1 << 20, 1 << 30)
    for record in records:
        journal.append(encode_records([record]))
    if not alive:
        journal.close()
    writer = SqliteWriter(data / FILE)
    policies = Policies(writer)
    policies.keep(policy())
    pump = Pump(data / "journal", writer, policies)
    while pump.step():
        pass
    writer.close()
    return journal


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a folder with a failover, an unpriced, a recovered and a hostile request beside plain ones."""
    slow = attempt(deployment="mini", outcome="timeout", status=0, usage=NO_USAGE, charge_nano=0, message=EVIL)
    unpriced = attempt(deployment="mini", charge_nano=-1, charge_state="unpriced", started_ms=400.0)
    booked(
        tmp_path,
        *(record for n in range(5) for record in (admitted(n, client_id=f"mine-{n}"), settled(n))),
        admitted(5, client_id="moved"),
        settled(5, slow, unpriced),
        admitted(6, client_id="twice", asked_model=EVIL),
        admitted(7, client_id="twice"),
    )
    return tmp_path


def lines_of(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output + result.stderr
    return [line.rstrip() for line in result.output.splitlines()]


def test_usage_shows_each_group_and_a_total_in_100_columns(data: Path) -> None:
    lines = lines_of(run("usage", "--data", data, "--since", "2026-01-01"))
    assert max(map(len, lines)) <= 100
    text = "\n".join(lines)
    assert re.search(r"drafts +8 +", text) and re.search(r"total +8 +", text)
    assert "$0.0006" in text and "+1" in text  # measured apart from unpriced
    assert "$0.0068" in text  # two recovered, estimated


def test_usage_groups_by_two(data: Path) -> None:
    once = run("usage", "--data", data, "--since", "2026-01-01", "--by", "deployment", "--by", "outcome")
    assert once.output == run("usage", "--data", data, "--since", "2026-01-01", "--by", "deployment,outcome").output
    text = "\n".join(lines_of(once))
    assert re.search(r"large +ok +5", text) and re.search(r"large +recovered +2", text)
    assert max(map(len, lines_of(once))) <= 100


def test_usage_as_json_is_exact(data: Path) -> None:
    told = json.loads(run("usage", "--data", data, "--since", "2026-01-01", "--json").stdout)
    total = told["total"]
    assert (total["requests"], total["measured_nano"], total["estimated_nano"]) == (8, 600_000, 6_800_000)
    assert (total["unpriced"], total["recovered"], total["failovers"], total["errors"]) == (1, 2, 1, 2)
    assert told["groups"][0]["route"] == "drafts" and told["by"] == ["route"]


def test_usage_counts_from_when_it_is_told(data: Path) -> None:
    told = json.loads(run("usage", "--data", data, "--since", "2027-01-01", "--json").stdout)
    assert told["total"]["requests"] == 0 and told["groups"] == []
    assert "No requests" in run("usage", "--data", data, "--since", "2027-01-01").output


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--by", "colour"], "columns: route, model"),
        (["--by", "day,key,route"], "one or 2 columns"),
        (["--by", ","], "one or 2 columns"),
        (["--since", "yesterday"], "like 30m, 24h, 7d"),
    ],
)
def test_a_question_that_cannot_be_asked_is_said(data: Path, arguments: list[str], expected: str) -> None:
    result = run("usage", "--data", data, *arguments)
    assert result.exit_code == 2 and expected in result.stderr and result.stdout == ""


def test_explain_shows_candidates_attempts_and_money(data: Path) -> None:
    result = run("explain", "moved", "--data", data)
    text = "\n".join(lines_of(result))
    assert "weighted chose large with probability 0.70, out of 2 eligible of 2 candidates" in text
    assert "mini ended with timeout, so the router tried again" in text
    for expected in ("0.700", "0.300", "never: prior", "1.0 s before", "timeout", "unpriced", "$0.0034 was predicted"):
        assert expected in text, expected
    assert "━" in text and "─" in text and max(map(len, text.splitlines())) <= 100


def test_f111_nothing_of_a_client_or_provider_steers_the_terminal(data: Path) -> None:
    for result in (
        run("explain", "moved", "--data", data),
        run("explain", admitted(6).id, "--data", data),
        run("usage", "--by", "asked", "--since", "2026-01-01", "--data", data),
        run("tail", "--no-follow", "--data", data),
    ):
        assert result.exit_code == 0 and "\x1b" not in result.output and "\r" not in result.output


@pytest.mark.parametrize("text", [admitted(5).id, admitted(5).id[:-2], "moved"])
def test_a_request_is_found_by_its_id_its_beginning_or_the_clients_id(data: Path, text: str) -> None:
    told = json.loads(run("explain", text, "--json", "--data", data).stdout)
    assert told["id"] == admitted(5).id and len(told["attempts"]) == 2
    assert [(c["deployment"], c["rank"], c["probability"]) for c in told["candidates"]] == [
        ("large", 1, 0.7),
        ("mini", 2, 0.3),
    ]


def test_a_hit_is_told_with_whose_answer_it_was_and_what_it_saved(tmp_path: Path) -> None:
    hit = Hit(admitted(0).id, "large", "lab", "large-1", "", 61_000, 120_000)
    free = settled(1, attempts=(), cache="hit", hit=hit)
    booked(tmp_path, admitted(0), settled(0, cache="miss"), admitted(1), free)
    told = "\n".join(lines_of(run("explain", admitted(1).id, "--data", tmp_path)))
    assert f"Nothing was sent: the answer to {admitted(0).id} was kept, and given again." in told
    assert re.search(rf"cache +hit: the answer to {admitted(0).id}, 61 s old; \$0.00012 saved", told)
    assert re.search(r"charge +\$0.00 ", told)
    table = "\n".join(lines_of(run("usage", "--data", tmp_path, "--since", "2026-01-01", "--by", "cache")))
    assert re.search(r"hit +1 .*\$0.00012", table) and re.search(r"miss +1 ", table) and "saved" in table
    assert max(map(len, table.splitlines())) <= 100
    [first] = [
        row
        for row in json.loads(
            run("usage", "--data", tmp_path, "--since", "2026-01-01", "--by", "cache", "--json").stdout
        )["groups"]
        if row["cache"] == "hit"
    ]
    assert (first["hits"], first["saved_nano"], first["measured_nano"]) == (1, 120_000, 0)


def test_explain_says_when_it_finds_none_or_several(data: Path) -> None:
    none = run("explain", "req_none", "--data", data)
    assert none.exit_code == 1 and "no request of this id" in none.stderr
    several = run("explain", "twice", "--data", data)
    assert several.exit_code == 1 and admitted(6).id in several.stderr and admitted(7).id in several.stderr


def test_explain_knows_what_is_still_running(tmp_path: Path) -> None:
    journal = booked(tmp_path, admitted(0, client_id="now"), alive=True)
    result = run("explain", "now", "--data", tmp_path)
    assert result.exit_code == 1 and "not booked yet" in result.stderr
    journal.close()


def test_explain_shows_a_row_whose_decision_is_lost(tmp_path: Path) -> None:
    booked(tmp_path, settled(0))
    text = "\n".join(lines_of(run("explain", settled(0).id, "--data", tmp_path)))
    assert "The decision is not readable" in text and "admission lost" in text


def test_tail_shows_the_last_lines_in_100_columns(data: Path) -> None:
    lines = lines_of(run("tail", "--no-follow", "-n", "3", "--data", data))
    assert len(lines) == 4 and all(len(line) <= 100 for line in lines)
    assert "recovered" in lines[-1] and "~$0.0034" in lines[-1]
    assert "drafts → large » mini " in lines[1] and "unpriced" in lines[1]
    assert lines[1].endswith(admitted(5).id[:20])


def test_tail_as_json_is_one_row_a_line(data: Path) -> None:
    rows = [json.loads(line) for line in lines_of(run("tail", "--no-follow", "--json", "--data", data))]
    assert [row["id"] for row in rows] == [admitted(n).id for n in range(8)]


def test_tail_follows_what_is_booked(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    def meanwhile(seconds: float) -> None:
        monkeypatch.setattr(time, "sleep", interrupt)
        booked(data, admitted(20, client_id="new"), settled(20))

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", meanwhile)
    lines = lines_of(run("tail", "-n", "0", "--json", "--data", data))
    assert [json.loads(line)["client_id"] for line in lines] == ["new"]


@pytest.mark.parametrize("arguments", [["usage"], ["explain", "x"], ["tail"]])
def test_without_a_ledger_each_says_where_it_looked(tmp_path: Path, arguments: list[str]) -> None:
    result = run(*arguments, "--data", tmp_path)
    assert result.exit_code == 2 and str(tmp_path / FILE) in result.stderr and "pointsman serve" in result.stderr
    (tmp_path / FILE).write_text("not a database, but long enough to look like something" * 20)
    broken = run(*arguments, "--data", tmp_path)
    assert broken.exit_code == 2 and "Traceback" not in broken.stderr


def test_the_decision_is_that_of_the_records(data: Path) -> None:
    told = json.loads(run("explain", admitted(0).id, "--json", "--data", data).stdout)
    assert told["request"]["reason"] == decided().decision.reason and told["facts"]["input_tokens_estimated"] == 1_000


@pytest.fixture
def judged(data: Path) -> Path:
    """Return the folder with two judged requests, one of them twice, and feedback for nothing."""
    journal = Journal(data / "journal", "i2", 1 << 20, 1 << 30)
    words = {"label": "tone", "comment": EVIL, "correction": "Hi!"}
    given = (
        feedback(0, id="a", score=1.0, source="reviewer"),
        feedback(0, id="b", at_ms=feedback(0).at_ms + 1, score=0.25, thumbs="", **words),
        feedback(5, id="c", request_id="moved", score=0.5, thumbs=""),
        feedback(0, id="d", request_id="nothing"),
    )
    journal.append(encode_records(list(given)))
    journal.close()
    booked(data)
    return data


def test_usage_shows_feedback_where_there_is_any(data: Path, request: pytest.FixtureRequest) -> None:
    arguments = ("usage", "--data", data, "--since", "2026-01-01", "--by", "deployment,outcome")
    assert "feed" not in run(*arguments).output.lower()
    request.getfixturevalue("judged")
    lines = lines_of(run(*arguments))
    text = "\n".join(lines)
    assert "feed-" in text and re.search(r"total .*0\.38/2$", text, flags=re.M) and max(map(len, lines)) <= 100
    assert re.search(r"large +ok .*0\.25/1$", text, flags=re.M) and re.search(r"recovered .* -$", text, flags=re.M)
    assert "Feedback: 1 of 4 given since then name no request or session that is in the ledger." in text


def test_usage_as_json_has_feedback_in_every_group(judged: Path) -> None:
    told = json.loads(run("usage", "--data", judged, "--since", "2026-01-01", "--by", "arm", "--json").stdout)
    assert [(row["feedback"], row["feedback_count"]) for row in (*told["groups"], told["total"])] == [(0.375, 2)] * 2
    assert told["feedback"] == {"given": 4, "unmatched": 1}
    later = json.loads(run("usage", "--data", judged, "--since", "2027-01-01", "--json").stdout)
    assert (later["total"]["feedback"], later["feedback"]["given"]) == (None, 0)


def test_explain_shows_the_feedback_of_a_request(judged: Path) -> None:
    result = run("explain", "mine-0", "--data", judged)
    [first, second] = [line for line in lines_of(result) if line.startswith("feedback")]
    assert first.startswith("feedback   1.00 up for this request, reviewer · dev, 2026-11-18 ")
    assert "0.25 for this request, user · dev" in second and "label: tone; comment: ?[31m<script>" in second
    assert "\x1b" not in result.output and "correction: Hi!" in second
    assert "feedback" not in run("explain", "mine-1", "--data", judged).output
    told = json.loads(run("explain", "mine-0", "--json", "--data", judged).stdout)
    assert [row["id"] for row in told["feedback"]] == ["a", "b"]
