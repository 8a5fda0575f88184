"""A control plane to install into."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flyball.adapters.kubernetes.api import Api
from flyball.sandbox.cluster import Options, Sandbox
from tests.clusters import fleet, needed
from tests.install.made import run

FOREIGN = (
    ("monitoring.coreos.com", "v1", "ServiceMonitor"),
    ("monitoring.coreos.com", "v1", "PrometheusRule"),
)
"""Kinds of others, of which the API server only has to know that they are there."""
NAMESPACE = "infer"
"""Of the one that is watched alone."""


@pytest.fixture(scope="package")
def cluster() -> Iterator[Sandbox]:
    """With a namespace of users, and the kinds of the Prometheus Operator; leave it as it was found."""
    needed()
    with Sandbox.start(Options(fleet=fleet(), cold_start=0.5, parts=())) as started:
        made = "\n---\n".join([*map(_kind, FOREIGN), _namespace(NAMESPACE)])
        apply(started.kubeconfig, made)
        yield started


@pytest.fixture(scope="package")
def api(cluster: Sandbox) -> Iterator[Api]:
    """As administrator."""
    client = Api(cluster.kubeconfig)
    yield client
    client.close()


def apply(kubeconfig: Path, text: str, *options: str) -> str:
    """kubectl apply, with which nothing is passed over that no schema has."""
    return run(
        "deploy/kubectl", "apply", "--validate=strict", *options, "-f", "-", kubeconfig=kubeconfig, stdin=text
    )


def remove(kubeconfig: Path, text: str) -> None:
    """kubectl delete, to the end."""
    run("deploy/kubectl", "delete", "--ignore-not-found", "-f", "-", kubeconfig=kubeconfig, stdin=text)


def _namespace(name: str) -> str:
    return f"{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}"


def _kind(what: tuple[str, str, str]) -> str:
    group, version, kind = what
    names = f"{{kind: {kind}, plural: {kind.lower()}s, singular: {kind.lower()}}}"
    schema = "{openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}"
    return (
        "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition,"
        f" metadata: {{name: {kind.lower()}s.{group}}},"
        f" spec: {{group: {group}, scope: Namespaced, names: {names},"
        f" versions: [{{name: {version}, served: true, storage: true, schema: {schema}}}]}}}}"
    )
