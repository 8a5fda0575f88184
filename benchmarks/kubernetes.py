"""The read side of a cluster: seconds of one core from lists of objects to a governed cluster."""

from __future__ import annotations

import statistics
import time
from typing import Any

import msgspec

from flyball.adapters.kubernetes.assemble import Assembler, observe
from flyball.adapters.kubernetes.known import Library
from flyball.adapters.kubernetes.objects import Node, Pod, Workload
from flyball.testing import cluster as made

PODS = 8
PRODUCTS = ("NVIDIA-H100-80GB-HBM3", "NVIDIA-A100-SXM4-80GB", "NVIDIA-L40S")
MODELS = ("Qwen/Qwen3-8B", "Qwen/Qwen3-32B", "meta-llama/Llama-3.1-8B-Instruct", "mistralai/Mistral-7B-v0.3")


def objects(workloads: int) -> tuple[list[Any], list[Any], list[Any]]:
    """Deployments with eight pods each, and nodes with eight cards for them."""
    deployments = []
    for i in range(workloads):
        pinned = {"nodeSelector": {"nvidia.com/gpu.product": PRODUCTS[i % 3]}}
        args = ("serve", MODELS[i % len(MODELS)], "--max-num-seqs", "128", "--port=8000")
        about: dict[str, Any] = {
            "replicas": PODS,
            "args": args,
            "annotations": {"flyball.dev/ttft": "p95<1s"},
        }
        about |= {"managedFields": _written(), "spec": pinned if i % 2 else {}}
        if not i % 2:
            about["labels"] = {"inferno.server.allocation.accelerator": "H100"}
        deployments.append(made.workload(f"server-{i}", f"team-{i % 20}", **about))
    pods = [
        _padded(made.pod_of(one, n, node=f"node-{i}"))
        for i, one in enumerate(deployments)
        for n in range(PODS)
    ]
    nodes = [made.node(f"node-{i}", PRODUCTS[i % 3]) for i in range(workloads)]
    return deployments, pods, nodes


def _written() -> list[Any]:
    """Managed fields as long as they usually are."""
    fields = {"f:spec": {f"f:field{i}": {"f:a": {}, "f:b": {"k:{}": {".": {}}}} for i in range(40)}}
    owned = {"f:spec": {**fields["f:spec"], "f:replicas": {}}}
    return [
        {"manager": "kubectl", "operation": "Apply", "fieldsV1": owned},
        {"manager": "kube-controller-manager", "operation": "Update", "fieldsV1": fields},
    ]


def _padded(pod: Any) -> Any:
    """A pod with as much that is not read as real ones have: about 7 kB in all."""
    volumes = [{"name": f"v{i}", "projected": {"sources": ["x" * 60]}} for i in range(12)]
    tolerations = [{"key": f"k{i}", "operator": "Exists", "effect": "NoExecute"} for i in range(6)]
    spec = {**pod["spec"], "volumes": volumes, "tolerations": tolerations}
    return {**pod, "spec": spec, "metadata": {**pod["metadata"], "managedFields": _written()}}


def main(runs: int) -> None:
    """Decoding apart, then a first and a quiet cycle."""
    print("kubernetes: seconds of one core; eight pods a workload, as many nodes as workloads")
    print(
        f"{'workloads':>9} {'MB':>6} {'decode':>8} {'first':>8} {'quiet':>8} {'min':>7} {'max':>7} "
        f"{'observe':>7}"
    )
    for workloads in (500, 5_000):
        deployments, pods, nodes = (msgspec.json.encode(part) for part in objects(workloads))
        began = time.process_time()
        decoded = (
            msgspec.json.decode(deployments, type=list[Workload]),
            msgspec.json.decode(pods, type=list[Pod]),
            msgspec.json.decode(nodes, type=list[Node]),
        )
        decode = time.process_time() - began
        listing = msgspec.structs.replace(
            made.listing(),
            workloads=tuple(made.Listed(made.DEPLOYMENT, one) for one in decoded[0]),
            pods=tuple(decoded[1]),
            nodes=tuple(decoded[2]),
        )
        assembler = Assembler(Library())
        began = time.process_time()
        cluster = assembler.cluster(listing)
        first = time.process_time() - began
        times = []
        for _ in range(runs):
            began = time.process_time()
            cluster = assembler.cluster(listing)
            times.append(time.process_time() - began)
        began = time.process_time()
        observe(cluster)
        seen = time.process_time() - began
        size = sum(map(len, (deployments, pods, nodes))) / 1e6
        print(
            f"{workloads:>9,} {size:>6.0f} {decode:>8.3f} {first:>8.3f} {statistics.median(times):>8.3f} "
            f"{min(times):>7.3f} {max(times):>7.3f} {seen:>7.3f}",
            flush=True,
        )
