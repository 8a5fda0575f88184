"""Alerts and dashboard: every metric in them is one that the operator exports, and every alert can come."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from flyball.adapters.kubernetes.gauges import LABELS, Gauges
from flyball.operator.figures import Figures
from flyball.server.service.telemetry import Telemetry
from tests.install.made import OPERATOR

MONITORING = OPERATOR / "monitoring"
RULES: dict[str, Any] = yaml.safe_load((MONITORING / "rules.yaml").read_text())["spec"]
DASHBOARD: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text())
ALERTS: dict[str, Any] = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"]}
SCRAPED = {"job", "instance", "namespace"}
"""What Prometheus itself puts on a series."""
WORDS = {"by", "on", "unless", "or", "and", "offset", "without", "ignoring", "group_left", "bool"}
promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="there is no promtool here")


def exported() -> dict[str, set[str]]:
    """The names of all series of an operator, with their labels."""
    telemetry, gauges = Telemetry("operator"), Gauges()
    telemetry.registry.register(gauges.registry)
    telemetry.registry.register(Figures(lambda: 0, lambda: 0, SimpleNamespace(watches={})))  # type: ignore[arg-type]
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(generate_latest(telemetry.registry).decode()):
        suffixes = {
            "counter": ("_total",),
            "histogram": ("_bucket", "_count", "_sum"),
            "info": ("_info",),
        }.get(family.type, ("",))
        for suffix in suffixes:
            found[family.name + suffix] = set()
    for collector in labelled(telemetry.registry) | labelled(gauges.registry):
        for name in found:
            if name.startswith(collector[0]):
                found[name] |= set(collector[1])
    return found


def labelled(registry: CollectorRegistry) -> set[tuple[str, tuple[str, ...]]]:
    """Names of metrics with the names of their labels."""
    collectors = list(registry._collector_to_names)
    return {(one._name, tuple(one._labelnames)) for one in collectors if hasattr(one, "_labelnames")}


def names_in(expression: str) -> set[str]:
    """The metrics in an expression: words that are no function, no label and no word of the language."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\{[^}]*\}", "", bare)
    bare = re.sub(r"\[[^\]]*\]", "", bare)
    bare = re.sub(r"\b(by|on|without|ignoring)\s*\([^)]*\)", "", bare)
    words = re.findall(r"(?<![\w.$])[a-zA-Z_:][\w:]*\b(?!\s*\()", bare)
    return {word for word in words if word not in WORDS and not re.fullmatch(r"\d+[smhd]", word)}


def labels_in(expression: str) -> dict[str, set[str]]:
    """The labels that an expression asks of each metric."""
    found: dict[str, set[str]] = {}
    for name, matchers in re.findall(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}", expression):
        found.setdefault(name, set()).update(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
    return found


def expressions() -> list[Any]:
    """All, of alerts and of panels."""
    alerts = [pytest.param(rule["expr"], id=name) for name, rule in ALERTS.items()]
    panels = [
        pytest.param(target["expr"], id=f"{panel['title']}-{target['refId']}".replace(" ", "-"))
        for panel in DASHBOARD["panels"]
        for target in panel.get("targets", ())
    ]
    return alerts + panels


@pytest.mark.parametrize("expression", expressions())
def test_every_metric_is_one_that_there_is(expression: str) -> None:
    there = exported()
    names = names_in(expression)
    assert names
    assert names <= there.keys()
    for name, labels in labels_in(expression).items():
        assert labels <= there[name] | SCRAPED, name
        assert "namespace" not in labels or name.startswith("inferno_")


def test_metrics_are_found_in_expressions() -> None:
    text = 'sum by (le, a) (rate(x_bucket{b="c(d)", e=~"f"}[5m])) / on () (y offset 15m) > 0.5 unless z'
    assert names_in(text) == {"x_bucket", "y", "z"}
    assert labels_in(text) == {"x_bucket": {"b", "e"}}
    assert set(LABELS) <= exported()["inferno_desired_replicas"]
    assert "route" in exported()["flyball_http_requests_total"]


def test_the_variables_of_the_dashboard_are_labels_that_there_are() -> None:
    variables = {one["name"]: one for one in DASHBOARD["templating"]["list"]}
    for one in variables.values():
        if one["type"] == "query":
            name, label = re.fullmatch(r"label_values\((\w+)(?:\{.*\})?, (\w+)\)", one["definition"]).groups()  # type: ignore[union-attr]
            assert label in exported()[name] | SCRAPED
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD["panels"])))
    assert used <= variables.keys() | {"__rate_interval"}
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_panels_do_not_lie_over_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


# ---- with promtool -----------------------------------------------------------------------------

UP = {"series": 'flyball_build_info{job="flyball", instance="a", version="0.1.0"}', "values": "1x300"}
ROUTE = 'job="flyball", method="GET", route="/v1/servers"'
CHAT = 'job="flyball", variant_name="chat", namespace="infer"'


def wanted(desired: str, current: str) -> list[dict[str, str]]:
    return [
        UP,
        {"series": f'inferno_desired_replicas{{{CHAT}, accelerator_type="H100"}}', "values": desired},
        {"series": f'inferno_current_replicas{{{CHAT}, accelerator_type="H100"}}', "values": current},
    ]


def answered(status: str, values: str) -> dict[str, str]:
    return {"series": f'flyball_http_requests_total{{{ROUTE}, status="{status}"}}', "values": values}


CASES: dict[str, tuple[list[dict[str, str]], str]] = {
    "FlyballAbsent": ([], "10m"),
    "FlyballRestarting": (
        [UP, {"series": 'process_start_time_seconds{job="flyball", instance="a"}', "values": "0+1x300"}],
        "1h",
    ),
    "FlyballUndecided": (wanted("2x20 stale", "2x20 stale"), "30m"),
    "FlyballShort": (wanted("4x300", "3x300"), "30m"),
    "FlyballSurplus": (wanted("3x300", "4x300"), "3h"),
    "FlyballFailing": ([UP, answered("200", "0+9x300"), answered("500", "0+1x300")], "30m"),
    "FlyballReconcilesFail": (
        [UP, {"series": 'flyball_reconcile_failures_total{job="flyball"}', "values": "0+1x300"}],
        "40m",
    ),
    "FlyballReconcilesWait": (
        [UP, {"series": 'flyball_reconcile_waiting{job="flyball"}', "values": "11x300"}],
        "40m",
    ),
}
"""A history, and when the alert has come in it; no other has."""
CALM = [
    *wanted("4x300", "4x300"),
    answered("200", "0+9x300"),
    {"series": 'process_start_time_seconds{job="flyball", instance="a"}', "values": "5x300"},
    {"series": 'flyball_reconcile_failures_total{job="flyball"}', "values": "1x300"},
    {"series": 'flyball_reconcile_waiting{job="flyball"}', "values": "1x300"},
]


def test_every_alert_has_a_case() -> None:
    assert CASES.keys() == ALERTS.keys()
    for rule in ALERTS.values():
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["labels"]["severity"] in ("critical", "warning", "info")


@promtool
def test_alerts_come_when_they_should_and_only_then(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(RULES))

    def case(series: list[dict[str, str]], at: str, coming: str) -> dict[str, Any]:
        expected = [
            {"eval_time": at, "alertname": name, **({"exp_alerts": [told(name)]} if name == coming else {})}
            for name in ALERTS
        ]
        return {"interval": "1m", "input_series": series, "alert_rule_test": expected}

    cases = [case(series, at, name) for name, (series, at) in CASES.items()]
    cases.append(case(CALM, "4h", ""))
    (tmp_path / "cases.yaml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": cases}))
    done = subprocess.run(
        ["promtool", "test", "rules", "cases.yaml"], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


WORDING: dict[str, tuple[dict[str, str], str]] = {
    "FlyballAbsent": ({"job": "flyball"}, "No Flyball operator answers."),
    "FlyballRestarting": (
        {"job": "flyball", "instance": "a"},
        "The Flyball operator at a has started 60 times again within an hour.",
    ),
    "FlyballUndecided": ({}, "Flyball has stopped deciding for 1 workloads."),
    "FlyballShort": (
        {"namespace": "infer", "variant_name": "chat"},
        "infer/chat has 1 replicas less than it needs.",
    ),
    "FlyballSurplus": (
        {"namespace": "infer", "variant_name": "chat"},
        "infer/chat has 1 replicas more than it needs.",
    ),
    "FlyballFailing": (
        {"route": "/v1/servers"},
        "The Flyball operator fails 10% of the requests to /v1/servers.",
    ),
    "FlyballReconcilesFail": ({}, "Flyball cannot bring its objects into step."),
    "FlyballReconcilesWait": ({"job": "flyball"}, "11 namespaces have waited for Flyball for ten minutes."),
}


def told(name: str) -> dict[str, Any]:
    """The alert as it is sent."""
    labels, summary = WORDING[name]
    rule = ALERTS[name]
    return {
        "exp_labels": {**labels, **rule["labels"]},
        "exp_annotations": {"summary": summary, "description": rule["annotations"]["description"]},
    }
