"""From orders to what each workload is to become; pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from flyball.adapters.kubernetes.governed import Cluster, Governed, Mode
from flyball.adapters.kubernetes.labels import ACCELERATOR, BATCH
from flyball.adapters.kubernetes.rollout import Rollout, rollout_of, short_of
from flyball.spec.decision import Order

NOT_ACTING: dict[Mode, str] = {
    "recommend": "it is in mode recommend: set flyball.dev/mode: act to let it be done",
    "gauge": "it is in mode gauge: whoever reads the gauges scales it",
    "keda": "it is in mode keda: KEDA scales it",
    "freeze": "it is in mode freeze",
}


class Target(msgspec.Struct, frozen=True):
    """What a workload is to become."""

    workload: Governed
    accelerator: str
    replicas: int
    max_batch_size: int = 0
    labels: dict[str, str] = {}
    """Those of Inferno's that are to change."""
    rollout: Rollout | None = None
    """What of its template is to change; labels that go with it are in it."""

    @property
    def differs(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.labels) or self.rollout is not None or self.replicas != self.workload.replicas

    @property
    def grows(self) -> bool:
        """Whether it comes before those that shrink."""
        return self.replicas >= self.workload.replicas

    @property
    def name(self) -> str:
        """In sentences."""
        return name_of(self.workload)


def name_of(workload: Governed) -> str:
    """Of a workload, in sentences."""
    return f"{workload.kind.name} {workload.namespace}/{workload.name}"


def targets_of(cluster: Cluster, orders: Sequence[Order]) -> tuple[tuple[Target, ...], tuple[str, ...]]:
    """What is ordered, workload by workload, within min and max; and in sentences what cannot be.

    A workload is found by server and accelerator. What has none of its own goes to one that pins no hardware:
    there the label is all there is to change. Or to one whose template may be changed to it.
    """
    by_server: dict[str, list[Order]] = defaultdict(list)
    for order in orders:
        by_server[order.server].append(order)
    workloads: dict[str, list[Governed]] = defaultdict(list)
    for workload in cluster.governed:
        workloads[workload.server].append(workload)
    targets: list[Target] = []
    said: list[str] = []
    for server, ordered in by_server.items():
        for workload, order in _matched(server, ordered, workloads[server], said):
            alone = len(workloads[server]) == 1
            targets.append(_rolled(_within(_target(workload, order), said), order, cluster, alone, said))
    return tuple(targets), tuple(said)


def _matched(
    server: str, orders: list[Order], workloads: list[Governed], said: list[str]
) -> list[tuple[Governed, Order]]:
    own: dict[str, Governed] = {}
    for workload in workloads:
        if workload.accelerator in own:
            said.append(
                f"{server}: {name_of(own[workload.accelerator])} and {name_of(workload)} both serve it on "
                f"{workload.accelerator}, so neither is scaled. Give one another inferno.server.name"
            )
            return []
        own[workload.accelerator] = workload
    matched = {o.accelerator: (own[o.accelerator], o) for o in orders if o.accelerator in own}
    for order in orders:
        if order.accelerator in own or not order.replicas:
            continue
        loose = [one for one in workloads if not one.pinned]
        if not loose and len(workloads) == 1 and _moves(workloads[0], order.accelerator):
            loose = workloads
        idle = [
            one for one in loose if one.accelerator not in matched or not matched[one.accelerator][1].replicas
        ]
        if not loose:
            said.append(
                f"{server}: there is no workload of it on {order.accelerator}. Make one, with the same "
                "inferno.server.name, or leave the accelerator out of its candidates"
            )
            continue
        workload = (idle or loose)[0]
        # With one workload there is no hand-over: what it serves with meanwhile must not shrink.
        now = matched.pop(workload.accelerator, (workload, order))[1]
        matched[workload.accelerator] = workload, replace(order, replicas=max(order.replicas, now.replicas))
    return list(matched.values())


def _moves(workload: Governed, accelerator: str) -> bool:
    rolling = workload.rolling
    return rolling is not None and not rolling.refused and accelerator in rolling.moves


def _rolled(target: Target, order: Order, cluster: Cluster, alone: bool, said: list[str]) -> Target:
    """With the rollout that it takes, where that may be now; where not, on the accelerator that it has."""
    workload = target.workload
    if workload.rolling is None or not order.replicas:
        return target
    moves = workload.pinned and order.accelerator != workload.accelerator
    if moves and not alone:
        return target
    rollout = rollout_of(workload, order.accelerator, order.max_batch_size)
    # What it was to have of other cards is no number of those that it has.
    otherwise = Target(workload, workload.accelerator, workload.replicas) if moves else target
    if rollout is None:
        return otherwise
    short = short_of(workload, order.accelerator, cluster)
    if workload.most is not None and workload.replicas > workload.most:
        short = f"it is to have {target.replicas} replicas first"
    if short:
        said.append(f"{target.name} keeps its template ({rollout.said}): {short}")
        return otherwise
    # Where somebody else is to do it, the replicas do not wait for that.
    replicas = max(target.replicas, workload.replicas) if workload.mode == "act" else target.replicas
    return replace(target, replicas=replicas, labels={}, rollout=rollout)


def _target(workload: Governed, order: Order) -> Target:
    labels: dict[str, str] = {}
    if not workload.pinned and order.replicas:
        labels[ACCELERATOR] = order.accelerator
    batch_of_engine = workload.rolling is not None and workload.rolling.batch_flag
    if (
        order.max_batch_size
        and order.replicas
        and not batch_of_engine  # its label says what the engine has
        and (not workload.pinned or BATCH in workload.labels)
    ):
        labels[BATCH] = str(order.max_batch_size)
    labels = {key: value for key, value in labels.items() if workload.labels.get(key) != value}
    return Target(workload, order.accelerator, order.replicas, order.max_batch_size, labels)


def _within(target: Target, said: list[str]) -> Target:
    workload, wanted = target.workload, target.replicas
    allowed = max(wanted, workload.least)
    if workload.most is not None:
        allowed = min(allowed, workload.most)
    if allowed == wanted:
        return target
    bound = f"min is {workload.least}" if allowed > wanted else f"max is {workload.most}"
    said.append(f"{target.name}: {wanted} replicas would be right, it gets {allowed}: flyball.dev/{bound}")
    return replace(target, replicas=allowed)


def permitted(targets: Sequence[Target]) -> tuple[tuple[Target, ...], tuple[str, ...]]:
    """Those that differ and that may be written; and in sentences why the others may not."""
    allowed: list[Target] = []
    said: list[str] = []
    for target in targets:
        if not target.differs:
            continue
        workload = target.workload
        if workload.mode != "act":
            said.append(f"{target.name} is left as it is ({change_of(target)}): {NOT_ACTING[workload.mode]}")
        elif workload.owner:
            said.append(
                f"{target.name} is left as it is ({change_of(target)}): {workload.owner} writes its "
                "replicas. Remove that, or set flyball.dev/mode: gauge and let it follow the gauges"
            )
        else:
            allowed.append(target)
    return tuple(allowed), tuple(said)


def change_of(target: Target) -> str:
    """What changes, in words: "2 to 3 replicas on H100"."""
    was, now = target.workload.replicas, target.replicas
    replicas = f"{was} to {now} replicas" if was != now else f"{now} replica{'s' if now != 1 else ''}"
    batch = f", batch {target.labels[BATCH]}" if BATCH in target.labels else ""
    moved = f"{target.workload.accelerator} to " if target.accelerator != target.workload.accelerator else ""
    rolled = f", {target.rollout.said}" if target.rollout else ""
    return f"{replicas} on {moved}{target.accelerator}{batch}{rolled}"


def one_rollout(targets: Sequence[Target]) -> tuple[tuple[Target, ...], tuple[str, ...]]:
    """All of them with one rollout at most: the first that moves, else the first by name."""
    rolled = [one for one in targets if one.rollout is not None]
    if len(rolled) < 2:
        return tuple(targets), ()
    chosen = min(rolled, key=lambda one: (one.accelerator == one.workload.accelerator, one.name))
    kept: list[Target] = []
    said: list[str] = []
    for one in targets:
        if one.rollout is None or one is chosen:
            kept.append(one)
            continue
        said.append(f"{one.name} waits ({change_of(one)}): {chosen.name} is rolled over first")
        # Replicas on cards that it does not have yet are not asked for here.
        moves = one.accelerator != one.workload.accelerator
        replicas = one.workload.replicas if moves else one.replicas
        kept.append(replace(one, accelerator=one.workload.accelerator, replicas=replicas, rollout=None))
    return tuple(kept), tuple(said)
