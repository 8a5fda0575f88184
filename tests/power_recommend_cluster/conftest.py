"""One control plane with the kinds of power and KEDA, and the rights of an installation that recommends."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import yaml

from flyball.adapters.kubernetes.api import Api
from tests.clusters import eventually, needed
from tests.operator_cluster.desk import ROOT, Desk, at_desk

APPLIED = (
    *("Namespace", "ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"),
    "MutatingWebhookConfiguration",
)
SPACE, ACCOUNT = "llm", "flyball/flyball"
KEDA = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "scaledobjects.keda.sh"},
    "spec": {
        "group": "keda.sh",
        "scope": "Namespaced",
        "names": {"kind": "ScaledObject", "plural": "scaledobjects", "singular": "scaledobject"},
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                },
            }
        ],
    },
}


def installation(*components: str) -> list[dict[str, Any]]:
    """One that only recommends, with further components: its rights, and what pods are told by."""
    words = [word for one in components for word in ("--with", one)]
    command = [sys.executable, "deploy/operator/generate.py", "show", "recommend-only", "--without-crds"]
    done = subprocess.run([*command, *words], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one["kind"] in APPLIED]


@pytest.fixture(scope="package")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A terminal with a cluster in which the kinds of power are."""
    needed()
    with at_desk(tmp_path_factory.mktemp("desk")) as one:
        one.kubectl("apply", "-k", "deploy/crds")
        one.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all([KEDA, *installation("power")]))
        one.kubectl("create", "namespace", SPACE)
        one.kubectl("wait", "crd", "--all", "--for=condition=Established")
        yield one


@pytest.fixture(scope="package")
def administrator(desk: Desk) -> Iterator[Api]:
    """The API server, as who may do everything."""
    with closing(Api(desk.sandbox.kubeconfig)) as api:
        eventually(lambda: api.items("/apis/flyball.dev/v1alpha1/powerdomains", dict) == [])
        yield api


@pytest.fixture(scope="package")
def recommender(desk: Desk, administrator: Api) -> Iterator[Api]:
    """The same, as the account of an installation that only recommends."""
    with closing(Api(desk.sandbox.kubeconfig_of(*ACCOUNT.split("/")))) as api:
        yield api
