"""From what was listed to a cluster as the loop sees it; no I/O, no clock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from flyball.adapters.kubernetes import owners
from flyball.adapters.kubernetes.capacity import with_capacity, within_quotas
from flyball.adapters.kubernetes.engine import Engine, engine_of
from flyball.adapters.kubernetes.governed import Cluster, Governed, Mode, Rolling
from flyball.adapters.kubernetes.hardware import UNKNOWN, candidates_of, place_of
from flyball.adapters.kubernetes.known import Known
from flyball.adapters.kubernetes.labels import MODEL, OURS, Said, said_by
from flyball.adapters.kubernetes.listing import Listed, Listing
from flyball.adapters.kubernetes.nodes import Pool
from flyball.adapters.kubernetes.objects import Metadata, Pod
from flyball.adapters.kubernetes.pods import cold_start, pods_of, state_of
from flyball.adapters.kubernetes.rollout import HOLD, rolling_of
from flyball.adapters.kubernetes.servers import Claim, agreed, classed, grouped
from flyball.spec.fleet import Fleet
from flyball.spec.server import Server
from flyball.spec.snapshot import Variant
from flyball.units import Seconds
from flyball.wire.errors import WireError
from flyball.wire.inferno_in import DEFAULT_CLASS

DEFAULT_BATCH = 256
"""Of an engine that does not say it: vLLM's."""


Stated = Callable[[Metadata, Said], Said]


class Rules(msgspec.Struct, frozen=True):
    """What holds for every workload that does not say otherwise."""

    mode: Mode = "recommend"
    least: int = 1
    """Replicas of a server; 0 only where its demand is known without any."""
    max_batch_size: int = 0
    """Over 0: pins the batch of servers that pin none (Inferno's DEFAULT_MAX_BATCH_SIZE)."""
    capacity: dict[str, int] | None = None
    """Cards by type, instead of those of the nodes."""
    hold: Seconds = HOLD
    """So long a workload is left after it was rolled over."""


class Assembler:
    """Makes a `Cluster` of a `Listing`, cycle after cycle; what is known of hardware is kept."""

    def __init__(
        self, known: Known, rules: Rules | None = None, stated: Stated = lambda metadata, said: said
    ) -> None:
        """`known`: a `Library`, or a `Given` fleet; `stated`: what an object of its own says of a workload,
        which goes before what the workload says."""
        self._known, self._rules, self._stated = known, rules or Rules(), stated
        self._read: dict[str, tuple[str, Said, Engine]] = {}

    def cluster(self, listing: Listing, models: Mapping[tuple[str, str], str] | None = None) -> Cluster:
        """The cluster; `models`: what metrics say that a workload serves, by namespace and name."""
        listed = sorted(
            listing.workloads,
            key=lambda one: (one.workload.metadata.namespace, one.workload.metadata.name, one.kind.plural),
        )
        pods, belonging = pods_of(listed, listing.pods)
        pool = Pool(listing.nodes or (), self._known.card_type)
        scaling = owners.scalers(listing)
        workloads = [
            self._workload(one, tuple(pods.get(i, ())), pool, models or {}, scaling, listing.at)
            for i, one in enumerate(listed)
        ]
        kept = {one.workload.metadata.uid for one in listed}
        self._read = {uid: read for uid, read in self._read.items() if uid in kept}
        notes = [*listing.notes, *pool.notes, *(note for one in workloads for note in one.problems)]
        servers, groups = self._servers(workloads, pool, notes)
        fleet = self._fleet(servers, groups, listing, pool, belonging, notes)
        named = {id(one): server for server, group in groups.items() for one in group}
        return Cluster(
            fleet=fleet,
            governed=tuple(self._governed(one, named[id(one)], listing.at) for one in workloads),
            capacity=fleet.capacity,
            notes=tuple(dict.fromkeys(notes)),
        )

    # ---- one workload ------------------------------------------------------------------------------

    def _workload(
        self,
        listed: Listed,
        pods: tuple[Pod, ...],
        pool: Pool,
        models: Mapping[tuple[str, str], str],
        scaling: Mapping[owners.Key, str],
        at: float,
    ) -> Claim:
        metadata, spec = listed.workload.metadata, listed.workload.spec
        where = f"{listed.kind.name} {metadata.namespace}/{metadata.name}"
        said, engine = self._said(listed, where)
        problems = list(said.problems)
        measured = models.get((metadata.namespace, metadata.name), "")
        model, is_known = self._model(said, engine, measured, where, problems)
        template = spec.template.spec
        if spec.leader_worker_template is not None:
            group = spec.leader_worker_template
            template = (group.leader_template or group.worker_template).spec
        elif spec.template.roles:
            template = spec.template.roles[0].entry_template.spec
        place = place_of(said, engine, template, pods, model, pool, self._known, where)
        problems += place.problems
        owner = owners.owner_of(listed, scaling)
        mode = said.mode or self._rules.mode
        rolling, never = rolling_of(
            *(listed, template, said, engine, place, model, pool, self._known, at, self._rules.hold),
            *(mode, owner),
        )
        problems += (f"{where}: {text}" for text in never)
        return Claim(
            listed, said, engine, template, pods, model, is_known, place, tuple(problems), rolling, owner
        )

    def _said(self, listed: Listed, where: str) -> tuple[Said, Engine]:
        """What it says of itself; read again only when it was written since."""
        metadata = listed.workload.metadata
        version, said, engine = self._read.get(metadata.uid, ("", None, None))
        if said is None or engine is None or version != metadata.resource_version or not version:
            said, engine = said_by(metadata, where), engine_of(listed.workload.spec)
            self._read[metadata.uid] = metadata.resource_version, said, engine
        return self._stated(metadata, said), engine

    def _model(
        self, said: Said, engine: Engine, measured: str, where: str, problems: list[str]
    ) -> tuple[str, bool]:
        """The model's name, and whether it is known; one that is not is told."""
        names = (said.model,) if said.model else (*engine.models, *filter(None, (measured,)))
        if not names:
            problems.append(
                f"{where}: nothing says which model it serves, so it is not acted on. Put the annotation "
                f"{OURS}model on it (or the label {MODEL})"
            )
            return "", False
        try:
            return self._known.model(names), True
        except WireError as error:
            problems.append(
                f"{where}: {error} It is not acted on. Put the annotation {OURS}model with the name of a "
                "model of its size on it, or describe the model (kind: Models)"
            )
            return names[0], False

    def _governed(self, one: Claim, server: str, at: float) -> Governed:
        metadata, spec = one.listed.workload.metadata, one.listed.workload.spec
        labelled = 0 if one.said.batch_apply else one.said.batch  # a label is no engine
        return Governed(
            server=server,
            accelerator=one.place.accelerator,
            kind=one.listed.kind,
            namespace=metadata.namespace,
            name=metadata.name,
            uid=metadata.uid,
            resource_version=metadata.resource_version,
            mode=one.said.mode or self._rules.mode,
            replicas=1 if spec.replicas is None else spec.replicas,
            labels=metadata.labels,
            annotations=metadata.annotations,
            max_batch_size=labelled or one.engine.max_batch_size or DEFAULT_BATCH,
            pods=tuple(state_of(pod, at) for pod in one.pods),
            pinned=one.place.pinned,
            owner=one.owner,
            warnings=tuple(owners.warnings_of(one.listed.workload, one.template)),
            least=one.said.least,
            most=one.said.most,
            generation=metadata.generation,
            cards=one.engine.cards,
            cold_start=cold_start(one.pods),
            load=one.said.load,
            rolling=one.rolling,
        )

    # ---- servers -----------------------------------------------------------------------------------

    def _servers(
        self, workloads: Sequence[Claim], pool: Pool, notes: list[str]
    ) -> tuple[list[Server], dict[str, list[Claim]]]:
        groups = grouped(workloads, notes)
        return [self._server(name, groups[name], pool, notes) for name in sorted(groups)], groups

    def _server(self, name: str, group: Sequence[Claim], pool: Pool, notes: list[str]) -> Server:
        model = agreed(name, "model", (one.model for one in group), notes)
        service_class = agreed(name, "class", (one.said.service_class for one in group), notes)
        if len(group) == 1:
            one = group[0]
            moves = one.rolling.moves if one.rolling and not one.rolling.refused else ()
            accelerators = candidates_of(one.place, moves, one.engine, model, pool, self._known)
        else:
            if any(one.said.accelerator_apply for one in group):
                notes.append(
                    f"{name}: {OURS}accelerator: apply is passed over: it has a workload for each accelerator"
                )
            accelerators = {one.place.accelerator for one in group}
            accelerators = (accelerators - {UNKNOWN}) or {UNKNOWN}
        batch = next(
            (
                pinned
                for one in group
                if (
                    pinned := one.said.batch_pinned
                    or (not _may_change(one.rolling) and one.engine.max_batch_size)
                )
            ),
            self._rules.max_batch_size,
        )
        return Server(
            name=name,
            model=model,
            service_class=service_class or DEFAULT_CLASS,
            min_replicas=max(self._rules.least, *(one.said.least for one in group)),
            max_batch_size=batch,
            accelerators=tuple(sorted(accelerators)),
        )

    # ---- the fleet ---------------------------------------------------------------------------------

    def _fleet(
        self,
        servers: Sequence[Server],
        groups: Mapping[str, Sequence[Claim]],
        listing: Listing,
        pool: Pool,
        belonging: set[str],
        notes: list[str],
    ) -> Fleet:
        wanted = {
            (server.model, name)
            for server in servers
            for name in (*server.accelerators, *(one.place.accelerator for one in groups[server.name]))
            if name != UNKNOWN
        }
        base = self._known.fleet(wanted)
        has = {(p.model, p.accelerator) for p in base.profiles}
        for server in servers:
            for one in groups[server.name]:
                accelerator = one.place.accelerator
                if one.is_known and accelerator != UNKNOWN and (server.model, accelerator) not in has:
                    notes.append(
                        f"{server.name}: {server.model} has no profile on {accelerator}"
                        + (": it does not fit there. " if self._known.closed else ". ")
                        + "Check how many cards its template asks for"
                    )
        classes, served = classed(base, servers, groups, notes)
        of_nodes, more = self._of_nodes(listing, pool, groups, belonging)
        fleet = replace(base, service_classes=classes, servers=served)
        return with_capacity(fleet, self._rules.capacity, of_nodes, more, notes)

    def _of_nodes(
        self,
        listing: Listing,
        pool: Pool,
        groups: Mapping[str, Sequence[Claim]],
        belonging: set[str],
    ) -> tuple[dict[str, int] | None, tuple[str, ...]]:
        """Cards by type as the nodes have them, within quotas; None where nodes may not be seen."""
        if listing.nodes is None:
            return None, ()
        held: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for group in groups.values():
            for one in group:
                if one.engine.resource:
                    held[one.engine.resource][one.namespace] += len(one.pods) * one.engine.cards
        return within_quotas(pool.capacity(listing.pods, belonging), listing.quotas, held, pool)


def _may_change(rolling: Rolling | None) -> bool:
    """Whether the batch may: else the plan is to count with what the engine has."""
    return rolling is not None and bool(rolling.batch_flag) and not rolling.refused


def observe(cluster: Cluster) -> dict[str, tuple[Variant, ...]]:
    """What of each server is there: for the `variants` of its observation."""
    found: dict[str, list[Variant]] = defaultdict(list)
    for one in cluster.governed:
        states = [pod.state for pod in one.pods]
        # Pods that a rollout adds are no replicas that were asked for: others go for them.
        ready = min(states.count("ready"), one.replicas)
        more = states.count("ready") + states.count("pending") - one.replicas
        found[one.server].append(
            Variant(
                one.accelerator,
                ready=ready,
                # What is asked for and not even made, for want of quota say, is waited for too.
                pending=one.replicas - ready,
                draining=states.count("draining") + max(more, 0),
                max_batch_size=one.max_batch_size,
                waited=max((pod.waited for pod in one.pods), default=0.0),
            )
        )
    return {server: tuple(variants) for server, variants in found.items()}
