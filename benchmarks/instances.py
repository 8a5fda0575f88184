"""Instances of any size, from the generator beside the checkout; limited variants as the study made them."""

from __future__ import annotations

import importlib.util
import math
import os
from pathlib import Path

from msgspec.structs import replace

from flyball.solve import unlimited
from flyball.solve.build import problem_of
from flyball.solve.candidates import Candidates, candidates
from flyball.solve.problem import used
from flyball.spec.fleet import Fleet
from flyball.wire.inferno import fleet_from_system


def generator() -> Path | None:
    """The generator of random instances, where it is present."""
    given = os.environ.get("FLYBALL_SHARED")
    shared = Path(given) if given else Path(__file__).resolve().parents[2] / "shared"
    path = shared / "tools" / "gen_instances.py"
    return path if path.is_file() else None


def document(servers: int, accelerators: int, seed: int = 1, queue: int = 0) -> dict[str, object]:
    """A generation 3 system document, unlimited; numbers of models and classes as in the study."""
    path = generator()
    if path is None:
        raise FileNotFoundError("there is no instance generator beside this checkout; set FLYBALL_SHARED")
    spec = importlib.util.spec_from_file_location("gen_instances", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    models, classes = (3, 3) if servers < 100 else (20, 5) if servers < 10_000 else (50, 10)
    made: dict[str, object] = module.gen(servers, accelerators, models, classes, seed, queue=queue)[0]
    return made


def unlimited_fleet(servers: int, accelerators: int, seed: int = 1, queue: int = 0) -> Fleet:
    """The document as a fleet."""
    return fleet_from_system(document(servers, accelerators, seed, queue), "generated")


def limited_fleet(
    servers: int, accelerators: int, seed: int, share: float, spare: float, queue: int = 0
) -> tuple[Fleet, Candidates]:
    """Capacity of a type: floor(share x its use in the unlimited optimum + spare x mean demand) + 1 cards.

    Mean demand: what it would take if every server that can run on the type did so on its smallest candidate,
    over the number of types.
    """
    fleet = unlimited_fleet(servers, accelerators, seed, queue)
    sized = candidates(fleet)
    problem, _ = problem_of(fleet, sized)
    taken = used(problem, unlimited.solve(problem))
    smallest: dict[tuple[int, int], float] = {}
    amount = problem.amount
    for option in range(problem.server.size):
        for u in range(problem.use_start[option], problem.use_start[option + 1]):
            key = (int(problem.server[option]), int(problem.use_row[u]))
            smallest[key] = min(smallest.get(key, math.inf), float(amount[u]))
    demand = [0.0] * len(problem.rows)
    for (_, row), least in smallest.items():
        demand[row] += least
    capacity = {
        name: math.floor(share * taken[row] + spare * demand[row] / len(problem.rows)) + 1
        for row, name in enumerate(problem.rows)
    }
    settings = replace(fleet.settings, unlimited=False)
    return replace(fleet, capacity=capacity, settings=settings), sized
