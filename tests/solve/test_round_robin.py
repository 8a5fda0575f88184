"""Round robin by whole rounds gives what one replica at a time gives."""

from __future__ import annotations

import numpy as np
import pytest

from flyball.solve import greedy
from flyball.solve.problem import Problem
from flyball.testing.make import make_problem


def short_problem(seed: int) -> Problem:
    """Servers of many replicas on rows that do not hold them all."""
    rng = np.random.default_rng(seed)
    rows = [f"r{i}" for i in range(rng.integers(1, 4))]
    replicas = int(rng.integers(1, 60))

    def option() -> tuple[float, dict[str, float]]:
        some = rng.permutation(rows)[: rng.integers(1, 3)]
        return float(rng.integers(0, 50)), {str(row): float(rng.integers(1, 5)) for row in some}

    options = [[option() for _ in range(rng.integers(0, 4))] for _ in range(rng.integers(1, 8))]
    limits = {row: float(rng.integers(0, 8 * replicas)) for row in rows}
    priority = [int(rng.integers(1, 3)) for _ in options]
    return make_problem(options, limits, priority, replicas=replicas)


@pytest.mark.parametrize("policy", ["PriorityRoundRobin", "RoundRobin"])
def test_whole_rounds_are_the_same_as_one_at_a_time(policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = 0
    for seed in range(150):
        problem = short_problem(seed)
        quick = greedy.solve(problem, policy, delayed=seed % 2 == 0)
        with monkeypatch.context() as patch:
            patch.setattr(greedy, "_same_rounds", lambda *_: 0)
            slow = greedy.solve(problem, policy, delayed=seed % 2 == 0)
        assert quick.option.tolist() == slow.option.tolist()
        assert quick.replicas.tolist() == slow.replicas.tolist()
        parts += int(((quick.replicas > 1) & ~quick.served).sum())
    assert parts > 100
