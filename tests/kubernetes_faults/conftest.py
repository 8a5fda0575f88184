"""The cluster of the fault tests: their own, as they kill and stop its processes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from lightkube.codecs import from_dict

from flyball.sandbox.cluster import Options, Sandbox
from flyball.sandbox.network import free_ports
from flyball.sandbox.part import Scrape
from tests.clusters import fleet, is_here, needed
from tests.kubernetes_faults.world import NAMESPACE, SPEED, World, workload

COLD_START = 20.0
"""In the engines' seconds."""


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A cluster with one governed server, `chat`, that has what it needs; leave it so."""
    needed()
    if not is_here("prometheus"):
        pytest.skip("there is no prometheus here")
    folder = tmp_path_factory.mktemp("faults")
    (port,) = free_ports(1)
    scrape = Scrape(every=0.5, targets_url=f"http://127.0.0.1:{port}/targets")
    options = Options(fleet=fleet(), cold_start=COLD_START / SPEED, parts=("prometheus",), scrape=scrape)
    # Processes die with the thread that started them.
    with Sandbox.start(options) as sandbox, ThreadPoolExecutor(1) as spawner:
        client = sandbox.client()
        client.create(from_dict({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}))
        client.create(workload("chat", 300))
        made = World(sandbox, folder, spawner, port)
        made.start_engines()
        try:
            yield made
        finally:
            for process in (*(loop.process for loop in made.loops), made.engines):
                process.kill()
