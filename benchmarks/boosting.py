"""ModelBoosters: rendering many offline, from their text to that of their children; and choosing for one."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from flyball.boosting.expand import expand
from flyball.boosting.judge import judge
from flyball.boosting.settings import Images, Settings
from flyball.decide.boost import choose
from flyball.wire.kthena import WORKLOAD_API
from flyball.wire.kthena_booster import read_booster
from flyball.wire.manifests import manifest

BOOSTERS = 1_000
REACH = 2.0
"""Seconds for all of them."""
CHOICES = 20
TARGETS = {"flyball.dev/ttft": "p95<1s", "flyball.dev/itl": "p95<50ms"}


def document(number: int, sized: bool = True) -> dict[str, Any]:
    """A ModelBooster: every fourth disaggregated, every tenth scaled; or one that is to be sized."""
    limits = {"limits": {"nvidia.com/gpu": 2, "memory": "64Gi"}} if sized else {}
    worker = {"image": "vllm/vllm-openai:v0.10.1", "config": {"max-num-seqs": 64 + number % 7}} | (
        {"resources": limits} if sized else {}
    )
    pair = sized and number % 4 == 0
    backend: dict[str, Any] = {
        "name": "engine",
        "type": "vLLMDisaggregated" if pair else "vLLM",
        "modelURI": ("hf://Qwen/Qwen3-8B", "hf://meta-llama/Llama-3.1-70B")[number % 2],
        "cacheURI": "pvc://models",
        "workers": [{"type": kind, **worker} for kind in (("prefill", "decode") if pair else ("server",))],
        "replicas": 1,
    }
    spec: dict[str, Any] = {"backend": backend}
    if sized and number % 10 == 1:
        backend |= {"minReplicas": 1, "maxReplicas": 4}
        spec["autoscalingPolicy"] = {
            "metrics": [{"metricName": "vllm:num_requests_waiting", "targetValue": 4}]
        }
    metadata: dict[str, Any] = {"name": f"chat-{number}", "namespace": "serving", "uid": f"uid-{number}"}
    if not sized:
        metadata["annotations"] = {**TARGETS, "flyball.dev/rate": f"{number + 1}/s"}
    return {"apiVersion": WORKLOAD_API, "kind": "ModelBooster", "metadata": metadata, "spec": spec}


def bench_boosting(runs: int) -> None:
    """Seconds of `flyball boost render` as a process, and of what it does; milliseconds of a choice."""
    documents = [document(number) for number in range(BOOSTERS)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "boosters.yaml"
        file.write_text("---\n".join(map(manifest, documents)), "utf-8")
        whole = [_process(file) for _ in range(runs)]
    inside = [_rendered(documents) for _ in range(runs)]
    print(f"boosting: {BOOSTERS:,} boosters with {inside[0][1]:,} children, medians of {runs} runs")
    wall, busy = (statistics.median(column) for column in zip(*whole, strict=True))
    print(f"  flyball boost render, a cold process   {wall:6.2f} s   (reach: {REACH:g} s)")
    print(f"    of which its core was busy           {busy:6.2f} s")
    print(f"  read, judged, expanded, as plain       {statistics.median(s for s, _ in inside):6.2f} s")
    asks = [read_booster(document(number, sized=False), "it") for number in range(CHOICES)]
    took = []
    for ask in asks:
        began = time.perf_counter()
        choose(ask)
        took.append(time.perf_counter() - began)
    print(f"  a choice of hardware, median of {CHOICES}      {statistics.median(took) * 1e3:6.0f} ms")


def _process(file: Path) -> tuple[float, float]:
    """Seconds by the clock, and of the processor."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    words = [sys.executable, "-m", "flyball", "boost", "render", str(file)]
    subprocess.run(words, stdout=subprocess.DEVNULL, check=True)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - began
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _rendered(documents: list[dict[str, Any]]) -> tuple[float, int]:
    began, count = time.perf_counter(), 0
    for one in documents:
        booster = read_booster(one, "it")
        assert not judge(booster).refusal
        count += len(expand(booster, Images(), Settings("v1")).documents())
    return time.perf_counter() - began, count
