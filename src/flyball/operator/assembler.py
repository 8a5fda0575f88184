"""The cluster as the loop sees it, where objects of our kinds say what is known and what is wanted.

A Server names the workloads that have its name as label: what the object says goes before annotations, and
these before labels. Accelerators, models, classes and capacity come from the objects as soon as there is a
model among them, else from the library. Where VariantAutoscaling objects are taken for ours, they name the
workloads that they scale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from flyball.adapters.kubernetes.assemble import Assembler, Rules
from flyball.adapters.kubernetes.governed import Cluster
from flyball.adapters.kubernetes.known import Given, Known, Library
from flyball.adapters.kubernetes.labels import MANAGED, NAME, Said
from flyball.adapters.kubernetes.listing import Listed, Listing
from flyball.adapters.kubernetes.objects import Metadata
from flyball.operator.kinds import Kinds
from flyball.profiles import library
from flyball.spec.fleet import Fleet
from flyball.spec.server import Server
from flyball.wire.kinds.documents import Governed, Namespace, Objects, read_namespace
from flyball.wire.kinds.inferno_objects import ref_of
from flyball.wire.wva import Imported, Target
from flyball.wire.wva_objects import FIELDS, beside

T = TypeVar("T")
Place = tuple[str, str]
"""Namespace, and the name that workloads have as label."""


class Named(msgspec.Struct, frozen=True):
    """A Server object that names workloads."""

    governed: Governed
    server: Server
    fleet: Fleet
    """Of its namespace."""


class KindsAssembler:
    """Makes clusters with objects that may change meanwhile."""

    def __init__(self, kinds: Kinds, rules: Rules, variants: Callable[[], Imported] = Imported) -> None:
        """`variants`: what VariantAutoscaling objects say; of two by one name our kinds' own holds."""
        self._kinds, self._rules, self._variants = kinds, rules, variants
        self._targets: Mapping[Place, Target] = {}
        self._known: Fleet | None = None
        self._assembler: Assembler | None = None
        self._named: Mapping[Place, Named] = {}
        self.refs: dict[str, Named] = {}
        """Server objects of the last cluster, by the names that the fleet has for them."""

    def cluster(self, listing: Listing, models: Mapping[tuple[str, str], str] | None = None) -> Cluster:
        """As `Assembler.cluster`."""
        taken = self._variants()
        self._targets = {(one.namespace, one.name): one for one in taken.targets}
        reads = [
            read_namespace(beside(self._kinds.objects(name), taken.namespaces.get(name, Objects())))
            for name in sorted({*self._kinds.namespaces(), *taken.namespaces})
        ]
        self._named = named(reads)
        given, notes = merged(reads)
        if self._assembler is None or given != self._known:
            self._known, self._assembler = given, Assembler(known_of(given), self._rules, self._stated)
        kept = tuple(one for one in listing.workloads if self._is_governed(one))
        made = self._assembler.cluster(replace(listing, workloads=kept), models)
        self.refs = {
            one.server: found
            for one in made.governed
            if (found := self._named.get(self._place(one.namespace, one.name, one.labels)))
        }
        servers = tuple(self._wished(server) for server in made.fleet.servers)
        if self._kinds.problem:
            notes.append(f"objects of our kinds may have changed since: {self._kinds.problem}")
        notes += (f"left out: {error}" for error in (*taken.errors, *_unread(reads, taken)))
        return replace(made, fleet=replace(made.fleet, servers=servers), notes=(*made.notes, *notes))

    def _is_governed(self, one: Listed) -> bool:
        labels = one.workload.metadata.labels
        return labels.get(MANAGED) == "true" or self._place_of(one.workload.metadata) in self._named

    def _stated(self, metadata: Metadata, said: Said) -> Said:
        place = self._place_of(metadata)
        found = self._named.get(place)
        if found is None:
            return said
        target = self._targets.get((metadata.namespace, metadata.name))
        if target is not None and target.server == place[1]:
            said = replace(
                said,
                name=target.server,
                accelerator=said.accelerator or target.accelerator,
                least=max(target.least, said.least),
                most=said.most if target.most is None else target.most,
            )
        server, governed = found.server, found.governed
        return replace(
            said,
            model=server.model or said.model,
            service_class=server.service_class or said.service_class,
            mode=governed.mode or said.mode,
            batch=server.max_batch_size or said.batch,
            batch_pinned=server.max_batch_size or said.batch_pinned,
            least=server.min_replicas or said.least,
            most=said.most if governed.max_replicas is None else governed.max_replicas,
        )

    def _place(self, namespace: str, name: str, labels: Mapping[str, str]) -> Place:
        target = self._targets.get((namespace, name))
        return namespace, labels.get(NAME) or (target.server if target else name)

    def _place_of(self, metadata: Metadata) -> Place:
        return self._place(metadata.namespace, metadata.name, metadata.labels)

    def _wished(self, server: Server) -> Server:
        found = self.refs.get(server.name)
        if found is None:
            return server
        wishes, possible = found.server.accelerators, server.accelerators  # of both, none means any
        allowed = tuple(a for a in possible if a in wishes) if wishes and possible else wishes
        return replace(
            server,
            accelerators=allowed or possible,
            keep_accelerator=found.server.keep_accelerator,
            max_queue_size=found.server.max_queue_size,
        )


def _unread(reads: Iterable[Namespace], taken: Imported) -> Iterable[str]:
    """What is wrong with objects that are in no cluster, whose status nobody can look at."""
    made = {
        ref_of(kind, one)
        for objects in taken.namespaces.values()
        for field, kind in FIELDS.items()
        for one in getattr(objects, field)
    }
    return (error for read in reads for ref, error in read.errors.items() if ref in made)


def named(reads: Iterable[Namespace]) -> dict[Place, Named]:
    """Server objects by namespace and the name that workloads have as label."""
    found = {}
    for read in reads:
        servers = {server.name: server for server in read.fleet.servers}
        for name, governed in read.servers.items():
            found[governed.ref.namespace, name] = Named(governed, servers[name], read.fleet)
    return found


def merged(reads: Sequence[Namespace]) -> tuple[Fleet | None, list[str]]:
    """What all namespaces know together, without servers; None: nothing. Of two by one name the first counts.

    Notes say what was passed over. Without any model there are but classes in it.
    """
    telling = [read.fleet for read in reads if read.fleet.profiles]
    telling = telling or [read.fleet for read in reads if read.fleet.service_classes]
    if not telling:
        return None, []
    made, notes = telling[0], []
    for other in telling[1:]:
        if other.generation != made.generation:
            notes.append(
                f"models of generation {other.generation} are passed over: the loop plans one fleet, and the "
                f"first namespace with models has generation {made.generation}"
            )
            continue
        made = replace(
            made,
            accelerators=_union(made.accelerators, other.accelerators, lambda a: a.name),
            profiles=_union(made.profiles, other.profiles, lambda p: (p.model, p.accelerator)),
            service_classes=_union(made.service_classes, other.service_classes, lambda c: c.name),
            capacity={**other.capacity, **made.capacity},
        )
    return replace(made, servers=()), notes


def _union(first: tuple[T, ...], second: tuple[T, ...], key: Callable[[T], object]) -> tuple[T, ...]:
    known = {key(one) for one in first}
    return (*first, *(one for one in second if key(one) not in known))


def known_of(given: Fleet | None) -> Known:
    """What is known of models and cards: what objects say, else the library, with classes of objects."""
    if given is None:
        return Library()
    if given.profiles:
        return Given(given)
    return Library(classes=_union(given.service_classes, library.classes(), lambda c: c.name))
