"""Where pods that are about to be made should rather go: cool racks first. Pure; it only prefers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from flyball.adapters.kubernetes.labels import OURS
from flyball.adapters.kubernetes.power import RACK
from flyball.spec.power import LEVELS, PowerSeen
from flyball.spec.power_plan import PowerPlan
from flyball.units import Watts

PLACEMENT = f"{OURS}power-placement"
"""The label with which a pod or a namespace asks for it."""
TO_COOL, FROM_HOT = 60, 40
"""Of 100, at the scheduler."""
ROOMY = 0.5
"""A cool rack has at least this share of the room of the roomiest."""

Patch = list[dict[str, object]]


class Racks(msgspec.Struct, frozen=True):
    """Racks by the values of their label."""

    label: str = RACK
    cool: tuple[str, ...] = ()
    hot: tuple[str, ...] = ()


def placement(pod: Mapping[str, Any], cool: Sequence[str], hot: Sequence[str], label: str = RACK) -> Patch:
    """The JSON patch that adds preferred node affinity; empty where the pod itself speaks of racks."""
    spec = pod.get("spec") or {}
    affinity = spec.get("affinity") or {}
    of_nodes = affinity.get("nodeAffinity") or {}
    key = "preferredDuringSchedulingIgnoredDuringExecution"
    terms = _terms(cool, hot, label)
    placed = spec.get("nodeName") or label in (spec.get("nodeSelector") or {})
    if not terms or placed or _says(of_nodes, label):
        return []
    at = "/spec/affinity"
    if of_nodes.get(key):
        return [{"op": "add", "path": f"{at}/nodeAffinity/{key}/-", "value": term} for term in terms]
    if of_nodes:
        return [{"op": "add", "path": f"{at}/nodeAffinity/{key}", "value": terms}]
    if affinity:
        return [{"op": "add", "path": f"{at}/nodeAffinity", "value": {key: terms}}]
    return [{"op": "add", "path": at, "value": {"nodeAffinity": {key: terms}}}]


def _terms(cool: Sequence[str], hot: Sequence[str], label: str) -> Patch:
    wanted = ((TO_COOL, "In", sorted(set(cool) - set(hot))), (FROM_HOT, "NotIn", sorted(set(hot))))
    return [
        {
            "weight": weight,
            "preference": {"matchExpressions": [{"key": label, "operator": operator, "values": values}]},
        }
        for weight, operator, values in wanted
        if values
    ]


def _says(of_nodes: Mapping[str, Any], label: str) -> bool:
    """Whether node affinity is about racks."""
    required = of_nodes.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    terms = [
        *(required.get("nodeSelectorTerms") or ()),
        *(
            one.get("preference") or {}
            for one in of_nodes.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        ),
    ]
    return any(one.get("key") == label for term in terms for one in term.get("matchExpressions") or ())


def racks_of(seen: PowerSeen | None, plan: PowerPlan | None, label: str = RACK) -> Racks:
    """Which racks are cool and which are hot, by nodes that are, levels, and the room that is left.

    Hot: with a hot node, or where something is held or shed. Cool: of the others those with much room under
    their budget; where no budget is known, all of them; where inlets are, of these the racks that the plan
    prefers, if there are any.
    """
    if seen is None or plan is None:
        return Racks(label)
    rack_of = {node.name: node.labels[label] for node in seen.nodes if label in node.labels}
    states = {state.domain: state for state in plan.domains}
    hot = {rack_of[name] for name in plan.hot if name in rack_of}
    room: dict[str, Watts] = {}
    for domain in seen.domains:
        rack, state = domain.labels.get(label), states.get(domain.name)
        if rack is None or state is None:
            continue
        if LEVELS.index(state.level) >= LEVELS.index("hold"):
            hot.add(rack)
        elif state.threshold is not None:
            room[rack] = state.threshold - state.watts
    rest = set(rack_of.values()) - hot
    known = {rack: watts for rack, watts in room.items() if rack in rest}
    if known:
        most = max(known.values())
        rest = {rack for rack, watts in known.items() if watts > 0 and watts >= ROOMY * most}
    preferred = {rack_of[name] for name in plan.cool if name in rack_of} - hot
    rest = (rest & preferred) or preferred or rest
    if not (hot or known or preferred):
        return Racks(label)
    return Racks(label, tuple(sorted(rest)), tuple(sorted(hot)))
