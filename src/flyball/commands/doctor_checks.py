"""The checks of `flyball doctor` on what was read of a cluster; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from flyball.adapters.kubernetes.candidates import Candidate
from flyball.adapters.kubernetes.engine import cards_of, counts
from flyball.adapters.kubernetes.governed import Cluster, Governed
from flyball.adapters.kubernetes.hardware import UNKNOWN
from flyball.adapters.kubernetes.labels import ACCELERATOR, CLASS, MODEL, OURS
from flyball.adapters.kubernetes.lease import Holder
from flyball.adapters.kubernetes.listing import Listing
from flyball.adapters.kubernetes.nodes import PRODUCTS, Pool
from flyball.adapters.kubernetes.objects import Container, Node, Workload
from flyball.adapters.kubernetes.rights import Right
from flyball.adapters.kubernetes.targets import name_of
from flyball.report.accounts import names
from flyball.report.checks import Check, State
from flyball.spec.server import Server
from flyball.spec.service_class import promise_of

SHOWN = 5
"""Of many that lack the same."""
PRE_STOP, GRACE = "preStop", "terminationGracePeriodSeconds"
SLEEP, GRACE_SECONDS = 15, 120
ROLES = "kubectl apply -f deploy/loop/ns.yaml"


def rights(lacking: Mapping[Right, Sequence[str]], count: int, who: str) -> list[Check]:
    """`lacking`: verbs by right; `count`: rights that were looked at; `who`: "you", or an account."""
    if not lacking:
        return [Check("rights", "ok", f"{who} may do all that reading and acting need ({count} rights)")]
    found = []
    for right, verbs in lacking.items():
        where = f"in {right.namespace}" if right.namespace else "in all namespaces"
        said = f"{who} may not {'/'.join(verbs)} {right.name} {where}: needed to {right.needed_to}"
        state = Check("rights", "warning" if right.without else "missing", said)
        found.append(state if not right.without else _with(state, f"{said}; {right.without}"))
    mend = f"{ROLES}, and bind flyball-governor to the account in each namespace of servers"
    found[-1] = Check(found[-1].about, found[-1].state, found[-1].said, mend)
    return found


def _with(check: Check, said: str) -> Check:
    return Check(check.about, check.state, said, check.mend)


def nodes(listing: Listing, pool: Pool) -> list[Check]:
    """Nodes with cards, and whether it is known which."""
    if listing.nodes is None:
        mend = f"{ROLES} lets the loop's account see nodes; or give capacity-data.json (--data)"
        return [Check("nodes", "warning", "they may not be listed: cards are not known", mend)]
    found = []
    by_type: dict[str, list[int]] = {}
    for cards in pool.cards.values():
        by_type.setdefault(cards.type, []).append(cards.count)
    for type_, each in sorted(by_type.items()):
        said = f"{_many(len(each), 'node')} with {sum(each)} {type_} cards"
        found.append(Check("nodes", "ok", said))
    unknown = _unlabelled(listing.nodes, pool)
    for note in pool.notes:
        mine = [name for name in unknown if names(note, name)] or unknown
        mend = f"kubectl label node {' '.join(mine[:SHOWN])} {PRODUCTS[0]}=H100" if mine else ""
        found.append(Check("nodes", "warning" if by_type else "missing", note, mend))
    if not found:
        said = f"none of {_many(len(listing.nodes), 'node')} has cards"
        mend = "Install the vendor's device plugin; flyball sandbox up makes a cluster with cards to try with"
        found.append(Check("nodes", "missing", said, mend))
    return found


def _unlabelled(every: Iterable[Node], pool: Pool) -> list[str]:
    return sorted(
        n.metadata.name for n in every if n.metadata.name not in pool.cards and counts(n.status.allocatable)
    )


def governed(cluster: Cluster, found: Sequence[Candidate]) -> list[Check]:
    """Whether there are workloads with the label; and others that could have it."""
    made = []
    if cluster.governed:
        servers = {one.server for one in cluster.governed}
        modes = sorted({one.mode for one in cluster.governed})
        said = f"{_many(len(cluster.governed), 'workload')} of {_many(len(servers), 'server')}"
        made.append(Check("workloads", "ok", f"{said} with the label; mode {', '.join(modes)}"))
    elif not found:
        mend = (
            "kubectl label deployment NAME -n NAMESPACE inferno.server.managed=true inferno.server.class=Free"
        )
        made.append(Check("workloads", "missing", "none has the label inferno.server.managed=true", mend))
    state: State = "ok" if cluster.governed else "missing"
    if found:
        looks = "looks like a model server" if len(found) == 1 else "look like model servers"
        said = f"{_many(len(found), 'workload')} without the label {looks}: "
        said += ", ".join(f"{c.namespace}/{c.name} ({', '.join(c.signs)})" for c in found[:SHOWN])
        said += f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        mend = "\n".join(c.command for c in found[:SHOWN])
        made.append(Check("workloads", state, said, mend))
    return made


def workloads(cluster: Cluster, listing: Listing) -> list[Check]:
    """Of each governed one: model, class, cards, how its pods end, who else scales it."""
    servers = {server.name: server for server in cluster.fleet.servers}
    objects = {(w.kind.plural, w.workload.metadata.namespace, w.workload.metadata.name): w.workload
               for w in listing.workloads}  # fmt: skip
    made = []
    for one in cluster.governed:
        there = objects.get((one.kind.plural, one.namespace, one.name))
        checks = [
            *_model(one, servers[one.server], cluster),
            *_class(one, servers[one.server], cluster),
            *_cards(one),
            *_endings(one, there),
            *_owner(one),
        ]
        if not checks:
            server = servers[one.server]
            said = f"{server.model} on {one.accelerator} in class {server.service_class}: all is known of it"
            checks = [Check(name_of(one), "ok", said)]
        made += checks
    return made


def _model(one: Governed, server: Server, cluster: Cluster) -> list[Check]:
    about = name_of(one)
    if one.accelerator == UNKNOWN:
        said = _note(one, cluster, "accelerator") or "nothing says on which accelerator it runs"
        return [Check(about, "missing", said, _label(one, f"{ACCELERATOR}=H100"))]
    pairs = {(p.model, p.accelerator) for p in cluster.fleet.profiles}
    if (server.model, one.accelerator) in pairs:
        return []
    if not server.model:
        said = _note(one, cluster, "model") or "nothing says which model it serves"
    else:
        said = _note(one, cluster, server.model) or f"{server.model} has no profile on {one.accelerator}"
    return [Check(about, "missing", said, f"{_annotate(one, 'model=NAME')}   (or the label {MODEL})")]


def _class(one: Governed, server: Server, cluster: Cluster) -> list[Check]:
    if promise_of(cluster.fleet.service_classes, server.service_class, server.model) is not None:
        return []
    known = ", ".join(c.name for c in cluster.fleet.service_classes) or "none"
    said = f"class {server.service_class} promises nothing for {server.model or 'it'}; classes: {known}"
    mend = f"{_label(one, f'{CLASS}=CLASS', overwrite=True)}   (or {OURS}ttft as an annotation)"
    return [Check(name_of(one), "missing", said, mend)]


def _cards(one: Governed) -> list[Check]:
    if one.cards:
        return []
    said = "its template asks for no cards, so the scheduler puts it anywhere"
    return [Check(name_of(one), "warning", said, "Give its container limits such as nvidia.com/gpu: 1")]


def _endings(one: Governed, there: Workload | None) -> list[Check]:
    """What is unwise about how its pods end, with one patch that mends all of it."""
    made = [Check(name_of(one), "warning", text) for text in one.warnings]
    mendable = [text for text in one.warnings if PRE_STOP in text or GRACE in text]
    if mendable and there is not None:
        last = next(i for i, check in reversed(list(enumerate(made))) if check.said in mendable)
        mend = _patch(one, there, mendable)
        made[last] = Check(made[last].about, made[last].state, made[last].said, mend)
    return made


def _patch(one: Governed, there: Workload, mendable: Sequence[str]) -> str:
    containers = there.spec.template.spec.containers
    serving = next(iter(sorted(containers, key=_without_cards)), None)
    parts = []
    if any(GRACE in text for text in mendable):
        parts.append(f'"{GRACE}":{GRACE_SECONDS}')
    if serving is not None and any(PRE_STOP in text for text in mendable):
        hook = f'{{"preStop":{{"sleep":{{"seconds":{SLEEP}}}}}}}'
        parts.append(f'"containers":[{{"name":"{serving.name}","lifecycle":{hook}}}]')
    spec = f'{{"spec":{{"template":{{"spec":{{{",".join(parts)}}}}}}}}}'
    return f"kubectl patch {_object(one)} -p '{spec}'   (its pods are made anew)"


def _without_cards(container: Container) -> bool:
    return not cards_of(container.resources)


def _owner(one: Governed) -> list[Check]:
    if not one.owner:
        return []
    said = f"{one.owner} writes its replicas too, so Flyball leaves them alone"
    state: State = "missing" if one.mode == "act" else "warning"
    kind, _, place = one.owner.rpartition(" ")
    namespace, _, name = place.partition("/")
    if kind == "HorizontalPodAutoscaler":
        mend = f"kubectl delete hpa {name} -n {namespace}"
    elif "ScaledObject" in kind:
        mend = f"kubectl annotate scaledobject {name} -n {namespace} autoscaling.keda.sh/paused=true"
    else:
        mend = f"Leave spec.replicas out of what {one.owner} applies"
    return [
        Check(
            name_of(one),
            state,
            said,
            f"{mend}   (or let it only be recommended: {_annotate(one, 'mode=recommend')})",
        )
    ]


def capacity(cluster: Cluster, listing: Listing, pool: Pool) -> list[Check]:
    """Whether each governed workload could have one more replica: a node with as many free cards."""
    if listing.nodes is None:
        return []
    taken: dict[str, int] = {}
    for pod in listing.pods:
        cards = pool.cards.get(pod.spec.node_name)
        if cards is not None:
            mine = sum(cards_of(c.resources).get(cards.resource, 0) for c in pod.spec.containers)
            taken[pod.spec.node_name] = taken.get(pod.spec.node_name, 0) + mine
    free: dict[str, list[int]] = {}
    for name, cards in pool.cards.items():
        if cards.open:
            free.setdefault(cards.type, []).append(max(cards.count - taken.get(name, 0), 0))
    types = {a.name: a.type for a in cluster.fleet.accelerators}
    needs: dict[tuple[str, int], list[str]] = {}
    for one in cluster.governed:
        if one.cards and one.accelerator in types:
            needs.setdefault((types[one.accelerator], one.cards), []).append(f"{one.namespace}/{one.name}")
    made = []
    for (type_, count), who in sorted(needs.items()):
        each = free.get(type_, [])
        whose = ", ".join(who[:SHOWN]) + (f" and {len(who) - SHOWN} more" if len(who) > SHOWN else "")
        replicas = sum(free_there // count for free_there in each)
        if replicas:
            said = f"{_many(replicas, 'replica')} more of {_many(count, type_ + ' card')} each fit: {whose}"
            made.append(Check("capacity", "ok", said))
            continue
        said = f"no node has {_many(count, type_ + ' card')} free ({sum(each)} are, one here, one there)" \
            if sum(each) else f"no {type_} card is free"  # fmt: skip
        mend = "Add nodes, or let others go: until then it can only shrink, or move to another accelerator"
        made.append(Check("capacity", "warning", f"{said}: {whose} cannot grow", mend))
    return made


def lease(namespace: str, before: Holder | None, after: Holder | None, waited: float) -> Check:
    """Who leads, seen twice, so long apart."""
    about = "loop"
    if after is None or not after.name:
        said = f"none runs: nobody holds the Lease {namespace}/flyball"
        return Check(
            about, "warning", said, "flyball loop   (or kubectl apply -f deploy/loop/deploy-loop.yaml)"
        )
    if before is not None and before == after:
        said = f"{after.name} holds the Lease {namespace}/flyball, and has not renewed it in {waited:.0f} s"
        mend = "See its log. Another loop takes over 15 s after the last renewal: flyball loop"
        return Check(about, "missing", said, mend)
    return Check(about, "ok", f"{after.name} holds the Lease {namespace}/flyball, and renews it")


def freezing(why: str) -> Check:
    """Whether anything may be written; `why` not."""
    if why:
        return Check("frozen", "warning", f"nothing is written to workloads: {why}", "flyball unfreeze")
    return Check("frozen", "ok", "no")


def _note(one: Governed, cluster: Cluster, about: str) -> str:
    """What was noted of a workload or its server that has to do with something."""
    mine = [n for n in cluster.notes if n.startswith((f"{name_of(one)}: ", f"{one.server}: "))]
    found = next((n for n in mine if about in n), "")
    return found.removeprefix(f"{name_of(one)}: ").removeprefix(f"{one.server}: ")


def _object(one: Governed) -> str:
    return f"{one.kind.name.lower()} {one.name} -n {one.namespace}"


def _label(one: Governed, label: str, overwrite: bool = False) -> str:
    return f"kubectl label {_object(one)} {'--overwrite ' if overwrite else ''}{label}"


def _annotate(one: Governed, annotation: str) -> str:
    return f"kubectl annotate {_object(one)} --overwrite {OURS}{annotation}"


def _many(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"
