"""From readings to watts of nodes and domains, with what they may be off by.

One figure counts once: of a CPU's zones, which overlap, one; of two sources of the same cards, one. What is
absent, zero, older than a domain allows, or beyond what the hardware can draw is not known, and then the
model's upper bound counts. Where sources differ by more than the tolerance the larger counts, and it is said.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from flyball.power.tree import Tree
from flyball.spec.power import Domain, DomainReading, Known, Part, PlacedPod, PowerNode, PowerReading, Source
from flyball.units import Seconds, Watts

TRUST: Mapping[Part, tuple[Source, ...]] = {
    "whole": ("agent", "redfish", "kepler", "dcgm"),
    "cpu": ("agent", "kepler", "redfish", "dcgm"),
    "card": ("agent", "dcgm", "kepler", "redfish"),
    "pod": ("agent", "kepler", "dcgm", "redfish"),
}
ZONES = ("psys", "package", "core", "uncore", "dram", "")
"""The first that is there counts; they overlap and are never added up."""
LEAST_SHARE = 0.5
"""A reading below this share of the idle draw is no reading: at its lowest clock a card draws more."""
MOST_SHARE = 1.25
"""One above this share of the upper bound is none either; prefill spikes pass the design power."""


class _Sum:
    """Adds up independent figures and their errors."""

    def __init__(self) -> None:
        self.watts = self.most = self.squares = self.measured = 0.0
        self.age: Seconds = 0.0
        self.complete = True

    def measure(self, reading: PowerReading) -> None:
        watts = reading.watts or 0.0
        self.watts += watts
        self.most += watts * (1.0 + reading.error)
        self.squares += (reading.error * watts) ** 2
        self.measured += watts
        self.age = max(self.age, reading.age)

    def bound(self, watts: Watts, unknown: bool = True) -> None:
        self.watts += watts
        self.most += watts
        self.complete &= not unknown

    def add(self, known: Known) -> None:
        self.watts += known.watts
        self.most += known.most
        self.measured += known.least
        self.squares += (known.error * known.watts) ** 2
        self.age = max(self.age, known.age)
        self.complete &= known.complete

    def known(self, common: float = 0.0) -> Known:
        error = math.sqrt(self.squares) / self.watts + common if self.watts > 0 else common
        return Known(self.watts, self.most, self.complete, self.age, error, self.measured)


def node_watts(
    node: PowerNode, readings: Iterable[PowerReading], stale_after: Seconds = 60.0, tolerance: float = 0.1
) -> tuple[Known, tuple[str, ...]]:
    """What a node draws, and what is odd about it in a sentence each."""
    notes: list[str] = []
    mine = [r for r in readings if r.node == node.name]
    good = [r for r in mine if _believable(r, node, stale_after)]
    wrong = [r for r in mine if r not in good and r.watts and _finite(r.watts) and r.age <= stale_after]
    if wrong:
        first = wrong[0]
        device = f" {first.device}" if first.device else ""
        notes.append(
            f"{node.name}: {first.source} says {first.watts:,.0f} W of its {first.part}{device}, "
            "which the hardware cannot draw: not counted"
        )
    parts = _Sum()
    _add_cards(parts, node, good, tolerance, notes)
    _add_host(parts, node, good, tolerance, notes)
    chosen = _chosen([r for r in good if r.part == "whole"], "whole", tolerance, node.name, notes)
    if chosen:
        whole = _Sum()
        for reading in chosen:
            whole.measure(reading)
        if parts.measured <= whole.watts * (1.0 + tolerance):
            return whole.known(), tuple(notes)
        notes.append(
            f"{node.name}: its parts draw {parts.measured:,.0f} W, more than its whole, "
            f"{whole.watts:,.0f} W: the parts count"
        )
    return parts.known(), tuple(notes)


def domain_reading(
    tree: Tree,
    name: str,
    nodes: Mapping[str, PowerNode],
    readings: Sequence[PowerReading],
    pods: Iterable[PlacedPod] = (),
) -> DomainReading:
    """What a domain draws, how much of it is governed, and the rest."""
    domain = tree.domains[name]
    total = _Sum()
    notes: list[str] = []
    ages: dict[Seconds, Watts] = {}
    inside = set(tree.nodes[name])
    by_node: dict[str, list[PowerReading]] = {}
    for reading in readings:
        by_node.setdefault(reading.node, []).append(reading)
    for each in tree.nodes[name]:
        known, odd = node_watts(nodes[each], by_node.get(each, ()), domain.stale_after, domain.tolerance)
        total.add(known)
        ages[known.age] = ages.get(known.age, 0.0) + known.watts
        notes += odd
    total.bound(domain.ungoverned, unknown=False)
    summed = total.known(domain.common_error)
    known = _metered(domain, summed, by_node.get(name, ()), notes)
    if known is not summed or not any(ages.values()):
        ages = {known.age: 1.0}
    whole = sum(ages.values())
    here = [p for p in pods if p.node in inside]
    governed = sum(p.idle + p.load - p.empty for p in here if p.phase != "pending")
    return DomainReading(
        domain=name,
        known=known,
        governed=governed,
        ungoverned=max(domain.ungoverned, known.watts - governed),
        most=sum(p.most - p.empty for p in here if p.phase != "pending"),
        committed=sum(p.idle + p.load - p.empty for p in here if p.phase in ("surge", "terminating")),
        ages=tuple((age, watts / whole) for age, watts in sorted(ages.items())),
        notes=tuple(notes),
    )


def pod_watts(node: Known, readings: Iterable[PowerReading]) -> dict[str, Watts]:
    """Watts by pod of one node, each pod once, scaled down where together they are above their node."""
    best: dict[str, PowerReading] = {}
    for reading in sorted(readings, key=lambda r: (TRUST["pod"].index(r.source), r.age)):
        if reading.part == "pod" and reading.watts and _finite(reading.watts):
            best.setdefault(reading.device, reading)
    found = {pod: r.watts or 0.0 for pod, r in sorted(best.items())}
    total = sum(found.values())
    share = node.watts / total if total > node.watts else 1.0
    return {pod: watts * share for pod, watts in found.items()}


def _metered(domain: Domain, total: Known, meters: Iterable[PowerReading], notes: list[str]) -> Known:
    """The sum of the nodes beside a meter of the whole domain, where there is one."""
    good = [
        m
        for m in meters
        if m.part == "whole" and m.watts and _finite(m.watts) and m.age <= domain.stale_after
    ]
    chosen = _chosen(good, "whole", domain.tolerance, domain.name, notes)
    if not chosen:
        return total
    meter = _Sum()
    for reading in chosen:
        meter.measure(reading)
    if total.complete and total.watts > meter.watts * (1.0 + domain.tolerance):
        notes.append(
            f"{domain.name}: its nodes draw {total.watts:,.0f} W, more than its meter says, "
            f"{meter.watts:,.0f} W: the nodes count"
        )
        return total
    return meter.known(domain.common_error)


def _add_cards(
    parts: _Sum, node: PowerNode, good: Sequence[PowerReading], tolerance: float, notes: list[str]
) -> None:
    if not node.cards:
        return
    readings = [r for r in good if r.part == "card"]
    chosen = _chosen(readings, "card", tolerance, f"{node.name}'s cards", notes)
    for reading in chosen:
        parts.measure(reading)
    missing = max(node.cards - len(chosen), 0)
    if missing:
        used = node.cards if node.cards_used is None else min(max(node.cards_used, 0), node.cards)
        busy = min(missing, used)
        parts.bound(busy * node.card_most + (missing - busy) * node.card_idle)
        if chosen:
            notes.append(f"{node.name}: {missing} of {node.cards} cards are not measured")


def _add_host(
    parts: _Sum, node: PowerNode, good: Sequence[PowerReading], tolerance: float, notes: list[str]
) -> None:
    cpu = [r for r in good if r.part == "cpu"]
    one_zone = []
    for source in TRUST["cpu"]:
        of_source = [r for r in cpu if r.source == source]
        zone = next((z for z in ZONES if any(r.zone == z for r in of_source)), None)
        one_zone += [r for r in of_source if r.zone == zone]
    chosen = _chosen(one_zone, "cpu", tolerance, f"{node.name}'s CPU", notes)
    for reading in chosen:
        parts.measure(reading)
    if chosen:
        parts.bound(node.host_other, unknown=False)
    elif node.host_most:
        parts.bound(node.host_most)


def _chosen(
    readings: Sequence[PowerReading], part: Part, tolerance: float, what: str, notes: list[str]
) -> list[PowerReading]:
    """The readings of one source, each device once; checked against those of the others."""
    by_source: dict[Source, dict[str, PowerReading]] = {}
    for reading in sorted(readings, key=lambda r: (r.age, -(r.watts or 0.0))):
        by_source.setdefault(reading.source, {}).setdefault(reading.device, reading)
    if not by_source:
        return []
    order = sorted(by_source, key=lambda s: (-len(by_source[s]), TRUST[part].index(s)))
    best = order[0]
    sums = {s: sum(r.watts or 0.0 for r in by_source[s].values()) for s in order}
    for other in order[1:]:
        whole = len(by_source[other]) == len(by_source[best])
        if whole and abs(sums[other] - sums[best]) > tolerance * max(sums[other], sums[best]):
            notes.append(
                f"{what}: {best} says {sums[best]:,.0f} W, {other} {sums[other]:,.0f} W: the larger counts"
            )
            if sums[other] > sums[best]:
                best = other
    return [by_source[best][device] for device in sorted(by_source[best])]


def _believable(reading: PowerReading, node: PowerNode, stale_after: Seconds) -> bool:
    watts = reading.watts
    if not watts or not _finite(watts) or reading.age > stale_after:
        return False
    if reading.part == "card":
        return LEAST_SHARE * node.card_idle <= watts <= MOST_SHARE * (node.card_most or math.inf)
    if reading.part == "whole":
        most = node.host_most + node.cards * node.card_most
        return LEAST_SHARE * node.least <= watts <= MOST_SHARE * (most or math.inf)
    return reading.part != "cpu" or watts <= MOST_SHARE * (node.host_most or math.inf)


def _finite(watts: Watts) -> bool:
    return math.isfinite(watts) and watts > 0.0
