"""The log of cycles as Inferno's control loop writes it: a line of JSON for each."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from flyball.loop.record import Cycle
from flyball.spec.fleet import Fleet, replica_prices
from flyball.spec.server import Server
from flyball.spec.service_class import promise_of
from flyball.spec.snapshot import Observation
from flyball.units import to_cents, to_ms, to_per_minute


def cycle_line(number: int, cycle: Cycle) -> bytes:
    """One line, with its end: requests a minute, milliseconds, cents an hour, as there."""
    fleet, seen = cycle.snapshot.fleet, {o.server: o for o in cycle.snapshot.seen.servers}
    steps = {s.server: s for s in cycle.decision.steps} if cycle.decision else {}
    price = replica_prices(fleet)
    units = {(p.model, p.accelerator): max(p.accelerator_count, 1) for p in fleet.profiles}
    cards = {a.name: (a.type, a.multiplicity) for a in fleet.accelerators}
    used: dict[str, int] = {}
    servers, total = [], 0.0
    for server in fleet.servers:
        orders = steps[server.name].orders if server.name in steps else ()
        main = max(orders, key=lambda o: o.replicas, default=None)
        cost = sum(o.replicas * price(server.model, o.accelerator) for o in orders)
        for order in orders:
            kind, each = cards.get(order.accelerator, (order.accelerator, 1))
            count = order.replicas * each * units.get((server.model, order.accelerator), 1)
            used[kind] = used.get(kind, 0) + count
        total += cost
        servers.append(
            {
                **_seen(fleet, server, seen.get(server.name)),
                "accelerator": main.accelerator if main else "",
                "replicas": sum(o.replicas for o in orders),
                "maxBatch": main.max_batch_size if main else 0,
                "cost": to_cents(cost),
            }
        )
    capacity = {**fleet.capacity, **(cycle.snapshot.seen.capacity or {})}
    record: dict[str, Any] = {
        "ts": datetime.fromtimestamp(cycle.time, UTC).isoformat(),
        "cycle": number,
        "servers": servers,
        "capacity": [
            {"type": kind, "allocated": used.get(kind, 0), "available": count}
            for kind, count in sorted(capacity.items())
        ],
        "totalCost": to_cents(total),
        "timing": {"optimizeMs": to_ms(cycle.seconds)},
        "errors": list(cycle.errors),
    }
    return msgspec.json.encode(record) + b"\n"


def _seen(fleet: Fleet, server: Server, found: Observation | None) -> dict[str, Any]:
    def mean(metric: str) -> float:
        readings = getattr(found, metric, {})
        return to_ms(readings["mean"].value) if "mean" in readings else 0.0

    def value(name: str) -> float:
        reading = getattr(found, name, None)
        return reading.value if reading is not None else 0.0

    promise = promise_of(fleet.service_classes, server.service_class, server.model)
    limits = {t.metric: to_ms(t.limit) for t in (promise.targets if promise else ())}
    ready = sum(v.ready for v in found.variants) if found else 0
    return {
        "name": server.name,
        "class": server.service_class,
        "model": server.model,
        "rpm": to_per_minute(value("arrival_rate")),
        "throughput": to_per_minute(value("arrival_rate")),
        "avgInTok": value("in_tokens"),
        "avgOutTok": value("out_tokens"),
        "itl": mean("itl"),
        "ttft": mean("ttft"),
        "sloItl": limits.get("itl", 0.0),
        "sloTtft": limits.get("ttft", 0.0),
        "occPerReplica": value("running") / ready if ready else 0.0,
        "occTotal": value("running"),
    }
