"""A fixed number of replicas: what a fleet sized once has."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from flyball.laws.pool import Bounds, decision, pools, step
from flyball.spec.decision import Decision
from flyball.spec.snapshot import Snapshot
from flyball.units import Seconds


class NoMemory(msgspec.Struct, frozen=True):
    """It remembers nothing."""


class Static(msgspec.Struct, frozen=True):
    """So many replicas for each server, whatever comes; also after a loss."""

    n: int | None = None
    """For servers that `servers` does not name; None: those of the fleet's own current allocation."""
    servers: Mapping[str, int] = {}
    period: Seconds = 15.0
    name: str = "static"

    def __post_init__(self) -> None:
        for what, value in [("n", self.n or 0), *self.servers.items()]:
            if value < 0:
                raise ValueError(f"{what} is {value}: replicas are 0 or more")

    def __call__(self, snapshot: Snapshot, memory: NoMemory | None) -> tuple[Decision, NoMemory]:
        """A server for which no number is known is left alone."""
        steps, unknown = [], set(self.servers) - {s.name for s in snapshot.fleet.servers}
        for pool in pools(snapshot, Bounds()):
            current = pool.server.current.replicas or None
            wanted = self.servers.get(pool.server.name, current if self.n is None else self.n)
            if wanted is not None:
                steps.append(step(pool, wanted))
        notes = [f"static: the fleet has no server '{name}'" for name in sorted(unknown)]
        return decision(self.name, snapshot, steps, notes), NoMemory()


def static(n: int | None = None, **servers: int) -> Static:
    """`static`, `static:8`, `static:chat=3,code=5`."""
    return Static(n, servers)
