"""KEDA out of the cluster: its operator, and its adapter for external metrics."""

from __future__ import annotations

import base64
import subprocess
import time

from lightkube import ApiError, Client
from lightkube.resources.core_v1 import Secret

from flyball.sandbox.build import KEDA, Watch, built, nobody, program
from flyball.sandbox.errors import SandboxError
from flyball.sandbox.network import HOST, answers, free_ports
from flyball.sandbox.objects import MISSING, create_all
from flyball.sandbox.part import Part, Start
from flyball.sandbox.plane import Arguments, Plane
from flyball.sandbox.processes import Process, Ready
from flyball.units import Seconds

NAMESPACE, SECRET, ADAPTER_SERVICE = "keda", "kedaorg-certs", "keda-metrics-apiserver"
OPERATOR, ADAPTER = "keda-operator", "keda-adapter"
OPERATOR_HOST = "keda-operator.keda.svc"
"""A name in the operator's certificate."""
METRICS = "v1beta1.external.metrics.k8s.io"
POLL: Seconds = 0.2
ENDS: Seconds = 15.0
"""So long the operator may take to end after it has made its certificates."""
ESTABLISHED: Seconds = 30.0
"""For its kinds to be served."""


class Keda(Part):
    """Operator and adapter, as an administrator runs them at a desk."""

    name = "keda"

    def __init__(self, plane: Plane, more: Arguments, watch: Watch = nobody) -> None:
        self._plane = plane
        self._folder = built(KEDA, watch)
        self._kubectl = program("kubectl", watch)
        self._certificates = plane.folder / "keda"
        self._certificates.mkdir()
        metrics, self._health, grpc, self._port, adapter_metrics = free_ports(5)
        operator = (
            f"--metrics-bind-address={HOST}:{metrics}",
            f"--health-probe-bind-address={HOST}:{self._health}",
            f"--metrics-service-bind-address={HOST}:{grpc}",
            f"--cert-dir={self._certificates}",
            "--enable-cert-rotation=true",
            "--enable-webhook-patching=false",
            f"--kubeconfig={plane.kubeconfig()}",
        )
        adapter = (
            f"--secure-port={self._port}",
            f"--bind-address={HOST}",
            f"--port={adapter_metrics}",
            f"--cert-dir={self._certificates}",
            f"--tls-cert-file={self._certificates / 'tls.crt'}",
            f"--tls-private-key-file={self._certificates / 'tls.key'}",
            f"--client-ca-file={self._certificates / 'ca.crt'}",
            f"--metrics-service-address={HOST}:{grpc}",
            f"--metrics-service-grpc-authority={OPERATOR_HOST}",
            f"--kubeconfig={plane.kubeconfig()}",
            f"--lister-kubeconfig={plane.kubeconfig()}",
            f"--authentication-kubeconfig={plane.kubeconfig()}",
            f"--authorization-kubeconfig={plane.kubeconfig()}",
        )
        ca = self._certificates / "ca.crt"
        self._operator = self._process(
            OPERATOR, (*operator, *more.get(OPERATOR, ())), lambda: answers(self._health, "/readyz")
        )
        self._adapter = self._process(
            ADAPTER, (*adapter, *more.get(ADAPTER, ())), lambda: ca.exists() and self._answers()
        )
        self.processes = (self._operator, self._adapter)

    def _process(self, name: str, arguments: tuple[str, ...], ready: Ready) -> Process:
        environment = {
            "KUBECONFIG": str(self._plane.kubeconfig()),
            "KEDA_CLUSTER_OBJECT_NAMESPACE": NAMESPACE,
            "POD_NAMESPACE": NAMESPACE,
            "WATCH_NAMESPACE": "",
        }
        log = self._plane.folder / "logs" / f"{name}.log"
        return Process(name, (str(self._folder / name), *arguments), log, environment, ready)

    def _answers(self) -> bool:
        """Whether the API server reaches the adapter."""
        path = "/apis/external.metrics.k8s.io/v1beta1"
        return answers(self._plane.port, path, self._plane.authority, self._plane.tokens["admin"])

    def before(self, client: Client) -> None:
        """Its kinds, its namespace, and the way from the API server to the adapter."""
        command = [*self._kubectl, f"--kubeconfig={self._plane.kubeconfig()}"]
        self._run([*command, "apply", "--server-side", "-f", str(self._folder / "bases")])
        self._established([*command, "wait", "--for=condition=Established", "--timeout=30s", "crd", "--all"])
        create_all(client, ({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},))
        service = {"name": ADAPTER_SERVICE, "namespace": NAMESPACE}
        create_all(
            client,
            (
                {
                    "apiVersion": "v1",
                    "kind": "Service",
                    "metadata": service,
                    "spec": {"type": "ExternalName", "externalName": "localhost"},
                },
                {
                    "apiVersion": "apiregistration.k8s.io/v1",
                    "kind": "APIService",
                    "metadata": {"name": METRICS},
                    "spec": {
                        "service": {**service, "port": self._port},
                        "group": "external.metrics.k8s.io",
                        "version": "v1beta1",
                        "groupPriorityMinimum": 100,
                        "versionPriority": 100,
                    },
                },
            ),
        )

    def _established(self, command: list[str]) -> None:
        until = time.monotonic() + ESTABLISHED
        while True:
            try:
                self._run(command)
                return
            except SandboxError as error:
                # It gives up at once on a kind that has no status at all yet.
                if "accessor error" not in str(error) or time.monotonic() > until:
                    raise
            time.sleep(POLL)

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SandboxError(f"KEDA's kinds cannot be made: {done.stderr.strip()}")

    def after(self, client: Client, start: Start, limit: Seconds) -> None:
        """Put its certificates where a pod would have them mounted, and start again what ended over them."""
        until = time.monotonic() + limit
        while not self._mounted(client):
            if time.monotonic() > until:
                raise SandboxError(f"KEDA made no certificates within {limit:g} s: see {self._operator.log}")
            time.sleep(POLL)
        # The operator ends once it has made the secret, which may take a moment: until then it seems ready.
        ends = min(until, time.monotonic() + ENDS)
        while self._operator.alive and time.monotonic() < ends:
            time.sleep(POLL)
        for process in self.processes:
            while not process.is_ready and time.monotonic() < until:
                start(process)
                time.sleep(POLL)

    def _mounted(self, client: Client) -> bool:
        try:
            secret = client.get(Secret, SECRET, namespace=NAMESPACE)
        except ApiError as error:
            if error.status.code != MISSING:
                raise
            return False
        for name, text in (secret.data or {}).items():
            (self._certificates / name).write_bytes(base64.b64decode(text))
        return bool(secret.data)
