"""What providers' usage exports say, and what is said of those that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.reconcile import Told
from pointsman.dialects.exports import ExportError, read_export

EXPORTS = Path(__file__).parent / "exports"
DAY = {"start_time": 1794960000, "end_time": 1795046400}


def page(*results: Any, **more: Any) -> bytes:
    return json.dumps({"data": [DAY | {"results": list(results)} | more]}).encode()


def test_the_known_shapes_are_read() -> None:
    openai, anthropic = ((EXPORTS / f"{name}-usage.json").read_bytes() for name in ("openai", "anthropic"))
    assert read_export(openai) == [Told("2026-11-18", "large-1-2026", 5, 5_000, 2_000, 250)]
    assert read_export(anthropic) == [Told("2026-11-18", "claude-opus-4-20250514", None, 3_200, 200, 500)]
    lines = b"\n".join(json.dumps(json.loads(data)).encode() for data in (openai, anthropic))
    assert len(read_export(lines)) == len(read_export(b"[%b,%b]" % (openai, anthropic))) == 2  # several pages


def test_costs_are_exact() -> None:
    cost = {"amount": {"value": 0.06, "currency": "usd"}, "line_item": "large-1-2026, input"}
    text = {"amount": {"value": "1234.000000001", "currency": "usd"}, "line_item": "large-1-2026, output"}
    assert [told.cost_nano for told in read_export(page(cost, text))] == [60_000_000, 1_234_000_000_001]
    assert {told.model for told in read_export(page(cost, text))} == {"large-1-2026"}


def test_csv_is_read_by_the_columns_that_are_named() -> None:
    data = '\ufeffDate,Model,Calls,Cost\n2026-11-18T00:00:00,m,"1,200",$0.50\n2026-11-19,m,,\n'.encode()
    columns = {"day": "Date", "model": "Model", "requests": "Calls", "usd": "Cost"}
    assert read_export(data, columns) == [
        Told("2026-11-18", "m", 1_200, cost_nano=500_000_000),
        Told("2026-11-19", "m"),
    ]


WRONG = {
    b"day,model": "not JSON",
    b"{": "not JSON",
    b"[1]": "no list `data`",
    b'{"data":[{}]}': "data[0] has no list `results`",
    b'{"data":[{"results":[],"start_time":"x","end_time":1}]}': "data[0]: its start is no time",
    page(end_time=1795046400 + 86_400): "longer than a day",
    page({"input_tokens": 1}): "group_by=model",
    page({"model": "m", "input_tokens": -1}): "data[0].results[0].input_tokens is no count: '-1'",
    page({"amount": {"value": "NaN", "currency": "usd"}, "line_item": "m"}): "no amount of money",
    page({"amount": {"value": 1, "currency": "eur"}, "line_item": "m"}): "in USD",
    page(1): "results[0] is not an object",
}


@pytest.mark.parametrize(("data", "said"), WRONG.items(), ids=range(len(WRONG)))
def test_what_cannot_be_read_is_told_with_its_place(data: bytes, said: str) -> None:
    with pytest.raises(ExportError) as failed:
        read_export(data)
    assert said in str(failed.value)


@pytest.mark.parametrize(
    ("data", "columns", "said"),
    [
        (b"a,b\n", {"day": "a"}, "which column is the model"),
        (b"a,b\n", {"day": "a", "model": "c"}, "no column 'c'"),
        (b"a,b\nx,m\n", {"day": "a", "model": "b"}, "line 2: 'x' is no date"),
        (b"a,b,c\n2026-11-18,m,x\n", {"day": "a", "model": "b", "requests": "c"}, "line 2: requests is no count"),
        (b"\xff\xfe", {"day": "a", "model": "b"}, "not CSV in UTF-8"),
    ],
)
def test_csv_that_cannot_be_read_is_told_with_its_line(data: bytes, columns: dict[str, str], said: str) -> None:
    with pytest.raises(ExportError) as failed:
        read_export(data, columns)
    assert said in str(failed.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**40) | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from([*DAY, "data", "results", "model", "amount", "value", "line_item", "currency",
                                       "uncached_input_tokens", "cache_creation", "output_tokens"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(JSON)
def test_any_json_is_read_or_refused(value: Any) -> None:
    for given_page in (value, {"data": [DAY | {"results": [value]}]}):
        try:
            for told in read_export(json.dumps(given_page).encode()):
                assert told.model and len(told.day) == 10
        except ExportError:
            continue
