"""The checks of `flyball doctor` on metrics; pure but for one question to Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flyball.adapters.kubernetes.governed import Cluster, Governed
from flyball.adapters.kubernetes.targets import name_of
from flyball.adapters.prometheus.figures import Metrics, PodFigures
from flyball.report.checks import Check, State
from flyball.wire.metrics import MetricNames

if TYPE_CHECKING:
    from flyball.adapters.prometheus.client import Prometheus

_GAUGES = ("num_requests_running", "num_running_reqs", "batch_current_size", "num_requests_active")
ALIKE = f'count by (__name__) ({{__name__=~".*({"|".join(_GAUGES)}).*"}})'
"""Gauges of running requests, of any engine."""
ABSENT = "No monitor scrapes it: see the targets page of Prometheus, and its PodMonitor or ServiceMonitor"


def without(cluster: Cluster, services: tuple[str, ...]) -> Check:
    """Where no Prometheus was named; `services` are addresses that look like one."""
    stated = sum(one.load is not None for one in cluster.governed)
    said = "none was named: load is what labels state"
    said += f" ({stated} of {len(cluster.governed)} workloads do)" if cluster.governed else ""
    mend = "flyball doctor --prometheus ADDRESS"
    if services:
        name, _, namespace = services[0].partition(".")
        mend = (
            f"in the cluster: --prometheus http://{services[0]}\n"
            f"from here: kubectl port-forward -n {namespace.partition(':')[0]} service/{name} 9090:"
            f"{services[0].rpartition(':')[2]}, then --prometheus http://127.0.0.1:9090"
        )
    return Check("prometheus", "warning", said, mend)


def workloads(cluster: Cluster, metrics: Metrics, names: MetricNames) -> list[Check]:
    """Whether the metrics of each governed workload are there, and fresh."""
    made = []
    for one in cluster.governed:
        ready = [pod.name for pod in one.pods if pod.state == "ready"]
        if not ready:
            said = "none of its pods is ready, so there is nothing to measure"
            made.append(Check(name_of(one), "warning", said, _describe(one)))
            continue
        found = metrics.of((one.namespace, name) for name in ready)
        made.append(_of_workload(one, ready, found, metrics.window, names))
    return made


def _of_workload(
    one: Governed, ready: list[str], found: tuple[PodFigures, ...], window: float, names: MetricNames
) -> Check:
    about = name_of(one)
    there = [pod for pod in found if pod.age is not None]
    if not there:
        return Check(about, "missing", f"Prometheus knows none of its {len(ready)} ready pods", ABSENT)
    old = max(pod.age or 0.0 for pod in there)
    lacking = _lacking(there, names)
    if old > window:
        said = f"its newest metrics are {old:.0f} s old, and rates are over {window:g} s"
        return Check(about, "missing", said, "Scrape it more often, or give a longer --window")
    if lacking:
        return Check(about, *lacking)
    if len(there) < len(ready):
        said = f"Prometheus knows {len(there)} of its {len(ready)} ready pods"
        return Check(about, "warning", said, ABSENT)
    return Check(about, "ok", f"metrics of all {len(ready)} pods, at most {old:.0f} s old")


def _lacking(there: list[PodFigures], names: MetricNames) -> tuple[State, str, str] | None:
    """What is wrong with the figures that there are, and how to mend it."""
    settled = [pod for pod in there if not pod.fresh]
    if settled and all(pod.finished is None for pod in settled):
        said = f"no rate of {names.finished[0]}: fewer than two scrapes in the window, or another name"
        mend = "Give a longer --window, or a file with the names (kind: Metrics): --metrics FILE"
        return "missing", said, mend
    if any(pod.finished for pod in settled) and all(pod.ttft is None for pod in settled):
        said = f"{', '.join(names.ttft) or 'ttft'} is not there: the time to first token is not measured"
        return "warning", said, "Give the engine's name for it in a file (kind: Metrics): --metrics FILE"
    return None


def mapping(prometheus: Prometheus, metrics: Metrics, names: MetricNames) -> list[Check]:
    """Whether engines report under the names that are asked for. PrometheusError."""
    if metrics.pods:
        return [Check("metric names", "ok", f"{names.running[0]} of {len(metrics.pods)} pods")]
    found = sorted(each.labels["__name__"] for each in prometheus.query(ALIKE, labels=dict[str, str]).samples)
    said = f"no pod reports {' or '.join(names.running)}"
    if found:
        mend = f"There is {', '.join(found[:3])}: put its names into a file (kind: Metrics), --metrics FILE"
        return [Check("metric names", "missing", said, mend)]
    return [Check("metric names", "missing", said, ABSENT)]


def _describe(one: Governed) -> str:
    return f"kubectl describe {one.kind.name.lower()} {one.name} -n {one.namespace}"
