"""The W3C context of a request: what is taken, what is ignored, what is derived; old journals; spans of the books alone."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.entry import Admitted, AttemptRow, Settled, decode_records, encode_records
from pointsman.core.request import Features, Request
from pointsman.core.strategy import Snapshot
from pointsman.core.trace import attempt_part, carried, context_of, span_id, told
from pointsman.core.usage import Usage
from pointsman.observe import genai
from pointsman.observe.spans import trace_of

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{PARENT}-01"
NAMES = json.loads((Path(__file__).parent / "fixtures" / "gen_ai_names.json").read_text())

BAD = [
    "",
    "00",
    GOOD.upper(),
    GOOD + "-",
    GOOD + "-00",
    GOOD + " ",
    f"ff-{TRACE}-{PARENT}-01",
    f"00-{'0' * 32}-{PARENT}-01",
    f"00-{TRACE}-{'0' * 16}-01",
    f"00-{TRACE[:-1]}-{PARENT}-01",
    f"00-{TRACE}-{PARENT}-1",
    f"0g-{TRACE}-{PARENT}-01",
    f"00_{TRACE}_{PARENT}_01",
    f"01-{TRACE}-{PARENT}-01{'x' * 9}",
    f"01-{TRACE}-{PARENT}-01-{'x' * 600}",
]


@pytest.mark.parametrize("parent", BAD)
def test_a_bad_traceparent_is_ignored(parent: str) -> None:
    assert carried(parent.encode(), b"a=1") == ""


def test_a_good_one_is_kept_and_a_later_version_is_read_as_00() -> None:
    assert carried(GOOD.encode(), None) == GOOD
    assert carried(f"cc-{TRACE}-{PARENT}-09-what-is-to-come".encode(), None) == f"00-{TRACE}-{PARENT}-09"
    assert carried(None, b"a=1") == ""


@pytest.mark.parametrize(
    "state", ["a=1", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "fw529a3039@dt=FfAxx, b=2", "a=x y"]
)
def test_a_good_tracestate_is_kept(state: str) -> None:
    kept = carried(GOOD.encode(), state.encode())
    assert kept == f"{GOOD} {state}" and context_of("req_1", kept, 0.0).state == state


@pytest.mark.parametrize(
    "state", ["", "a", "A=1", "a=1=2", "a=\x01", ",".join(f"k{n}=1" for n in range(33)), "a=" + "1" * 600]
)
def test_a_bad_tracestate_costs_only_itself(state: str) -> None:
    assert carried(GOOD.encode(), state.encode()) == GOOD


@given(st.binary(max_size=600), st.binary(max_size=600))
def test_whatever_a_client_sends_is_a_header_that_may_be_sent_on(parent: bytes, state: bytes) -> None:
    for one in (parent, GOOD.encode()):
        kept = carried(one, state)
        lines = told("req_1", kept, 1.0, "x")
        assert lines.count(b"\r\n") == lines.count(b"\n") <= 2 and lines.endswith(b"\r\n")


def test_the_callers_decision_to_sample_holds_and_else_the_share() -> None:
    assert context_of("req_1", GOOD, 0.0).sampled and not context_of("req_1", GOOD[:-1] + "0", 1.0).sampled
    drawn = [context_of(f"req_{n}", "", 0.25).sampled for n in range(4000)]
    assert 900 < sum(drawn) < 1100 and drawn == [context_of(f"req_{n}", "", 0.25).sampled for n in range(4000)]
    assert not context_of("req_1", "", 0.0).sampled and context_of("req_1", "", 1.0).sampled


def test_a_provider_is_told_the_id_of_the_span_that_is_made_later() -> None:
    admitted, settled = entry(GOOD + " a=1")
    trace = trace_of(admitted, settled, 0.1)
    assert trace is not None
    row = settled.attempts[1]
    lines = told(admitted.id, admitted.trace, 0.1, attempt_part(row.deployment, row.started_ms)).decode()
    span = next(one for one in trace.spans if one.attributes.get("pointsman.deployment") == "b")
    assert lines == f"traceparent: 00-{TRACE}-{span.id}-01\r\ntracestate: a=1\r\n"


def test_a_journal_of_before_is_read() -> None:
    admitted, settled = entry("")
    old = msgspec.msgpack.decode(encode_records([admitted, settled]))
    assert (old[0].pop(), old[0].pop()) == (None, "")  # footprint and trace are the latest
    assert decode_records(msgspec.msgpack.encode(old)) == [admitted, settled]


def entry(trace: str) -> tuple[Admitted, Settled]:
    """Return the records of a request that failed over and then streamed."""
    request = Request("req_0193c0ffee00aabbccddeeff0011", "chat", "r", Features(9, 50, choices=2), 5.0, 9_000.0)
    snapshot = Snapshot("v1", 0.0, 0.5, (), False)
    admitted = Admitted(
        request, "", 1_700_000_000_000, ("k", "p", "t", "o"), "r", snapshot, session="talk", trace=trace
    )
    used = Usage(100, 20, 30, 5, 0, 7)
    one = AttemptRow(
        "a", "google", "m1", "server_error", 500, 2.0, 3.0, 0.0, 10.0, Usage(), 0, "measured", "", "", "no"
    )
    two = AttemptRow("b", "openai", "m2", "ok", 200, 30.0, 0.0, 50.0, 90.0, used, 12_000, "measured", "", "m2-x", "")
    return admitted, Settled(admitted.id, 1_700_000_000_090, "r", "ok", 200, (one, two), 1.0, 2.0, 50.0, 90.0, 68.0)


def test_spans_have_the_true_times_and_the_names_of_the_conventions() -> None:
    admitted, settled = entry(GOOD)
    trace = trace_of(admitted, settled, 0.0)
    assert trace is not None and trace.context.trace == TRACE
    root, decide, first, wait, second = trace.spans
    zero = 1_700_000_000_000_000_000 - 1_000_000
    assert (root.kind, root.parent, root.remote, root.error) == ("server", PARENT, True, "")
    assert (root.start_ns, root.end_ns, root.first_ns) == (zero, zero + 90_000_000, zero + 50_000_000)
    assert (decide.name, decide.start_ns, decide.end_ns) == ("decide", zero + 1_000_000, zero + 2_000_000)
    assert (wait.name, wait.start_ns, wait.end_ns) == ("wait", zero + 10_000_000, zero + 30_000_000)
    assert {one.parent for one in trace.spans[1:]} == {root.id} and len({one.id for one in trace.spans}) == 5
    assert (first.kind, first.name, first.error, first.first_ns) == ("client", "chat m1", "server_error", 0)
    assert first.attributes["error.type"] == "server_error" and first.attributes["gen_ai.provider.name"] == "gcp.gemini"
    assert second.first_ns == zero + 50_000_000 and second.end_ns == zero + 90_000_000
    types = {"string": str, "int": int, "double": float, "boolean": bool}
    said = {**root.attributes, **first.attributes, **second.attributes}
    assert {name for name in said if not name.startswith("pointsman.")} == set(NAMES["attributes"])
    assert all(type(said[name]) is types[kind] for name, kind in NAMES["attributes"].items())
    assert (said["gen_ai.usage.input_tokens"], said["gen_ai.usage.cache_creation.input_tokens"]) == (100, 5)
    assert said["gen_ai.response.time_to_first_chunk"] == pytest.approx(0.020) and said["gen_ai.request.stream"] is True
    assert said["pointsman.cost.usd"] == 12_000 / 1e9


def test_a_request_whose_worker_died_has_a_span_that_says_so() -> None:
    admitted, _ = entry("")
    trace = trace_of(admitted, None, 1.0)
    assert trace is not None
    (root,) = trace.spans
    assert (root.error, root.id, root.parent) == ("recovered", span_id(admitted.id), "")


def test_the_names_are_those_of_the_version_that_the_fixture_names() -> None:
    ours = {value for name, value in vars(genai).items() if name.isupper() and isinstance(value, str) and "." in value}
    ours -= {genai.SCHEMA_URL}
    assert ours == set(NAMES["attributes"]) and genai.CHAT in NAMES["operations"]
    assert set(genai.WELL_KNOWN.values()) <= set(NAMES["providers"]) and NAMES["version"].startswith(
        "schema gen-ai/1.42.0"
    )
    assert genai.SCHEMA_URL.endswith("gen-ai/1.42.0")
