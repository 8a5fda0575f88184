"""A real Kubernetes for tests, one for each folder: import `sandbox` and `namespace` into its conftest.py."""

from __future__ import annotations

import importlib.util
import shutil
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest
from lightkube import ApiError, Client
from lightkube.codecs import from_dict
from lightkube.resources.core_v1 import Namespace, Pod, ServiceAccount

from flyball.sandbox.build import KUBERNETES, KWOK, is_built
from flyball.sandbox.cluster import Options, Sandbox
from flyball.sandbox.errors import SandboxError
from flyball.sandbox.fleet import Fleet, fleet_from
from flyball.sandbox.monitoring import find_program
from flyball.sandbox.part import Scrape

LIMIT = 60.0
"""Seconds within which what is waited for must have come, on a machine that is busy with other things."""

FLEET = b"""
kind: SandboxFleet
nodes:
  - {accelerator: H100, count: 2, cards: 8, rack: r1, watts: 10200}
  - {accelerator: A100, count: 2, cards: 8, rack: r2, watts: 6500}
  - {accelerator: L40S, count: 2, cards: 4, rack: r3}
  - {accelerator: MI300X, count: 1, cards: 8, rack: r3}
"""

T = TypeVar("T")


def fleet() -> Fleet:
    """The nodes of the shared sandbox: h100-1 and -2, a100-1 and -2, l40s-1 and -2, mi300x-1."""
    return fleet_from(FLEET, "the tests' fleet")


def needed() -> None:
    """Skip where nothing is built and nothing can be."""
    if not all(map(is_built, (KUBERNETES, KWOK))) and not (
        shutil.which("go") or importlib.util.find_spec("pip")
    ):
        pytest.skip("there is neither Go nor pip to build a sandbox with")


def is_here(part: str) -> bool:
    """Whether Prometheus or Alertmanager is installed."""
    try:
        return bool(find_program(part))
    except SandboxError:
        return False


@pytest.fixture(scope="package")
def sandbox() -> Iterator[Sandbox]:
    """A sandbox that runs, with Prometheus and Alertmanager where they are; leave it as it was found."""
    needed()
    parts = tuple(part for part in ("prometheus", "alertmanager") if is_here(part))
    options = Options(fleet=fleet(), cold_start=0.5, parts=parts, scrape=Scrape(every=1.0))
    with Sandbox.start(options) as started:
        yield started


@pytest.fixture
def namespace(sandbox: Sandbox, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own, in which pods can be made."""
    client = sandbox.client()
    made = client.create(from_dict({**_namespace(), "metadata": {"generateName": "test-"}}))
    name = made.metadata.name
    eventually(lambda: found(lambda: client.get(ServiceAccount, "default", namespace=name)))
    yield name
    for pod in client.list(Pod, namespace=name):  # or their cards would be missed by the next test
        found(lambda pod=pod: client.delete(Pod, pod.metadata.name, namespace=name, grace_period=0))  # type: ignore[misc]
    client.delete(Namespace, name)


def _namespace() -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "Namespace"}


def eventually(check: Callable[[], T], limit: float = LIMIT) -> T:
    """What a check gives, once that is true."""
    until = time.monotonic() + limit
    while not (value := check()):
        assert time.monotonic() < until, f"it has not come within {limit:g} s; last: {value!r}"
        time.sleep(0.1)
    return value


def found(get: Callable[[], T]) -> T | None:
    """What is got, or None where the API says 404."""
    try:
        return get()
    except ApiError as error:
        if error.status.code != 404:
            raise
        return None


def read_kinds(kubectl: Callable[..., str]) -> None:
    """List the objects of each defined kind, before definitions are deleted.

    Of a kind that nobody listed yet Kubernetes' own clean-up fails at first, as its storage initializes;
    where the machine is busy it then meets its own write, and looks again only minutes later.
    """
    path = "/apis/{.spec.group}/{.spec.versions[0].name}/{.spec.names.plural}"
    for one in kubectl("get", "crd", "-o", f'jsonpath={{range .items[*]}}{path}{{"\\n"}}{{end}}').split():
        kubectl("get", "--raw", one)


def pod(name: str, *, node: str, cards: int = 1, **annotations: str) -> dict[str, object]:
    """A pod for one node, with annotations sandbox.flyball.dev/* (`_` for `-`)."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "annotations": _annotations(annotations)},
        "spec": pod_spec(node, cards),
    }


def pod_spec(node: str, cards: int) -> dict[str, object]:
    """Of a pod that only fits one node, with NVIDIA cards."""
    engine = {"name": "engine", "image": "vllm", "resources": {"limits": {"nvidia.com/gpu": str(cards)}}}
    return {"nodeSelector": {"kubernetes.io/hostname": node}, "containers": [engine]}


def deployment(name: str, *, node: str, replicas: int, **annotations: str) -> dict[str, object]:
    """A Deployment of one-card pods for one node."""
    labels = {"app": name}
    template = {
        "metadata": {"labels": labels, "annotations": _annotations(annotations)},
        "spec": pod_spec(node, 1),
    }
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def _annotations(given: dict[str, str]) -> dict[str, str]:
    return {f"sandbox.flyball.dev/{key.replace('_', '-')}": value for key, value in given.items()}


def pods(client: Client, namespace: str) -> list[Pod]:
    """All pods of a namespace."""
    return list(client.list(Pod, namespace=namespace))


def condition(of: Pod, kind: str) -> tuple[str, object]:
    """Status and time of a pod's condition; ("", None) where it has none."""
    for one in (of.status and of.status.conditions) or []:
        if one.type == kind:
            return one.status, one.lastTransitionTime
    return "", None
