"""Random kills and pauses of two replicas: `make soak`'s; its rows are in build/, where it goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clusters import eventually
from tests.operator_cluster.desk import Desk, sample
from tests.operator_cluster.replicas import deployed, paired
from tests.operator_cluster.soak import Soak, table
from tests.operator_cluster.test_governed import NAME, workload

MANY = 50
KEPT = Path("build/operator-faults.jsonl")


@pytest.mark.soak
def test_many_random_disturbances(desk: Desk) -> None:
    KEPT.parent.mkdir(exist_ok=True)
    for space in ("planned", "governed"):
        desk.kubectl("create", "namespace", space)
    with deployed(desk, "cluster"), paired(desk, "--period", "2") as pair:
        desk.apply(*sample(), namespace="planned")
        objects = sample()
        objects[3]["spec"] |= {"mode": "act", "maxNumReplicas": 9}
        desk.apply(*objects, workload(240), namespace="governed")
        soak = Soak(pair, "planned", ("governed", NAME), 1, KEPT)
        eventually(soak.is_well)
        rows = soak.run(MANY)
    for space in ("planned", "governed"):
        desk.kubectl("delete", "namespace", space)
    print("\n" + table(rows))
    assert len(rows) == MANY
    assert not [row for row in rows if row.broken]
