"""What the loop decides, in the Server objects of the servers that it governs.

Figures move in every cycle; an object is written only when what is asked for, or why, is another.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from flyball.adapters.collected import STALE, prices_of, with_load
from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.errors import ClusterError, Conflict
from flyball.adapters.kubernetes.governed import Cluster
from flyball.operator.assembler import Named
from flyball.operator.conditions import Holds, differs, turned
from flyball.operator.kinds import Kinds, Stored
from flyball.operator.reconciler import WORKERS, Held, Told, moment, replacing
from flyball.operator.statuses import camel, finished, readiness
from flyball.operator.writes import Leads, Writes
from flyball.report import moves
from flyball.spec.decision import Decision, Step
from flyball.spec.fleet import Fleet
from flyball.spec.plan import ServerPlan
from flyball.spec.snapshot import Observation
from flyball.wire.inferno_out import server_document
from flyball.wire.kinds.decided import Document, option_document, storable
from flyball.wire.kinds.inferno_objects import Ref

FORM = "G3"
"""Words of what stands in a status where the loop plans in Flyball's own form."""


class Seen(msgspec.Struct, frozen=True):
    """One cycle of the loop."""

    cluster: Cluster
    observed: Mapping[str, Observation]
    fleet: Fleet
    decision: Decision
    refs: Mapping[str, Named]
    """Server objects, by the names that the fleet has for them."""


class Publisher:
    """Writes Server objects after each cycle."""

    def __init__(
        self,
        api: Api,
        lease: Leads | None,
        kinds: Kinds,
        *,
        told: Told = lambda stored, ref, reason, message, warning: None,
        wall: Callable[[], str] = moment,
    ) -> None:
        self._api, self._lease, self._kinds, self._told, self._wall = api, lease, kinds, told, wall
        self._held: dict[Ref, Held] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(WORKERS, "flyball-servers")

    def close(self) -> None:
        """Begin nothing more."""
        self._pool.shutdown(cancel_futures=True)

    def held(self) -> Mapping[Ref, Held]:
        """Servers for which the loop decides, as it saw them last."""
        with self._lock:
            return self._held

    def publish(self, seen: Seen) -> tuple[str, ...]:
        """Write what changed; in a sentence each what could not be written."""
        steps = {step.server: step for step in seen.decision.steps}
        plans = {one.server: one for one in seen.decision.plan.servers} if seen.decision.plan else {}
        current = _current(seen)
        with self._lock:
            self._held = {
                found.governed.ref: Held(current.get(name))
                for name, found in seen.refs.items()
                if name in steps
            }
        writes = Writes(self._api, self._lease, lambda kind, one: self._kinds.watches[kind].seen(one))
        work = []
        for name, found in seen.refs.items():
            stored, step = self._kinds.get(found.governed.ref), steps.get(name)
            if stored is not None and isinstance(stored.spec, dict) and step is not None:
                wanted = _wanted(step, plans.get(name), seen.fleet, current.get(name), self._wall())
                work.append((found.governed.ref, stored, wanted))
        return self._write(writes, work)

    def _write(self, writes: Writes, work: Sequence[tuple[Ref, Stored, Wanted]]) -> tuple[str, ...]:
        def one(item: tuple[Ref, Stored, Wanted]) -> str:
            ref, stored, wanted = item
            try:
                self._one(writes, ref, stored, wanted)
            except Conflict:
                return ""  # somebody wrote meanwhile: the next cycle does it
            except ClusterError as error:
                return f"{ref} is not written: {error}"
            return ""

        return tuple(dict.fromkeys(filter(None, self._pool.map(one, work))))

    def _one(self, writes: Writes, ref: Ref, stored: Stored, wanted: Wanted) -> None:
        desired = wanted.status.get("desiredAlloc")
        was = stored.spec.get("desiredAlloc")
        if desired is not None and asked(was) != asked(desired):
            stored = writes.spec("Server", stored, {"desiredAlloc": replacing(was, desired)})
        before, generation = stored.status, stored.metadata.generation
        status = finished(dict(wanted.status), before, wanted.holds, generation, True, self._wall())
        if news(before, status):
            writes.status("Server", stored, status)
            for said, warns in turned(before.get("conditions"), status["conditions"]):
                self._told(stored, ref, said["reason"], said["message"], warns)


class Wanted(msgspec.Struct, frozen=True):
    """What a Server's status is to say."""

    status: Document
    holds: tuple[Holds, ...]


def news(before: Document, status: Document) -> bool:
    """Whether a status asks for anything else, or for another reason; figures alone are none."""
    if differs(before.get("conditions"), status["conditions"], words=False):
        return True
    if before.get("observedGeneration") != status["observedGeneration"]:
        return True
    if any(before.get(key) != status.get(key) for key in ("reason", "bindingConstraint", "active")):
        return True
    return any(asked(before.get(key)) != asked(status.get(key)) for key in ("desiredAlloc", "currentAlloc"))


def asked(allocation: object) -> tuple[object, ...]:
    """What of an allocation is no figure."""
    if not isinstance(allocation, dict):
        return ()
    return tuple(allocation.get(key) for key in ("accelerator", "numReplicas", "maxBatch"))


def _wanted(
    step: Step, planned: ServerPlan | None, fleet: Fleet, current: Document | None, now: str
) -> Wanted:
    main = max(step.orders, key=lambda order: order.replicas, default=None)
    desired: Document | None = None
    if main is not None:
        desired = {"accelerator": main.accelerator, "numReplicas": main.replicas}
        if main.max_batch_size:
            desired["maxBatch"] = main.max_batch_size
        goal = step.goal
        if goal is not None and (goal.accelerator, goal.replicas) == (main.accelerator, main.replicas):
            desired = option_document(goal, fleet) | desired
        if current is not None and "load" in current:
            desired["load"] = current["load"]
    status: Document = {
        "reason": planned.reason if planned else step.cause,
        "bindingConstraint": planned.allocation.binding if planned and planned.allocation else None,
        "nextBest": option_document(step.next_best, fleet) if step.next_best else None,
        "currentAlloc": current,
        "desiredAlloc": desired,
        "lastDecisionTime": now,
    }
    return Wanted(status, tuple(_holds(step, planned)))


def _holds(step: Step, planned: ServerPlan | None) -> Iterable[Holds]:
    yield readiness("")
    why = moves.why(step)
    if planned is not None:
        yield Holds("Feasible", planned.keeps_promises, camel(planned.reason), why)
    blind = next((hold for hold in step.holds if hold.guard == "no_data"), None)
    held = next((hold for hold in step.holds if hold.guard != "no_data"), None)
    if held is None:
        yield Holds("Limited", False, "Free", "")
    else:
        yield Holds("Limited", True, camel(held.guard), moves.held(held))
    if blind is None:
        yield Holds("Stale", False, "Measured", "")
    else:
        yield Holds("Stale", True, "NoData", moves.held(blind))


def _current(seen: Seen) -> dict[str, Document]:
    """What each Server has, in the words of its own namespace."""
    prices, by_server = prices_of(seen.cluster.fleet), seen.cluster.by_server()
    found: dict[str, Document] = {}
    for server in seen.cluster.fleet.servers:
        observed, workloads = seen.observed.get(server.name), by_server.get(server.name, [])
        named = seen.refs.get(server.name)
        rate = None if observed is None else observed.arrival_rate
        if observed is None or named is None or not workloads or rate is None or rate.age > STALE:
            continue  # a load that is not known is not none
        main = max(workloads, key=lambda one: (one.replicas, one.accelerator))
        generation = named.fleet.generation if named.fleet.profiles else FORM
        shown = with_load(server, observed, main, prices)
        found[server.name] = storable(server_document(shown, generation)["currentAlloc"])  # type: ignore[arg-type]
    return found
