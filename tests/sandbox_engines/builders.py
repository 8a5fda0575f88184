"""Small clusters for the engines."""

from __future__ import annotations

from typing import Any

from flyball.sandbox.engines.engines import Engines
from flyball.sandbox.engines.pods import Pod, Workload
from flyball.spec.scenario import Engine
from flyball.spec.server import Load

ENGINE = Engine("m", "H100", 0.012, 2e-4, 2.5e-7, 3e-5, kv_tokens=100_000)


def engine_of(pod: Pod) -> Engine:
    if pod.accelerator == "nothing":
        raise ValueError("there is no such card")
    slow = 4.0 if pod.accelerator == "slow" else 1.0
    return Engine(
        "m",
        pod.accelerator,
        ENGINE.alpha * slow,
        ENGINE.beta * slow,
        ENGINE.kappa * slow,
        ENGINE.delta * slow,
        kv_tokens=ENGINE.kv_tokens,
        max_sequences=pod.max_batch_size,
    )


def pod(name: str = "chat-1", **more: Any) -> Pod:
    given: dict[str, Any] = {
        "namespace": "ns",
        "server": "chat",
        "workload": "chat-on-h100",
        "model": "m",
        "accelerator": "H100",
        "ready_since": 0.0,
        "node": "n0",
        "uid": name,
        **more,
    }
    return Pod(name=name, **given)


def workload(rate: float = 4.0, in_tokens: float = 500.0, out_tokens: float = 100.0, **more: Any) -> Workload:
    given: dict[str, Any] = {
        "namespace": "ns",
        "name": "chat-on-h100",
        "server": "chat",
        "model": "m",
        **more,
    }
    return Workload(load=Load(rate, in_tokens, out_tokens), **given)


def engines(seed: int = 1, **more: Any) -> Engines:
    return Engines(engine_of, seed, **more)


def advance(these: Engines, until: float, step: float = 0.5) -> None:
    """As the process does it: step by step."""
    while these.time < until:
        these.advance(min(these.time + step, until))


def figures(page: str) -> dict[str, float]:
    """By name, the samples of a page of which there is one each; histograms' buckets left out."""
    from prometheus_client.parser import text_string_to_metric_families

    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if "le" not in sample.labels
    }
