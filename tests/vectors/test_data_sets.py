"""The Inferno family's own data sets, all that are present, planned by every solver."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from msgspec.structs import replace

from flyball.adapters.files import read_fleet
from flyball.decide.plan import plan
from flyball.solve.candidates import candidates
from flyball.wire.inferno import solution_document
from tests.conftest import shared_dir

SHARED = shared_dir()
SETS = sorted((SHARED / "data" / "inferno").glob("*/*")) if SHARED else []


@pytest.mark.parametrize("folder", SETS, ids=lambda p: f"{p.parent.name}-{p.name}")
def test_planned_by_every_solver(folder: Path, compared: Counter[str]) -> None:
    fleet = read_fleet(folder)
    sized = candidates(fleet)
    merits = {}
    for solver in ("unlimited", "greedy", "auto"):
        settings = replace(
            fleet.settings, solver=solver, unlimited=solver == "unlimited", saturation_policy="None"
        )
        made = plan(replace(fleet, settings=settings), sized)
        document = solution_document(fleet, made)
        json.dumps(document, allow_nan=False)
        assert all(use.used <= use.limit for use in made.resources)
        assert len(made.servers) == len(fleet.servers)
        for server in made.servers:
            assert server.allocation or server.shortages or server.exclusions
            assert server.status != "served" or all(promise.met for promise in server.promises)
        served = Counter(s.priority for s in made.servers if s.status in ("served", "idle"))
        priorities = sorted({s.priority for s in made.servers})
        merits[solver] = ([served[p] for p in priorities], -round(made.objective, 6))
        compared["data sets planned"] += 1
    assert merits["auto"] >= merits["greedy"]
