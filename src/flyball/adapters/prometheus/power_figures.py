"""From the series of exporters of power to figures: of which node, device and pod, and how old. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TypeAlias

import msgspec

from flyball.adapters.prometheus.client import Sample
from flyball.adapters.prometheus.figures import PodKey
from flyball.units import Seconds, Watts
from flyball.wire.power_metrics import Sensor

Labels: TypeAlias = dict[str, str]
Samples: TypeAlias = Iterable[Sample[Labels]]
LOOKBACK: Seconds = 300.0
"""Prometheus shows no sample that is older; so old are those of which it cannot tell the age."""
_NUMBERED = re.compile(r"(.*\D)-(\d+)")


class Places(msgspec.Struct, frozen=True, dict=True):
    """Which nodes and pods there are, for what labels mean."""

    nodes: frozenset[str] = frozenset()
    """Empty: not known, and every label is believed."""
    pods: Mapping[PodKey, str] = {}
    """The node of each pod; "": none yet."""
    with_cards: frozenset[PodKey] = frozenset()
    """Pods that ask for cards."""

    @cached_property
    def _short(self) -> dict[str, str]:
        """Nodes by the first part of their names, where only one begins so."""
        found: dict[str, str] = {}
        for node in self.nodes:
            short = node.partition(".")[0]
            found[short] = "" if short in found else node
        return found

    @cached_property
    def _by_name(self) -> dict[str, str]:
        """Nodes by the names of their pods: an exporter that is told no node tells the name of its pod."""
        found: dict[str, str] = {}
        for (_, name), node in self.pods.items():
            found[name] = "" if found.get(name, node) != node else node
        return found

    def node(self, text: str) -> str:
        """The node that a label means; "": none that is there."""
        host = text.rpartition(":")[0] if re.search(r":\d+$", text) else text
        if not self.nodes:
            return host
        if host in self.nodes:
            return host
        found = self._short.get(host.partition(".")[0], "") if not _is_address(host) else ""
        return found or self._by_name.get(host, "")


class Figure(msgspec.Struct, frozen=True, gc=False):
    """One figure of a sensor."""

    node: str
    watts: Watts | None
    age: Seconds
    zone: str = ""
    device: str = ""
    pod: PodKey | None = None
    target: tuple[str, str] = ("", "")
    """What was scraped: job and instance."""

    @property
    def good(self) -> bool:
        """Whether it says anything."""
        return self.watts is not None


def figures_of(
    sensor: Sensor,
    values: Samples,
    times: Samples | None,
    now: float,
    places: Places,
    resets: Samples = (),
) -> tuple[list[Figure], tuple[str, ...]]:
    """The figures of a sensor, and what is odd about them in a sentence each.

    `times`: when each series was seen last, Unix seconds; None: not known. A series without is gone, though
    its rate lasts for a window; one without a value has none yet. Counters in `resets` began anew: what they
    counted before and after their last samples is lost, and a rate that is too low is worse than none.
    """
    seen = None if times is None else {_key(s.labels): s for s in times}
    anew = {_key(s.labels) for s in resets}
    watts = {key: (s.labels, s.value[1]) for s in values if (key := _key(s.labels)) not in anew}
    if seen is not None:
        rows = [(s.labels, watts.get(key, ({}, math.nan))[1], now - s.value[1]) for key, s in seen.items()]
    else:
        rows = [(labels, value, LOOKBACK) for labels, value in watts.values()]
    level = _levels(sensor, (labels for labels, _, _ in rows))
    found, lost = [], []
    for labels, value, age in rows:
        pair = level.get(labels.get("job", ""))
        pod = None
        if pair is not None and labels.get(sensor.pod[pair]):
            pod = labels.get(sensor.namespace[pair], ""), labels[sensor.pod[pair]]
        node = _node(sensor, labels, pair, places)
        if not node:
            lost.append(labels)
            continue
        zone, device = _zone(sensor, labels)
        device = next((labels[name] for name in sensor.device if labels.get(name)), device)
        good = math.isfinite(value) and value > 0 and math.isfinite(age)
        target = labels.get("job", ""), labels.get("instance", "")
        found.append(
            Figure(
                node,
                value * sensor.scale if good else None,
                max(age, 0.0) if math.isfinite(age) else LOOKBACK,
                zone,
                device,
                pod,
                target,
            )
        )
    # Prometheus keeps no order.
    found.sort(key=lambda f: (f.node, f.zone, f.device, f.target, f.pod or ("", ""), f.age, f.watts or 0.0))
    return found, _lost(sensor, lost)


def _levels(sensor: Sensor, rows: Iterable[Labels]) -> dict[str, int]:
    """By job, which pair of labels tells the pod: where the scrape's own win, `pod` is the exporter's."""
    found: dict[str, int] = {}
    for labels in rows:
        for index, name in enumerate(sensor.pod):
            if labels.get(name):
                job = labels.get("job", "")
                found[job] = min(found.get(job, index), index)
                break
    return found


def _node(sensor: Sensor, labels: Labels, pair: int | None, places: Places) -> str:
    for name in sensor.node:
        if (text := labels.get(name)) and (node := places.node(text)):
            return node
    used = None if pair is None else sensor.pod[pair]
    if used != "pod" and labels.get(
        "pod"
    ):  # then it is the exporter's, which is on the node that it measures
        return places.pods.get((labels.get("namespace", ""), labels["pod"]), "")
    return ""


def _zone(sensor: Sensor, labels: Labels) -> tuple[str, str]:
    """The zone, and the number behind it, as in package-0."""
    if not sensor.zone_label:
        return sensor.zone, ""
    text = labels.get(sensor.zone_label, "").lower()
    match = _NUMBERED.fullmatch(text)
    return (match[1], match[2]) if match else (text, "")


def _lost(sensor: Sensor, lost: list[Labels]) -> tuple[str, ...]:
    if not lost:
        return ()
    first = min(lost, key=lambda labels: sorted(labels.items()))
    said = ", ".join(f"{name}={first[name]}" for name in sensor.node if first.get(name))
    return (
        f"{sensor.name}: {len(lost)} series name no node that is there ({said or 'no such label'}): "
        f"not counted. Give them a label {sensor.node[0]} with the node's name, by relabelling say",
    )


def _is_address(host: str) -> bool:
    return bool(re.fullmatch(r"[\d.]+|\[?[0-9a-fA-F:]+\]?", host)) and any(c in host for c in ".:")


def _key(labels: Labels) -> frozenset[tuple[str, str]]:
    return frozenset(item for item in labels.items() if item[0] != "__name__")
