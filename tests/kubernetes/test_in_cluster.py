"""The loop as its manifests deploy it: each container as a process with the manifest's own words, environment
and files, and a token of its own service account."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from flyball.adapters.kubernetes.governed import Kind
from flyball.adapters.kubernetes.lease import NAME as LEASE
from flyball.sandbox.network import free_ports
from tests.clusters import eventually
from tests.kubernetes.stage import SPEED, Command, Stage, get, samples

pytestmark = pytest.mark.slow

DATA = "deploy/sample-data/large"
FILES = ",".join(f"deploy/workload/dep{number}.yaml" for number in (1, 2, 3))
STATIC = ("accelerator", "model", "serviceclass", "optimizer")
PORTS = ("3300", "3301", "3302", "3303")


@pytest.fixture(scope="module")
def deployed(stage: Stage, infer: str) -> Iterator[Stage]:
    """The data as the document makes them."""
    static = [f"--from-file={DATA}/{what}-data.json" for what in STATIC]
    stage.kubectl("create", "configmap", "inferno-static-data", "-n", "inferno", *static)
    dynamic = f"--from-file={DATA}/capacity-data.json"
    stage.kubectl("create", "configmap", "inferno-dynamic-data", "-n", "inferno", dynamic)
    stage.kubectl("apply", "-f", "deploy/one-process/configmap.yaml")
    yield stage
    names = ("inferno-static-data", "inferno-dynamic-data", "inferno-data")
    stage.kubectl("delete", "configmap", *names, "-n", "inferno")


@pytest.fixture
def servers(deployed: Stage) -> Iterator[Stage]:
    """The sample servers, as new."""
    deployed.kubectl("apply", "-f", FILES)
    yield deployed
    deployed.kubectl("delete", "-f", FILES)


class Pods:
    """Plays a kubelet: files from ConfigMaps, environment, and one process for each container."""

    def __init__(self, stage: Stage, folder: Path, stack: ExitStack) -> None:
        self.stage, self.folder, self.stack = stage, folder, stack
        self.ports = dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))

    def start(
        self,
        pod: Mapping[str, Any],
        more: Mapping[str, Sequence[object]] | None = None,
        environment: Mapping[str, Mapping[str, str]] | None = None,
    ) -> dict[str, Command]:
        """The containers of a pod. `more`: words, and `environment` variables, beside the manifest's."""
        spec = pod["spec"]["template"]["spec"] if pod["kind"] == "Deployment" else pod["spec"]
        account = self.stage.sandbox.kubeconfig_of("inferno", spec["serviceAccountName"])
        mounted = {one["name"]: self._mounted(one) for one in spec["volumes"]}
        started = {}
        for one in spec["containers"]:
            places = {m["mountPath"].rstrip("/"): mounted[m["name"]] for m in one["volumeMounts"]}
            variables = {e["name"]: self._value(e["value"], places) for e in one["env"]}
            variables |= (environment or {}).get(one["name"], {})
            words = (*one["args"], *(more or {}).get(one["name"], ()))
            running = self.stage.command(*words, kubeconfig=account, **variables)
            started[one["name"]] = self.stack.enter_context(running)
        return started

    def _value(self, value: str, places: Mapping[str, Path]) -> str:
        if value in self.ports:
            return self.ports[value]
        place = places.get(value.rstrip("/"))
        return value if place is None else f"{place}/"

    def _mounted(self, volume: Mapping[str, Any]) -> Path:
        """As a kubelet writes it: links to a folder that is exchanged as a whole."""
        place = self.folder / volume["name"]
        place.mkdir()
        sources = [s["configMap"] for s in volume.get("projected", {}).get("sources", ())]
        sources += [volume["configMap"]] if "configMap" in volume else []
        (place / "..2026_01_01").mkdir()
        (place / "..data").symlink_to("..2026_01_01")
        for source in sources:
            found = json.loads(self.stage.kubectl("get", "cm", source["name"], "-n", "inferno", "-o", "json"))
            for key, text in found["data"].items():
                (place / "..data" / key).write_text(text)
                (place / key).symlink_to(f"..data/{key}")
        return place


@pytest.fixture
def kubelet(servers: Stage, tmp_path: Path) -> Iterator[Pods]:
    with ExitStack() as stack:
        yield Pods(servers, tmp_path, stack)


def invoked(url: str) -> str:
    """What the controller answers, once it can answer at all."""

    def ready() -> bool:
        try:
            return get(url, "/readyz")[0] == 200
        except OSError:
            return False

    eventually(ready)
    return get(url, "/invoke")[1].decode()


def follows(stage: Stage, url: str) -> None:
    """Replicas follow the labels' load, when a cycle is asked for."""
    assert stage.replicas("infer", "vllm-001") == 1

    def grown() -> bool:
        assert invoked(url) == '"OK"'
        return stage.replicas("infer", "vllm-001") >= 3

    eventually(grown)
    assert stage.replicas("infer", "vllm-002") >= 1
    assert stage.replicas("infer", "vllm-003") >= 1


def no_refusals(parts: Mapping[str, Command]) -> None:
    for name, one in parts.items():
        assert "forbidden" not in one.said.lower(), (name, one.said)
        assert "Traceback" not in one.said, (name, one.said)


def test_four_containers(kubelet: Pods) -> None:
    stage = kubelet.stage
    (pod, service) = samples("loop/deploy-loop.yaml")
    parts = kubelet.start(
        pod,
        {"collector": ("--speed", SPEED)},  # the sandbox's engines are faster than time
        {"collector": {"INFERNO_PROMETHEUS_URL": stage.prometheus}},
    )
    assert set(parts) == {"controller", "collector", "optimizer", "actuator"}
    assert service["spec"]["ports"][0]["targetPort"] == "controller"
    controller = f"http://127.0.0.1:{kubelet.ports['3300']}"
    for port in PORTS[1:]:  # as their liveness probes do
        eventually(lambda port=port: listens(f"http://127.0.0.1:{kubelet.ports[port]}"))
    follows(stage, controller)
    # It leads by a Lease of its own namespace, and nobody else does.
    lease = stage.api.get(Kind("coordination.k8s.io", "v1", "leases", "Lease").path("inferno", LEASE), dict)
    assert lease["spec"]["holderIdentity"]
    no_refusals(parts)


def listens(url: str) -> bool:
    try:
        return get(url, "/healthz")[0] == 200
    except OSError:
        return False


def test_one_process_and_the_load_emulator(kubelet: Pods) -> None:
    stage = kubelet.stage
    (loop, _) = samples("one-process/deploy-loop.yaml")
    (emulator,) = samples("loop/load-emulator.yaml")
    before = stage.read("infer", "vllm-002")["metadata"]["labels"]
    every = str(60 / SPEED)
    parts = kubelet.start(
        loop,
        {"controller": ("--speed", SPEED)},
        {"controller": {"INFERNO_PROMETHEUS_URL": stage.prometheus}},
    )
    eventually(lambda: listens(f"http://127.0.0.1:{kubelet.ports['3300']}"))
    kubelet.folder = kubelet.folder / "emulator"
    kubelet.folder.mkdir()
    with ExitStack() as stack:
        kubelet.stack, outer = stack, kubelet.stack
        moving = kubelet.start(emulator, {}, {"load-emulator": {"INFERNO_LOAD_INTERVAL": every}})
        eventually(lambda: "cycle 2: 3 servers" in moving["load-emulator"].said)
        assert stage.read("infer", "vllm-002")["metadata"]["labels"] != before
        eventually(lambda: stage.replicas("infer", "vllm-001") >= 3)
        no_refusals(moving)
    kubelet.stack = outer
    rate = "inferno.server.load.rpm"
    assert stage.read("infer", "vllm-002")["metadata"]["labels"][rate] == before[rate]
    assert invoked(f"http://127.0.0.1:{kubelet.ports['3300']}") == '"OK"'
    no_refusals(parts)
    assert stage.events("infer", "vllm-001"), "it may write events"
    kept = json.loads(stage.kubectl("get", "cm", "-n", "inferno", "-o", "json"))["items"]
    assert any(one["metadata"]["name"].startswith("flyball") for one in kept), "and its memory"
