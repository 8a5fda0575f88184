"""Curves of one server: what the decision saw, over load and over batch size.

Cost over load, latency and occupancy over load, impact of the batch size, and the region of batch and load in which
the targets hold: the plots of the optimizer document.
"""

from __future__ import annotations

import dataclasses
import math

import msgspec
import numpy as np

from flyball.queueing.analysis import EPSILON, analyze
from flyball.queueing.arrays import FloatArray, IntArray
from flyball.queueing.percentiles import Metric, quantiles
from flyball.queueing.sizing import Targets, no_targets, size
from flyball.solve.candidates import Candidates
from flyball.spec.fleet import Fleet
from flyball.units import to_ms

POINTS = 60
BATCHES = 36
LOADS = 3.0
"""Cost is drawn up to this many times the present load."""
LINES = 6
TAIL = 0.95

Series = list[float | None]


class Chart(msgspec.Struct, frozen=True):
    """One plot: x, and a line for each name. `limits` are drawn dashed, `marks` are vertical."""

    title: str
    x_label: str
    y_label: str
    x: list[float]
    lines: dict[str, Series]
    limits: dict[str, float] = {}
    marks: dict[str, float] = {}
    fill: str = ""
    """Line under which the region is shaded."""
    steps: bool = False


class ServerCurves(msgspec.Struct, frozen=True):
    """The charts of one server on the accelerator that it got."""

    server: str
    accelerator: str
    charts: list[Chart]


def server_curves(
    fleet: Fleet, sized: Candidates, server: str, accelerator: str, replicas: int
) -> ServerCurves:
    """Charts of a server that has at least one candidate and some load."""
    names = [fleet.servers[i].name for i in sized.servers]
    s = names.index(server)
    mine = np.flatnonzero((sized.server == s) & (sized.excluded == 0))
    chosen = next(p for p in mine if fleet.accelerators[int(sized.accelerator[p])].name == accelerator)
    rate = fleet.servers[sized.servers[s]].load.arrival_rate
    at = np.array([chosen])
    return ServerCurves(
        server,
        accelerator,
        [
            _cost_over_load(fleet, sized, mine, rate),
            *_over_load(fleet, sized, at, rate / max(replicas, 1)),
            *_over_batch(fleet, sized, at, rate / max(replicas, 1)),
        ],
    )


def _cost_over_load(fleet: Fleet, sized: Candidates, mine: IntArray, rate: float) -> Chart:
    x = np.linspace(0.0, LOADS * rate, POINTS + 1)[1:]
    server = fleet.servers[sized.servers[int(sized.server[mine[0]])]]
    lines: dict[str, Series] = {}
    for p in mine[np.argsort(sized.cost[mine], kind="stable")][:LINES]:
        count = np.maximum(np.ceil(x / sized.max_rate[p]), max(server.min_replicas, 1))
        lines[fleet.accelerators[int(sized.accelerator[p])].name] = _plain(count * sized.unit_cost[p])
    return Chart("Cost over load", "requests/s", "$/h", x.tolist(), lines, {}, {"now": rate}, steps=True)


def _over_load(fleet: Fleet, sized: Candidates, at: IntArray, now: float) -> list[Chart]:
    curve, queue = _repeated(sized, at, POINTS)
    top = (curve.max_batch_size / curve.residence_time(curve.max_batch_size))[0] * (1.0 - EPSILON)
    x = np.linspace(0.0, 1.0, POINTS + 1)[1:] * top
    metrics = analyze(curve, queue, x)
    first: Metric = "wait" if fleet.generation == "G1" else "ttft"
    means = {first: metrics.wait_time if first == "wait" else metrics.ttft, "itl": metrics.itl}
    limits = _limits(fleet, sized, at)
    charts = []
    for metric, title in (
        (first, "Time to first token" if first == "ttft" else "Wait"),
        ("itl", "Time between tokens"),
    ):
        tail = quantiles(curve, queue, x, metric, TAIL)  # type: ignore[arg-type]
        charts.append(
            Chart(
                f"{title} over load",
                "requests/s at one replica",
                "ms",
                x.tolist(),
                {"mean": _plain(to_ms(1.0) * means[metric]), "p95": _plain(to_ms(1.0) * tail)},
                {k: to_ms(v) for k, v in limits.get(metric, {}).items()},
                {"now": now},
            )
        )
    charts.append(
        Chart(
            "Occupancy over load",
            "requests/s at one replica",
            "requests",
            x.tolist(),
            {"in the batch": _plain(metrics.in_batch), "waiting": _plain(metrics.waiting)},
            {"batch limit": float(curve.max_batch_size[0])},
            {"now": now},
        )
    )
    return charts


def _over_batch(fleet: Fleet, sized: Candidates, at: IntArray, now: float) -> list[Chart]:
    chosen = float(sized.batch[at[0]])
    batch = np.unique(np.round(np.geomspace(1.0, max(2.0 * chosen, 4.0), BATCHES)))
    curve, queue = _repeated(sized, at, batch.size)
    curve = dataclasses.replace(curve, max_batch_size=batch)
    if fleet.generation in ("G1", "G2"):
        queue = 10.0 * batch
    targets = sized.pairs.targets(np.repeat(at, batch.size))
    within = size(curve, queue, targets)
    some = np.where(within.feasible, within.rate, 1e-9)
    metrics = analyze(curve, queue, some)
    charts = [
        Chart(
            "Impact of the batch size",
            "max batch size",
            "requests/s of one replica within its targets",
            batch.tolist(),
            {"throughput": _plain(np.where(within.feasible, within.throughput, 0.0))},
            {},
            {"chosen": chosen},
        ),
        Chart(
            "Latency at that load",
            "max batch size",
            "ms",
            batch.tolist(),
            {
                "ttft": _plain(np.where(within.feasible, to_ms(1.0) * metrics.ttft, np.nan)),
                "itl": _plain(np.where(within.feasible, to_ms(1.0) * metrics.itl, np.nan)),
            },
            {},
            {"chosen": chosen},
        ),
    ]
    stable = size(curve, queue, no_targets(batch.size)).rate
    lines = {"stability": _plain(stable)}
    for name, one in _one_by_one(targets).items():
        lines[f"{name} target"] = _plain(size(curve, queue, one).rate)
    region = np.where(within.feasible, within.rate, 0.0)
    lines["all targets"] = _plain(region)
    charts.append(
        Chart(
            "Region in which the targets hold",
            "max batch size",
            "requests/s of one replica",
            batch.tolist(),
            lines,
            {"load now": now},
            {"chosen": chosen},
            "all targets",
        )
    )
    return charts


def _one_by_one(targets: Targets) -> dict[str, Targets]:
    count = targets.ttft.size
    result: dict[str, Targets] = {}
    for name in ("ttft", "itl", "wait", "e2e"):
        limit: FloatArray = getattr(targets, name)
        if np.isfinite(limit).any():
            result[name] = dataclasses.replace(no_targets(count), **{name: limit})
    for target in targets.quantiles:
        if np.isfinite(target.limit).any():
            name = f"{target.metric} p{target.quantile[0] * 100:g}"
            result[name] = dataclasses.replace(no_targets(count), quantiles=[target])
    return result


def _repeated(sized: Candidates, at: IntArray, count: int):  # type: ignore[no-untyped-def]
    lanes = np.repeat(at, count)
    return sized.pairs.curve(lanes), sized.pairs.queue_size(lanes)


def _limits(fleet: Fleet, sized: Candidates, at: IntArray) -> dict[str, dict[str, float]]:
    promise = sized.promises[int(sized.server[at[0]])]
    result: dict[str, dict[str, float]] = {}
    for t in promise.targets if promise else ():
        result.setdefault(t.metric, {})[f"{t.statistic} target"] = t.limit
    return result


def _plain(values: FloatArray) -> Series:
    return [float(f"{v:.6g}") if math.isfinite(v) else None for v in values.tolist()]
