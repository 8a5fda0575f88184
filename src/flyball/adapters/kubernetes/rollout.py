"""When a workload may be rolled over to another template, and what changes then; pure.

A rollout restarts every pod, so there are few: never two within a hold, never on top of another, never for
a small difference, never while replicas are short or leave, and one in a cycle over the whole fleet.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime

import msgspec

from flyball.adapters.kubernetes.engine import Engine
from flyball.adapters.kubernetes.governed import (
    DEPLOYMENT,
    STATEFUL_SET,
    Cluster,
    Governed,
    Mode,
    Rolling,
    Settings,
)
from flyball.adapters.kubernetes.hardware import Place
from flyball.adapters.kubernetes.known import Known
from flyball.adapters.kubernetes.labels import ACCELERATOR, BATCH, OURS, Said
from flyball.adapters.kubernetes.listing import Listed
from flyball.adapters.kubernetes.nodes import PRODUCTS, Pool, product_values
from flyball.adapters.kubernetes.objects import PodSpec, Strategy, WorkloadSpec
from flyball.adapters.kubernetes.template import (
    Edit,
    Unsafe,
    batch_flag,
    edits_of,
    said_of,
    settings_of,
    with_cards,
)
from flyball.units import Seconds

HOLD: Seconds = 1800.0
LEAST = 0.2
"""A batch that differs by a smaller share is not worth restarting for."""
ROLLED = f"{OURS}rolled"
"""The annotation with the time of our last rollout, by the API server's clock."""
SHARE = "25%"
"""Of pods that a Deployment's rollout may add, and may miss, where it does not say."""
COUNTS = (1, 2, 4, 8)
"""Cards of a replica that are tried, where its engine can be spread over another number."""


class Rollout(msgspec.Struct, frozen=True):
    """A change of a template."""

    edits: tuple[Edit, ...]
    labels: dict[str, str]
    """Those of Inferno's that are written with it."""
    wanted: Settings
    found: Settings
    """What the template is to say, and what it said before."""
    said: str
    """What changes, in words."""


# ---- what a workload allows ----------------------------------------------------------------------


def rolling_of(
    listed: Listed,
    template: PodSpec,
    said: Said,
    engine: Engine,
    place: Place,
    model: str,
    pool: Pool,
    known: Known,
    at: float,
    hold: Seconds,
    mode: Mode,
    owner: str = "",
) -> tuple[Rolling | None, tuple[str, ...]]:
    """Which changes of a template are asked for and possible; and in sentences which never are.

    `at`: the API server's time; `owner`: who else scales it, or puts back what is written.
    """
    if not (said.batch_apply or said.accelerator_apply):
        return None, ()
    problems: list[str] = []
    obstacle = _obstacle(listed, mode, owner)
    if obstacle:
        problems.append(f"its template is left as it is: {obstacle}")
    flag, moves = "", {}
    if said.batch_apply and not obstacle:
        try:
            flag = batch_flag(template)
        except Unsafe as error:
            problems.append(f"its batch is not set: {error}")
    if said.accelerator_apply and not obstacle and place.pinned:
        moves = _moves(template, engine, place, model, pool, known, problems)
    refused = obstacle or _waits(listed, at, hold)
    made = Rolling(
        template, flag, moves, refused, unavailable(listed.workload.spec, listed.kind == STATEFUL_SET)
    )
    return made, tuple(problems)


def unavailable(spec: WorkloadSpec, stateful: bool) -> int:
    """Replicas that a rollout takes away before there are others."""
    replicas = 1 if spec.replicas is None else spec.replicas
    rolling = _strategy(spec, stateful).rolling_update
    least = rolling.max_unavailable if rolling else None
    if stateful:
        return 1 if least is None else max(_part(least, replicas, math.floor), 1)
    surge = rolling.max_surge if rolling else None
    missing = _part(SHARE if least is None else least, replicas, math.floor)
    # With neither the controller takes one.
    return missing or int(_part(SHARE if surge is None else surge, replicas, math.ceil) == 0)


def _strategy(spec: WorkloadSpec, stateful: bool) -> Strategy:
    try:
        return msgspec.convert((spec.update_strategy if stateful else spec.strategy) or {}, Strategy)
    except msgspec.ValidationError:
        return Strategy("unknown")


def _part(amount: str | int, of: int, rounded: Callable[[float], int]) -> int:
    if isinstance(amount, str) and amount.endswith("%") and amount[:-1].isdigit():
        return rounded(int(amount[:-1]) * of / 100)
    return int(amount) if str(amount).isdigit() else 0


def _obstacle(listed: Listed, mode: Mode, owner: str) -> str:
    """Why it is never rolled over as it stands; "": it may be."""
    kind, spec = listed.kind, listed.workload.spec
    stateful = kind == STATEFUL_SET
    if kind not in (DEPLOYMENT, STATEFUL_SET):
        return "only templates of Deployments and StatefulSets are changed"
    if mode in ("keda", "gauge"):  # its replicas are followed: they must be right for the engine that it has
        return f"in mode {mode} it is not changed, so it is planned with as it is"
    if owner and mode == "act":
        return f"{owner} writes it too. Let go of it there, or leave apply out"
    strategy = _strategy(spec, stateful)
    if strategy.type not in ("", "RollingUpdate"):
        return f"its strategy is {strategy.type}: set RollingUpdate, so that some replicas go on serving"
    if stateful and strategy.rolling_update and strategy.rolling_update.partition:
        partition = strategy.rolling_update.partition
        return f"its partition is {partition}, so not all of it would follow: set it to 0"
    replicas = 1 if spec.replicas is None else spec.replicas
    if replicas and unavailable(spec, stateful) >= replicas:
        mend = "have another replica" if stateful else "set maxUnavailable to 0 and maxSurge to 1"
        return f"its strategy leaves none of its {replicas} to serve meanwhile: {mend}"
    return ""


def _waits(listed: Listed, at: float, hold: Seconds) -> str:
    """Why it is not rolled over now."""
    workload = listed.workload
    spec, status = workload.spec, workload.status
    replicas = 1 if spec.replicas is None else spec.replicas
    if spec.paused:
        return "its rollouts are paused"
    behind = status.observed_generation < workload.metadata.generation
    if behind or status.updated_replicas < replicas or status.replicas > status.updated_replicas:
        return "a rollout of it is under way"
    written = workload.metadata.annotations.get(ROLLED)
    if written is None:
        return ""
    try:
        since = at - datetime.fromisoformat(written).timestamp()
    except ValueError:
        return f'its annotation {ROLLED} is "{written}" and no time: remove it'
    return (
        f"it was rolled over {max(since, 0.0):.0f} s ago, and is left for {hold:.0f} s"
        if since < hold
        else ""
    )


def _moves(
    template: PodSpec, engine: Engine, place: Place, model: str, pool: Pool, known: Known, problems: list[str]
) -> dict[str, Settings]:
    """What the template would say, by accelerator; what cannot be had is a problem."""
    keys = [key for key in PRODUCTS if key in template.node_selector]
    if len(keys) != 1 or len(product_values(template)) != 1:
        problems.append(
            "it is moved to no other cards: its template does not choose them by one nodeSelector. "
            f"Give it one, {PRODUCTS[1]} say"
        )
        return {}
    (key,) = keys
    found: dict[str, Settings] = {}
    for type_, (value, most) in pool.products(template, key, engine.resource).items():
        if value == template.node_selector[key]:
            continue
        counts = [engine.cards, *(n for n in COUNTS if n != engine.cards)]
        why = ""
        for count in counts:
            name = known.accelerator(type_, count, model) if 0 < count <= most else ""
            if not name or name in found or name == place.accelerator:
                continue
            try:
                settings = with_cards(template, engine.resource, count)
                found[name] = msgspec.structs.replace(settings, selector={key: value})
            except Unsafe as error:
                why = why or f"{name}: {error}"
        if why and not any(known.type_of(name) == type_ for name in found):
            problems.append(f"it is not moved to {why}")
    return found


# ---- what is ordered ------------------------------------------------------------------------------


def rollout_of(workload: Governed, accelerator: str, batch: int) -> Rollout | None:
    """What changes where a workload is to have an accelerator and a batch; None: nothing that is worth it."""
    rolling = workload.rolling
    if rolling is None or rolling.refused:
        return None
    moved = accelerator != workload.accelerator and accelerator in rolling.moves
    wanted = rolling.moves[accelerator] if moved else Settings()
    labels = {ACCELERATOR: accelerator} if moved and ACCELERATOR in workload.labels else {}
    flag, was = rolling.batch_flag, workload.max_batch_size
    if flag and batch and (batch != was if moved else abs(batch - was) >= LEAST * was):
        wanted = msgspec.structs.replace(wanted, flags={**wanted.flags, flag: str(batch)})
        if BATCH in workload.labels:
            labels[BATCH] = str(batch)
    try:
        edits = edits_of(rolling.template, wanted)
        found, said = settings_of(rolling.template, wanted), said_of(rolling.template, wanted)
    except Unsafe:  # it was tried before; only both together might not do
        return None
    return Rollout(edits, labels, wanted, found, f"{said}, which restarts its pods") if edits else None


def short_of(workload: Governed, accelerator: str, cluster: Cluster) -> str:
    """Why replicas cannot be replaced one by one now; "": they can."""
    rolling = workload.rolling
    there = sum(pod.state == "ready" for pod in workload.pods)
    if there < workload.replicas:
        return f"{there} of its {workload.replicas} replicas are ready"
    if rolling is None or not workload.replicas:
        return ""
    moved = accelerator != workload.accelerator
    if rolling.unavailable and not moved:
        return ""
    cards = {one.name: (one.type, one.multiplicity) for one in cluster.fleet.accelerators}
    units = {(p.model, p.accelerator): max(p.accelerator_count, 1) for p in cluster.fleet.profiles}
    model = {one.name: one.model for one in cluster.fleet.servers}
    type_, needed = cards.get(accelerator, ("", 0))
    if type_ not in cluster.capacity:
        return ""
    taken = 0
    for one in cluster.governed:
        of, each = cards.get(one.accelerator, ("", 0))
        if of == type_:
            count = each * units.get((model.get(one.server, ""), one.accelerator), 1)
            taken += count * max(one.replicas, len(one.pods))
    needed *= units.get((model.get(workload.server, ""), accelerator), 1)
    free = cluster.capacity[type_] - taken
    return f"a replica more takes {needed} {type_}, {max(free, 0)} are free" if needed > free else ""
