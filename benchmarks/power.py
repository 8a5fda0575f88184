"""Watts in the joint choice: seconds, gap and service of a core, and what prices of kilowatts take."""

from __future__ import annotations

import time

import msgspec
import numpy as np

from benchmarks.instances import limited_fleet, unlimited_fleet
from flyball.decide.plan import plan
from flyball.decide.power_prices import per_kilowatt
from flyball.solve import auto, unlimited
from flyball.solve.build import problem_of
from flyball.solve.candidates import Candidates, candidates
from flyball.solve.problem import cost_of, served_by_priority, used, value_of
from flyball.spec.fleet import Fleet
from flyball.spec.power_plan import WattLimits

SITE = "site"
CASES = (
    ("200 x 8, 20 racks + site", 200, 8, 20, False, (1.2, 1.0, 0.9, 0.8, 0.6)),
    ("the same, cards limited", 200, 8, 20, True, (1.0, 0.8)),
    ("1,000 x 20, site", 1000, 20, 0, False, (0.9, 0.8, 0.6)),
    ("1,000 x 20, site and cards", 1000, 20, 0, True, (0.9, 0.8)),
    ("10,000 x 20, site + 4 rows", 10_000, 20, 4, False, (0.9,)),
)


def placed(fleet: Fleet, racks: int, seed: int) -> WattLimits:
    """Each server's replicas over one to three racks, free cards of each type over a third of them."""
    random = np.random.default_rng(seed)
    names = [f"rack-{i:02}" for i in range(max(racks, 1))]
    replicas = {}
    for server in fleet.servers:
        some = random.choice(len(names), size=min(len(names), int(random.integers(1, 4))), replace=False)
        parts = random.multinomial(server.current.replicas, random.dirichlet(np.ones(some.size)))
        replicas[server.name] = {names[i]: int(n) for i, n in zip(some, parts, strict=True) if n}
    free = {
        a.type: {
            names[i]: int(random.integers(1, 40)) for i in random.permutation(len(names))[: 1 + racks // 3]
        }
        for a in fleet.accelerators
    }
    places: dict[str, tuple[str, ...]] = {name: (name, SITE) if racks else (SITE,) for name in names}
    return WattLimits({}, (), places, replicas, free)


def limited(fleet: Fleet, sized: Candidates, racks: int, share: float, seed: int) -> WattLimits:
    """A share of what domains would draw without limits, of the site 5 % less."""
    where = placed(fleet, racks, seed)
    domains = sorted({d for of in where.places.values() for d in of})
    free = msgspec.structs.replace(where, watts={domain: 1e12 for domain in domains})
    problem, _ = problem_of(fleet, sized, free)
    drawn = used(problem, unlimited.solve(problem))[-len(domains) :]
    watts = {
        d: share * w * (0.95 if racks and d == SITE else 1.0) for d, w in zip(domains, drawn, strict=True)
    }
    return msgspec.structs.replace(where, watts=watts)


def bench_power(runs: int) -> None:
    """Solver alone, the problem's rows, and prices; one core."""
    print("power: watts are a share of what domains would draw without limits; gap is to the bound, of cost")
    heads = ("fleet", "watts", "seed", "rows s", "solve s", "served", "gap", "over W", "prices s", "tight")
    form = "{:<28} {:>5} {:>4} {:>7} {:>8} {:>7} {:>9} {:>7} {:>9} {:>6}"
    print(form.format(*heads))
    for name, servers, types, racks, cards, shares in CASES:
        for seed in range(1, (min(runs, 3) if servers < 10_000 else 1) + 1):
            if cards:
                fleet, sized = limited_fleet(servers, types, seed, 0.7, 0.15)
            else:
                fleet = unlimited_fleet(servers, types, seed)
                sized = candidates(fleet)
            for share in shares:
                limits = limited(fleet, sized, racks, share, seed)
                began = time.perf_counter()
                problem, _ = problem_of(fleet, sized, limits)
                built = time.perf_counter()
                found = auto.solve(problem, fleet.settings)
                solved = time.perf_counter()
                over = float(np.max(used(problem, found) - problem.limit))
                gap = (value_of(problem, found) - found.bound) / cost_of(problem, found)
                served = sum(n for _, n in served_by_priority(problem, found))
                made = plan(fleet, sized, watts=limits) if servers < 10_000 else None
                asked = time.perf_counter()
                prices = per_kilowatt(fleet, made, limits, sized) if made is not None else {}
                print(
                    form.format(
                        name,
                        share,
                        seed,
                        f"{built - began:.2f}",
                        f"{solved - built:.2f}",
                        served,
                        f"{gap:.2e}",
                        f"{max(over, 0.0):.0f}",
                        f"{time.perf_counter() - asked:.2f}",
                        len(prices),
                    ),
                    flush=True,
                )
