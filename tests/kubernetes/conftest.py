"""One cluster for all system tests, with Prometheus and engines that run faster than time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lightkube.codecs import from_dict
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import Namespace, Pod, ServiceAccount

from flyball.sandbox.cluster import Options, Sandbox
from flyball.sandbox.engines.process import command, start
from flyball.sandbox.fleet import fleet_from
from flyball.sandbox.network import free_ports
from flyball.sandbox.part import Scrape
from tests.clusters import eventually, found, is_here, needed, pods
from tests.kubernetes.stage import SPEED, Stage

COLD_START = 60.0
"""Of the engines' seconds."""
FLEET = b"""
kind: SandboxFleet
nodes:
  - {accelerator: H100, count: 2, cards: 8, rack: r1}
  - {accelerator: A100, count: 2, cards: 8, rack: r2}
  - {accelerator: L40S, count: 2, cards: 4, rack: r3}
  - {accelerator: MI250, count: 2, cards: 8, rack: r4}
"""


@pytest.fixture(scope="package")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A cluster with all that belongs to it; leave it as it was found."""
    needed()
    if not is_here("prometheus"):
        pytest.skip("there is no prometheus")
    folder = tmp_path_factory.mktemp("stage")
    (port,) = free_ports(1)
    options = Options(
        fleet=fleet_from(FLEET, "the stage's fleet"),
        cold_start=COLD_START / SPEED,
        parts=("prometheus",),
        scrape=Scrape(every=1.0, targets_url=f"http://127.0.0.1:{port}/targets"),
    )
    with Sandbox.start(options) as sandbox:
        engines = start(command(sandbox.kubeconfig, port=port, speed=SPEED, seed=1), folder / "engines.log")
        one = Stage(sandbox, engines.url, folder)
        try:
            yield one
        finally:
            one.api.close()
            engines.stop()
    assert (folder / "engines.log").read_text() == ""


@pytest.fixture(scope="package")
def infer(stage: Stage) -> Iterator[str]:
    """The namespaces of the control loop's document, and who may do what in them."""
    stage.kubectl("apply", "-f", "deploy/loop/ns.yaml")
    stage.kubectl("apply", "-f", "deploy/workload/ns.yaml")
    yield "infer"
    stage.kubectl("delete", "-f", "deploy/workload/ns.yaml", "-f", "deploy/loop/ns.yaml")
    for kind in ("namespaces", "clusterroles", "clusterrolebindings"):
        assert not {"infer", "inferno", "flyball-governor"} & set(stage.kubectl("get", kind).split())


@pytest.fixture
def space(stage: Stage) -> Iterator[str]:
    """A namespace of the test's own; its pods are gone at the end, and their cards free."""
    client = stage.sandbox.client()
    made = client.create(
        from_dict({"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "t-"}})
    )
    name = made.metadata.name
    eventually(lambda: found(lambda: client.get(ServiceAccount, "default", namespace=name)))
    yield name
    clear(stage, name)
    client.delete(Namespace, name)


def clear(stage: Stage, namespace: str) -> None:
    """End all Deployments of a namespace, and their pods at once."""
    client = stage.sandbox.client()
    for one in client.list(Deployment, namespace=namespace):
        client.delete(Deployment, one.metadata.name, namespace=namespace)

    def gone() -> bool:
        there = pods(client, namespace)
        for pod in there:
            found(lambda pod=pod: client.delete(Pod, pod.metadata.name, namespace=namespace, grace_period=0))
        return not there

    eventually(gone)
