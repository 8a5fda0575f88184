"""Snapshots of one server, and a run of a law over several of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from flyball.laws.law import Law
from flyball.spec.decision import Decision
from flyball.spec.fleet import Fleet
from flyball.spec.server import Allocation
from flyball.spec.service_class import Target
from flyball.spec.snapshot import Observation, Reading, Scrape, Snapshot, Variant
from flyball.testing.make import make_fleet, make_server

TARGETS = (Target("ttft", 2.0, 0.95), Target("itl", 0.1, 0.95))


def fleet(high: int = 40, low: int = 1, current: int = 0) -> Fleet:
    """One server `s` on A, of which there are `high` cards."""
    server = make_server(min_replicas=low, current=Allocation("A", current) if current else Allocation())
    return make_fleet([server], capacity={"A": high}, targets=TARGETS, generation="flyball")


def seen(
    time: float,
    ready: int,
    pending: int = 0,
    *,
    ttft: float | None = None,
    itl: float | None = None,
    age: float = 0.0,
    of: Fleet | None = None,
    **readings: float | None,
) -> Snapshot:
    """Server `s` at a time; readings are those of an Observation, and the P90 of ttft and itl."""
    shown = {k: Reading(v, age) for k, v in readings.items() if v is not None}
    observation = Observation(
        "s",
        (Variant("A", ready, pending, max_batch_size=64),),
        ttft={"p90": Reading(ttft, age)} if ttft is not None else {},
        itl={"p90": Reading(itl, age)} if itl is not None else {},
        **shown,
    )
    return Snapshot(of or fleet(), Scrape(time, (observation,)))


def asked(decision: Decision) -> int | None:
    """Replicas ordered for `s`; None: it is left alone."""
    return next((sum(o.replicas for o in s.orders) for s in decision.steps if s.server == "s"), None)


def last(law: Law[Any], snapshots: Iterable[Snapshot]) -> int | None:
    """What is asked for at the end. The snapshots say what there is, whatever is asked for."""
    memory, answer = None, None
    for snapshot in snapshots:
        decision, memory = law(snapshot, memory)
        answer = asked(decision)
    return answer


def follow(law: Law[Any], snapshots: Iterable[Snapshot]) -> list[int]:
    """What is asked for each time, where all that is asked for is ready at the next snapshot."""
    memory, numbers, ready = None, [], None
    for given in snapshots:
        there = given.seen.servers[0]
        if ready is not None:
            there = replace(there, variants=(Variant("A", ready),))
        decision, memory = law(replace(given, seen=replace(given.seen, servers=(there,))), memory)
        ready = asked(decision)
        assert ready is not None
        numbers.append(ready)
    return numbers
