"""Domains beside those that people write: racks that node labels tell of, and the cluster itself. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from flyball.adapters.kubernetes.power import RACK
from flyball.spec.power import Domain, PowerNode
from flyball.wire.kinds.power_documents import discovered

CLUSTER = "cluster"


def domains_of(
    written: Iterable[Domain],
    discovering: Mapping[str, str],
    nodes: Iterable[PowerNode],
    rack_label: str = RACK,
) -> tuple[Domain, ...]:
    """The written ones, with all that the nodes add to them; by name, a written name before a found one.

    `discovering`: by domain the label whose values are domains below it, which have its budget each: it is
    then only their sum. Racks without a domain, and where none is written the cluster, are watched only.
    """
    there = tuple(nodes)
    found: dict[str, Domain] = {}
    more: list[Domain] = []
    for domain in written:
        label = discovering.get(domain.name, "")
        if label:
            more += discovered(domain, label, _values(there, label))
            domain = msgspec.structs.replace(domain, watts=None, schedule=(), breaker=None, ungoverned=0.0)
        found[domain.name] = domain
    for each in more:
        found.setdefault(each.name, each)
    known = {value for d in found.values() if d.labels.keys() == {rack_label} for value in d.labels.values()}
    racks = discovered(Domain("rack"), rack_label, (v for v in _values(there, rack_label) if v not in known))
    for rack in racks:
        found.setdefault(rack.name, msgspec.structs.replace(rack, parent=""))
    if not any(d.level in ("Cluster", "Site") and not d.labels for d in found.values()):
        # A root with nothing below it has all nodes, those without a rack too.
        found.setdefault(CLUSTER, Domain(CLUSTER))
    return tuple(found[name] for name in sorted(found))


def _values(nodes: Iterable[PowerNode], label: str) -> list[str]:
    return sorted({node.labels[label] for node in nodes if node.labels.get(label)})
