"""The log itself: what a line is, what is folded, what never stands in it, and that nobody waits for a reader."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pointsman.observe.log import BURST, FOLD_S, MOST_BYTES, MOST_FOLDS, MOST_LINES, Log

CANARY = "canary-of-the-config-0123456789"


class Reader:
    """A Log that writes into a pipe, under a clock of the test's own."""

    def __init__(self) -> None:
        self.reads, self.writes = os.pipe()
        os.set_blocking(self.reads, False)
        self.now_s = 100.0
        self.log = Log(self.writes, lambda: self.now_s)

    def text(self) -> str:
        try:
            return os.read(self.reads, 1 << 20).decode()
        except BlockingIOError:
            return ""

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]


@pytest.fixture
def reader() -> Iterator[Reader]:
    made = Reader()
    yield made
    os.close(made.reads)
    os.close(made.writes)


def test_a_line_for_people_and_one_for_programs(reader: Reader) -> None:
    reader.log.warning("alert", "something is odd", deployment="a")
    assert reader.text() == "pointsman: something is odd\n"
    reader.log.configure("worker 1", "json", "info")
    reader.log.warning("alert", "something is odd", deployment="a")
    (line,) = reader.lines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {
        "level": "warning",
        "process": "worker 1",
        "pid": os.getpid(),
        "event": "alert",
        "message": "something is odd",
        "fields": {"deployment": "a"},
    }


def test_what_is_below_the_level_is_not_written(reader: Reader) -> None:
    reader.log.configure("control", "json", "error")
    reader.log.info("ready", "x")
    reader.log.warning("alert", "x")
    reader.log.request(True, {"id": "x"})
    reader.log.error("exception", "y")
    assert [line["event"] for line in reader.lines()] == ["exception"]


@pytest.mark.parametrize("format", ["text", "json"])
@pytest.mark.parametrize(
    "secret",
    [
        CANARY,
        "sk-canary-0123456789abcdef",
        "Bearer canary.0123456789",
        "postgresql://user:canary-password@host/db",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.Y2FuYXJ5LXNpZ25hdHVyZQ",
    ],
)
def test_s07_no_secret_is_written(reader: Reader, format: str, secret: str) -> None:
    reader.log.configure("control", format, "info", [CANARY, "short"])
    reader.log.error("exception", f"it said {secret}", why=secret, more=[{"deep": secret}], short="short words stay")
    reader.log.request(True, {"id": secret})
    text = reader.text()
    assert secret not in text and "canary" not in text.replace("eyJ", "") and "***" in text and secret[-12:] not in text
    assert format == "text" or "short words stay" in text


def test_what_is_said_again_and_again_is_folded(reader: Reader) -> None:
    reader.log.configure("control", "json", "info")
    for _ in range(1_000):
        reader.log.warning("notify_failed", "it does not answer")
    reader.log.warning("notify_failed", "something else")
    assert [line["message"] for line in reader.lines()] == ["it does not answer"] * BURST + ["something else"]
    reader.now_s += FOLD_S
    reader.log.look()
    (line,) = reader.lines()
    assert line["message"] == f"repeated {1_000 - BURST} times: it does not answer"
    assert line["fields"] == {"repeated": 1_000 - BURST} and line["event"] == "notify_failed"
    reader.log.look()
    reader.log.warning("notify_failed", "it does not answer")
    assert len(reader.lines()) == 1


def test_a_flood_of_different_lines_is_bounded_too(reader: Reader) -> None:
    for number in range(MOST_FOLDS * 3):
        reader.log.warning("records_lost", f"record {number}")
        if not number % 100:
            reader.text()
    reader.text()
    assert len(reader.log._folds) <= MOST_FOLDS
    reader.now_s += FOLD_S
    reader.log.look()
    assert reader.text() == f"pointsman: repeated {MOST_FOLDS * 3 - MOST_LINES} times: record {MOST_FOLDS * 3 - 1}\n"


@pytest.mark.parametrize("format", ["text", "json"])
def test_a_line_is_never_longer_than_a_pipe_takes_at_once(reader: Reader, format: str) -> None:
    reader.log.configure("control", format, "info")
    reader.log.error("exception", "y" * 10_000, more="z" * 10_000)
    line = reader.text()
    assert len(line) <= MOST_BYTES and line.endswith("\n") and line.count("\n") == 1
    if format == "json":
        assert json.loads(line)["cut"] is True


def test_nobody_waits_for_a_reader_that_has_stopped(reader: Reader) -> None:
    os.set_blocking(reader.writes, False)
    try:
        while True:
            os.write(reader.writes, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(reader.writes, True)
    began_s = time.monotonic()
    for number in range(100):
        reader.log.error("exception", f"fault {number}")
    assert time.monotonic() - began_s < 1 and reader.log.lost == 100  # complaints_lost, log_lost


def test_without_tracing_no_process_loads_its_library() -> None:
    code = "import sys, pointsman.control.main, pointsman.gateway.worker, pointsman.cli.supervisor; "
    code += "sys.exit(any(name.startswith(('opentelemetry', 'google.protobuf')) for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
