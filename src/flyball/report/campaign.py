"""What came of simulated runs: from arrays of requests to figures, and from figures of several seeds to a
table.

A request attains its targets if its time to first token and its mean time between tokens are within the
limits that its class promises, whatever their statistic; requests that were lost, refused or not finished
have missed them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import msgspec
import numpy as np
from numpy.typing import NDArray

from flyball.spec.fleet import Fleet
from flyball.spec.server import Server
from flyball.spec.service_class import promise_of
from flyball.units import Seconds

FloatArray = NDArray[np.float64]

SHARES = (0.5, 0.95, 0.99)
REVERSAL: Seconds = 600.0
"""A change of direction this soon after the last change is a reversal."""
RUN_FIGURES = {
    "attainment": "share of all requests within their targets",
    "asked": "mean replicas asked for",
    "held": "mean replicas held, draining ones too",
    "gpu_hours": "card hours held",
    "dollars": "cost",
    "kwh": "energy",
    "scale_events": "changes of replicas asked for",
    "reversals": "changes of direction within 10 minutes",
}
LATENCIES = [f"{metric}_p{share * 100:g}" for metric in ("ttft", "tpot") for share in SHARES]
CLASS_FIGURES = ["attainment", *LATENCIES, "requests"]


class Requests(msgspec.Struct, frozen=True):
    """The finished requests of one server, and how many there were in all."""

    ttft: FloatArray
    """(n,) seconds."""
    tpot: FloatArray
    """(n,) seconds; NaN where a request had one token only."""
    offered: int
    """Finished or not."""


class Trail(msgspec.Struct, frozen=True):
    """One server over one run, a value for each decision."""

    server: str
    time: tuple[Seconds, ...]
    asked: tuple[int, ...]
    ready: tuple[int, ...]
    rate: tuple[float | None, ...]
    """Requests per second as measured."""
    moving: tuple[bool, ...] = ()
    """Whether it is asked for on two accelerators: a hand-over. Left out: never."""


class Used(msgspec.Struct, frozen=True):
    """What all servers together used."""

    asked: float
    """Replicas, mean."""
    held: float
    gpu_hours: float
    dollars: float
    kwh: float


class Group(msgspec.Struct, frozen=True):
    """Servers of one class with the same limits."""

    name: str
    ttft: Seconds
    """Limit; inf: none."""
    tpot: Seconds
    servers: tuple[str, ...]


class Figures(msgspec.Struct, frozen=True):
    """What came of one run: figures by name (see `RUN_FIGURES`), and by group (see `CLASS_FIGURES`)."""

    policy: str
    seed: int
    run: dict[str, float]
    groups: dict[str, dict[str, float]]
    trails: tuple[Trail, ...] = ()


class Estimate(msgspec.Struct, frozen=True):
    """Mean over seeds, and half the width of its 95 % interval; None: one seed only."""

    mean: float
    half: float | None = None


class Row(msgspec.Struct, frozen=True):
    """One policy over all its seeds."""

    policy: str
    seeds: tuple[int, ...]
    run: dict[str, Estimate]
    groups: dict[str, dict[str, Estimate]]


def groups(fleet: Fleet) -> list[Group]:
    """The servers by class, and by limits where a class has several."""
    found: dict[tuple[str, float, float], list[Server]] = {}
    for server in fleet.servers:
        found.setdefault((server.service_class, *_limits(fleet, server)), []).append(server)
    several = {name for name, _, _ in found if sum(other == name for other, _, _ in found) > 1}
    made = []
    for (name, ttft, tpot), servers in found.items():
        models = ", ".join(sorted({s.model for s in servers}))
        label = f"{name} ({models})" if name in several else name
        made.append(Group(label, ttft, tpot, tuple(sorted(s.name for s in servers))))
    return sorted(made, key=lambda g: g.name)


def _limits(fleet: Fleet, server: Server) -> tuple[float, float]:
    promise = promise_of(fleet.service_classes, server.service_class, server.model)
    targets = promise.targets if promise else ()
    ttft, itl = (
        min((t.limit for t in targets if t.metric == metric), default=math.inf) for metric in ("ttft", "itl")
    )
    return ttft, itl


def judge(
    policy: str,
    seed: int,
    fleet: Fleet,
    requests: Mapping[str, Requests],
    used: Used,
    trails: Sequence[Trail],
    keep_trails: bool = False,
) -> Figures:
    """The figures of one run."""
    by_group, met, offered = {}, 0, 0
    for group in groups(fleet):
        mine = [requests[name] for name in group.servers if name in requests]
        ttft = np.concatenate([np.empty(0), *(r.ttft for r in mine)])
        tpot = np.concatenate([np.empty(0), *(r.tpot for r in mine)])
        count = sum(r.offered for r in mine)
        within = int(attained(ttft, tpot, group.ttft, group.tpot).sum())
        met, offered = met + within, offered + count
        by_group[group.name] = {
            "attainment": within / count if count else math.nan,
            **{f"ttft_p{s * 100:g}": quantile(ttft, s, count) for s in SHARES},
            **{f"tpot_p{s * 100:g}": quantile(tpot[~np.isnan(tpot)], s) for s in SHARES},
            "requests": float(count),
        }
    moves = [scale_moves(t.time, t.asked, t.moving) for t in trails]
    run = {
        "attainment": met / offered if offered else math.nan,
        **msgspec.structs.asdict(used),
        "scale_events": float(sum(events for events, _ in moves)),
        "reversals": float(sum(reversals for _, reversals in moves)),
    }
    return Figures(policy, seed, run, by_group, tuple(trails) if keep_trails else ())


def attained(
    ttft: FloatArray, tpot: FloatArray, ttft_limit: Seconds, tpot_limit: Seconds
) -> NDArray[np.bool_]:
    """(n,) Whether each request is within both limits; one token only has no time between tokens."""
    within: NDArray[np.bool_] = (ttft <= ttft_limit) & ~(tpot > tpot_limit)
    return within


def quantile(values: FloatArray, share: float, count: int | None = None) -> float:
    """The least value that a share of them does not pass; those missing of `count` are infinite."""
    count = values.size if count is None else max(count, values.size)
    if not count:
        return math.nan
    rank = max(math.ceil(share * count - 1e-9), 1) - 1
    return float(np.partition(values, rank)[rank]) if rank < values.size else math.inf


def scale_moves(
    time: Sequence[Seconds], asked: Sequence[int], moving: Sequence[bool] = ()
) -> tuple[int, int]:
    """Changes, and those that turn the direction soon after the last change.

    What is asked for in a hand-over goes up and down by its nature: those are changes without a direction.
    """
    still = [not any(moving[i : i + 2]) for i in range(len(asked))]
    changes = [
        (t, (b - a) * go) for t, a, b, go in zip(time[1:], asked, asked[1:], still, strict=False) if a != b
    ]
    turns = (b[1] * a[1] < 0 and b[0] - a[0] <= REVERSAL for a, b in pairwise(changes))
    return len(changes), sum(turns)


def rows(runs: Iterable[Figures], policies: Sequence[str]) -> list[Row]:
    """One row for each policy of which a run is there, in the order given."""
    made, done = [], sorted(runs, key=lambda r: r.seed)
    for policy in policies:
        mine = [r for r in done if r.policy == policy]
        if not mine:
            continue
        made.append(
            Row(
                policy,
                tuple(r.seed for r in mine),
                {name: estimate([r.run[name] for r in mine]) for name in RUN_FIGURES},
                {
                    group: {name: estimate([r.groups[group][name] for r in mine]) for name in CLASS_FIGURES}
                    for group in mine[0].groups
                },
            )
        )
    return made


def estimate(values: Sequence[float]) -> Estimate:
    """Mean with Student's 95 % interval. What is infinite in one run is so in the mean."""
    known = [v for v in values if not math.isnan(v)]
    if not known:
        return Estimate(math.nan)
    mean = math.fsum(known) / len(known)
    if len(known) < 2 or math.isinf(mean):
        return Estimate(mean)
    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in known) / (len(known) - 1))
    return Estimate(mean, student_975(len(known) - 1) * spread / math.sqrt(len(known)))


_STUDENT = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)


def student_975(freedom: int) -> float:
    """The 97.5 % point of Student's t, to 1e-4; above 10 degrees by Fisher's expansion."""
    if freedom <= len(_STUDENT):
        return _STUDENT[freedom - 1]
    z, v = 1.959963985, float(freedom)
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * v**4)
    )
