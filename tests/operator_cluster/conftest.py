"""One control plane for the operator's tests, with its kinds and roles installed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clusters import eventually, needed
from tests.operator_cluster.desk import Desk, at_desk


@pytest.fixture(scope="package")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A terminal with a cluster in which nothing of ours is; leave it as it was found."""
    needed()
    with at_desk(tmp_path_factory.mktemp("desk")) as one:
        yield one


@pytest.fixture(scope="package")
def kinds(desk: Desk) -> Iterator[None]:
    """The kinds; and no object of them is left behind."""
    desk.make("install")
    yield
    eventually(lambda: "No resources found" in desk.kubectl("get", "inferno", "-A"), 30.0)
    desk.make("uninstall")


@pytest.fixture
def space(desk: Desk, kinds: None, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own, gone at the end with all that is in it."""
    name = desk.kubectl(
        "create",
        "-f",
        "-",
        "-o",
        "name",
        stdin="{apiVersion: v1, kind: Namespace, metadata: {generateName: t-}}",
    )
    name = name.strip().removeprefix("namespace/")
    yield name
    desk.kubectl("delete", "namespace", name, "--wait=false")
