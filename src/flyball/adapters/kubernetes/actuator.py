"""Orders carried out on workloads: compared first, refused with a reason, written by the leader only."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.deletion_cost import DELETION_COST, deletion_costs
from flyball.adapters.kubernetes.errors import ApiError, ClusterError
from flyball.adapters.kubernetes.events import Events
from flyball.adapters.kubernetes.freeze import Freeze
from flyball.adapters.kubernetes.governed import Cluster, Kind
from flyball.adapters.kubernetes.lease import Lease
from flyball.adapters.kubernetes.objects import Pod
from flyball.adapters.kubernetes.quota import cut_to_quotas
from flyball.adapters.kubernetes.targets import Target, change_of, one_rollout, permitted, targets_of
from flyball.adapters.kubernetes.write import MANAGER, Left, Writer
from flyball.spec.decision import Order
from flyball.units import Seconds

POD = Kind("", "v1", "pods", "Pod")
WORKERS = 16
LIMIT: Seconds = 8.0
"""For all writes of a cycle; the runner waits 10 s."""


class KubernetesActuator:
    """Scales workloads of the cluster that the decision was made from. Port: loop.ports.Actuator."""

    def __init__(
        self,
        api: Api,
        lease: Lease,
        seen: Callable[[], Cluster | None],
        freeze: Freeze,
        *,
        events: Events | None = None,
        why: Callable[[str], str] = lambda server: "",
        busy: Callable[[], Mapping[str, float]] = dict,
        limit: Seconds = LIMIT,
        now: Callable[[], Seconds] = time.monotonic,
        sleep: Callable[[Seconds], None] = time.sleep,
    ) -> None:
        """`api`: with a timeout below `limit`; `seen`: what the orders were decided from; `freeze`: why
        nothing may be written, "": it may; `why`: the reason for a server's orders; `busy`: 0 to 1 by
        "namespace/pod", where that is known."""
        self._api, self._lease, self._seen, self._freeze = api, lease, seen, freeze
        self._events, self._why, self._busy = events, why, busy
        self._limit, self._now, self._sleep = limit, now, sleep
        self._pool = ThreadPoolExecutor(WORKERS, "flyball-act")

    def close(self) -> None:
        """Begin nothing more."""
        self._pool.shutdown(cancel_futures=True)

    def act(self, orders: Sequence[Order]) -> tuple[str, ...]:
        """Scale, label and roll over what differs; in a sentence each what was not done, and why."""
        cluster = self._seen()
        if cluster is None:
            return ("the cluster has not been read yet, so nothing is written",)
        targets, said = targets_of(cluster, orders)
        targets, refused = permitted(targets)
        targets, waiting = one_rollout(targets)
        targets = tuple(target for target in targets if target.differs)
        said += refused + waiting
        if not targets:
            return said
        writer = Writer(self._api, self._lease, self._limit, self._now, self._sleep)
        if not self._lease.holds():
            leader = self._lease.holder or "nobody yet"
            return (*said, f"{_changes(targets)} not written: this process does not lead ({leader} does)")
        frozen = self._freeze()
        if frozen:
            return (*said, f"{_changes(targets)} not written: all is frozen, {frozen}")
        targets, cut = cut_to_quotas(targets, self._api)
        targets = tuple(target for target in targets if target.differs)
        grow = [target for target in targets if target.grows]
        grown, sentences = self._write(writer, grow)
        # What is to take over is asked for before what it relieves goes.
        asked = {(one.server, one.accelerator): one.replicas for one in cluster.governed}
        asked |= {(one.workload.server, one.accelerator): one.replicas for one in grown}
        waits = {one.server for one in orders if asked.get((one.server, one.accelerator), 0) < one.replicas}
        shrink = [target for target in targets if not target.grows and target.workload.server not in waits]
        busy = self._busy() if shrink else {}
        shrunk, more = self._write(writer, shrink, busy)
        for target in grown + shrunk:  # after all writes, with which the events would compete
            self._tell(target)
        held = tuple(
            f"{target.name} is left as it is ({change_of(target)}): {target.workload.server} was to grow "
            "elsewhere first"
            for target in targets
            if not target.grows and target.workload.server in waits
        )
        return (*said, *cut, *sentences, *more, *held)

    def _write(
        self, writer: Writer, targets: Sequence[Target], busy: Mapping[str, float] | None = None
    ) -> tuple[tuple[Target, ...], tuple[str, ...]]:
        """What was written, and in sentences what was not and why."""

        def one(target: Target) -> tuple[bool, tuple[str, ...]]:
            said: tuple[str, ...] = ()
            try:
                if not target.grows:
                    said = self._mark(writer, target, busy or {})
                    said += tuple(f"{target.name}: {warning}" for warning in target.workload.warnings)
                writer.carry_out(target)
            except Left as error:
                return False, (*said, f"{target.name} is left as it is ({change_of(target)}): {error}")
            return True, said

        results = list(self._pool.map(one, targets))
        written = tuple(target for target, (done, _) in zip(targets, results, strict=True) if done)
        return written, tuple(sentence for _, said in results for sentence in said)

    def _mark(self, writer: Writer, target: Target, busy: Mapping[str, float]) -> tuple[str, ...]:
        """Let the idlest pods go first."""
        workload = target.workload
        uids = {pod.name: pod.uid for pod in workload.pods}
        for pod, cost in deletion_costs(workload, target.replicas, busy).items():
            metadata: dict[str, object] = {"annotations": {DELETION_COST: str(cost)}}
            if uids[pod]:
                metadata["uid"] = uids[pod]  # a StatefulSet's pod comes back by the same name
            path = POD.path(workload.namespace, pod)

            def mark(path: str = path, metadata: dict[str, object] = metadata) -> Pod:
                return self._api.patch(path, {"metadata": metadata}, Pod, fieldManager=MANAGER)

            try:
                writer.send(mark)
            except ApiError as error:
                if error.status not in (404, 409):  # gone already is as good
                    return (f"{target.name}: which pods go first cannot be said: {error}",)
            except ClusterError as error:
                raise Left(str(error)) from error
        return ()

    def _tell(self, target: Target) -> None:
        if self._events is None:
            return
        was = target.workload.replicas
        reason = "RolledOver" if target.rollout else "Relabelled"
        if target.replicas != was:
            reason = "ScaledUp" if target.replicas > was else "ScaledDown"
        why = self._why(target.workload.server)
        self._events.say(target.workload, reason, change_of(target) + (f": {why}" if why else ""))


def _changes(targets: Sequence[Target]) -> str:
    return f"{len(targets)} changes are" if len(targets) != 1 else f"{targets[0].name}: 1 change is"
