"""A governed server that its user scales: what it is given counts, not what the plan would have it get."""

from __future__ import annotations

import pytest

from flyball.power.govern import Need, Power, PowerMemory
from flyball.power.outcome import decided
from flyball.spec.power import Domain, PlacedPod, Policy, PowerNode, PowerReading, PowerSeen, PowerWorkload

HOST, EMPTY, DRAWS = 1000.0, 75.0, 410.0


def seen(replicas: int, wanted: int) -> PowerSeen:
    pods = tuple(PlacedPod(f"ns/p{i}", "chat", "n", idle=120, load=290, most=700) for i in range(replicas))
    watts = HOST + EMPTY * (8 - replicas) + DRAWS * replicas
    return PowerSeen(
        now=1e9,
        tau=30.0,
        domains=(Domain("hall", "Site", watts=4000.0, max_exceedance=3600.0),),
        policies=(Policy("brake", "ns", "Enforce"),),
        nodes=(PowerNode("n", {}, 8, 8, HOST, 1500, 0, EMPTY, 700, "H200"),),
        readings=(PowerReading("redfish", "whole", "n", watts),),
        pods=pods,
        workloads=(PowerWorkload("chat", "ns", {}, (), replicas, 1, 8, wanted),),
    )


@pytest.mark.parametrize(("replicas", "plan"), [(8, 3), (6, 3), (6, 6), (8, 8)])
def test_it_is_capped_though_the_plan_wants_less(replicas: int, plan: int) -> None:
    power = Power(seen(replicas, 8), PowerMemory(), {"chat": Need(replicas, plan)})
    _, told, _ = decided(power, {"chat": plan})
    (cap,) = told.caps
    assert cap.workload == "chat"
    assert 1 <= cap.goal <= cap.most < 8
