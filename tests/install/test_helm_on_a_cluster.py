"""The chart, installed, upgraded and uninstalled by Helm."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.errors import NotFound
from flyball.adapters.kubernetes.rights import ACT, lacking, placed
from flyball.sandbox.cluster import Sandbox
from tests.clusters import eventually, read_kinds
from tests.install.made import CHART, ROOT, helm, run

pytestmark = pytest.mark.slow

NAMESPACE, ACCOUNT = "chart", "chart/flyball"
WEBHOOK = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/flyball"
BUNDLE = "Zmx5YmFsbA=="


def test_the_chart_is_installed_upgraded_and_uninstalled(cluster: Sandbox, api: Api) -> None:
    def told(*words: str) -> str:
        return run(helm(), *words, "--namespace", NAMESPACE, kubeconfig=cluster.kubeconfig)

    def ready(replicas: int) -> bool:
        found: dict[str, Any] = api.get(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/flyball", dict)
        return found.get("status", {}).get("readyReplicas", 0) == replicas

    act = placed([right for right in ACT if right.resource != "events"], "infer")
    try:
        said = told("install", "flyball", str(CHART), "--create-namespace")
        assert "Flyball observes all namespaces in mode recommend." in said
        assert "prometheus.url is not set" in said
        eventually(lambda: ready(2))
        assert {right.name for right in lacking(api, act, ACCOUNT)} == {right.name for right in act}

        # As the operator does; an upgrade must not take it away.
        there: dict[str, Any] = api.get(WEBHOOK, dict)
        assert there["webhooks"][0]["clientConfig"]["service"]["namespace"] == NAMESPACE
        there["webhooks"][0]["clientConfig"]["caBundle"] = BUNDLE
        api.put(WEBHOOK, there, dict)

        told("upgrade", "flyball", str(CHART), "--reuse-values", "--set", "mode=act,replicas=3")
        eventually(lambda: ready(3))
        assert lacking(api, act, ACCOUNT) == {}
        after: dict[str, Any] = api.get(WEBHOOK, dict)
        assert after["webhooks"][0]["clientConfig"]["caBundle"] == BUNDLE
        assert json.loads(told("get", "values", "flyball", "-o", "json")) == {"mode": "act", "replicas": 3}

        told("uninstall", "flyball", "--wait")
        with pytest.raises(NotFound):
            api.get(WEBHOOK, dict)
        assert {right.name for right in lacking(api, act, ACCOUNT)} == {right.name for right in act}
        # Objects of ours are users': the kinds stay.
        kinds = run("deploy/kubectl", "get", "crd", "-o", "name", kubeconfig=cluster.kubeconfig)
        assert kinds.count("inferno.platform.ai") == 6
    finally:
        kubectl = partial(run, "deploy/kubectl", kubeconfig=cluster.kubeconfig)
        read_kinds(kubectl)
        kubectl("delete", "--ignore-not-found", "-k", str(ROOT / "deploy" / "crds"))
        kubectl("delete", "--ignore-not-found", "ns", NAMESPACE)
