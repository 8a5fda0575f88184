"""How many cards there are for governed servers: given, or those of the nodes within quotas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from flyball.adapters.kubernetes.engine import counts
from flyball.adapters.kubernetes.nodes import Pool
from flyball.adapters.kubernetes.objects import Quota
from flyball.spec.fleet import Fleet, Settings
from flyball.wire.inferno_in import CAPACITY_NOTE


def within_quotas(
    capacity: Mapping[str, int],
    quotas: Sequence[Quota],
    namespaces: Mapping[str, Mapping[str, int]],
    pool: Pool,
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Capacity that quotas leave, and notes on those that bind.

    `namespaces`: cards that governed pods have, by resource, then namespace. A resource is bounded where
    every namespace that uses it has a quota for it: types that share the resource share the bound.
    """
    room: dict[tuple[str, str], int] = {}
    for quota in quotas:
        for resource in namespaces:
            for key in (f"requests.{resource}", f"limits.{resource}"):
                if key in quota.status.hard:
                    hard = counts({resource: quota.status.hard[key]}).get(resource, 0)
                    used = counts({resource: quota.status.used.get(key, 0)}).get(resource, 0)
                    place = resource, quota.metadata.namespace
                    room[place] = min(room.get(place, hard - used), hard - used)
    found, notes = dict(capacity), []
    for resource, held in namespaces.items():
        if not all((resource, namespace) in room for namespace in held):
            continue
        limit = sum(count + max(room[resource, namespace], 0) for namespace, count in held.items())
        for type_ in pool.types(resource):
            if found.get(type_, 0) > limit:
                found[type_] = limit
                notes.append(
                    f"quotas of {resource} in {', '.join(sorted(held))} leave {limit} cards for governed "
                    f"servers; {type_} is counted as {limit}"
                )
    return found, tuple(notes)


def with_capacity(
    fleet: Fleet,
    given: Mapping[str, int] | None,
    of_nodes: Mapping[str, int] | None,
    more: Iterable[str],
    notes: list[str],
) -> Fleet:
    """The fleet with cards: those given, those of its data, those of the nodes; else without limit."""
    settings = fleet.settings
    if given is not None:
        return replace(fleet, capacity=dict(given), settings=_limited(fleet))
    if fleet.capacity or (fleet.generation != "flyball" and not settings.unlimited):
        return fleet
    if of_nodes:
        notes += more
        return replace(fleet, capacity=dict(of_nodes), settings=_limited(fleet))
    notes.append(
        "no node has cards that are known, so their number is taken as unlimited. Give it as "
        "capacity-data.json"
    )
    return replace(fleet, settings=replace(settings, unlimited=True))


def _limited(fleet: Fleet) -> Settings:
    """Settings without limit, where that was only for want of figures, are limited now."""
    settings = fleet.settings
    parts = [part for part in settings.note.split("; ") if part != CAPACITY_NOTE]
    if len(parts) == len(settings.note.split("; ")):
        return settings
    return replace(settings, unlimited=False, note="; ".join(parts))
