"""What is wanted as gauges that an HPA or KEDA can follow, by the names of Inferno and WVA."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Gauge

from flyball.adapters.kubernetes.governed import Cluster
from flyball.adapters.kubernetes.targets import Target

LABELS = ("variant_name", "namespace", "accelerator_type")


class Gauges:
    """Wanted and present replicas by workload; those of workloads that are gone vanish."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = CollectorRegistry() if registry is None else registry

        def gauge(name: str, about: str) -> Gauge:
            return Gauge(name, about, LABELS, registry=self.registry)

        self._desired = gauge("inferno_desired_replicas", "Replicas that the workload should have.")
        self._current = gauge("inferno_current_replicas", "Replicas that the workload has.")
        self._ratio = gauge(
            "inferno_desired_ratio", "Desired over current replicas; the desired ones where there are none."
        )
        self._wva = gauge("wva_desired_replicas", "Replicas that the workload should have, as WVA calls it.")
        self._shown: set[tuple[str, str, str]] = set()

    def show(self, cluster: Cluster, targets: Sequence[Target]) -> None:
        """What was ordered; a workload without an order keeps what it had."""
        idle = {(one.name, one.namespace) for one in cluster.governed}
        idle -= {(one.workload.name, one.workload.namespace) for one in targets}
        shown = {key for key in self._shown if key[:2] in idle}
        for target in targets:
            workload = target.workload
            current = sum(pod.state != "draining" for pod in workload.pods)
            key = workload.name, workload.namespace, target.accelerator
            shown.add(key)
            self._desired.labels(*key).set(target.replicas)
            self._wva.labels(*key).set(target.replicas)
            self._current.labels(*key).set(current)
            self._ratio.labels(*key).set(target.replicas / (current or 1))
        for key in self._shown - shown:
            for gauge in (self._desired, self._wva, self._current, self._ratio):
                gauge.remove(*key)
        self._shown = shown

    def clear(self) -> None:
        """Show nothing: another process decides."""
        for key in self._shown:
            for gauge in (self._desired, self._wva, self._current, self._ratio):
                gauge.remove(*key)
        self._shown = set()
