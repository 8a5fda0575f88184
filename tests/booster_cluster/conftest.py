"""One control plane for ModelBoosters, and an operator that keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from flyball.adapters.kubernetes.api import Api
from tests.booster_cluster.booth import Booth
from tests.booster_cluster.definitions import forget, have
from tests.clusters import needed
from tests.operator_cluster.desk import Desk, Running, at_desk

OPERATOR = ("operator", "--no-loop", "--boost", "--local", "--namespace", "default")


@pytest.fixture(scope="package")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A terminal with a cluster in which none of Kthena's kinds is; leave it as it was found."""
    needed()
    with at_desk(tmp_path_factory.mktemp("desk")) as one:
        yield one


@pytest.fixture(scope="package")
def api(desk: Desk) -> Iterator[Api]:
    """The same cluster."""
    with closing(Api(desk.sandbox.kubeconfig)) as made:
        yield made


@pytest.fixture(scope="module")
def operator(desk: Desk, api: Api, request: pytest.FixtureRequest) -> Iterator[Running]:
    """Keeps ModelBoosters of the module's GENERATION of Kthena; LEAST: of definitions that say the least."""
    have(api, request.module.GENERATION, getattr(request.module, "LEAST", False))
    # Its garbage collector learns of kinds every 30 s, and when it begins.
    desk.sandbox.restart("kube-controller-manager")
    one = desk.prepared(*getattr(request.module, "OPERATOR", OPERATOR))
    one.start()
    try:
        yield one
    finally:
        one.process.stop(15.0)
        forget(api)
    assert "Traceback" not in one.words
    assert "Error" not in one.words


@pytest.fixture
def booth(desk: Desk, api: Api, operator: Running) -> Iterator[Booth]:
    """A namespace of the test's own."""
    body = {"metadata": {"generateName": "t-"}}
    space = api.post("/api/v1/namespaces", body, dict)["metadata"]["name"]
    yield Booth(desk, api, space)
    api.delete(f"/api/v1/namespaces/{space}")
