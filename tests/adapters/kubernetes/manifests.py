"""The manifests of deploy/, read, and put into a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import yaml

from flyball.adapters.kubernetes.api import APPLY, Api
from flyball.adapters.kubernetes.governed import Kind

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
MANAGER = "tests"
_KINDS = {
    "ConfigMap": Kind("", "v1", "configmaps", "ConfigMap"),
    "Namespace": Kind("", "v1", "namespaces", "Namespace"),
    "Pod": Kind("", "v1", "pods", "Pod"),
    "Service": Kind("", "v1", "services", "Service"),
    "ServiceAccount": Kind("", "v1", "serviceaccounts", "ServiceAccount"),
    "Deployment": Kind("apps", "v1", "deployments", "Deployment"),
    **{
        name: Kind("rbac.authorization.k8s.io", "v1", f"{name.lower()}s", name)
        for name in ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
    },
}


def objects(*names: str) -> list[dict[str, Any]]:
    """The objects of files, by their paths below deploy/."""
    return [one for name in names for one in yaml.safe_load_all((DEPLOY / name).read_text())]


def all_files() -> list[str]:
    """The manifests of the loop, by their paths below deploy/; tests/install has those of the operator."""
    found = (path.relative_to(DEPLOY) for path in DEPLOY.glob("*/*.yaml") if "crds" not in path.parent.name)
    return sorted(str(path) for path in found)


def path_of(one: dict[str, Any]) -> str:
    """Where an object is in the API."""
    meta = one["metadata"]
    return _KINDS[one["kind"]].path(meta.get("namespace", ""), meta["name"])


def apply(api: Api, *names: str, dry: bool = False) -> list[dict[str, Any]]:
    """Put the objects of files into the cluster, or only have it check them."""
    found = objects(*names)
    for one in found:
        # Server-side apply refuses fields that no schema has.
        params = {"fieldManager": MANAGER, "dryRun": "All" if dry else ""}
        api._send("PATCH", path_of(one), msgspec.json.encode(one), APPLY, params)
    return found


def remove(api: Api, *names: str) -> None:
    """Take them out again."""
    for one in reversed(objects(*names)):
        api.delete(path_of(one))


def pods_of(one: dict[str, Any]) -> dict[str, Any]:
    """The specification of the pods that an object makes, or is."""
    spec: dict[str, Any] = one["spec"]["template"]["spec"] if one["kind"] == "Deployment" else one["spec"]
    return spec
