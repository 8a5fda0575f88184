"""Random disturbances; the long campaign is `make soak`'s, and its rows are in build/, where it goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clusters import eventually
from tests.kubernetes_faults.soak import LONGEST, Soak, table
from tests.kubernetes_faults.world import World

FEW, MANY = 5, 100
KEPT = Path("build/kubernetes-faults.jsonl")


def disturbed(world: World, count: int, seed: int, file: Path, longest: float) -> None:
    world.put("chat", 300, 1)
    with world.loop("a", "soak") as a, world.loop("b", "soak") as b:
        eventually(lambda: a.is_well(0) or b.is_well(0))
        rows = Soak(world, (a, b), seed, file, longest).run(count)
    print("\n" + table(rows))
    assert len(rows) == count
    assert not [row for row in rows if row.broken]
    assert not [row for row in rows if row.recovery is None]


@pytest.mark.slow
def test_a_few_random_disturbances(world: World, tmp_path: Path) -> None:
    disturbed(world, FEW, 3, tmp_path / "rows.jsonl", 2.0)


@pytest.mark.soak
def test_many_random_disturbances(world: World) -> None:
    KEPT.parent.mkdir(exist_ok=True)
    disturbed(world, MANY, 1, KEPT, LONGEST)
