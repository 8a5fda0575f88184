"""The plan as CSV: a line for each server, or for each part of its mix."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from flyball.spec.fleet import Fleet
from flyball.spec.plan import Estimate, Option, Plan, ServerPlan
from flyball.units import per_month

WHAT = ("server", "priority", "status", "reason")
GIVEN = ("accelerator", "replicas", "max_batch_size", "cost_per_hour")
ESTIMATED = (
    *("server", "accelerator", "card", "cards", "replicas", "replicas_low", "replicas_high"),
    *(
        "cost_per_hour",
        "cost_per_hour_low",
        "cost_per_hour_high",
        "cost_per_month",
        "cost_per_million_tokens",
    ),
)
MEASURED = ("itl_s", "utilization", "watts", "binding")


def plan_csv(fleet: Fleet, plan: Plan) -> str:
    """Times in seconds, costs in dollars per hour; what is not known or without bound is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*WHAT, *GIVEN, "wait_s" if fleet.generation == "G1" else "ttft_s", *MEASURED])
    for server in plan.servers:
        for part in server.mix or (server.allocation,):
            writer.writerow(_line(server, part))
    return out.getvalue()


def estimates_csv(estimates: Sequence[Estimate]) -> str:
    """A line for each option of a server, with the ends of its bars; without bound is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    shown = [f"{x.metric}_{x.statistic}" for x in estimates[0].latencies]
    bars = [f"{name}{end}_s" for name in shown for end in ("", "_low", "_high")]
    writer.writerow([*ESTIMATED, *bars, "within", "watts", "binding", "source"])
    for e in estimates:
        option = e.option
        numbers = (option.cost, e.cost_low, e.cost_high, per_month(option.cost), e.per_million)
        latencies = [value for x in e.latencies for value in (x.likely, x.low, x.high)]
        writer.writerow(
            [
                *(e.server, option.accelerator, e.card, e.cards, option.replicas),
                *(_number(n) for n in (e.replicas_low, e.replicas_high, *numbers, *latencies, e.within)),
                *(_number(option.watts), option.binding, e.source),
            ]
        )
    return out.getvalue()


def _line(server: ServerPlan, part: Option | None) -> list[object]:
    head = [server.server, server.priority, server.status, server.reason]
    if part is None:
        return [*head, *[""] * (len(GIVEN) + 1 + len(MEASURED))]
    return [
        *head,
        part.accelerator,
        part.replicas,
        part.max_batch_size,
        *(_number(n) for n in (part.cost, part.ttft, part.itl, part.utilization, part.watts)),
        part.binding,
    ]


def _number(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:.8g}"
