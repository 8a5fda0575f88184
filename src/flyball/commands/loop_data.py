"""Inferno's data files for the loop: read again as time goes on, and corrected by a tuner elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from flyball.adapters.files import read_fleet
from flyball.adapters.kubernetes.assemble import Assembler, Rules
from flyball.adapters.kubernetes.governed import Cluster
from flyball.adapters.kubernetes.known import Given
from flyball.adapters.kubernetes.listing import Listing
from flyball.client.errors import CallError
from flyball.client.tuner import TunerClient
from flyball.commands.output import say
from flyball.loop.ports import FleetSource
from flyball.spec.fleet import Fleet
from flyball.spec.profile import Profile
from flyball.spec.server import Server
from flyball.wire.errors import WireError
from flyball.wire.inferno_in import profile_of
from flyball.wire.inferno_out import profile_shape, server_document

LEARNING = 422
"""What the tuner answers while it has too little to go by."""


class Data:
    """The files of a directory. Capacity is read in each cycle, the others in dynamic mode only."""

    def __init__(self, directory: Path, dynamic: bool) -> None:
        """WireError: they cannot be read."""
        self._directory, self._dynamic = directory, dynamic
        self._static = self._last = read_fleet(directory, servers=False)
        self.problem = ""
        """Why they could not be read now: what was read last holds."""

    def fleet(self) -> Fleet:
        """What they say, without servers."""
        try:
            now = read_fleet(self._directory, servers=False)
        except WireError as error:
            self.problem = f"{error} What was read before holds"
            return self._last
        self.problem = ""
        if self._dynamic:
            self._static = now
        made = replace(self._static, capacity=now.capacity)
        if made != self._last:
            self._last = made
        return self._last


class DataAssembler:
    """Makes clusters with data files that may change meanwhile."""

    def __init__(self, data: Data, rules: Rules) -> None:
        self._data, self._rules = data, rules
        self._fleet: Fleet | None = None
        self._assembler: Assembler | None = None

    def cluster(self, listing: Listing, models: Mapping[tuple[str, str], str] | None = None) -> Cluster:
        """As `Assembler.cluster`."""
        fleet = self._data.fleet()
        if self._assembler is None or fleet is not self._fleet:
            self._fleet, self._assembler = fleet, Assembler(Given(fleet), self._rules)
        made = self._assembler.cluster(listing, models)
        return replace(made, notes=(*made.notes, self._data.problem)) if self._data.problem else made


class Tuned:
    """Port FleetSource: profiles as a tuner has them, which learns from what replicas show.

    Where it has nothing yet, or does not answer, the data's own hold; the loop does not wait for it.
    """

    def __init__(
        self, source: FleetSource, client: TunerClient, replicas: Callable[[], Sequence[Server]]
    ) -> None:
        """`replicas`: as the collector tells them."""
        self._source, self._client, self._replicas = source, client, replicas
        self._learned: dict[tuple[str, str], Profile] = {}
        self._problem = ""

    def fleet(self) -> Fleet:
        """The source's, with what was learned."""
        fleet = self._source.fleet()
        if fleet.generation != "G3":
            return fleet
        try:
            self._ask(fleet)
            problem = ""
        except CallError as error:
            problem = str(error)
        if problem and problem != self._problem:
            say(f"flyball: the tuner: {problem}")
        self._problem = problem
        return replace(
            fleet, profiles=tuple(self._learned.get((p.model, p.accelerator), p) for p in fleet.profiles)
        )

    def _ask(self, fleet: Fleet) -> None:
        replicas = self._replicas()
        if replicas:
            try:
                self._client.tune(msgspec.json.encode([server_document(r, "G3") for r in replicas]))
            except CallError as error:
                if error.status != LEARNING:
                    raise
        if self._client.warmup():
            return
        known = {(p.model, p.accelerator): p for p in fleet.profiles}
        for shape in self._client.merge([profile_shape(p) for p in fleet.profiles]):
            before = known.get((shape.name, shape.acc))
            if before is not None:
                learned = profile_of(shape, "G3")
                self._learned[shape.name, shape.acc] = replace(before, timing=learned.timing)
