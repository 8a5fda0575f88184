"""A cluster's watts: port PowerSensor. What the loop has just listed, with what exporters measure.

No list is made twice: nodes, pods and governed workloads are those of the `ClusterReader`. Only what policies
select beside them is listed here, in one request for each kind.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from flyball.adapters.cluster import ClusterReader
from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.errors import ClusterError
from flyball.adapters.kubernetes.governed import Cluster, Kind
from flyball.adapters.kubernetes.known import Library
from flyball.adapters.kubernetes.listing import AUTOSCALERS, SCALED_OBJECTS, Listed, Listing
from flyball.adapters.kubernetes.nodes import CardType
from flyball.adapters.kubernetes.power import (
    RACK,
    Hardware,
    batch_use,
    placed_pods,
    pod_places,
    power_nodes,
    with_empty_cards,
)
from flyball.adapters.kubernetes.power_domains import domains_of
from flyball.adapters.kubernetes.power_workloads import (
    Others,
    governed_workloads,
    list_others,
    longest_grace,
    other_workloads,
    scalings,
)
from flyball.adapters.prometheus.power import PowerScrape
from flyball.adapters.prometheus.power_figures import Places
from flyball.profiles import library
from flyball.spec.power import (
    DeviceProfile,
    Domain,
    Policy,
    PowerNode,
    PowerReading,
    PowerSeen,
    PowerWorkload,
)
from flyball.spec.snapshot import Scrape
from flyball.units import Seconds

HPA_SYNC: Seconds = 15.0
"""Between looks of the HPA, which KEDA scales by, too."""
SCALERS = (AUTOSCALERS.name, SCALED_OBJECTS.name)
PATIENCE: Seconds = 2.0
"""So long a list is asked for again: with the metrics it is within the runner's 10 s."""
STALE: Seconds = 60.0
"""Readings that are older are none in most domains, so that nothing waits for them."""

Measure = Callable[[Places], PowerScrape]


class Asked(Protocol):
    """What the objects of power ask for."""

    @property
    def domains(self) -> tuple[Domain, ...]: ...
    @property
    def discovering(self) -> Mapping[str, str]: ...
    @property
    def policies(self) -> tuple[Policy, ...]: ...
    @property
    def profiles(self) -> Sequence[DeviceProfile]: ...
    @property
    def notes(self) -> tuple[str, ...]:
        """What is left out of them, and why."""
        ...


class Options(msgspec.Struct, frozen=True):
    """How a cluster's watts are looked at."""

    period: Seconds
    """Between cycles."""
    speed: float = 1.0
    """Seconds of simulated engines in one of ours."""
    rack_label: str = RACK
    namespace: str = ""
    """The only one that is looked at; "": all."""
    kinds: tuple[Kind, ...] = ()
    """Further kinds with /scale."""


class ClusterPower:
    """Port PowerSensor."""

    def __init__(
        self,
        reader: ClusterReader,
        api: Api,
        asked: Callable[[], Asked | None],
        measure: Measure | None,
        options: Options,
        *,
        card_type: CardType | None = None,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`asked`: the objects; None: their kinds are not installed, and nothing is looked at.

        `measure`: reads exporters; None: there is no Prometheus. `card_type`: as `Known` has it.
        """
        self._reader, self._api, self._asked, self._measure = reader, api, asked, measure
        self._options, self._wall, self._monotonic = options, wall, monotonic
        self._card_type = card_type or Library().card_type
        self._cards = {card.name: card for card in library.cards()}
        self._others: tuple[Listed, ...] = ()
        """As they were listed last."""
        self._ahead: Seconds | None = None
        """Of the world's time before ours."""

    def look(self, seen: Scrape) -> PowerSeen:
        """Domains, policies, readings, nodes and pods. ClusterError where the cluster was never listed."""
        now = self._unix(seen.time)
        asked = self._asked()
        if asked is None:
            return PowerSeen(now, self._options.period)
        listing, cluster = self._reader.listing, self._reader.cluster
        if listing is None or cluster is None:
            raise ClusterError("watts are not known: the cluster could not be listed yet")
        notes = list(asked.notes)
        if seen.time != self._reader.seen.time:
            notes.append("the cluster could not be seen now: nodes and pods are as they were listed before")
        hardware = Hardware(self._card_type, self._cards, asked.profiles, rack_label=self._options.rack_label)
        if listing.nodes is None:
            notes.append(
                "nodes may not be listed, so no domain has any, and no watts are known. Allow its service "
                "account to list nodes"
            )
        nodes, odd = power_nodes(listing.nodes or (), listing.pods, hardware, listing.everywhere)
        readings, more = self._readings(listing, nodes)
        notes += (*odd, *more)
        pods = placed_pods(cluster, batch_use(cluster, seen.servers), asked.profiles)
        workloads, others = self._workloads(cluster, listing, asked.policies, nodes, readings, notes)
        return PowerSeen(
            now=now,
            tau=self._tau(listing, workloads, others, readings),
            domains=domains_of(asked.domains, asked.discovering, nodes.values(), self._options.rack_label),
            policies=asked.policies,
            nodes=tuple(nodes.values()),
            readings=readings,
            pods=with_empty_cards((*pods, *others.pods), listing.pods, nodes),
            workloads=workloads,
            notes=tuple(dict.fromkeys(notes)),
        )

    def _unix(self, moment: Seconds) -> Seconds:
        """Since 1970: the loop's own clock, or of a world that is faster, ours at the start and its since."""
        if self._options.speed == 1.0:
            return moment
        if self._ahead is None:
            self._ahead = moment - self._wall()
        return moment - self._ahead

    def _readings(
        self, listing: Listing, nodes: Mapping[str, PowerNode]
    ) -> tuple[tuple[PowerReading, ...], tuple[str, ...]]:
        if self._measure is None:
            return (), ("there is no Prometheus: watts are bounds of the model. Give --prometheus",)
        places, with_cards = pod_places(listing.pods)
        try:
            found = self._measure(Places(frozenset(nodes), places, with_cards))
        except Exception as error:  # whatever it is: without readings the bounds of the model still hold
            return (), (f"watts are bounds of the model, as nothing is measured: {error}",)
        return found.readings, found.notes

    def _workloads(
        self,
        cluster: Cluster,
        listing: Listing,
        policies: Sequence[Policy],
        nodes: Mapping[str, PowerNode],
        readings: Iterable[PowerReading],
        notes: list[str],
    ) -> tuple[tuple[PowerWorkload, ...], Others]:
        options = self._options
        scaling = scalings(listing)
        governed = governed_workloads(cluster, listing, scaling)
        until = self._monotonic() + PATIENCE
        try:
            self._others, said = list_others(self._api, policies, options.kinds, options.namespace, until)
            notes += said
        except ClusterError as error:  # what is held must not seem to be gone
            notes.append(f"workloads that are not governed are as they were listed before: {error}")
        others = other_workloads(self._others, listing, policies, scaling, nodes, readings)
        return (*governed, *others.workloads), others

    def _tau(
        self,
        listing: Listing,
        workloads: Iterable[PowerWorkload],
        others: Others,
        readings: Iterable[PowerReading],
    ) -> Seconds:
        """From a reading to the end of what it causes."""
        sync = HPA_SYNC if any(ref.kind in SCALERS for one in workloads for ref in one.scaled_by) else 0.0
        grace = max(longest_grace(listing.workloads), others.grace)
        age = max((r.age for r in readings if r.age <= STALE), default=0.0)
        return self._options.period + (sync + grace + age) * self._options.speed
