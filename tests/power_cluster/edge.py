"""The edge of the hardware: what exporters would measure of racks in which pods really run."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.errors import ClusterError
from flyball.adapters.kubernetes.listing import PODS
from flyball.adapters.kubernetes.objects import Pod

CARDS = 8
"""Of each node; a pod takes one."""
IDLE, RESIDENT, FULL = 75.0, 120.0, 700.0
"""Watts of a card: with nothing on it, with a model loaded, at its most."""
HOST = 1000.0
"""Watts of a node without its cards."""
JOBS = ("kepler", "dcgm", "demand")


class Edge:
    """Pages of Kepler 0.10, of the DCGM exporter, and of who counts requests."""

    def __init__(self, api: Api, namespace: str, nodes: Sequence[str], foreign: Mapping[str, float]) -> None:
        """`foreign`: watts of nodes that nothing of the cluster draws."""
        self._api, self._namespace, self._nodes, self._foreign = api, namespace, tuple(nodes), foreign
        self.load = 0.0
        """Cards' worth of work, which the ready pods share."""
        self.demand = 1
        """Pods that it asks for."""

    def pods(self) -> list[Pod]:
        """Those that are on a card, which one that ends is until it is gone."""
        found = self._api.items(PODS.path(self._namespace), Pod)
        return [pod for pod in found if pod.spec.node_name in self._nodes]

    def watts(self) -> float:
        """Of all nodes, now."""
        return sum(self._of_nodes(self.pods()).values())

    def _cards(self, pods: Sequence[Pod]) -> dict[str, list[tuple[str, float]]]:
        """By node the pod ("": none) and the watts of each card."""
        ready = [p for p in pods if any((c.type, c.status) == ("Ready", "True") for c in p.status.conditions)]
        serving = {p.metadata.name for p in ready if not p.metadata.deletion_timestamp}
        each = min(self.load / len(serving), 1.0) if serving else 0.0
        cards: dict[str, list[tuple[str, float]]] = {node: [] for node in self._nodes}
        for pod in pods:
            name = pod.metadata.name
            used = each if name in serving else 0.0
            cards[pod.spec.node_name].append((name, RESIDENT + used * (FULL - RESIDENT)))
        return {node: there + [("", IDLE)] * (CARDS - len(there)) for node, there in cards.items()}

    def _of_nodes(self, pods: Sequence[Pod]) -> dict[str, float]:
        cards = self._cards(pods)
        return {
            node: HOST + self._foreign.get(node, 0.0) + sum(watts for _, watts in cards[node])
            for node in self._nodes
        }

    def page(self, job: str) -> str:
        """In Prometheus' text format. ClusterError."""
        if job == "demand":
            return f"demanded_pods {self.demand}\n"
        pods = self.pods()
        if job == "kepler":
            rows = [
                f'kepler_platform_watts{{node_name="{node}",source_id="psu"}} {watts!r}'
                for node, watts in self._of_nodes(pods).items()
            ]
            return "\n".join(rows) + "\n"
        rows = []
        for node, cards in self._cards(pods).items():
            for number, (pod, watts) in enumerate(cards):
                of = f'Hostname="{node}",UUID="GPU-{node}-{number}",gpu="{number}"'
                of += f',namespace="{self._namespace}",pod="{pod}"' if pod else ""
                rows.append(f"DCGM_FI_DEV_POWER_USAGE{{{of}}} {watts!r}")
        return "\n".join(rows) + "\n"

    @contextmanager
    def served(self) -> Iterator[str]:
        """Host and port of its pages, /kepler and so on, as long as this lasts."""
        edge = self

        class Page(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                try:
                    status, body = 200, edge.page(self.path.strip("/"))
                except ClusterError as error:
                    status, body = 503, str(error)
                self.send_response(status)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *args: object) -> None:
                """Nobody reads them."""

        with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield f"127.0.0.1:{server.server_address[1]}"
            finally:
                server.shutdown()
                thread.join()

    def targets(self, address: str) -> list[dict[str, object]]:
        """For Prometheus' file_sd."""
        return [{"targets": [address], "labels": {"job": job, "__metrics_path__": f"/{job}"}} for job in JOBS]
