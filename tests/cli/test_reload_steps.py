"""In which order a new version goes to the processes, whoever dies or refuses meanwhile: without processes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.cli.child import Child
from pointsman.cli.reload import MOST_ASKED, PRICE_LIST, PRICES_AGAIN_S, WATCH_S, Reload
from pointsman.stores.versions import Versions, outcome

FAILED = b'{"failed": "it is wrong"}\n'


class Pretend(Child):
    """A child without a process: it has read what `waiting` no longer holds."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "none")
        self.up = True
        self.waiting: list[bytes] = []
        self.says: list[str] = []

    @property
    def running(self) -> bool:
        return self.up

    def lines(self) -> Iterator[str]:
        says, self.says = self.says, []
        yield from says

    def answers(self, line: str) -> None:
        if self.waiting:
            del self.waiting[0]
            self.says.append(line)


class Stage:
    """Play the supervisor. `kept` are the policies that the control process has said it has."""

    def __init__(self, data: Path) -> None:
        self.said: list[str] = []
        self.control, self.workers = Pretend("the control process"), [Pretend("worker 1"), Pretend("worker 2")]
        self.kept: set[bytes] = set()
        self.started = 0
        (data / "run").mkdir(parents=True, exist_ok=True)
        self.reload = Reload({"data": str(data)}, self, lambda text, **_: self.said.append(text))
        self.reload.compiler.heard += compiled(0)
        assert self.reload.compiled()
        for child in self.children:
            self.begin(child)
        self.settle()
        self.reload.begun()

    @property
    def children(self) -> list[Pretend]:
        return [self.control, *self.workers]

    # --- what Reload asks of the supervisor
    def start(self, child: Child) -> None:
        self.started += 1
        child.process = object()  # type: ignore[assignment]

    def ended(self, child: Child) -> str | None:
        if not child.heard:
            return None
        child.process = None
        return "exit code 1" if child.heard == FAILED else "exit code 0"

    def give(self, child: Child, data: bytes) -> None:
        assert isinstance(child, Pretend) and child.up and not child.waiting, "one at a time"
        head, _, policy = data.partition(b"\n")
        assert json.loads(head)["policy_bytes"] == len(policy)
        assert child is self.control or policy in self.kept, "no worker before the ledger"
        child.waiting.append(policy)

    # --- what happens
    def begin(self, child: Pretend) -> None:
        child.up, child.says = True, []
        child.given, child.has = self.reload.policy_for(control=child is self.control), None
        child.waiting = [child.given]

    def die(self, child: Pretend) -> None:
        child.up, child.given, child.has, child.waiting, child.says = False, None, None, [], []

    def answer(self, child: Pretend, word: str = "ready x") -> None:
        if child is self.control and child.waiting and not word.startswith("refused"):
            self.kept.add(child.waiting[0])
        child.answers(word)
        self.step()

    def step(self) -> None:
        self.reload.step(self.control, list(self.workers))

    def compile(self, output: bytes) -> None:
        if self.reload.compiler.process is not None:
            self.reload.compiler.heard += output
            self.step()

    def settle(self) -> None:
        """Let everyone live and answer well, until nothing moves any more."""
        for _ in range(20):
            for child in self.children:
                if not child.up:
                    self.begin(child)
                self.answer(child)


def compiled(n: int, price_change_ms: int = 0) -> bytes:
    entry = {
        "version": f"v{n}",
        "at_ms": 0,
        "author": "a",
        "trigger": "file",
        "source": "s",
        "sha256": "",
        "redacted": False,
    }
    told = {"version": f"v{n}", "listening": {}, "asked": {}, "restart": [], "entry": entry}
    told |= {"log": {"format": "text", "level": "info"}, "price_change_ms": price_change_ms}
    return json.dumps(told).encode() + b"\npolicy %d" % n


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_the_ledger_first_then_the_workers_then_it_is_said(stage: Stage, tmp_path: Path) -> None:
    stage.reload.ask("file")
    stage.step()
    stage.compile(compiled(1))
    assert stage.control.waiting == [b"policy 1"] and not any(worker.waiting for worker in stage.workers)
    stage.answer(stage.control, "kept v1")
    assert [worker.waiting for worker in stage.workers] == [[b"policy 1"]] * 2
    stage.answer(stage.workers[0], "adopted v1")
    assert outcome(tmp_path)["version"] == "v0" and len(Versions(tmp_path).entries()) == 1
    stage.answer(stage.workers[1], "adopted v1")
    assert stage.said[-1] == "config reloaded: version v1 (before v0)"
    assert outcome(tmp_path)["version"] == "v1" and outcome(tmp_path)["reloads"] == 1
    assert [entry["version"] for entry in Versions(tmp_path).entries()] == ["v0", "v1"]


@pytest.mark.parametrize("refusing", [0, 1, 2])
def test_when_one_refuses_all_go_back(stage: Stage, tmp_path: Path, refusing: int) -> None:
    stage.reload.ask("file")
    stage.step()
    stage.compile(compiled(1))
    for n, child in enumerate(stage.children):
        stage.answer(child, "refused no room" if n == refusing else "adopted v1")
        if n == refusing:
            break
    stage.settle()
    assert {child.has for child in stage.children} == {b"policy 0"}
    assert outcome(tmp_path)["error"] == f"{stage.children[refusing].name}: no room"
    assert stage.said[-1] == "config not changed: still version v0"


def test_wishes_meanwhile_are_answered_by_one_more_look(stage: Stage, tmp_path: Path) -> None:
    stage.control.says = ["reload t1"]
    stage.step()
    started = stage.started
    stage.control.says = [f"reload t{n}" for n in range(2, 100)]
    stage.step()
    stage.compile(FAILED)
    assert outcome(tmp_path)["answers"] == ["t1"] and outcome(tmp_path)["error"] == "it is wrong"
    assert stage.started == started + 1
    stage.compile(compiled(0))  # as it is
    assert outcome(tmp_path)["ok"] and len(outcome(tmp_path)["answers"]) == MOST_ASKED
    assert outcome(tmp_path)["reloads"] == 0 and outcome(tmp_path)["failed"] == 1


@pytest.mark.parametrize("output", [b"\n", b'{"ver', b"Traceback\n"])
def test_a_compiler_that_dies_changes_nothing(stage: Stage, tmp_path: Path, output: bytes) -> None:
    stage.reload.ask("file")
    stage.step()
    stage.compile(output)
    assert outcome(tmp_path)["error"] == "the config compiler ended: exit code 0"
    assert stage.said[-1] == "config not changed: still version v0"


def test_when_the_moment_comes_at_which_prices_change_it_is_compiled_again(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1_795_000_000.0
    monkeypatch.setattr("pointsman.cli.reload.time.time", lambda: now_s)
    stage.reload.ask("file")
    stage.step()
    stage.compile(compiled(1, price_change_ms=1_795_000_060_000))
    stage.settle()
    started = stage.started
    now_s += 59.9
    stage.step()
    assert stage.started == started and stage.reload.due_s - time.monotonic() < 0.2
    now_s += 0.1
    stage.step()
    assert stage.started == started + 1
    stage.compile(FAILED)  # the file is half changed: the old prices stay, and it is tried again
    assert outcome(tmp_path)["trigger"] == "prices" and not outcome(tmp_path)["ok"]
    now_s += PRICES_AGAIN_S
    stage.step()
    stage.compile(compiled(2, price_change_ms=1_795_900_000_000))
    stage.settle()
    assert outcome(tmp_path)["version"] == "v2"
    now_s += 800_000  # the clock is not the machine's: it may be set
    stage.step()
    assert stage.started == started + 2
    now_s += 200_000
    stage.step()
    stage.compile(compiled(2))  # nothing is another, and nothing is known to come
    started = stage.started
    now_s += 10_000_000
    stage.step()
    assert stage.started == started


def test_another_price_list_is_a_reason_to_compile(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began_s, passed_s = time.monotonic(), 0.0
    monkeypatch.setattr("pointsman.cli.reload.time.monotonic", lambda: began_s + passed_s)
    (tmp_path / PRICE_LIST).write_text("{}")
    started = stage.started
    for _ in range(3):
        passed_s += WATCH_S
        stage.step()
    assert stage.started == started + 1
    stage.compile(compiled(0))
    for _ in range(3):
        passed_s += WATCH_S
        stage.step()
    assert stage.started == started + 1 and outcome(tmp_path)["trigger"] == "prices"


EVENTS = st.one_of(
    st.tuples(st.just("ask")),
    st.tuples(st.just("compile"), st.integers(-1, 4)),
    st.tuples(st.sampled_from(["answer", "refuse", "die", "begin"]), st.integers(0, 2)),
)


@given(events=st.lists(EVENTS, max_size=60))
def test_whatever_happens_all_end_on_one_version(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[Any, ...]]
) -> None:
    stage = Stage(tmp_path_factory.mktemp("data"))
    for what, *rest in events:
        child = stage.children[rest[0]] if rest and what != "compile" else stage.control
        if what == "ask":
            stage.reload.ask("signal")
        elif what == "compile":
            stage.compile(FAILED if rest[0] < 0 else compiled(rest[0]))
        elif what == "answer":
            stage.answer(child)
        elif what == "refuse" and child.has is not None:
            stage.answer(child, "refused because")
        elif what == "die" and child.up:
            stage.die(child)
        elif what == "begin" and not child.up:
            stage.begin(child)
        stage.step()
    for _ in range(3):
        stage.compile(compiled(0))
        stage.settle()
    assert {child.has for child in stage.children} == {stage.reload.policy}
    assert not any(child.waiting for child in stage.children)
