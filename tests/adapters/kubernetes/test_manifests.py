"""The manifests of deploy/: what they say, that a real API server takes them, and that roles are enough."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from flyball.adapters.files import read_fleet
from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.errors import ApiError, NotFound
from flyball.adapters.kubernetes.labels import ACCELERATOR, CLASS, MANAGED, MODEL, NAME, RATE, said_by
from flyball.adapters.kubernetes.load import NOMINAL, Named
from flyball.adapters.kubernetes.objects import Metadata, Workload
from flyball.cli import app
from flyball.decide.plan import plan
from flyball.sandbox.cluster import Sandbox
from flyball.sandbox.fleet import read_fleet as read_nodes
from tests.adapters.kubernetes.manifests import DEPLOY, all_files, apply, objects, path_of, pods_of, remove
from tests.clusters import eventually

slow = pytest.mark.slow

NAMESPACES = ("loop/ns.yaml", "workload/ns.yaml")
DEPLOYMENTS = ("workload/dep1.yaml", "workload/dep2.yaml", "workload/dep3.yaml")
DATA = DEPLOY / "sample-data" / "large"
LOOP = "system:serviceaccount:inferno:inferno"
EMULATOR = "system:serviceaccount:inferno:load-emulator"


def with_pods() -> list[Any]:
    """All objects that are pods or make them."""
    found = [(name, one) for name in all_files() for one in objects(name)]
    return [
        pytest.param(one, id=f"{name}-{one['metadata']['name']}")
        for name, one in found
        if one["kind"] in ("Deployment", "Pod")
    ]


# ---- what they say -----------------------------------------------------------------------------


@pytest.mark.parametrize("one", with_pods())
def test_pods_are_restricted_bounded_and_watched(one: dict[str, Any]) -> None:
    spec = pods_of(one)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    volumes = {volume["name"] for volume in spec["volumes"]}
    for container in spec["containers"]:
        security = container["securityContext"]
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        assert "memory" in container["resources"]["limits"]
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        assert not container["image"].endswith(":latest")
        assert "livenessProbe" in container or one["kind"] == "Pod"


@pytest.mark.parametrize("name", ["loop/deploy-loop.yaml", "one-process/deploy-loop.yaml"])
def test_only_the_controller_listens_beyond_its_pod(name: str) -> None:
    deployment, service = objects(name)
    hosts = {
        (container["name"], variable["name"]): variable["value"]
        for container in pods_of(deployment)["containers"]
        for variable in container["env"]
        if variable["name"].endswith("_HOST")
    }
    assert {key for key, host in hosts.items() if host != "127.0.0.1"} == {("controller", "CONTROLLER_HOST")}
    assert service["spec"]["selector"] == deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["ports"] == [{"name": "http", "port": 80, "targetPort": "controller"}]
    (port,) = pods_of(deployment)["containers"][0]["ports"]
    assert port == {"name": "controller", "containerPort": 3300}


def test_the_containers_are_those_of_the_document_and_agree_on_their_ports() -> None:
    containers = {one["name"]: one for one in pods_of(objects("loop/deploy-loop.yaml")[0])["containers"]}
    assert list(containers) == ["controller", "collector", "optimizer", "actuator"]
    controller = {one["name"]: one["value"] for one in containers["controller"]["env"]}
    for name, prefix, port in (
        ("collector", "COLLECTOR", "3301"),
        ("optimizer", "INFERNO", "3302"),
        ("actuator", "ACTUATOR", "3303"),
    ):
        own = {one["name"]: one["value"] for one in containers[name]["env"]}
        assert own[f"{prefix}_PORT"] == controller[f"{prefix}_PORT"] == port
        assert port in str(containers[name]["livenessProbe"])


@pytest.mark.parametrize("name", ["serve", "emulate"])
def test_commands_of_the_manifests_are_commands(name: str) -> None:
    used = {
        container["args"][0]
        for one in (*objects("loop/deploy-loop.yaml"), *objects("loop/load-emulator.yaml"))
        if one["kind"] != "Service"
        for container in pods_of(one)["containers"]
    }
    assert name in used
    assert app[name] is not None


def test_the_sample_servers_are_read_without_a_complaint() -> None:
    for number, name in enumerate(DEPLOYMENTS, 1):
        (one,) = objects(name)
        labels = one["metadata"]["labels"]
        said = said_by(Metadata(labels=labels), "it")
        assert said.problems == ()
        assert said.load is not None
        assert labels[MANAGED] == "true"
        assert labels[NAME] == one["metadata"]["name"] == f"vllm-{number:03}"
        spec = pods_of(one)
        (container,) = spec["containers"]
        assert spec["terminationGracePeriodSeconds"] > container["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert f"--served-model-name={labels[MODEL]}" in container["args"]
        cards = next(int(n) for key, n in container["resources"]["limits"].items() if "gpu" in key)
        assert cards == int(labels[ACCELERATOR].partition("x")[0] if "x" in labels[ACCELERATOR] else 1)
    document = {  # as the document of the control loop shows them
        MODEL: "llama_13b",
        CLASS: "Premium",
        ACCELERATOR: "MI250",
        "inferno.server.allocation.maxbatchsize": "8",
        RATE: "30",
        "inferno.server.load.numtokens": "2048",
    }
    assert document.items() <= objects(DEPLOYMENTS[0])[0]["metadata"]["labels"].items()


def test_the_sample_data_serves_the_sample_servers() -> None:
    fleet = read_fleet(DATA)
    assert fleet.generation == "G3"
    known = {(profile.model, profile.accelerator) for profile in fleet.profiles}
    for name, server in zip(DEPLOYMENTS, fleet.servers, strict=True):
        said = said_by(Metadata(labels=objects(name)[0]["metadata"]["labels"]), "it")
        assert (said.name, said.model, said.load) == (server.name, server.model, server.load)
        assert said.service_class in (server.service_class, "")
        assert (said.model, said.accelerator) in known
    made = plan(fleet)
    assert all(one.allocation is not None for one in made.servers)


def test_the_one_object_holds_the_same_data() -> None:
    (one,) = objects("one-process/configmap.yaml")
    assert one["data"] == {
        path.name: path.read_text() for path in DATA.glob("*.json") if path.name != "server-data.json"
    }


def test_the_sandbox_fleet_has_the_cards_of_the_samples() -> None:
    nodes = read_nodes(DEPLOY / "sandbox-fleet.yaml")
    there = {group.card.name for group in nodes.groups}
    wanted = {objects(name)[0]["metadata"]["labels"][ACCELERATOR] for name in DEPLOYMENTS}
    assert {name.rpartition("x")[2] if name[0].isdigit() else name for name in wanted} <= there


# ---- in a cluster ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def deployed(sandbox: Sandbox) -> Iterator[Api]:
    """A cluster with both namespaces, their accounts and access."""
    api = Api(sandbox.kubeconfig)
    apply(api, *NAMESPACES)
    default = "/api/v1/namespaces/infer/serviceaccounts/default"
    eventually(lambda: there(api, default))
    yield api
    remove(api, *reversed(NAMESPACES))
    eventually(lambda: not there(api, "/api/v1/namespaces/infer"))
    eventually(lambda: not there(api, "/api/v1/namespaces/inferno"))
    api.close()


def there(api: Api, path: str) -> bool:
    try:
        api.get(path, Named)
    except NotFound:
        return False
    return True


@slow
@pytest.mark.parametrize("name", [name for name in all_files() if name not in NAMESPACES])
def test_a_real_api_server_takes_every_manifest(deployed: Api, name: str) -> None:
    for one in apply(deployed, name, dry=True):
        assert one["metadata"]["namespace"] in ("inferno", "infer")


@slow
def test_an_api_server_would_refuse_what_is_misspelt(deployed: Api) -> None:
    (one,) = objects(DEPLOYMENTS[0])
    one["spec"]["replica"] = 1
    with pytest.raises(ApiError, match="replica"):
        deployed.apply(path_of(one), one, Named, "tests")


@slow
@pytest.mark.parametrize("one", with_pods())
def test_their_pods_are_admitted_where_only_restricted_ones_are(deployed: Api, one: dict[str, Any]) -> None:
    namespace = one["metadata"]["namespace"]
    pod = {"metadata": {"name": "asked"}, "spec": pods_of(one)}
    deployed.post(f"/api/v1/namespaces/{namespace}/pods", pod, Named, dryRun="All")
    pod["spec"]["containers"][0]["securityContext"].pop("capabilities")
    with pytest.raises(ApiError, match='violates PodSecurity "restricted'):
        deployed.post(f"/api/v1/namespaces/{namespace}/pods", pod, Named, dryRun="All")


def may(api: Api, who: str, verb: str, what: str, namespace: str) -> bool:
    """Whether an account may do something; `what`: resource.group/subresource."""
    resource, _, sub = what.partition("/")
    resource, _, group = resource.partition(".")
    attributes = {
        "namespace": namespace,
        "verb": verb,
        "group": group,
        "resource": resource,
        "subresource": sub,
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": who, "resourceAttributes": attributes},
    }
    answer: dict[str, Any] = api.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", review, dict)
    return bool(answer["status"]["allowed"])


KINDS = (
    "deployments.apps",
    "statefulsets.apps",
    "deployments.apps/scale",
    "statefulsets.apps/scale",
    "pods",
    "pods/exec",
    "pods/eviction",
    "nodes",
    "secrets",
    "configmaps",
    "events",
    "services",
    "serviceaccounts/token",
    "resourcequotas",
    "namespaces",
    "horizontalpodautoscalers.autoscaling",
    "scaledobjects.keda.sh",
    "leases.coordination.k8s.io",
    "rolebindings.rbac.authorization.k8s.io",
)
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
READ = {"get", "list", "watch"}
SEEN = {"pods": READ, "nodes": READ}
"""In the whole cluster."""
GOVERNS = {
    **SEEN,
    "pods": READ | {"patch"},
    "deployments.apps": READ | {"patch"},
    "statefulsets.apps": READ | {"patch"},
    "deployments.apps/scale": {"get", "update"},
    "statefulsets.apps/scale": {"get", "update"},
    "horizontalpodautoscalers.autoscaling": READ,
    "scaledobjects.keda.sh": READ,
    "resourcequotas": READ,
    "events": {"get", "create", "patch"},
}
OWNS = {
    **SEEN,
    "configmaps": {"get", "list", "create", "update", "patch", "delete"},
    "leases.coordination.k8s.io": {"get", "create", "update", "patch"},
    "events": {"get", "create", "patch"},
}
MOVES = {kind: {"get", "list", "patch"} for kind in ("deployments.apps", "statefulsets.apps", "pods")}


@slow
@pytest.mark.parametrize(
    ("who", "namespace", "rights"),
    [
        (LOOP, "infer", GOVERNS),
        (LOOP, "inferno", OWNS),
        (LOOP, "kube-system", SEEN),
        (LOOP, "", SEEN),
        (EMULATOR, "infer", MOVES),
        (EMULATOR, "inferno", {}),
        (EMULATOR, "", {}),
    ],
)
def test_an_account_may_do_this_and_nothing_else(
    deployed: Api, who: str, namespace: str, rights: dict[str, set[str]]
) -> None:
    found = {
        kind: verbs
        for kind in KINDS
        if (verbs := {verb for verb in VERBS if may(deployed, who, verb, kind, namespace)})
    }
    assert found == rights


@slow
def test_the_emulators_account_is_enough_for_it(sandbox: Sandbox, deployed: Api, tmp_path: Path) -> None:
    apply(deployed, *DEPLOYMENTS)
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    path = "/api/v1/namespaces/inferno/serviceaccounts/load-emulator/token"
    given: dict[str, Any] = deployed.post(path, asked, dict)
    config = yaml.safe_load(sandbox.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": given["status"]["token"]}
    own = tmp_path / "kubeconfig"
    own.write_text(yaml.safe_dump(config))
    (pod,) = objects("loop/load-emulator.yaml")
    (container,) = pods_of(pod)["containers"]
    environment = {one["name"]: one["value"] for one in container["env"]}

    def emulate(*words: str) -> None:
        command = [sys.executable, "-m", "flyball", *container["args"], *words]
        env = {**os.environ, **environment, "KUBECONFIG": str(own)}
        done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")

    def labels() -> list[dict[str, str]]:
        found = [deployed.get(path_of(objects(name)[0]), Workload).metadata for name in DEPLOYMENTS]
        assert len({NOMINAL in one.annotations for one in found}) == 1
        return [one.labels for one in found]

    original = labels()
    emulate("--once", "--skew", "0.3")
    assert all(now[RATE] != before[RATE] for now, before in zip(labels(), original, strict=True))
    emulate("--restore")
    assert labels() == original
    remove(deployed, *DEPLOYMENTS)
