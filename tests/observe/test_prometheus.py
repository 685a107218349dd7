"""The shipped rules, alerts and panels, read by the real Prometheus: each alert fires when it must and is silent when not, and
every panel has data over a real router."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from observed_world import FREE, World
from prometheus import DEPLOY, RULES, Prometheus, promtool
from serving import until

ROOT = Path(__file__).parents[2]
ALERTS = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"][0]["rules"]
RECORDED = [
    rule["record"] for rule in yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())["groups"][0]["rules"]
]
BOARD = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
DOCUMENTED = set(
    re.findall(r"^\| `((?:pointsman|gen_ai)_\w+)` \|", (ROOT / "docs" / "metrics.md").read_text(), flags=re.M)
)
NEEDS_A_FAULT: set[str] = set()  # panels without data at a router to which everything has happened that World plays

I = 'instance="r1:8081"'  # noqa: E741
OVERHEAD = f"pointsman_overhead_seconds_bucket{{{I},le=%s}}"
BUSY = f'pointsman_requests_total{{{I},route="a",outcome="ok"}}'
# Alert -> series that fire it, and series by which it must be silent; values a minute, in Prometheus' own notation.
CASES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "PointsmanDown": ({'up{job="pointsman"}': "1 0x40"}, {'up{job="pointsman"}': "1x40", 'up{job="other"}': "0x40"}),
    "PointsmanErrorRate": (
        {BUSY: "0+90x40", f'pointsman_requests_total{{{I},route="a",outcome="timeout"}}': "0+10x40"},
        {
            BUSY: "0+90x40",
            f'pointsman_requests_total{{{I},route="a",outcome="client_gone"}}': "0+90x40",
            f'pointsman_requests_total{{{I},route="b",outcome="timeout"}}': "0+1x40",  # too few to say
        },
    ),
    "PointsmanNoDeployment": (
        {'pointsman_route_available_deployments{route="a"}': "1 0x40"},
        {'pointsman_route_available_deployments{route="a"}': "1x40"},
    ),
    "PointsmanBreakerOpen": (
        {'pointsman_breaker_state{deployment="a"}': "0 2x40"},
        {'pointsman_breaker_state{deployment="a"}': "0 2x5 0x5 2x5 1x30"},
    ),
    "PointsmanCredentials": (
        {'pointsman_alerts_total{deployment="a",alert="auth"}': "0x28 1x12"},
        {
            'pointsman_alerts_total{deployment="a",alert="returned"}': "0x28 1x12",
            'pointsman_alerts_total{deployment="b",alert="auth"}': "1x40",
        },
    ),
    "PointsmanJournalErrors": (
        {"pointsman_journal_errors_total": "0x28 1x12"},
        {"pointsman_journal_errors_total": "3x40"},
    ),
    "PointsmanLedgerLag": (
        {"pointsman_ledger_lag_bytes": "0+20000000x40"},
        {"pointsman_ledger_lag_bytes": "90000000x40"},
    ),
    "PointsmanLedgerDown": ({"pointsman_ledger_up": "1 0x40"}, {"pointsman_ledger_up": "1x40"}),
    "PointsmanJournalDamaged": (
        {"pointsman_ledger_damaged_bytes_total": "0x20 60x20"},
        {"pointsman_ledger_damaged_bytes_total": "60x40"},
    ),
    "PointsmanBudgetNearlyUsed": (
        {'pointsman_quota_used_share{quota="a"}': "0.5 0.95x40"},
        {'pointsman_quota_used_share{quota="a"}': "0.89x40"},
    ),
    "PointsmanUnpriced": (
        {'pointsman_unpriced_total{deployment="a"}': "0x20 1x20"},
        {'pointsman_unpriced_total{deployment="a"}': "7x40"},
    ),
    "PointsmanOverhead": (
        {
            BUSY: "0+600x40",
            OVERHEAD % '"0.025"': "0+500x40",
            OVERHEAD % '"0.05"': "0+600x40",
            OVERHEAD % '"+Inf"': "0+600x40",
        },
        {
            BUSY: "0+600x40",
            OVERHEAD % '"0.001"': "0+600x40",
            OVERHEAD % '"0.05"': "0+600x40",
            OVERHEAD % '"+Inf"': "0+600x40",
        },
    ),
    "PointsmanShedding": (
        {'pointsman_shed_total{priority="low"}': "0+5x40"},
        {'pointsman_shed_total{priority="low"}': "0 9x40"},
    ),
    "PointsmanRestarts": (
        {'pointsman_process_restarts_total{process="worker"}': "0x20 0+1x20"},
        {'pointsman_process_restarts_total{process="worker"}': "0x20 1x20"},
    ),
    "PointsmanWorkersDiffer": (
        {
            f'pointsman_config_workers{{{I},version="a"}}': "1x40",
            f'pointsman_config_workers{{{I},version="b"}}': "1x40",
        },
        {
            f'pointsman_config_workers{{{I},version="a"}}': "2x40",
            'pointsman_config_workers{instance="r2:8081",version="b"}': "2x40",
        },
    ),
    "PointsmanCountersLocal": ({"pointsman_counters_local": "0 2x40"}, {"pointsman_counters_local": "0x40"}),
    "PointsmanConfigRefused": (
        {"pointsman_config_last_reload_successful": "1 0x40"},
        {"pointsman_config_last_reload_successful": "1x40"},
    ),
    "PointsmanSpansDropped": ({"pointsman_spans_dropped_total": "0+9x40"}, {"pointsman_spans_dropped_total": "9x40"}),
}


def test_promtool_takes_the_rules() -> None:
    promtool("check", "rules", *RULES)


def test_every_alert_has_a_case_and_says_what_to_do() -> None:
    assert [rule["alert"] for rule in ALERTS] == list(CASES)
    for rule in ALERTS:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert all(rule["annotations"][name] for name in ("summary", "means", "action"))


def test_every_alert_is_in_the_page_and_no_other() -> None:
    page = (ROOT / "docs" / "observability.md").read_text().split("## Alerts")[1]
    told = [
        [cell.strip().strip("`") for cell in line.split("|")[1:3]]
        for line in page.splitlines()
        if line.startswith("| `")
    ]
    assert told == [[rule["alert"], rule["labels"]["severity"]] for rule in ALERTS]


def test_each_alert_fires_when_it_must_and_is_silent_when_not(tmp_path: Path) -> None:
    tests = []
    for alert, (fires, quiet) in CASES.items():
        for name, series, count in (("fires", fires, 1), ("is silent", quiet, 0)):
            asked = {"expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})', "eval_time": "30m"}
            asked["exp_samples"] = [{"labels": "{}", "value": count}] if count else []  # type: ignore[assignment]
            given = [{"series": one, "values": values} for one, values in series.items()]
            tests.append(
                {"name": f"{alert} {name}", "interval": "1m", "input_series": given, "promql_expr_test": [asked]}
            )
    path = tmp_path / "alerts.test.yml"
    path.write_text(
        yaml.safe_dump({"rule_files": [str(one) for one in RULES], "evaluation_interval": "1m", "tests": tests})
    )
    promtool("test", "rules", path)


def expressions() -> list[tuple[str, str]]:
    return [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]


def test_every_metric_that_is_asked_for_is_documented() -> None:
    texts = [text for _, text in expressions()] + [path.read_text() for path in RULES]
    names = {name for text in texts for name in re.findall(r"\b(?:pointsman|gen_ai)_\w+(?=[{\[) ]|$)", text)}
    labels = {name for name in names if name.startswith("gen_ai_") and name not in DOCUMENTED}
    names = {re.sub(r"_(bucket|sum|count)$", "", name) for name in names - labels}
    assert len(names) > 30 and names - labels <= DOCUMENTED
    assert labels <= {"gen_ai_provider_name", "gen_ai_request_model", "gen_ai_client_operation_duration_seconds_count",
                      "gen_ai_client_operation_duration_seconds_bucket"}  # fmt: skip
    recorded = {name for text in texts for name in re.findall(r"\bpointsman:[\w:]+", text)}
    assert recorded == set(RECORDED)


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    assert isinstance(BOARD["schemaVersion"], int) and BOARD["schemaVersion"] >= 36 and BOARD["title"] and BOARD["uid"]
    variables = {one["name"]: one for one in BOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource" and variables["datasource"]["query"] == "prometheus"
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in PANELS:
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert all(one == {"type": "prometheus", "uid": "${datasource}"} for one in sources)
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) >= 1
        assert panel["title"] and all("$instance" in target["expr"] for target in panel["targets"])
    boxes = [panel["gridPos"] for panel in BOARD["panels"]]
    assert all(box["x"] >= 0 and box["w"] > 0 and box["h"] > 0 and box["x"] + box["w"] <= 24 for box in boxes)
    for a, b in combinations(boxes, 2):
        apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        assert apart or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"], (a, b)


@pytest.fixture(scope="module")
def scraping(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that has scraped the router for some seconds, while requests came."""
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(0.1):
            for model in ("main", "rocky", "faq"):
                world.chat(model, key=FREE)

    target = f"{world.router.admin_host}:{world.router.admin_port}"
    with Prometheus(tmp_path_factory.mktemp("prometheus"), target) as running:
        asking = threading.Thread(target=ask)
        asking.start()
        try:
            until(lambda: bool(running.ask("count_over_time(pointsman_workers[1m]) > 4")), 30)
            until(lambda: all(running.ask(name) for name in RECORDED), 30)
        finally:
            stop.set()
            asking.join()
        yield running


@pytest.mark.parametrize(("title", "expression"), expressions())
def test_every_panel_has_data(scraping: Prometheus, title: str, expression: str) -> None:
    asked = expression.replace("$__rate_interval", "1m").replace("$instance", ".*")
    found: list[dict[str, Any]] = scraping.ask(asked)
    assert bool(found) is (title not in NEEDS_A_FAULT), asked


def test_the_rules_are_evaluated_over_a_real_router(scraping: Prometheus) -> None:
    for name in RECORDED:
        assert scraping.ask(name), name
    firing = {one["metric"]["alertname"] for one in scraping.ask('ALERTS{alertstate="firing"}')}
    assert not firing & {"PointsmanDown", "PointsmanJournalErrors", "PointsmanLedgerDown", "PointsmanConfigRefused"}
