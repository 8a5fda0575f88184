"""Series of exporters of power as a scrape of each version leaves them in Prometheus."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from flyball.adapters.prometheus.client import Sample
from flyball.adapters.prometheus.mapping import shipped_power
from flyball.adapters.prometheus.power import PowerScrape, metric_of
from flyball.adapters.prometheus.power_figures import Places, figures_of
from flyball.adapters.prometheus.power_readings import readings_of
from tests.prometheus import Line

NOW = 10_000.0
CARDS = ("GPU-aa", "GPU-bb")
PLACES = Places(frozenset({"n1", "n2.example.com"}))
Aged = tuple[Line, float]
"""A series, with its rate where it is a counter, and its age."""


def aged(lines: Iterable[Line], age: float = 10.0) -> list[Aged]:
    return [(line, age) for line in lines]


def dcgm(watts: Sequence[float] = (300.0, 500.0), node: str = "n1", **more: str) -> list[Line]:
    """Before May 2026, a pod on each card, honorLabels true."""
    target = {"job": "dcgm", "instance": "10.0.0.7:9400"}
    return [
        (
            "DCGM_FI_DEV_POWER_USAGE",
            {
                **target,
                **{"gpu": str(i), "UUID": CARDS[i], "device": f"nvidia{i}", "Hostname": node},
                **{"namespace": "infer", "pod": f"chat-{i}", "container": "engine"},
                **more,
            },
            each,
        )
        for i, each in enumerate(watts)
    ]


def dcgm_exported(watts: Sequence[float] = (300.0, 500.0), node: str = "n1") -> list[Line]:
    """Since May 2026, honorLabels false: `pod` is the exporter's; the second card is idle."""
    target = {
        "job": "dcgm",
        "instance": "10.0.0.7:9400",
        "namespace": "gpu-operator",
        "pod": "dcgm-exporter-x",
    }
    found = []
    for i, each in enumerate(watts):
        labels = {**target, "gpu": str(i), "UUID": CARDS[i], "hostname": node}
        if i == 0:
            labels |= {
                "exported_namespace": "infer",
                "exported_pod": "chat-0",
                "exported_container": "engine",
            }
        found.append(("DCGM_FI_DEV_POWER_USAGE", labels, each))
    return found


def kepler_old(node: str = "n1", package: float = 200.0, source: str = "intel_rapl") -> list[Line]:
    """0.7.9: dynamic 60 %, idle 40 %; values are rates."""
    target = {"job": "kepler", "instance": node, "source": source}
    lines: list[Line] = []
    for mode, share in (("dynamic", 0.6), ("idle", 0.4)):
        for part, watts in (("package", package), ("core", 0.8 * package), ("dram", 40.0), ("platform", 0.0)):
            labels = {**target, "package": "0", "mode": mode}
            lines.append((f"kepler_node_{part}_joules_total", labels, share * watts))
        lines.append(
            ("kepler_node_gpu_joules_total", {**target, "package": "0", "mode": mode}, share * 290.0)
        )
        pod = {"container_namespace": "infer", "pod_name": "chat-0", "mode": mode}
        for container, watts in (("engine", 340.0), ("proxy", 10.0)):
            labels = {**target, **pod, "container_name": container, "container_id": f"id-{container}"}
            lines.append(("kepler_container_joules_total", labels, share * watts))
    return lines


def kepler_new(node: str = "n1", package: float = 200.0, gpu: bool = True) -> list[Line]:
    """0.11.4 with its GPU part and Redfish, two packages."""
    target = {"job": "kepler", "instance": "10.0.0.7:28282", "node_name": node}
    lines: list[Line] = []
    for zone, watts in (("package", package), ("core", 0.7 * package), ("dram", 30.0)):
        for number in (0, 1):
            labels = {**target, "zone": zone, "path": f"/sys/class/powercap/intel-rapl:{number}/{zone}"}
            lines.append(("kepler_node_cpu_watts", labels, watts / 2))
            lines.append(("kepler_node_cpu_joules_total", labels, 7.0))
        pod = {"pod_id": "u0", "pod_name": "chat-0", "pod_namespace": "infer", "zone": zone}
        lines.append(("kepler_pod_cpu_watts", {**target, **pod, "state": "running"}, 0.25 * watts))
        lines.append(
            ("kepler_pod_cpu_watts", {**target, **pod, "pod_name": "old", "state": "terminated"}, 9.0)
        )
    if gpu:
        card = {**target, "gpu": "0", "gpu_uuid": CARDS[0], "gpu_name": "H100", "vendor": "nvidia"}
        lines.append(("kepler_node_gpu_watts", card, 310.0))
        pod = {"pod_id": "u0", "pod_name": "chat-0", "pod_namespace": "infer", "state": "running"}
        lines.append(("kepler_pod_gpu_watts", {**target, **pod}, 305.0))
    bmc = {
        "source": "redfish",
        "bmc_id": "b",
        "chassis_id": "1",
        "source_id": "PowerControl",
        "source_type": "x",
    }
    lines.append(("kepler_platform_watts", {**target, **bmc}, 1400.0))
    return lines


def scrape(series: Iterable[Aged], places: Places = PLACES) -> PowerScrape:
    """What is read where Prometheus has these series, of counters their rates."""
    every = list(series)
    there = frozenset(line[0] for line, _ in every)
    read, notes = [], []
    for sensor in shipped_power().sensors:
        metric = metric_of(sensor, there)
        if not metric:
            continue
        sums: dict[tuple[tuple[str, str], ...], tuple[float, float]] = {}
        for (name, labels, value), age in every:
            if name == metric.partition("{")[0] and _selected(metric, labels):
                kept = tuple(sorted((k, v) for k, v in labels.items() if k not in sensor.over))
                before, youngest = sums.get(kept, (0.0, float("inf")))
                sums[kept] = before + value, min(youngest, age)
        values = [Sample(dict(key), (NOW, value)) for key, (value, _) in sums.items()]
        times = [Sample(dict(key), (NOW, NOW - age)) for key, (_, age) in sums.items()]
        figures, odd = figures_of(sensor, values, times, NOW, places)
        read.append((sensor, figures))
        notes += odd
    readings, odd = readings_of(read, places)
    return PowerScrape(NOW, readings, tuple(s.name for s, _ in read), (*notes, *odd))


def _selected(metric: str, labels: dict[str, str]) -> bool:
    match = re.fullmatch(r'[^{]*\{(\w+)(=~|!~|!=|=)"(.*)"\}', metric)
    if match is None:
        return True
    value = labels.get(match[1], "")
    if match[2] in ("=", "!="):
        return (value == match[3]) == (match[2] == "=")
    return (re.fullmatch(match[3], value) is not None) == (match[2] == "=~")
