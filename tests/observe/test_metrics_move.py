"""Every documented metric moves at a router to which everything happens, or is named here with the test that plays it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from observed_world import World

from pointsman.observe.metrics import (
    LATENCY_EDGES_S,
    MOST_SERIES,
    OTHER,
    OVERHEAD_EDGES_S,
    TOKEN_EDGES,
    Metrics,
    add,
    merge,
    observe,
)
from pointsman.observe.render import render

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "metrics.md").read_text()
DOCUMENTED = dict(re.findall(r"^\| `((?:pointsman|gen_ai)_\w+)` \| (\w+)", PAGE, flags=re.M))

# Zero until something breaks that this world does not break: the tests that play it.
PLAYED = {
    "pointsman_bodies_dropped_total": "tests/observe/test_log_events.py",
    "pointsman_bodies_lost_total": "tests/gateway/test_bodies.py",
    "pointsman_bodies_stored_total": "tests/gateway/test_bodies.py",
    "pointsman_cache_errors_total": "tests/gateway/test_cache.py",
    "pointsman_callers_errors_total": "tests/cli/test_keys.py",
    "pointsman_callers_store_errors_total": "tests/cli/test_keys.py",
    "pointsman_complaints_lost_total": "tests/observe/test_log.py",
    "pointsman_counters_failures_total": "tests/replicas/replica_world.py",
    "pointsman_counters_local": "tests/gateway/test_limits.py",
    "pointsman_issuers_errors_total": "tests/oidc/test_oidc_served.py",
    "pointsman_journal_errors_total": "tests/observe/test_log_events.py",
    "pointsman_ledger_damaged_bytes_total": "tests/observe/test_log_events.py",
    "pointsman_ledger_deleted_rows_total": "tests/control/test_reporting.py",
    "pointsman_ledger_errors_total": "tests/observe/test_log_events.py",
    "pointsman_ledger_lag_bytes": "tests/observe/test_log_events.py",
    "pointsman_log_lost_total": "tests/observe/test_log.py",
    "pointsman_plugin_failures_total": "tests/gateway/test_plugins.py",
    "pointsman_price_refresh_failures_total": "tests/control/test_price_refresh.py",
    "pointsman_price_refreshes_total": "tests/control/test_price_refresh.py",
    "pointsman_prices_held": "tests/control/test_price_refresh.py",
    "pointsman_signals_total": "tests/gateway/test_signals.py",
    "pointsman_spans_total": "tests/observe/test_traces.py",
}


@pytest.fixture(scope="module")
def scraped(world: World) -> str:
    return world.scrape()


def samples(text: str, name: str) -> list[float]:
    return [float(v) for v in re.findall(rf"^{name}(?:_count)?(?:\{{[^\n]*\}})? (\S+)$", text, flags=re.M)]


@pytest.mark.parametrize("name", sorted(DOCUMENTED.keys() - PLAYED.keys()))
def test_it_has_moved(scraped: str, name: str) -> None:
    assert any(value > 0 for value in samples(scraped, name)), name


def test_no_metric_is_missing_and_none_is_unknown(scraped: str) -> None:
    assert dict(re.findall(r"^# TYPE (\S+) (\S+)$", scraped, flags=re.M)) == DOCUMENTED


@pytest.mark.parametrize(("name", "where"), sorted(PLAYED.items()))
def test_what_is_zero_here_is_played_elsewhere(name: str, where: str) -> None:
    assert name in DOCUMENTED and name.removeprefix("pointsman_").removesuffix("_total") in (ROOT / where).read_text()


def test_labels_are_those_of_the_page(scraped: str) -> None:
    rows = re.findall(r"^\| `((?:pointsman|gen_ai)_\w+)` \| \w+ \| ([\w, ]*) \|", PAGE, flags=re.M)
    for name, said in rows:
        shown = {
            label
            for inside in re.findall(rf"^{name}(?:_bucket|_sum|_count)?\{{([^\n]*)\}} \S+$", scraped, flags=re.M)
            for label in re.findall(r'(\w+)="', inside)
        }
        assert shown - {"le"} <= set(said.replace(",", " ").split()), name


def test_buckets_suit_what_they_measure() -> None:
    assert (LATENCY_EDGES_S[0], LATENCY_EDGES_S[-1]) == (0.005, 600.0)
    assert (OVERHEAD_EDGES_S[0], OVERHEAD_EDGES_S[-1]) == (0.00005, 0.1)
    assert all(list(edges) == sorted(set(edges)) for edges in (LATENCY_EDGES_S, OVERHEAD_EDGES_S, TOKEN_EDGES))


def test_phases_add_up_to_the_overhead(scraped: str) -> None:
    def total(name: str) -> float:
        return sum(map(float, re.findall(rf"^{name} (\S+)$", scraped, flags=re.M)))

    parts = sum(total(rf'pointsman_phase_seconds_sum\{{phase="{phase}"\}}') for phase in ("queue", "decide", "retry"))
    assert parts == pytest.approx(total("pointsman_overhead_seconds_sum"), rel=0.05)


def test_label_sets_are_bounded_and_what_is_beyond_is_counted_together() -> None:
    metrics = Metrics()
    for number in range(MOST_SERIES + 50):
        add(metrics.requests, f"r{number}\x1fd\x1fok")
        observe(metrics.total, f"r{number}", [1.0])
    add(metrics.requests, "r0\x1fd\x1fok")
    text = render(merge([metrics])[0], 1, 0).decode()
    assert len(samples(text, "pointsman_requests_total")) == MOST_SERIES + 1
    assert f'pointsman_requests_total{{route="{OTHER}",deployment="{OTHER}",outcome="{OTHER}"}} 50\n' in text
    assert 'pointsman_requests_total{route="r0",deployment="d",outcome="ok"} 2\n' in text
    assert f'pointsman_request_duration_seconds_count{{route="{OTHER}"}} 50\n' in text
