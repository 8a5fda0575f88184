"""Admission: Kthena's words where it has any, and what it forgets."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.boosting.expand import expand
from flyball.boosting.judge import judge
from flyball.boosting.settings import Images, Settings
from flyball.wire.kthena_booster import ModelBooster
from tests.boosting.samples import NIXL, booster, disaggregated, worker

BACKEND = "spec.backend"
POLICY = {"autoscalingPolicy": {"metrics": [{"metricName": "m", "targetValue": 10}]}}


def pair(**roles: dict[str, Any]) -> ModelBooster:
    configs = [{"config": roles[name]} if name in roles else {} for name in ("prefill", "decode")]
    return disaggregated(*configs)  # type: ignore[no-any-return]


def transfer(text: Any) -> dict[str, Any]:
    return {"kv-transfer-config": text}


MISMATCH = transfer('{"kv_connector": "LMCacheConnectorV1", "kv_role": "kv_consumer"}')
PRODUCER, CONSUMER = transfer(NIXL % "kv_producer"), transfer(NIXL % "kv_consumer")
KV = f'{BACKEND}.workers: Invalid value: "b1": invalid kv connector configuration: '
IMAGE = f"{BACKEND}.workers[0].image: Invalid value: "
PORT = f"{BACKEND}.workers[0].config.port: Invalid value: "

KTHENA: list[tuple[ModelBooster, str]] = [
    (
        booster(replicas=1_000_001),
        f"{BACKEND}.replicas: Invalid value: 1000001: replicas (1000001) cannot exceed 1000000",
    ),
    (
        booster([worker(image="a b")]),
        f'{IMAGE}"a b": invalid container image reference: image cannot contain whitespace',
    ),
    (
        booster([worker(image="  ")]),
        f'{IMAGE}"  ": invalid container image reference: image cannot be empty or whitespace only',
    ),
    (
        booster([worker("prefill")]),
        f'{BACKEND}.workers[0].type: Invalid value: "prefill": '
        "If backend type is 'vLLM', the worker type must be 'server'",
    ),
    (
        booster([worker("prefill"), worker("server")], type="vLLMDisaggregated"),
        f'{BACKEND}.workers[1].type: Invalid value: "server": '
        "If backend type is 'vLLMDisaggregated', all workers must be type 'prefill' or 'decode'",
    ),
    (booster([worker(config={"port": "http"})]), f'{PORT}"http": invalid port "http" for worker server'),
    (booster([worker(config={"port": 70000})]), f'{PORT}70000: invalid port "70000" for worker server'),
    (booster([worker(config={"port": None})]), f'{PORT}null: invalid port "<nil>" for worker server'),
    (booster([worker(config={"port": 1e6})]), f'{PORT}1e+06: invalid port "1e+06" for worker server'),
    (
        pair(prefill=PRODUCER),
        KV + 'backend b1: prefill worker specifies kv_connector "NixlConnector" but the decode worker has no '
        "kv-transfer-config; prefill and decode must configure the same kv connector",
    ),
    (
        pair(decode=CONSUMER),
        KV + 'backend b1: decode worker specifies kv_connector "NixlConnector" but the prefill worker has no '
        "kv-transfer-config; prefill and decode must configure the same kv connector",
    ),
    (
        pair(prefill=PRODUCER, decode=MISMATCH),
        KV + 'backend b1: kv_connector mismatch between prefill ("NixlConnector") and decode '
        '("LMCacheConnectorV1") workers; prefill and decode must use the same kv connector',
    ),
    (
        pair(prefill=transfer("{}"), decode=CONSUMER),
        KV + "worker prefill: kv-transfer-config is set but kv_connector is missing",
    ),
    (
        pair(prefill=transfer('{"kv_connector": "NixlConnector"}'), decode=CONSUMER),
        KV + "worker prefill: kv-transfer-config is set but kv_role is missing",
    ),
    (
        pair(prefill=transfer({"kv_connector": "NixlConnector"}), decode=CONSUMER),
        KV + "worker prefill: kv-transfer-config must be a JSON string, got map[string]interface {}",
    ),
    (
        booster(modelURI="pvc://claim/model", cacheURI="pvc://other"),
        f'{BACKEND}.modelURI: Invalid value: "pvc://claim/model": PVC source path "/claim/model" is not '
        'reachable via cacheURI mount "/other". '
        "The downloader only has access to PVCs mounted via cacheURI. "
        "If the source model and the cache are on the same PVC, set cacheURI to the PVC name "
        "and include that name as the first path segment of modelURI. "
        "Example: cacheURI: pvc://<claimName>, modelURI: pvc:///<claimName>/<path-to-model>",
    ),
    (
        booster(modelURI="pvc://claim/model", cacheURI=None),
        f'{BACKEND}.cacheURI: Invalid value: "": when modelURI uses pvc://, cacheURI must also use pvc://. '
        "The downloader only has access to the volume mounted via cacheURI. "
        "Set cacheURI to the PVC that holds the model (e.g. pvc://<claimName>) "
        "and set modelURI to the path within that PVC (e.g. pvc:///<claimName>/<path-to-model>)",
    ),
    (
        booster(modelURI="pvc://a/b", cacheURI="pvc://a/b"),
        f'{BACKEND}.cacheURI: Invalid value: "pvc://a/b": pvc:// cacheURI must contain a single PVC claim '
        "name with no path separator (e.g. pvc://<claimName>); claim names cannot contain '/'",
    ),
    (
        booster(replicas=None, minReplicas=3, maxReplicas=2, spec=POLICY),
        f"{BACKEND}.minReplicas: Invalid value: 3: minReplicas cannot be greater than maxReplicas",
    ),
]


@pytest.mark.parametrize(("made", "line"), KTHENA, ids=lambda one: one if isinstance(one, str) else "")
def test_kthenas_words(made: ModelBooster, line: str) -> None:
    assert judge(made).refusal == f"validation failed:\n  - {line}"


def test_all_complaints_stand_in_one_message() -> None:
    made = booster([worker("decode", image="a b", config={"port": 0})], replicas=2_000_000)
    lines = judge(made).refusal.splitlines()
    assert [line.partition(":")[0] for line in lines[1:]] == [
        f"  - {BACKEND}.{path}"
        for path in ("replicas", "workers[0].image", "workers[0].type", "workers[0].config.port")
    ]


FORGOTTEN: list[tuple[ModelBooster, str]] = [
    (booster([worker("prefill")], type="vLLMDisaggregated"), "there is no decode worker"),
    (booster([worker("decode")], type="vLLMDisaggregated"), "there is no prefill worker"),
    (booster(type="MindIE"), "not support model backend type: MindIE"),
    (booster([worker(image="")]), "is no image reference"),
    (booster([worker(image="Vllm/UPPER:v1")]), "is no image reference"),
    (booster([worker(image="vllm/vllm-openai:")]), "is no image reference"),
    (booster([worker(image="vllm@sha256:12")]), "is no image reference"),
    (booster(cacheURI="nfs://x"), "not support prefix in CacheURI: nfs://x"),
    (booster(cacheURI="hostpath:///"), "must include a host path"),
    (booster(cacheURI="pvc://claim/path"), "a claim has no /"),
    (booster([worker(resources={"limits": ["cpu"]})]), "allowed is a map of quantities"),
    (booster(replicas=None), "has neither replicas nor minReplicas"),
    (booster(spec=POLICY), "needs spec.backend.minReplicas and maxReplicas"),
    (
        booster([worker(resources={"limits": {"nvidia.com/gpu": 2}}, config={"tensor-parallel-size": 4})]),
        "need 4 devices, and 1 x 2 are 2",
    ),
    (
        booster([worker(resources={"limits": {"amd.com/gpu": 2}}, pods=3, config={"tp": 4, "pp-size": 2})]),
        "need 8 devices, and 3 x 2 are 6",
    ),
    (booster([worker(resources={"limits": {"cpu": "many"}})]), "is no quantity of Kubernetes"),
    (booster(name="b" * 60), "shorten the names"),
    (
        booster(loraAdapters=[{"name": "chat", "artifactURL": "hf://a/b"}]),
        "is the name of the model, too",
    ),
    (booster(loraAdapters=[{"name": "x", "artifactURL": "hf://a/b"}] * 2), "two adapters have this name"),
    (booster(spec={"routes": [{"name": "a"}, {"name": "a"}]}), "two routes have this name"),
    (booster(spec={"rateLimit": {"unit": "minute"}}), "limits nothing"),
    (
        booster(networkTopology={"rolePolicy": {"highestTierAllowed": 1, "highestTierName": "rack"}}),
        "gives the highest tier twice",
    ),
]


@pytest.mark.parametrize(("made", "words"), FORGOTTEN, ids=lambda one: one if isinstance(one, str) else "")
def test_what_kthena_forgets(made: ModelBooster, words: str) -> None:
    refusal = judge(made).refusal
    assert refusal.startswith("validation failed:\n  - ")
    assert words in refusal


@pytest.mark.parametrize(
    "made",
    [
        booster(),
        disaggregated(),
        booster(
            [worker(resources={"limits": {"nvidia.com/gpu": 2}}, pods=2, config={"tensor_parallel_size": 4})]
        ),
        booster([worker(config={"tensor-parallel-size": 4})]),
        booster([worker(image="localhost:5000/a/b_c/d-e:v1.0@sha256:" + "0" * 64)]),
        booster([worker(image="ghcr.io/org/vllm")]),
        booster(type="SGLang"),
        booster(replicas=None, minReplicas=0, maxReplicas=2, spec=POLICY),
        booster(modelURI="pvc:///claim//model", cacheURI="pvc:///claim/"),
    ],
)
def test_what_is_admitted(made: ModelBooster) -> None:
    assert judge(made).refusal == ""


def test_a_model_too_large_for_its_devices_is_a_warning() -> None:
    sizes = {"org/large": 140e9}
    for parallel, share, warned in ((1, 0.9, True), (2, 0.9, False), (2, 0.8, True), (4, 0.9, False)):
        config = {"tensor-parallel-size": parallel, "gpu-memory-utilization": share}
        limits = {"limits": {"nvidia.com/gpu": parallel}}
        made = booster([worker(config=config, resources=limits)], modelURI="hf://org/large")
        verdict = judge(made, sizes.get, lambda _: 80e9)
        assert verdict.refusal == ""
        assert bool(verdict.warnings) is warned
        assert not judge(made, lambda _: None, lambda _: 80e9).warnings
        assert not judge(made, sizes.get, lambda _: None).warnings
    assert (
        "140 GB of weights, 140 GB for each of 1 devices, which can hold 72 GB"
        in (judge(booster(modelURI="hf://org/large"), sizes.get, lambda _: 80e9).warnings[0])
    )


NUMBERS = st.integers(-5, 10**12) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
KNOWN = {"port": st.sampled_from([8000, "8000", 0, [8000]]), "kv-transfer-config": VALUES, "tp-size": VALUES}
CONFIG = st.dictionaries(st.text(max_size=5), VALUES, max_size=3)
LIMITS = st.dictionaries(st.sampled_from(["nvidia.com/gpu", "cpu"]), st.integers(0, 8) | VALUES, max_size=2)
WORKERS = st.fixed_dictionaries(
    {"image": st.sampled_from(["vllm", "a/b:c", "a b", ""])},
    optional={
        "pods": st.integers(0, 4),
        "replicas": st.integers(0, 4),
        "config": CONFIG | st.fixed_dictionaries({}, optional=KNOWN) | VALUES,
        "resources": st.fixed_dictionaries({"limits": LIMITS | VALUES}),
    },
)
ROLES = {
    "vLLM": ["server"],
    "SGLang": ["server"],
    "vLLMDisaggregated": ["prefill", "decode"],
    "MindIE": ["server"],
}


@given(
    st.sampled_from(sorted(ROLES)),
    st.lists(WORKERS, min_size=3, max_size=3),
    st.sampled_from(["pvc://c", "hostpath://a/b", "pvc://", "hostpath://[", "x", ""]),
    st.sampled_from(["hf://a/b", "pvc://c/m", "pvc://../c"]),
)
def test_whatever_comes_is_refused_or_has_children(
    kind: str, given: list[dict[str, Any]], cache: str, model: str
) -> None:
    workers = [{**one, "type": role} for role, one in zip(ROLES[kind], given, strict=False)]
    made = booster(workers, type=kind, cacheURI=cache, modelURI=model)
    if not judge(made, lambda _: 1e9, lambda _: 1e9).refusal:
        found = expand(made, Images(), Settings("v1")).documents()
        assert [one["kind"] for one in found] == ["ModelServing", "ModelServer", "ModelRoute"]
        json.dumps(found, allow_nan=False)
