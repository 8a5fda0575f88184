"""Builders of small fleets and problems with sensible values for all that a test does not name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from flyball.solve.problem import Problem
from flyball.spec.accelerator import Accelerator
from flyball.spec.fleet import Fleet, Generation, Settings
from flyball.spec.profile import ChunkedTiming, IterationTiming, PhaseTiming, Profile, Timing
from flyball.spec.server import NO_ALLOCATION, Allocation, Load, Server
from flyball.spec.service_class import ModelTargets, ServiceClass, Target

TIMINGS: dict[str, Timing] = {
    "G2": PhaseTiming(0.020, 0.0004, 0.2, 2e-5),
    "G3": ChunkedTiming(0.020, 4e-5, 1e-6),
    "flyball": IterationTiming(0.010, 5e-5, 4e-8, 2e-5),
}


def make_server(
    name: str = "s",
    rate: float = 2.0,
    service_class: str = "Gold",
    *,
    model: str = "m",
    min_replicas: int = 0,
    max_batch_size: int = 0,
    keep_accelerator: bool = False,
    current: Allocation = NO_ALLOCATION,
    in_tokens: float = 256,
    out_tokens: float = 256,
    max_queue_size: int | None = None,
) -> Server:
    """A server of model `m` with 256 tokens in and out."""
    return Server(
        name,
        model,
        service_class,
        Load(rate, in_tokens, out_tokens),
        keep_accelerator,
        min_replicas,
        max_batch_size,
        max_queue_size,
        current,
    )


def make_fleet(
    servers: Sequence[Server],
    *,
    prices: Mapping[str, float] | None = None,
    speed: Mapping[str, float] | None = None,
    capacity: Mapping[str, int] | None = None,
    targets: Sequence[Target] = (Target("itl", 0.08), Target("ttft", 2.0)),
    generation: Generation = "G3",
    settings: Settings | None = None,
    priorities: Mapping[str, int] | None = None,
) -> Fleet:
    """Accelerators A and B (or those of `prices`), classes Gold and Bronze; `speed` divides the times."""
    prices = prices or {"A": 1.0, "B": 1.5}
    timing = TIMINGS[generation]
    profiles = []
    for name in prices:
        factor = (speed or {}).get(name, 1.0)
        values = [getattr(timing, f.name) / factor for f in msgspec.structs.fields(timing) if f.required]
        profiles.append(
            Profile("m", name, type(timing)(*values), 1, 64, 256 if generation != "flyball" else 0)
        )
    promised = ModelTargets("m", tuple(targets))
    classes = priorities or {"Gold": 1, "Bronze": 2}
    return Fleet(
        generation,
        tuple(Accelerator(name, name, 1, price) for name, price in prices.items()),
        tuple(profiles),
        tuple(ServiceClass(name, priority, (promised,)) for name, priority in classes.items()),
        tuple(servers),
        dict(capacity) if capacity is not None else dict.fromkeys(prices, 1000),
        settings or Settings(),
    )


def make_problem(
    options: Sequence[Sequence[tuple[float, Mapping[str, float]]]],
    limits: Mapping[str, float],
    priority: Sequence[int] | None = None,
    replicas: int = 1,
    load_use: Mapping[str, float] | None = None,
) -> Problem:
    """Servers s00, s01, ... with options (value, use of each row by a replica); costs are values.

    `load_use` is what every option takes of a row beside, for the whole load of its server.
    """
    rows = tuple(limits)
    flat = [(s, o) for s, group in enumerate(options) for o in sorted(group, key=lambda o: o[0])]
    uses = [
        [(rows.index(row), amount, (load_use or {}).get(row, 0.0)) for row, amount in option[1].items()]
        for _, option in flat
    ]
    value = np.array([option[0] for _, option in flat], dtype=float)
    server = np.array([s for s, _ in flat], dtype=np.int64)
    count = len(options)
    return Problem(
        names=tuple(f"s{s:02d}" for s in range(count)),
        priority=np.array(priority if priority is not None else [1] * count, dtype=np.int64),
        start=np.searchsorted(server, np.arange(count + 1)).astype(np.int64),
        server=server,
        value=value,
        cost=np.abs(value),
        replicas=np.full(len(flat), float(replicas)),
        rows=rows,
        limit=np.array(list(limits.values()), dtype=float),
        use_start=np.concatenate([[0], np.cumsum([len(u) for u in uses])]).astype(np.int64),
        use_row=np.array([row for u in uses for row, _, _ in u], dtype=np.int64),
        use_fixed=np.array([fixed for u in uses for _, fixed, _ in u], dtype=float),
        use_load=np.array([load for u in uses for _, _, load in u], dtype=float),
        rate=np.ones(count),
        option_rate=np.ones(len(flat)),
        unit_cost=np.abs(value) / replicas,
        min_replicas=np.zeros(count, dtype=np.int64),
    )
