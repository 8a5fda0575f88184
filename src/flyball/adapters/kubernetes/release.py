"""A workload handed back as it was found, and kept from being taken again."""

from __future__ import annotations

import msgspec

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.errors import ClusterError, Conflict
from flyball.adapters.kubernetes.governed import Kind, Settings
from flyball.adapters.kubernetes.labels import OURS
from flyball.adapters.kubernetes.objects import Scale, Workload
from flyball.adapters.kubernetes.rollout import ROLLED
from flyball.adapters.kubernetes.template import Unsafe, edits_of
from flyball.adapters.kubernetes.write import FOUND, MANAGER, Found

TRIES = 5
MODE = f"{OURS}mode"
FREEZE = "freeze"


class Untouched(ClusterError):
    """There is no record of how it was found."""


def hold_back(api: Api, kind: Kind, namespace: str, name: str) -> str:
    """Put it into mode freeze, so that no governor writes it; the mode that it had, "": none. ClusterError.

    The annotation and not the label: whoever applies the manifest again would put the label back. A governor
    that has decided already finds another version of it, and leaves it.
    """
    path = kind.path(namespace, name)
    had = api.get(path, Workload).metadata.annotations.get(MODE, "")
    if had != FREEZE:
        api.patch(path, {"metadata": {"annotations": {MODE: FREEZE}}}, Workload, fieldManager=MANAGER)
    return had


def release(api: Api, kind: Kind, namespace: str, name: str) -> str:
    """Give a workload back its replicas and labels, without our annotation; says in a sentence what it has.

    ClusterError. A governor that runs takes it again unless it was held back before.
    """
    path, title = kind.path(namespace, name), f"{kind.name} {namespace}/{name}"
    for _ in range(TRIES - 1):
        try:
            return _release(api, path, title, namespace, name)
        except Conflict:
            continue
    return _release(api, path, title, namespace, name)


def _release(api: Api, path: str, title: str, namespace: str, name: str) -> str:
    there = api.get(path, Workload)
    written = there.metadata.annotations.get(FOUND)
    if written is None:
        raise Untouched(f"{title} has no annotation {FOUND}: Flyball has changed nothing in it")
    try:
        found = msgspec.json.decode(written, type=Found)
    except msgspec.MsgspecError as error:
        raise Untouched(
            f"{title}: its annotation {FOUND} cannot be read ({error}). Set its replicas and remove it"
        ) from None
    version = there.metadata.resource_version
    if there.spec.replicas != found.replicas:
        metadata = {"name": name, "namespace": namespace, "resourceVersion": version}
        body = {
            "apiVersion": "autoscaling/v1",
            "kind": "Scale",
            "metadata": metadata,
            "spec": {"replicas": found.replicas},
        }
        scaled = api.put(f"{path}/scale", body, Scale, fieldManager=MANAGER)
        version = scaled.metadata.resource_version
    version, template = _template(api, path, there, found.template, version)
    # Last, so that a release that fails half-way can be repeated.
    change = {"resourceVersion": version, "labels": found.labels, "annotations": {FOUND: None, ROLLED: None}}
    api.patch(path, {"metadata": change}, Workload, fieldManager=MANAGER)
    labels = "".join(f", {key} {value}" for key, value in found.labels.items() if value is not None)
    replicas = f"{found.replicas} replica{'s' if found.replicas != 1 else ''}"
    return f"{title} has {replicas} again{labels}, as it was found{template}"


def _template(api: Api, path: str, there: Workload, found: Settings, version: str) -> tuple[str, str]:
    """Put the template back; the version that it has then, and in words what it says. ClusterError."""
    has = [f"{flag} {'none' if value is None else value}" for flag, value in found.flags.items()]
    has += [f"{key} {value}" for key, value in (*found.selector.items(), *found.cards.items())]
    if not has:
        return version, ""
    said = f"; its template has {', '.join(has)} again, which restarts its pods"
    try:
        edits = edits_of(there.spec.template.spec, found)
    except Unsafe as error:
        return version, f"; its template is not put back: {error}"
    if not edits:  # it was put back just now: the controller wrote in between
        return version, said
    operations: list[dict[str, object]] = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": version}
    ]
    operations += [one for edit in edits for one in edit.operations()]
    return api.edit(path, operations, Workload, fieldManager=MANAGER).metadata.resource_version, said
