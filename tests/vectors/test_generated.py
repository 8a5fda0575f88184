"""Generated fleets of 100 servers x 20 accelerators, short of capacity: proved, never worse than greedy."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from msgspec.structs import replace

from benchmarks.instances import limited_fleet
from benchmarks.reference import optimizer as reference
from flyball.decide.plan import plan
from flyball.solve import auto, exact, greedy
from flyball.solve.build import problem_of
from flyball.solve.problem import cost_of, served_by_priority, used, value_of
from flyball.wire.inferno import system_document

SEEDS = range(1, 25)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_exact_proves_every_stage_and_is_never_worse_than_greedy(seed: int, compared: Counter[str]) -> None:
    fleet, sized = limited_fleet(100, 20, seed, 0.7, 0.15)
    problem, _ = problem_of(fleet, sized)
    found, start = exact.solve(problem), greedy.solve(problem)
    assert found.proved
    assert value_of(problem, found) - found.bound <= 1e-6 * cost_of(problem, found)
    assert np.all(used(problem, found) <= problem.limit)
    served = served_by_priority(problem, found)
    assert served >= served_by_priority(problem, start)
    if served == served_by_priority(problem, start):
        assert value_of(problem, found) <= value_of(problem, start) + 1e-9
    quick = auto.solve(problem, fleet.settings)
    assert served_by_priority(problem, quick) <= served
    assert np.all(used(problem, quick) <= problem.limit)
    compared["generated fleets, exact"] += 1


@pytest.mark.slow
def test_greedy_is_the_reference_greedy_on_a_generated_fleet(compared: Counter[str]) -> None:
    """The reference on its own candidates: same servers, accelerators and replicas, but for flat curves."""
    fleet, sized = limited_fleet(100, 5, 3, 0.85, 0.3)
    made = plan(replace(fleet, settings=replace(fleet.settings, solver="greedy")), sized)
    expected = reference.optimize(system_document(fleet))
    assert not np.any(sized.pairs.batch == 1), "a flat curve would differ: choose another seed"
    found = {s.server: s.allocation for s in made.servers if s.allocation and s.allocation.replicas}
    wanted = {name: a for name, a in expected.items() if a["numReplicas"]}
    assert {n: (a.accelerator, a.replicas) for n, a in found.items()} == {
        n: (a["accelerator"], a["numReplicas"]) for n, a in wanted.items()
    }
    compared["generated fleets, greedy beside the reference"] += len(found)
