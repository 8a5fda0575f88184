"""A control plane, with a KEDA beside it where that is built, for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.lease import Lease
from flyball.adapters.kubernetes.power_levers import PowerLevers
from flyball.sandbox.build import KEDA, is_built
from flyball.sandbox.cluster import Options, Sandbox
from tests.adapters.kubernetes.governing import leading
from tests.clusters import fleet, namespace, needed

__all__ = ["namespace"]


@pytest.fixture(scope="package")
def sandbox() -> Iterator[Sandbox]:
    """One that runs; leave it as it was found."""
    needed()
    quick = {"kube-controller-manager": ("--horizontal-pod-autoscaler-sync-period=2s",)}
    options = Options(
        fleet=fleet(), cold_start=0.5, parts=("keda",) if is_built(KEDA) else (), arguments=quick
    )
    with Sandbox.start(options) as started:
        yield started


@pytest.fixture
def keda() -> None:
    """Skip where there is none."""
    if not is_built(KEDA):
        pytest.skip("KEDA is not built: `flyball sandbox build keda` does it, in ten minutes")


@pytest.fixture
def api(sandbox: Sandbox) -> Iterator[Api]:
    api = Api(sandbox.kubeconfig)
    yield api
    api.close()


@pytest.fixture
def lease(api: Api, namespace: str) -> Lease:
    return leading(api, namespace)


@pytest.fixture
def levers(api: Api, lease: Lease, namespace: str) -> Iterator[PowerLevers]:
    made = PowerLevers(api, lease, lambda: "", namespace=namespace, limit=60.0)
    yield made
    made.close()
