"""One server of the plant: its requests, its replicas, and what came of them."""

from __future__ import annotations

import copy

import numpy as np

from flyball.simulate.load import Source, in_order, source
from flyball.simulate.record import Record
from flyball.simulate.replicas import Replicas
from flyball.spec.scenario import World
from flyball.spec.server import Server
from flyball.units import Seconds


class Serving:
    """One server: its requests, its replicas, what came of them."""

    def __init__(
        self,
        server: Server,
        world: World,
        seeds: list[np.random.SeedSequence],
        compiled: bool | None,
        keep: Seconds | None,
    ) -> None:
        self.name = server.name
        self.model = server.model
        self.engines = {e.accelerator: e for e in world.engines if e.model == server.model}
        hold = world.hold.get(server.name)
        self.replicas = Replicas(tuple(self.engines.values()), world.router, compiled, hold)
        streams = [s for s in world.streams if s.server == server.name]
        self.sources: list[Source] = [source(s, seed) for s, seed in zip(streams, seeds, strict=True)]
        self.wanted: dict[str, int] = {}
        self.record = Record(keep)
        self.starts: tuple[Seconds, ...] = ()
        """How long the last cold starts took."""
        self.held = self.asked = self.cards = self.dollars = 0.0

    def copy(self) -> Serving:
        """Another that goes on in the same way, apart from this one."""
        other = copy.copy(self)
        other.replicas, other.record = self.replicas.copy(), self.record.copy()
        other.sources = [s.copy() for s in self.sources]
        other.wanted = dict(self.wanted)
        return other

    def run(self, begin: Seconds, end: Seconds) -> None:
        """Serve from `begin` to `end`."""
        for over in self.replicas.run(begin, end, *in_order([s.take(end) for s in self.sources])):
            self.record.add(over, end)
