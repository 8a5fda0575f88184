"""The controller's document, line by line, as a user types it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.clusters import eventually
from tests.operator_cluster.desk import Desk, condition, holds

pytestmark = pytest.mark.slow

ACCOUNT = "flyball/flyball"
SERVER = "premium-granite-13b"
KINDS = ("accelerators", "models", "serviceclasses", "servers", "capacities", "optimizers")


@pytest.fixture(scope="module")
def deployed(desk: Desk) -> Iterator[None]:
    """Install the kinds into the cluster, and deploy the operator with an image."""
    said = desk.make("install")
    for kind in KINDS:
        assert f"customresourcedefinition.apiextensions.k8s.io/{kind}.inferno.platform.ai created" in said
    desk.make("deploy", "IMG=registry.example/controller:tag")
    there = desk.kubectl("get", "deployments", "-n", "flyball", "-o", "yaml")
    assert "registry.example/controller:tag" in there
    yield
    desk.make("undeploy", "IMG=registry.example/controller:tag")
    desk.make("uninstall")
    assert "inferno.platform.ai" not in desk.kubectl("get", "crd")
    assert "flyball" not in desk.kubectl(
        "get", "clusterroles,clusterrolebindings,validatingwebhookconfigurations"
    )


def results(desk: Desk) -> None:
    """The instances, the request, and what comes of it."""
    said = desk.kubectl("apply", "-k", "manifests/yamls/")
    assert len(re.findall(r"inferno.platform.ai/\S+ (created|configured|unchanged)", said)) == 6
    server = desk.get("server", SERVER)
    assert server["spec"]["desiredAlloc"]["accelerator"] == "G2"  # as the document has it
    desk.optimize()
    eventually(lambda: desk.get("optimizer", "inferno").get("status", {}).get("done"))
    optimizer = desk.get("optimizer", "inferno")
    assert optimizer["spec"]["optimize"] is False
    assert holds(optimizer, "Feasible").startswith("True")
    server = desk.get("server", SERVER)
    desired = server["spec"]["desiredAlloc"]
    assert [desired[k] for k in ("accelerator", "numReplicas", "maxBatch", "cost")] == ["A100", 2, 16, 80]
    assert desired["itlAverage"] == pytest.approx(24.395647, rel=1e-6)
    assert desired["waitAverage"] == pytest.approx(84.95117, rel=2e-5)
    assert server["status"]["desiredAlloc"] == desired
    assert server["status"]["observedGeneration"] == server["metadata"]["generation"]
    assert "finalizers" not in server["metadata"]


@pytest.mark.parametrize("stateless", [True, False], ids=["stateless", "stateful"])
def test_with_an_optimizer_in_the_cluster(desk: Desk, deployed: None, stateless: bool) -> None:
    """The documents' own form: the optimizer is deployed as a service, and INFERNO_HOST names it."""
    words = ["serve", *([] if stateless else ["--stateful"])]
    with desk.running(*words) as optimizer:
        environment = {
            "INFERNO_HOST": "127.0.0.1",
            "INFERNO_PORT": str(optimizer.port),
            "INFERNO_STATELESS": str(stateless).lower(),
        }
        with desk.running(
            "operator", "--namespace", "flyball", "--no-loop", account=ACCOUNT, environment=environment
        ) as operator:
            results(desk)
            desk.kubectl("delete", "-k", "manifests/yamls/")
            if not stateless:  # what is gone here is gone there
                eventually(lambda: "Premium" not in desk.served(optimizer, "getServers"))
                eventually(lambda: "A100" not in desk.served(optimizer, "getAccelerators"))
            assert "Traceback" not in operator.words


def test_with_the_optimizer_built_in(desk: Desk, deployed: None) -> None:
    with desk.running("operator", "--namespace", "flyball", account=ACCOUNT):
        results(desk)
        assert desk.get("server", SERVER)["status"]["bindingConstraint"] == "wait"
        shown = desk.kubectl("get", "inferno")
        assert re.search(rf"{SERVER} +Premium +granite-13b +A100 +2", shown), shown
    # Nothing runs now, and all can be deleted at once.
    desk.kubectl("delete", "-k", "manifests/yamls/", "--timeout=20s")
    assert "No resources found" in desk.kubectl("get", "inferno")


def test_the_manifest_that_the_document_names(desk: Desk, deployed: None) -> None:
    desk.kubectl("apply", "-f", "manifests/yamls/deploy.yaml", "--dry-run=server")
    desk.kubectl("apply", "-f", "dist/install.yaml", "--dry-run=server")


def test_an_infeasible_request_ends_with_a_reason(desk: Desk, deployed: None) -> None:
    with desk.running("operator", "--namespace", "flyball", account=ACCOUNT):
        desk.kubectl("apply", "-k", "manifests/yamls/")
        desk.kubectl(
            *("patch", "serviceclass", "premium", "--type", "json"),
            *("-p", '[{"op": "replace", "path": "/spec/data/0/slo-itl", "value": 1}]'),
        )
        desk.optimize()
        eventually(lambda: desk.get("optimizer", "inferno").get("status", {}).get("done"))
        assert holds(desk.get("optimizer", "inferno"), "Feasible") == "False NotServed"
        assert desk.get("optimizer", "inferno")["spec"]["optimize"] is False
        server = desk.get("server", SERVER)
        assert holds(server, "Feasible") == "False OutOfReach"
        assert "A100: itl" in condition(server, "Feasible")["message"]
        assert any("OutOfReach" in text for text in eventually(lambda: desk.events("default", "Server")))
        desk.kubectl("delete", "-k", "manifests/yamls/")
