"""What counting costs a request, in process: the bound that docs/metrics.md states."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from pace import slowness

sys.path.append(str(Path(__file__).parents[2] / "bench"))  # behind: it has names that tests have too


@pytest.mark.serial
def test_the_metrics_of_a_request_cost_at_most_5_us() -> None:
    import observe

    assert asyncio.run(observe.figures(rounds=6))["calls"] <= observe.BOUND_US * slowness()
