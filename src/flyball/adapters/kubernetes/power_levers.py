"""Caps of workloads carried out: KEDA's or the HPA's maximum, KEDA's pause, /scale, and which pods go first.

What governed servers without an autoscaler get, the loop's actuator writes where it acts: their orders are
within the caps already. What a GitOps tool keeps is left to it. Pods are trimmed where a policy asks for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.deletion_cost import DELETION_COST
from flyball.adapters.kubernetes.errors import ApiError, ClusterError, Conflict, NotFound
from flyball.adapters.kubernetes.freeze import Freeze
from flyball.adapters.kubernetes.governed import Kind
from flyball.adapters.kubernetes.lease import Lease
from flyball.adapters.kubernetes.listing import ALIVE, AUTOSCALERS, FORBIDDEN, PODS, SCALED_OBJECTS
from flyball.adapters.kubernetes.objects import Metadata, Read
from flyball.adapters.kubernetes.power_heat import HotPod, Mark, belongs, chosen, makers, marks
from flyball.adapters.kubernetes.power_original import (
    MANAGER,
    WROTE,
    Document,
    Unreadable,
    gitops_of,
    handed_back,
)
from flyball.adapters.kubernetes.power_resize import RESOURCES, Resizer, enforced
from flyball.adapters.kubernetes.power_write import PLAIN, Place, PlaceWriter, Wish
from flyball.adapters.kubernetes.template import pointer
from flyball.adapters.kubernetes.write import Left, Writer
from flyball.spec.power import PowerWorkload
from flyball.spec.power_plan import Relief, WorkloadCap
from flyball.units import Seconds

WORKERS = 8
TRIES = 3
"""At one object, where others write it at the same time."""
LIMIT: Seconds = 8.0
"""For all writes of a cycle."""
_NONE = "no ScaledObject, HorizontalPodAutoscaler, Deployment, StatefulSet, ReplicaSet or Job scales it"
KINDS = (SCALED_OBJECTS, AUTOSCALERS, *PLAIN.values())


class _There(Read, frozen=True):
    metadata: Metadata = Metadata()


class PowerLevers:
    """Holds caps on the objects of a cluster. Whoever leads next goes on from what lies on them."""

    def __init__(
        self,
        api: Api,
        lease: Lease,
        freeze: Freeze,
        *,
        namespace: str = "",
        limit: Seconds = LIMIT,
        now: Callable[[], Seconds] = time.monotonic,
        sleep: Callable[[Seconds], None] = time.sleep,
    ) -> None:
        """`freeze`: why nothing may be written, "": it may; `namespace`: all where it is empty."""
        self._api, self._lease, self._freeze = api, lease, freeze
        self._namespace, self._limit, self._now, self._sleep = namespace, limit, now, sleep
        self._pool = ThreadPoolExecutor(WORKERS, "flyball-power")
        self._resizer = Resizer(api, self._pool)
        self._term: int | None = None
        self._ours: dict[Place, None] = {}
        """Objects with a note of ours."""
        self._marked: set[str] = set()
        """Namespaces in which pods have marks of ours."""
        self._told: set[Place] = set()

    def close(self) -> None:
        """Begin nothing more; what stands stays."""
        self._pool.shutdown(cancel_futures=True)

    def apply(
        self,
        caps: Sequence[WorkloadCap],
        workloads: Sequence[PowerWorkload],
        hot: Sequence[str] = (),
        reliefs: Sequence[Relief] = (),
    ) -> tuple[str, ...]:
        """Hold those that are to be enforced, and give back all others; in a sentence each what cannot be.

        `hot`: nodes that pods should go from first, the hottest first.
        """
        standing = [cap for cap in caps if cap.mode == "Enforce"]
        asked = bool(standing or enforced(reliefs))
        if not self._lease.holds():
            leader = self._lease.holder or "nobody yet"
            return (f"no cap is written: this process does not lead ({leader} does)",) if asked else ()
        ours = self._ours or self._marked or self._resizer.busy
        if not (asked or ours) and self._term == self._lease.term:
            return ()
        frozen = self._freeze()
        if frozen:
            return (f"no cap is written: all is frozen, {frozen}",) if asked else ()
        said: list[str] = []
        if self._term != self._lease.term:
            self._look(said)
        by_name = {one.name: one for one in workloads}
        wishes: dict[Place, Wish | None] = dict.fromkeys(self._ours)
        for cap in standing:
            if cap.workload not in by_name:
                said.append(f"{cap.workload} is capped and is not there: nothing is written")
                continue
            found = dict(_wishes(cap, by_name[cap.workload]))
            if not found and not by_name[cap.workload].governed:
                said.append(f"{cap.workload} cannot be capped: {_NONE}")
            for place, wish in found.items():
                other = wishes.get(place)
                wishes[place] = wish if other is None or wish.most < other.most else other
        writer = Writer(self._api, self._lease, self._limit, self._now, self._sleep)
        there = [cap for cap in standing if cap.workload in by_name]
        first = chosen((by_name[cap.workload].replicas, cap) for cap in there)
        capped = [by_name[cap.workload] for cap in there]
        said += self._mark(writer, capped, hot, first)  # ahead of what takes pods
        writes = PlaceWriter(self._api, writer)
        # What takes replicas goes first: the time of a cycle is short.
        order = sorted(wishes, key=lambda place: (wishes[place] is None, place.words))
        results = self._pool.map(lambda place: self._one(writes, place, wishes[place]), order)
        resized = self._resizer.apply(writer, reliefs, workloads)
        return (*said, *(sentence for found in results for sentence in found), *resized)

    def release(self) -> tuple[str, ...]:
        """Give back all that is capped or trimmed in the cluster; in a sentence each what cannot be."""
        self._term = None  # what somebody else has left there counts too
        return self.apply((), ())

    # ---- objects ---------------------------------------------------------------------------------

    def _one(self, writes: PlaceWriter, place: Place, wish: Wish | None) -> tuple[str, ...]:
        try:
            for _ in range(TRIES):
                try:
                    return self._settled(writes, place, wish)
                except Conflict:
                    continue
            raise Left("others write it all the time; the next cycle tries again")
        except NotFound:
            self._ours.pop(place, None)
            return () if wish is None else (f"{place.words} is gone: its cap is held by nothing",)
        except (Left, ClusterError, Unreadable) as error:
            what = "is not given back" if wish is None else f"is not capped to {wish.most} replicas"
            return (f"{place.words} {what}: {error}{_mend(error, place.kind)}",)

    def _settled(self, writes: PlaceWriter, place: Place, wish: Wish | None) -> tuple[str, ...]:
        there = writes.read(place)
        tool = gitops_of(there)
        said = self._left_to(tool, place, wish) if tool and wish is not None else ()
        if tool:
            wish = None
        else:
            self._told.discard(place)
        is_ours, problem = writes.settle(place, there, wish)
        if is_ours:
            self._ours[place] = None
        else:
            self._ours.pop(place, None)
        return (*said, problem) if problem else said

    def _left_to(self, tool: str, place: Place, wish: Wish) -> tuple[str, ...]:
        if place in self._told:
            return ()
        self._told.add(place)
        return (
            f"{place.words} is left as it is: {tool} sets it back to what git says. Set "
            f"{wish.knob.name} to {wish.most} there, or let the policy write to git by its output gitops",
        )

    # ---- pods ------------------------------------------------------------------------------------

    def _mark(
        self,
        writer: Writer,
        capped: Sequence[PowerWorkload],
        hot: Sequence[str],
        first: Mapping[str, int],
    ) -> list[str]:
        """Let those pods go first and then those on hot nodes, and have all others as they were."""
        made = {one.name: makers(one.scaled_by) for one in capped} if hot or first else {}
        spaces = {one.namespace for one in capped if made.get(one.name)} | self._marked
        said: list[str] = []
        for space in sorted(spaces):
            try:
                pods = writer.send(lambda space=space: self._pods(space))  # type: ignore[misc]
            except (Left, ClusterError) as error:
                said.append(f"which pods in {space} go first cannot be said: {error}{_mend(error, PODS)}")
                continue
            workloads = [made[one.name] for one in capped if one.namespace == space and one.name in made]
            ours = [p.metadata.uid for p in pods if any(belongs(p.metadata, those) for those in workloads)]
            found = marks(pods, ours, hot, first)
            problems = [one for one in self._pool.map(lambda mark: self._write(writer, mark), found) if one]
            said += problems[:1]
            stays = {p.metadata.uid for p in pods if p.is_ours} - {m.pod.metadata.uid for m in found}
            if problems or stays or any(mark.is_ours for mark in found):
                self._marked.add(space)
            else:
                self._marked.discard(space)
        return said

    def _pods(self, namespace: str) -> list[HotPod]:
        return self._api.items(PODS.path(namespace), HotPod, fields=ALIVE, cached=True)

    def _write(self, writer: Writer, mark: Mark) -> str:
        """The mark of one pod; in a sentence what hinders it."""
        about = mark.pod.metadata
        path = PODS.path(about.namespace, about.name)
        metadata: Document = {"name": about.name, "namespace": about.namespace, "uid": about.uid}
        if mark.is_ours:
            metadata["annotations"] = {DELETION_COST: str(mark.cost)}
        body = {"apiVersion": "v1", "kind": PODS.name, "metadata": metadata}
        try:
            if mark.is_ours or mark.cost is None:
                writer.send(lambda: self._api.apply(path, body, HotPod, MANAGER))
            else:
                writer.send(lambda: self._own(path, about.uid, str(mark.cost)))
        except ApiError as error:
            if error.status in (404, 409):  # gone already is as good
                return ""
            return f"pods of {about.namespace} cannot be marked: {error}{_mend(error, PODS)}"
        except (Left, ClusterError) as error:
            return f"pods of {about.namespace} cannot be marked: {error}"
        return ""

    def _own(self, path: str, uid: str, cost: str) -> None:
        """A pod's own cost again, without our name. ClusterError."""
        at = "/metadata" + pointer("annotations", DELETION_COST)
        same = {"op": "test", "path": "/metadata/uid", "value": uid}
        there: Document = self._api.edit(
            path, [same, {"op": "replace", "path": at, "value": cost}], dict[str, Any], fieldManager=MANAGER
        )
        last = {"op": "replace", "path": "/metadata/managedFields", "value": handed_back(there)}
        self._api.edit(path, [same, last], dict[str, Any], fieldManager=MANAGER)

    # ---- what is ours already --------------------------------------------------------------------

    def _look(self, said: list[str]) -> None:
        """Find what was capped, marked and trimmed before this process led."""
        term, complete = self._lease.term, True
        self._ours, self._marked = {}, set()
        for kind in KINDS:
            try:
                found = self._api.items(kind.path(self._namespace), _There)
            except NotFound:
                continue
            except ClusterError as error:
                if isinstance(error, ApiError) and error.status == FORBIDDEN:
                    said.append(f"caps from before are not looked for: {error}{_mend(error, kind, 'list')}")
                else:
                    complete = False
                    said.append(f"caps from before are not known yet: {error}")
                continue
            for one in found:
                if WROTE in one.metadata.annotations:
                    self._ours[Place(kind, one.metadata.namespace, one.metadata.name)] = None
        try:
            pods = self._pods(self._namespace)
            self._marked = {p.metadata.namespace for p in pods if p.is_ours}
            self._resizer.begin(p.metadata.namespace for p in pods if RESOURCES in p.metadata.annotations)
        except ClusterError as error:
            complete = complete and isinstance(error, ApiError) and error.status == FORBIDDEN
            said.append(f"pods that were marked before are not known: {error}{_mend(error, PODS, 'list')}")
        self._term = term if complete else None


def _wishes(cap: WorkloadCap, workload: PowerWorkload) -> Iterator[tuple[Place, Wish]]:
    """What is to hold where, for a cap. Several autoscalers of one workload share it."""
    ours = workload.governed and workload.wanted is None  # then the loop's actuator writes them
    for kinds in ((SCALED_OBJECTS,), (AUTOSCALERS,), () if ours else tuple(PLAIN.values())):
        by_name = {kind.name: kind for kind in kinds}
        refs = sorted({ref.name: ref for ref in workload.scaled_by if ref.kind in by_name}.items())
        for number, (name, ref) in enumerate(refs):
            place = Place(by_name[ref.kind], workload.namespace, name)
            most = (cap.most + len(refs) - 1 - number) // len(refs)
            yield place, Wish(place.knob(cap.lever == "pause"), most, workload.replicas)
        if refs:
            return


def _mend(error: Exception, kind: Kind, verb: str = "get and patch") -> str:
    if not isinstance(error, ApiError) or error.status != FORBIDDEN:
        return ""
    resource = f"{kind.plural}.{kind.group}" if kind.group else kind.plural
    return f". Allow its service account to {verb} {resource}"
