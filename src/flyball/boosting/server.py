"""The ModelServer of a booster: how its pods are reached."""

from __future__ import annotations

from flyball.boosting.config import (
    DISAGGREGATED,
    SGLANG,
    VLLM,
    engine_port,
    kv_connector,
    pods_of,
    served_name,
)
from flyball.boosting.errors import BoosterError
from flyball.boosting.names import child_meta, child_name, revision_of
from flyball.wire.kthena import ENTRY, GROUP_NAME, MODEL_UID, NETWORKING_API, ROLE
from flyball.wire.kthena_booster import Backend, ModelBooster
from flyball.wire.kthena_serving import (
    KvConnector,
    ModelServer,
    PdGroup,
    Retry,
    ServerSpec,
    TrafficPolicy,
    WorkloadPort,
    WorkloadSelector,
)

RETRIES = 5
_ENGINES = {VLLM: "vLLM", DISAGGREGATED: "vLLM", SGLANG: "SGLang"}


def model_server(booster: ModelBooster) -> ModelServer:
    """The ModelServer of a booster. Or BoosterError."""
    backend = booster.spec.backend
    if backend.type not in _ENGINES:
        raise BoosterError(f"not support {backend.type} backend yet, please use vLLM backend")
    port = engine_port(backend)
    connector = kv_connector(backend)
    spec = ServerSpec(
        inference_engine=_ENGINES[backend.type],
        model=served_name(backend) or booster.metadata.name,
        workload_selector=_selector(booster),
        workload_port=WorkloadPort(port=port),
        traffic_policy=TrafficPolicy(retry=Retry(attempts=RETRIES, retry_interval="0s")),
        kv_connector=KvConnector(type=connector) if connector else None,
    )
    metadata = child_meta(booster, child_name(booster), revision_of([spec]))
    return ModelServer(api_version=NETWORKING_API, kind="ModelServer", metadata=metadata, spec=spec)


def _selector(booster: ModelBooster) -> WorkloadSelector:
    backend = booster.spec.backend
    match = {MODEL_UID: booster.metadata.uid}
    if _has_workers(backend):
        match[ENTRY] = "true"  # the other pods of an instance carry the model's labels, but answer nothing
    group = None
    if backend.type == DISAGGREGATED:
        group = PdGroup(
            group_key=GROUP_NAME, prefill_labels={ROLE: "prefill"}, decode_labels={ROLE: "decode"}
        )
    return WorkloadSelector(match_labels=match, pd_group=group)


def _has_workers(backend: Backend) -> bool:
    return backend.type != DISAGGREGATED and any(pods_of(worker) > 1 for worker in backend.workers)
