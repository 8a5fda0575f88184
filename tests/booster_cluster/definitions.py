"""Kthena's kinds in a cluster: as recorded beside the checkout, else as little as tells them apart.

The least is the ModelBooster that Flyball ships, and children that keep whatever they are given.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.definitions import DEFINITION, install
from flyball.adapters.kubernetes.governed import Kind
from flyball.operator.booster_kinds import BOOSTER, CHILDREN
from tests.clusters import eventually
from tests.conftest import shared_dir

Generation = Literal["v1", "v0.4"]
BINDING = "AutoscalingPolicyBinding"
IMMUTABLE = [{"rule": "self == oldSelf", "message": "it is immutable"}]
SHIPPED = Path(__file__).resolve().parents[2] / "deploy" / "crds-booster"
ANYTHING: dict[str, Any] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def definitions(generation: Generation, least: bool = False) -> list[dict[str, Any]]:
    """CustomResourceDefinitions of a generation; `least`: also where they are recorded."""
    shared = shared_dir()
    if shared is not None and not least:
        return _read(shared / "vectors" / "kthena" / f"crds-{generation}")
    kinds = [kind for kind in CHILDREN.values() if generation == "v0.4" or kind.name != BINDING]
    return [*_read(SHIPPED, f"{BOOSTER.group}_{BOOSTER.plural}.yaml"), *map(minimal, kinds)]


def _read(folder: Path, files: str = "*.yaml") -> list[dict[str, Any]]:
    return [yaml.load(file.read_text(), yaml.CSafeLoader) for file in sorted(folder.glob(files))]


def minimal(kind: Kind) -> dict[str, Any]:
    """A child's that keeps whatever it is given, with the subresources and what cannot be changed."""
    spec: dict[str, Any] = {**ANYTHING}
    if kind.name == "ModelRoute":
        spec["properties"] = {"modelName": {"type": "string", "x-kubernetes-validations": IMMUTABLE}}
    subresources: dict[str, Any] = {"status": {}}
    if kind.name == "ModelServing":
        least = {
            "type": "object",
            "additionalProperties": {"type": "integer"},
            "x-kubernetes-validations": IMMUTABLE,
        }
        gang = {**ANYTHING, "properties": {"minRoleReplicas": least}}
        spec["properties"] = {
            "replicas": {"type": "integer", "default": 1},
            "template": {**ANYTHING, "properties": {"gangPolicy": gang}},
        }
        subresources["scale"] = {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
        }
    version = {
        "name": kind.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": ANYTHING}}},
        "subresources": subresources,
    }
    names = {"kind": kind.name, "listKind": f"{kind.name}List", "plural": kind.plural}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{kind.group}"},
        "spec": {
            "group": kind.group,
            "names": {**names, "singular": kind.name.lower()},
            "scope": "Namespaced",
            "versions": [version],
        },
    }


def have(api: Api, generation: Generation, least: bool = False) -> None:
    """Install all of a generation; `least`: as `definitions`."""
    found = definitions(generation, least)
    install(api, found)
    for one in found:
        group, plural = one["spec"]["group"], one["spec"]["names"]["plural"]
        eventually(lambda group=group, plural=plural: api.serves(group, "v1alpha1", plural))  # type: ignore[misc]


def forget(api: Api, *kinds: Kind) -> None:
    """Have none of the kinds, or of all, in the cluster any more."""
    for kind in kinds or (BOOSTER, *CHILDREN.values()):
        api.delete(DEFINITION.path(name=f"{kind.plural}.{kind.group}"))
    for kind in kinds or (BOOSTER, *CHILDREN.values()):
        eventually(lambda kind=kind: not api.serves(kind.group, "v1alpha1", kind.plural))  # type: ignore[misc]
