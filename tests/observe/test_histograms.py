"""Histograms: many values are put in together as they would be one by one."""

from __future__ import annotations

import math
from bisect import bisect_left

from hypothesis import example, given
from hypothesis import strategies as st

from pointsman.observe.metrics import FEW, LATENCY_EDGES_S, OVERHEAD_EDGES_S, TOKEN_EDGES, Series, fill, observe

EDGES = st.sampled_from([LATENCY_EDGES_S, OVERHEAD_EDGES_S, TOKEN_EDGES])
VALUES = st.one_of(st.floats(0, 1e7), st.sampled_from([*LATENCY_EDGES_S, *OVERHEAD_EDGES_S, 0.0, 5_000_000.0]))


@given(EDGES, st.lists(VALUES, max_size=4 * FEW))
@example(LATENCY_EDGES_S, [600.0] * FEW + [601.0] * FEW)
@example(TOKEN_EDGES, [1.0] * (2 * FEW))
@example(LATENCY_EDGES_S, [])
def test_each_value_is_in_the_bucket_of_the_least_edge_that_is_not_below_it(
    edges: tuple[float, ...], values: list[float]
) -> None:
    expected = [0.0] * (len(edges) + 1)
    for value in values:
        expected[bisect_left(edges, value)] += 1
    counts = [0.0] * (len(edges) + 2)
    fill(counts, list(values), edges)
    assert counts[:-1] == expected and math.isclose(counts[-1], sum(values))


def test_a_second_batch_is_added_to_the_first() -> None:
    table: Series = {}
    observe(table, "r", [0.02] * 20)
    observe(table, "r", [0.02, 700.0])
    assert table["r"][2] == 21 and table["r"][len(LATENCY_EDGES_S)] == 1 and math.isclose(table["r"][-1], 700.42)
