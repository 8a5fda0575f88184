"""From figures of several dialects to readings: each node by one dialect and one scrape of it. Pure.

Which source is believed, and which zone counts, is `power.sensing`'s matter; of one source everything is here
once.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from flyball.adapters.prometheus.figures import PodKey
from flyball.adapters.prometheus.power_figures import Figure, Places
from flyball.power.sensing import TRUST, ZONES
from flyball.spec.power import PowerReading
from flyball.units import Seconds
from flyball.wire.power_metrics import Of, Sensor

LATE: Seconds = 60.0
"""A dialect whose figures are older counts only where no other has younger ones."""
AT_ONCE: Seconds = 1.0
"""Series of one scrape are of one instant."""

Read: TypeAlias = tuple[Sensor, Sequence[Figure]]


def readings_of(sensors: Iterable[Read], places: Places) -> tuple[tuple[PowerReading, ...], tuple[str, ...]]:
    """Readings of nodes, then of pods; and what is odd in a sentence each. `sensors`: in order of trust."""
    kept = _one_dialect(sensors)
    found: list[PowerReading] = []
    doubled: dict[str, list[str]] = defaultdict(list)
    for (sensor, node), figures in kept.items():
        if sensor.part != "pod":
            found += (_reading(sensor, figure) for figure in _by_device(figures).values())
            if _copies(figures):
                doubled[sensor.name].append(node)
    notes = tuple(
        f"{name}: {len(nodes)} nodes are scraped more than once, such as {min(nodes)}: one scrape counts; "
        "keep one of the monitors"
        for name, nodes in sorted(doubled.items())
    )
    pods, more = _pods(kept, places)
    order = sorted(found, key=lambda r: (r.node, r.part, TRUST[r.part].index(r.source), r.zone, r.device))
    return (*order, *pods), (*notes, *more)


# ---- nodes -------------------------------------------------------------------------------------


def _one_dialect(sensors: Iterable[Read]) -> dict[tuple[Sensor, str], list[Figure]]:
    """Of each source and part of a node the figures of the first sensor that has any which are not late."""
    by_part: dict[tuple[str, str, str, str], list[tuple[bool, int, Sensor, list[Figure]]]] = defaultdict(list)
    for number, (sensor, figures) in enumerate(sensors):
        of_node: dict[str, list[Figure]] = defaultdict(list)
        for figure in figures:
            of_node[figure.node].append(figure)
        for node, mine in of_node.items():
            late = min((f.age for f in mine if f.good), default=math.inf) > LATE
            by_part[sensor.source, sensor.part, sensor.of, node].append((late, number, sensor, mine))
    found = {}
    for (*_, node), those in by_part.items():
        _, _, sensor, figures = min(those, key=lambda each: each[:2])
        found[sensor, node] = figures
    return found


def _by_device(figures: Sequence[Figure]) -> dict[tuple[str, str], Figure]:
    """By zone and device, of one target: parts of a card (MIG) tell the watts of the whole card each."""
    target = _target(figures)
    best: dict[tuple[str, str], Figure] = {}
    for figure in figures:
        if figure.target == target:
            key = figure.zone, figure.device
            if key not in best or _better(figure) < _better(best[key]):
                best[key] = figure
    return best


def _better(figure: Figure) -> tuple[bool, float, float]:
    return not figure.good, figure.age, -(figure.watts or 0.0)


def _target(figures: Sequence[Figure]) -> tuple[str, str]:
    """What of several scrapes of one node counts: one that is not late, with most devices, the youngest."""
    by: dict[tuple[str, str], list[Figure]] = defaultdict(list)
    for figure in figures:
        by[figure.target].append(figure)

    def worth(target: tuple[str, str]) -> tuple[bool, int, Seconds, tuple[str, str]]:
        good = [f for f in by[target] if f.good]
        age = min((f.age for f in good), default=math.inf)
        return age > LATE, -len({(f.zone, f.device) for f in good}), age, target

    return min(by, key=worth)


def _copies(figures: Sequence[Figure]) -> bool:
    return len({f.target for f in figures if f.good and f.age <= LATE}) > 1


def _reading(sensor: Sensor, figure: Figure) -> PowerReading:
    return PowerReading(
        sensor.source,
        sensor.part,
        figure.node,
        figure.watts,
        figure.age,
        sensor.error,
        figure.zone,
        figure.device,
    )


# ---- pods --------------------------------------------------------------------------------------


def _pods(
    kept: Mapping[tuple[Sensor, str], Sequence[Figure]], places: Places
) -> tuple[tuple[PowerReading, ...], tuple[str, ...]]:
    """One reading of each pod: the whole, or the sum of its CPU time and its cards, what is more.

    A pod that shares a card has none: whose watts they are is not known. Nor has one with cards of which only
    the CPU is measured.
    """
    parts: dict[tuple[PodKey, str], dict[Of, PowerReading]] = defaultdict(dict)
    sharing: set[PodKey] = set()
    for (sensor, node), figures in sorted(
        kept.items(), key=lambda item: (TRUST["card"].index(item[0][0].source), item[0][1])
    ):
        of: Of = sensor.of if sensor.part == "pod" else "card"
        if sensor.part not in ("pod", "card"):
            continue
        for pod, reading in _of_pods(sensor, figures, sharing).items():
            parts[pod, node].setdefault(of, reading)
    sums = [
        _sum(pod, found) for (pod, _), found in parts.items() if not _unknown(pod, found, sharing, places)
    ]
    newest: dict[str, PowerReading] = {}
    for reading in sorted(sums, key=lambda r: (r.device, r.age, r.node)):
        namespace, _, name = reading.device.partition("/")
        if places.pods.get((namespace, name), reading.node) == reading.node:
            newest.setdefault(reading.device, reading)  # one that moved is where it was seen last
    notes = []
    if sharing:
        first = "/".join(min(sharing))
        notes.append(f"{len(sharing)} pods share cards, such as {first}: their watts are not told apart")
    return tuple(newest.values()), tuple(notes)


def _unknown(pod: PodKey, found: Mapping[Of, PowerReading], sharing: set[PodKey], places: Places) -> bool:
    return pod in sharing or (pod in places.with_cards and found.keys() == {"cpu"})


def _of_pods(sensor: Sensor, figures: Sequence[Figure], sharing: set[PodKey]) -> dict[PodKey, PowerReading]:
    """By pod what one sensor of a node says; a card's pods are those of its last scrape."""
    target = _target(figures)
    now = [f for f in figures if f.target == target]
    groups: dict[PodKey, list[Figure]] = defaultdict(list)
    if sensor.part == "card":
        for (_, device), best in _by_device(figures).items():
            rows = [f for f in now if f.device == device and f.age <= best.age + AT_ONCE]
            pods = {f.pod for f in rows if f.pod is not None}
            if len(pods) > 1:
                sharing |= pods
            elif pods and best.good:
                groups[pods.pop()].append(best)
    else:
        for figure in now:
            if figure.pod is not None and figure.good:
                groups[figure.pod].append(figure)
    return {
        pod: PowerReading(
            sensor.source,
            "pod",
            mine[0].node,
            sum(f.watts or 0.0 for f in mine),
            max(f.age for f in mine),
            sensor.error,
        )
        for pod, those in groups.items()
        if (mine := those if sensor.part == "card" else _one_zone(those))
    }


def _one_zone(figures: Sequence[Figure]) -> list[Figure]:
    """Those of the first zone that is there, the youngest of each device."""
    zones = {f.zone for f in figures}
    zone = next((z for z in ZONES if z in zones), None)
    return [f for f in _by_device(figures).values() if f.zone == zone]


def _sum(pod: PodKey, found: Mapping[Of, PowerReading]) -> PowerReading:
    several = [found[of] for of in ("cpu", "card") if of in found]
    total = sum(r.watts or 0.0 for r in several)
    whole = found.get("whole")
    if whole is not None and (whole.watts or 0.0) >= total:
        several, total = [whole], whole.watts or 0.0
    most = max(several, key=lambda r: r.watts or 0.0)
    off = math.sqrt(sum((r.error * (r.watts or 0.0)) ** 2 for r in several))
    return PowerReading(
        most.source,
        "pod",
        most.node,
        total,
        max(r.age for r in several),
        off / total if total > 0 else most.error,
        device="/".join(pod),
    )
