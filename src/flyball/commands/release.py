"""`flyball release`, `freeze` and `unfreeze`: Flyball's hands off one workload, or off all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flyball.commands.look_parts import DONE, home_of, show, with_api
from flyball.commands.loop_parts import Request, ensure_namespace
from flyball.commands.output import say

if TYPE_CHECKING:
    from flyball.adapters.kubernetes.api import Api
    from flyball.adapters.kubernetes.governed import Kind


def release(request: Request, workload: str, namespace: str) -> int:
    """Hand a workload back; returns the exit code."""
    return with_api(request, lambda api: _release(request, api, workload, namespace))


def _release(request: Request, api: Api, workload: str, namespace: str) -> int:
    from flyball.adapters.kubernetes import release as hands

    kind, where, name = find(request, api, workload, namespace)
    title = f"{kind.name} {where}/{name}"
    had = hands.hold_back(api, kind, where, name)
    try:
        said = hands.release(api, kind, where, name)
    except hands.Untouched as error:
        said = str(error)
    again = f"{hands.MODE}={had}" if had and had != hands.FREEZE else f"{hands.MODE}-"
    show(
        f"{said}.",
        f"{title} is in mode freeze: no governor writes it. To let it be governed again:",
        f"  kubectl annotate {kind.name.lower()} {name} -n {where} --overwrite {again}",
    )
    return DONE


def find(request: Request, api: Api, workload: str, namespace: str) -> tuple[Kind, str, str]:
    """The kind, namespace and name of NAME, NAMESPACE/NAME or KIND/NAME. ClusterError, ValueError."""
    from flyball.adapters.kubernetes.governed import DEPLOYMENT, STATEFUL_SET
    from flyball.adapters.kubernetes.labels import MANAGED
    from flyball.adapters.kubernetes.listing import kind_of
    from flyball.adapters.kubernetes.objects import Workload
    from flyball.adapters.kubernetes.write import FOUND

    kinds = [DEPLOYMENT, STATEFUL_SET, *map(kind_of, request.kinds)]
    before, _, name = workload.rpartition("/")
    named = [k for k in kinds if before and before.lower() in (k.plural, k.name.lower(), _short(k))]
    where = namespace or ("" if named else before)
    if before and not named and namespace and namespace != before:
        raise ValueError(f"{workload} is in the namespace {before}, and --namespace is {namespace}: give one")
    found = []
    for kind in named or kinds:
        for one in api.items(kind.path(where), Workload, fields=f"metadata.name={name}"):
            ours = MANAGED in one.metadata.labels or FOUND in one.metadata.annotations
            known = kind if kind.name else _named(kind, one.kind)
            found.append((ours, known, one.metadata.namespace, one.metadata.name))
    chosen = [entry for entry in found if entry[0]] or found
    if not chosen:
        place = f" in the namespace {where}" if where else ""
        kinds_said = " or ".join(k.plural for k in named or kinds)
        raise ValueError(f"there is no workload {name}{place} among the {kinds_said}")
    if len(chosen) > 1:
        several = ", ".join(f"{k.name} {n}/{w}" for _, k, n, w in chosen)
        raise ValueError(f"{name} is the name of {several}: name it as KIND/NAME, and give --namespace")
    return chosen[0][1:]


def _short(kind: Kind) -> str:
    return {"Deployment": "deploy", "StatefulSet": "sts"}.get(kind.name, "")


def _named(kind: Kind, name: str) -> Kind:
    from msgspec.structs import replace

    return replace(kind, name=name or kind.plural)


def freeze(request: Request, on: bool) -> int:
    """Stop all writing, or let it go on; returns the exit code."""
    return with_api(request, lambda api: _freeze(request, api, on))


def _freeze(request: Request, api: Api, on: bool) -> int:
    from flyball.adapters.kubernetes.freeze import SETTINGS, frozen, set_freeze
    from flyball.adapters.kubernetes.lease import holder_of

    namespace = home_of(api, request)
    if on:
        ensure_namespace(api, namespace)
    set_freeze(api, namespace, on)
    holder = holder_of(api, namespace)
    if holder is None or not holder.name:
        say(
            f"flyball: no loop holds a Lease in the namespace {namespace}: is it the right one (--namespace)?"
        )
    place = f"ConfigMap {namespace}/{SETTINGS}"
    if on:
        show(
            f"Frozen: {place} says so, and no loop of the namespace {namespace} writes to workloads from now "
            "on; it still observes and decides.",
            "To let it go on: flyball unfreeze" + (f" --namespace {namespace}" if request.namespace else ""),
        )
    elif why := frozen(api, namespace, environment={}):
        show(f"Still frozen: {why}")
    else:
        show(f"Not frozen: {place} lets a loop write from its next cycle on.")
    return DONE
