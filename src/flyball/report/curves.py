"""Curves of one server: what the decision saw, over load and over batch size.

Cost over load, latency and occupancy over load, impact of the batch size, and the region of batch and load
in which the targets hold: the plots of the optimizer document.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, cast

import msgspec
import numpy as np

from flyball.queueing.analysis import EPSILON, analyze
from flyball.queueing.arrays import FloatArray, IntArray
from flyball.queueing.curves import Curve
from flyball.queueing.percentiles import Metric, QuantileTarget, quantiles
from flyball.queueing.sizing import MEAN_METRICS, Sizing, Targets, size
from flyball.report.sentences import cost_of
from flyball.solve.candidates import Candidates
from flyball.spec.fleet import Fleet
from flyball.spec.plan import Plan, ServerPlan
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
    points: tuple[str, ...] = ()
    """Lines that are drawn as points."""
    range: tuple[float, float] | None = None
    """Of y; None: from 0 to the highest."""
    band: tuple[str, str] | None = None
    """The upper and the lower of two lines, with what is between them shaded."""


class ServerCurves(msgspec.Struct, frozen=True):
    """The charts of one server on the accelerator that it got."""

    server: str
    accelerator: str
    charts: list[Chart]


def with_curves(fleet: Fleet, plan: Plan) -> list[ServerPlan]:
    """Servers that have a load and an allocation to draw curves of, the dearest first."""
    loads = {s.name: s.load.arrival_rate > 0 and s.load.out_tokens > 0 for s in fleet.servers}
    drawn = [s for s in plan.servers if loads[s.server] and s.allocation and s.allocation.replicas]
    return sorted(drawn, key=lambda s: -cost_of(s))


def server_curves(
    fleet: Fleet, sized: Candidates, server: str, accelerator: str, replicas: int
) -> ServerCurves:
    """Charts of a server that has at least one candidate and some load."""
    s = sized.pairs.server_number(server)
    mine = np.flatnonzero((sized.pairs.server == s) & (sized.excluded == 0))
    chosen = next(p for p in mine if fleet.accelerators[int(sized.pairs.accelerator[p])].name == accelerator)
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
    server = fleet.servers[sized.servers[int(sized.pairs.server[mine[0]])]]
    lines: dict[str, Series] = {}
    for p in mine[np.argsort(sized.cost[mine], kind="stable")][:LINES]:
        count = np.maximum(np.ceil(x / sized.max_rate[p]), max(server.min_replicas, 1))
        lines[fleet.accelerators[int(sized.pairs.accelerator[p])].name] = _plain(
            count * sized.pairs.unit_cost[p]
        )
    return Chart("Cost over load", "requests/s", "$/h", x.tolist(), lines, {}, {"now": rate}, steps=True)


def _over_load(fleet: Fleet, sized: Candidates, at: IntArray, now: float) -> list[Chart]:
    curve, queue = _repeated(sized, at, POINTS)
    top = (curve.max_batch_size / curve.residence_time(curve.max_batch_size))[0] * (1.0 - EPSILON)
    x = np.linspace(0.0, 1.0, POINTS + 1)[1:] * top
    metrics = analyze(curve, queue, x)
    first: Metric = "wait" if fleet.generation == "G1" else "ttft"
    means: dict[Metric, FloatArray] = {
        first: metrics.wait_time if first == "wait" else metrics.ttft,
        "itl": metrics.itl,
    }
    limits = _limits(fleet, sized, at)
    charts = []
    titles: dict[Metric, str] = {
        first: "Time to first token" if first == "ttft" else "Wait",
        "itl": "Time between tokens",
    }
    for metric, title in titles.items():
        lines = {"mean": _plain(to_ms(1.0) * means[metric])}
        if metric == "wait":  # the decision takes the wait of generation 1 as exponential
            lines["p95"] = _plain(to_ms(1.0) * means[metric] * -math.log(1.0 - TAIL))
        else:
            lines["p95"] = _plain(to_ms(1.0) * quantiles(curve, queue, x, metric, TAIL))
        charts.append(
            Chart(
                f"{title} over load",
                "requests/s at one replica",
                "ms",
                x.tolist(),
                lines,
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
    chosen = float(sized.pairs.batch[at[0]])
    batch = np.unique(np.round(np.geomspace(1.0, max(2.0 * chosen, 4.0), BATCHES)))
    within, regions = _regions(fleet, sized, at, batch)
    curve, queue = _with_batches(fleet, sized, at, batch)
    some = np.where(within.feasible, within.rate, 1e-9)
    metrics = analyze(curve, queue, some)
    first, at_first = ("wait", metrics.wait_time) if fleet.generation == "G1" else ("ttft", metrics.ttft)
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
                first: _plain(np.where(within.feasible, to_ms(1.0) * at_first, np.nan)),
                "itl": _plain(np.where(within.feasible, to_ms(1.0) * metrics.itl, np.nan)),
            },
            {},
            {"chosen": chosen},
        ),
    ]
    lines = {name: _plain(rate) for name, rate in regions.items()}
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


def _regions(
    fleet: Fleet, sized: Candidates, at: IntArray, batch: FloatArray
) -> tuple[Sizing, dict[str, FloatArray]]:
    """Sized within all targets; and the highest rates within none and within each alone. All in one go."""
    targets = sized.pairs.targets(np.repeat(at, batch.size))
    limits = [targets.ttft, targets.itl, targets.wait, targets.e2e, *(t.limit for t in targets.quantiles)]
    names = [*MEAN_METRICS, *(f"{t.metric} p{t.quantile[0] * 100:g}" for t in targets.quantiles)]
    asked = [row for row, limit in enumerate(limits) if np.isfinite(limit).any()]
    kinds = [range(len(limits)), (), *([row] for row in asked)]
    none = np.full(batch.size, np.inf)
    rows = [
        np.concatenate([limit if row in kind else none for kind in kinds]) for row, limit in enumerate(limits)
    ]
    quantiles = [
        QuantileTarget(t.metric, np.tile(t.quantile, len(kinds)), row)
        for t, row in zip(targets.quantiles, rows[4:], strict=True)
    ]
    curve, queue = _with_batches(fleet, sized, at, np.tile(batch, len(kinds)))
    sizing = size(curve, queue, Targets(rows[0], rows[1], rows[2], rows[3], quantiles))
    first = np.arange(batch.size)
    within = Sizing(
        sizing.rate[first],
        sizing.throughput[first],
        sizing.binding[first],
        sizing.feasible[first],
        sizing.light[:, first],
    )
    rates = np.split(sizing.rate, len(kinds))[1:]
    return within, dict(zip(["stability", *(f"{names[row]} target" for row in asked)], rates, strict=True))


def _with_batches(
    fleet: Fleet, sized: Candidates, at: IntArray, batch: FloatArray
) -> tuple[Curve, FloatArray]:
    """A pair's curve at several batch limits; where the queue is so many batches, it goes with them."""
    repeated, queue = _repeated(sized, at, batch.size)
    curve: Curve = dataclasses.replace(cast(Any, repeated), max_batch_size=batch)
    if fleet.generation in ("G1", "G2"):
        queue = queue / repeated.max_batch_size * batch
    return curve, queue


def _repeated(sized: Candidates, at: IntArray, count: int) -> tuple[Curve, FloatArray]:
    lanes = np.repeat(at, count)
    return sized.pairs.curve(lanes), sized.pairs.queue_size(lanes)


def _limits(fleet: Fleet, sized: Candidates, at: IntArray) -> dict[str, dict[str, float]]:
    promise = sized.pairs.promises[int(sized.pairs.server[at[0]])]
    result: dict[str, dict[str, float]] = {}
    for t in promise.targets if promise else ():
        result.setdefault(t.metric, {})[f"{t.statistic} target"] = t.limit
    return result


def _plain(values: FloatArray) -> Series:
    return [float(f"{v:.6g}") if math.isfinite(v) else None for v in values.tolist()]
