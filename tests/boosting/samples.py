"""Boosters for the tests: one worker or a pair, with what a test changes."""

from __future__ import annotations

from typing import Any

from flyball.boosting.expand import expand
from flyball.boosting.settings import Images, PolicyGeneration, Settings
from flyball.wire.kthena import WORKLOAD_API
from flyball.wire.kthena_booster import ModelBooster, read_booster

IMAGE = "vllm/vllm-openai:v0.10.0"
IMAGES = Images("example/downloader:1", "example/runtime:1")
NIXL = '{"kv_connector": "NixlConnector", "kv_role": "%s"}'
GPU = {"limits": {"nvidia.com/gpu": "1"}}


def worker(kind: str = "server", **fields: Any) -> dict[str, Any]:
    return {"type": kind, "image": IMAGE, "replicas": 1, **fields}


def document(
    workers: list[dict[str, Any]] | None = None,
    spec: dict[str, Any] | None = None,
    annotations: dict[str, str] | None = None,
    **backend: Any,
) -> dict[str, Any]:
    filled = {
        "name": "b1",
        "type": "vLLM",
        "modelURI": "hf://Qwen/Qwen3-8B",
        "cacheURI": "hostpath:///cache",
        "replicas": 1,
        "workers": [worker()] if workers is None else workers,
        **backend,
    }
    return {
        "apiVersion": WORKLOAD_API,
        "kind": "ModelBooster",
        "metadata": {"name": "chat", "namespace": "serving", "uid": "u-1", "annotations": annotations or {}},
        "spec": {"backend": {key: one for key, one in filled.items() if one is not None}, **(spec or {})},
    }


def booster(*arguments: Any, **fields: Any) -> ModelBooster:
    return read_booster(document(*arguments, **fields), "sample")


def disaggregated(
    prefill: dict[str, Any] | None = None, decode: dict[str, Any] | None = None, **backend: Any
) -> Any:
    pair = [worker("prefill", **(prefill or {})), worker("decode", **(decode or {}))]
    return booster(pair, type="vLLMDisaggregated", **backend)


def children(made: ModelBooster, policies: PolicyGeneration | None = "v0.4") -> dict[str, dict[str, Any]]:
    """The children by kind; of several routes the last."""
    found = expand(made, IMAGES, Settings(policies))
    return {one["kind"]: one for one in found.documents()}


def pods(made: ModelBooster) -> dict[str, dict[str, Any]]:
    """PodSpecs of the first pods by role, and of the workers by `<role>-worker`."""
    found = {}
    for role in children(made)["ModelServing"]["spec"]["template"]["roles"]:
        found[role["name"]] = role["entryTemplate"]["spec"]
        found[f"{role['name']}-worker"] = role["workerTemplate"]["spec"]
    return found


def container(pod: dict[str, Any], name: str) -> dict[str, Any]:
    return {one["name"]: one for one in pod["containers"]}[name]  # type: ignore[no-any-return]


def command(made: ModelBooster, role: str = "leader", name: str = "engine") -> list[str]:
    return container(pods(made)[role], name)["command"]  # type: ignore[no-any-return]
