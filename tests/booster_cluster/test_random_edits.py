"""Random edits with an operator that is killed: in the end every child is right, whatever was done to it."""

from __future__ import annotations

import time

import pytest

from tests.booster_cluster.booth import Booth
from tests.booster_cluster.edits import Edits, table
from tests.operator_cluster.desk import Running

GENERATION = "v1"
ROUND, FEW, MANY = 6, 6, 84
"""Edits of a round, and rounds."""
KILLED = 6
"""Of so many rounds the operator is killed in one."""


@pytest.mark.slow
def test_a_few_dozen_edits_and_a_kill(booth: Booth, operator: Running) -> None:
    edits = Edits(booth, operator, 1)
    rows = [edits.round(ROUND, kill=number == 1) for number in range(FEW)]
    assert sum(row.refused for row in rows) < FEW * ROUND / 2


@pytest.mark.soak
def test_five_hundred_edits(booth: Booth, operator: Running) -> None:
    seed = time.time_ns()
    print(f"\nseed {seed}")
    edits = Edits(booth, operator, seed)
    rows = [edits.round(ROUND, kill=number % KILLED == 1) for number in range(MANY)]
    print(table(rows))
