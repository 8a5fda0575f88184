"""The plan as CSV: a line for each server, or for each part of its mix."""

from __future__ import annotations

import csv
import io
import math

from flyball.spec.fleet import Fleet
from flyball.spec.plan import Option, Plan, ServerPlan

WHAT = ("server", "priority", "status", "reason")
GIVEN = ("accelerator", "replicas", "max_batch_size", "cost_per_hour")
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
