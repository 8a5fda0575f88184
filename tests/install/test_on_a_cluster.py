"""A real API server takes what is installed, and its roles are what they should be: enough, and not more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.errors import ApiError
from flyball.adapters.kubernetes.load import Named
from flyball.adapters.kubernetes.rights import ACT, OPTIONAL, OWN, READ, Right, lacking, placed
from flyball.sandbox.cluster import Sandbox
from tests.clusters import eventually, read_kinds
from tests.install.conftest import NAMESPACE, apply, remove
from tests.install.made import (
    EVERYTHING,
    ROOT,
    VALUES,
    Objects,
    container,
    kubectl,
    of_kind,
    overlay,
    rendered,
    run,
    shown,
)

pytestmark = pytest.mark.slow

ACCOUNT = "flyball/flyball"
SHOWN = NAMESPACE
CRDS = ROOT / "deploy" / "crds"


@pytest.fixture(scope="module", autouse=True)
def installed(cluster: Sandbox) -> Iterator[None]:
    """The documents' way: the kinds, the operator, the samples."""
    asked = partial(run, "deploy/kubectl", kubeconfig=cluster.kubeconfig)
    asked("apply", "-k", str(CRDS))
    asked("wait", "--for=condition=Established", "crd", "--all")
    asked("apply", "-f", "manifests/yamls/deploy.yaml")
    yield
    read_kinds(asked)
    asked("delete", "-f", "dist/install.yaml")


# ---- what is taken -----------------------------------------------------------------------------


def dry(cluster: Sandbox, text: str) -> None:
    """It is taken without a warning, as one also comes for a Deployment whose pods would be refused."""
    command = [*kubectl(), "apply", "--validate=strict", "--dry-run=server", "-f", "-"]
    env = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    done = subprocess.run(command, input=text, capture_output=True, text=True, env=env, timeout=120)
    assert not done.stderr, done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize("names", EVERYTHING, ids="+".join)
def test_it_takes_every_overlay(cluster: Sandbox, names: tuple[str, ...]) -> None:
    dry(cluster, shown(*names))


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_it_takes_the_chart(cluster: Sandbox, values: dict[str, Any], tmp_path: Path) -> None:
    dry(cluster, rendered(values, tmp_path))


def test_it_takes_the_installer_and_would_refuse_what_is_misspelt(cluster: Sandbox) -> None:
    text = (ROOT / "dist" / "install.yaml").read_text()
    dry(cluster, text)
    with pytest.raises(AssertionError, match="unknown field"):
        dry(cluster, text.replace("readinessProbe:", "readynessProbe:"))


def test_the_documents_own_commands_work(cluster: Sandbox) -> None:
    def asked(*words: str) -> str:
        return run("deploy/kubectl", *words, kubeconfig=cluster.kubeconfig)

    # The operator's webhooks are not answered by anybody yet: what nobody checks passes.
    said = asked("apply", "-k", "manifests/yamls/").splitlines()
    assert len(said) == 6
    assert all(line.endswith(" created") for line in said)
    found = json.loads(asked("get", "server", "premium-granite-13b", "-o", "json"))
    assert found["spec"]["desiredAlloc"]["accelerator"] == "G2"
    assert len(asked("delete", "-k", "manifests/yamls/").splitlines()) == 6


def test_its_pods_are_admitted_and_both_come(cluster: Sandbox, api: Api) -> None:
    def ready() -> bool:
        found: dict[str, Any] = api.get("/apis/apps/v1/namespaces/flyball/deployments/flyball", dict)
        return found.get("status", {}).get("readyReplicas", 0) == 2

    eventually(ready)
    (deployment,) = of_kind(overlay("cluster"), "Deployment")
    pod = {"metadata": {"name": "asked"}, "spec": deployment["spec"]["template"]["spec"]}
    api.post("/api/v1/namespaces/flyball/pods", pod, Named, dryRun="All")
    pod["spec"]["containers"][0]["securityContext"].pop("capabilities")
    with pytest.raises(ApiError, match='violates PodSecurity "restricted'):
        api.post("/api/v1/namespaces/flyball/pods", pod, Named, dryRun="All")


# ---- who may do what ---------------------------------------------------------------------------

VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
SEE = ("get", "list", "watch")
INFERNO = "inferno.platform.ai"
KINDS = ("accelerators", "models", "serviceclasses", "servers", "capacities", "optimizers")
RECOMMENDS: dict[tuple[str, str, str], tuple[str, ...]] = {
    **{(INFERNO, kind, ""): (*SEE, "patch") for kind in KINDS},
    **{(INFERNO, kind, "status"): ("update", "patch") for kind in KINDS},
    ("apps", "deployments", ""): SEE,
    ("apps", "statefulsets", ""): SEE,
    ("", "pods", ""): SEE,
    ("", "resourcequotas", ""): SEE,
    ("autoscaling", "horizontalpodautoscalers", ""): SEE,
    ("keda.sh", "scaledobjects", ""): SEE,
    ("", "events", ""): ("get", "create", "patch"),
}
"""In a namespace of users: nothing of theirs can be written. By group, resource, subresource."""
ACTS: dict[tuple[str, str, str], tuple[str, ...]] = {
    **RECOMMENDS,
    ("apps", "deployments", ""): (*SEE, "patch"),
    ("apps", "statefulsets", ""): (*SEE, "patch"),
    ("apps", "deployments", "scale"): ("get", "update"),
    ("apps", "statefulsets", "scale"): ("get", "update"),
    ("", "pods", ""): (*SEE, "patch"),
}
CLUSTERS: dict[tuple[str, str, str], tuple[str, ...]] = {
    ("", "nodes", ""): SEE,
    ("apiextensions.k8s.io", "customresourcedefinitions", ""): ("get", "list"),
}
HERE: dict[tuple[str, str, str], tuple[str, ...]] = {
    ("", "configmaps", ""): ("get", "list", "create", "update", "patch", "delete"),
    ("coordination.k8s.io", "leases", ""): ("get", "create", "update", "patch"),
    ("", "secrets", ""): ("create",),
}
"""In its own namespace, more."""
OTHERS = (
    ("", "pods", "exec"),
    ("", "pods", "eviction"),
    ("", "pods", "resize"),
    ("", "services", ""),
    ("", "secrets", ""),
    ("", "configmaps", ""),
    ("", "namespaces", ""),
    ("", "nodes", ""),
    ("", "serviceaccounts", "token"),
    ("apps", "daemonsets", ""),
    ("apps", "replicasets", "scale"),
    ("apps", "deployments", "scale"),
    ("apps", "statefulsets", "scale"),
    ("autoscaling", "horizontalpodautoscalers", "status"),
    ("coordination.k8s.io", "leases", ""),
    ("rbac.authorization.k8s.io", "clusterrolebindings", ""),
    ("rbac.authorization.k8s.io", "rolebindings", ""),
    ("apiextensions.k8s.io", "customresourcedefinitions", ""),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations", ""),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations", ""),
    ("llmd.ai", "variantautoscalings", ""),
)
WVA = {("llmd.ai", "variantautoscalings", ""): SEE}


def rights(api: Api, namespace: str) -> dict[tuple[str, str, str], tuple[str, ...]]:
    """All that the operator's account may do in a namespace, of what we ask for."""
    asked = [
        Right(VERBS, resource, group, sub, namespace)
        for group, resource, sub in dict.fromkeys([*ACTS, *CLUSTERS, *HERE, *OTHERS])
    ]
    missing = lacking(api, asked, ACCOUNT)
    found = {
        (right.group, right.resource, right.subresource): tuple(
            verb for verb in VERBS if verb not in missing.get(right, ())
        )
        for right in asked
    }
    return {what: verbs for what, verbs in found.items() if verbs}


@pytest.fixture
def granted(cluster: Sandbox, request: pytest.FixtureRequest) -> Iterator[tuple[str, ...]]:
    """Only the rights of an installation, in place of those that there were."""
    names: tuple[str, ...] = request.param
    kinds = ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
    before, after = (stream(of_kind(overlay(*one), *kinds)) for one in (("recommend-only",), names))
    remove(cluster.kubeconfig, before)
    apply(cluster.kubeconfig, after)
    yield names
    remove(cluster.kubeconfig, after)
    apply(cluster.kubeconfig, before)


def stream(objects: Objects) -> str:
    return yaml.safe_dump_all(objects)


def ordered(verbs: dict[tuple[str, str, str], tuple[str, ...]]) -> dict[tuple[str, str, str], set[str]]:
    return {what: set(which) for what, which in verbs.items()}


@pytest.mark.parametrize(
    ("granted", "there", "everywhere"),
    [
        (("recommend-only",), RECOMMENDS, True),
        (("cluster",), ACTS, True),
        (("one-namespace",), RECOMMENDS, False),
        (("one-namespace", "act", "wva"), ACTS | WVA, False),
    ],
    indirect=["granted"],
    ids=lambda value: "+".join(value) if isinstance(value, tuple) else "",
)
def test_the_operator_may_do_this_and_nothing_else(
    api: Api, granted: tuple[str, ...], there: dict[tuple[str, str, str], tuple[str, ...]], everywhere: bool
) -> None:
    anywhere = there | CLUSTERS if everywhere else {}
    assert ordered(rights(api, "flyball")) == ordered(anywhere | HERE)
    assert ordered(rights(api, "")) == ordered(anywhere)  # in all namespaces
    if not everywhere:
        assert ordered(rights(api, SHOWN)) == ordered(there)


@pytest.mark.parametrize("granted", [("cluster",), ("one-namespace", "act")], indirect=True, ids="+".join)
def test_its_rights_are_enough_for_the_loop(api: Api, granted: tuple[str, ...]) -> None:
    optional = [right for right in OPTIONAL if right.resource != "nodes" or granted[0] == "cluster"]
    assert lacking(api, placed((*READ, *optional, *ACT), SHOWN), ACCOUNT) == {}
    assert lacking(api, placed(OWN, "flyball"), ACCOUNT) == {}


def test_in_mode_recommend_it_cannot_touch_a_workload(api: Api) -> None:
    assert set(lacking(api, placed((*READ, *OPTIONAL, *OWN), "flyball"), ACCOUNT)) == set()
    wanted = {right.name for right in ACT if right.resource != "events"}
    assert {right.name for right in lacking(api, placed(ACT, SHOWN), ACCOUNT)} == wanted


def test_only_its_own_webhook_and_its_own_secret_are_its(cluster: Sandbox) -> None:
    own = cluster.kubeconfig_of("flyball", "flyball")

    def can(*words: str) -> bool:
        command = ["auth", "can-i", *words, "--namespace=flyball", "--quiet"]
        try:
            run("deploy/kubectl", *command, kubeconfig=own)
        except AssertionError:
            return False
        return True

    for resource, verb in (("validatingwebhookconfigurations", "update"), ("secrets", "get")):
        assert not can(verb, resource)
    assert can("update", "validatingwebhookconfigurations/flyball")
    assert not can("update", "validatingwebhookconfigurations/other")
    assert can("get", "secrets/flyball-webhook")
    assert not can("get", "secrets/other")


# ---- with the operator itself ------------------------------------------------------------------


@pytest.mark.parametrize("granted", [("recommend-only",), ("one-namespace",)], indirect=True, ids="+".join)
def test_the_operator_works_with_the_rights_it_is_given(
    cluster: Sandbox, api: Api, granted: tuple[str, ...], tmp_path: Path
) -> None:
    """As its pod would, but for the address: its own account, its arguments, its variables."""
    own = cluster.kubeconfig_of("flyball", "flyball")
    operator = container(overlay(*granted))
    env = {**os.environ, "KUBECONFIG": str(own), **{one["name"]: one["value"] for one in operator["env"]}}
    out = tmp_path / "operator.log"
    with out.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "flyball", *map(near, operator["args"])],
            stdout=log,
            stderr=log,
            env=env,
            cwd=tmp_path,
        )
    samples = ("-n", SHOWN, "-k", "manifests/yamls/")

    def trusted() -> bool:
        assert process.poll() is None, out.read_text()
        path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/flyball"
        found: dict[str, Any] = api.get(path, dict)
        return all(hook["clientConfig"].get("caBundle") for hook in found["webhooks"])

    def planned() -> Any:
        assert process.poll() is None, out.read_text()
        path = f"/apis/{INFERNO}/v1alpha1/namespaces/{SHOWN}/servers/premium-granite-13b"
        found: dict[str, Any] = api.get(path, dict)
        return found["spec"]["desiredAlloc"]["accelerator"] == "A100" and found.get("status")

    try:
        if "--webhook-port=9443" in operator["args"]:
            eventually(trusted)
        run("deploy/kubectl", "apply", *samples, kubeconfig=cluster.kubeconfig)
        optimize = ("-n", SHOWN, "--type=merge", "-p", '{"spec": {"optimize": true}}')
        run("deploy/kubectl", "patch", "optimizer", "inferno", *optimize, kubeconfig=cluster.kubeconfig)
        eventually(planned)
    finally:
        process.terminate()
        process.wait(30)
        run("deploy/kubectl", "delete", "--ignore-not-found", *samples, kubeconfig=cluster.kubeconfig)
    said = out.read_text()
    refused = [line for line in said.splitlines() if "forbidden" in line.lower()]
    # Nodes are the cluster's: without them it goes on.
    assert [line for line in refused if granted != ("one-namespace",) or "nodes" not in line] == []
    assert process.returncode == 0, said


def near(argument: str) -> str:
    """The same argument for a process on this machine."""
    name, equals, value = argument.partition("=")
    here = {"--host": "127.0.0.1", "--port": "0", "--webhook-host": "127.0.0.1", "--webhook-port": "0"}
    return f"{name}={here.get(name, value)}" if equals else argument
