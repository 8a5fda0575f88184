"""PodSpecs: sidecar, engine, workers, volumes, environment."""

from __future__ import annotations

from flyball.boosting.commands import RAY_WORKER, drain_command, engine_command, env_value, sglang_command
from flyball.boosting.config import DISAGGREGATED, SGLANG, amounts
from flyball.boosting.storage import Storage
from flyball.wire.kthena_booster import Backend, ModelBooster, Worker
from flyball.wire.kthena_meta import Plain
from flyball.wire.kthena_text import canonical_quantity

DRAIN_SECONDS = 300
"""How long a pod may take to end the requests it has."""
RUNTIME_PORT = 8100
_SHARED_MEMORY = "dshm"
_ROLE_ENV: dict[str, list[Plain]] = {
    "prefill": [
        {"name": "HF_HUB_OFFLINE", "value": "1"},
        {"name": "HCCL_IF_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
    ],
    "decode": [
        {"name": "HF_HUB_OFFLINE", "value": "1"},
        {"name": "GLOO_SOCKET_IFNAME", "value": "eth0"},
        {"name": "TP_SOCKET_IFNAME", "value": "eth0"},
        {"name": "HCCL_SOCKET_IFNAME", "value": "eth0"},
    ],
}


def entry_pod(booster: ModelBooster, worker: Worker, storage: Storage, port: int, image: str) -> Plain:
    """The PodSpec of the first pod of an instance; `image` is the sidecar's."""
    backend = booster.spec.backend
    env = [*_given_env(backend), *_standard_env(backend), *_ROLE_ENV.get(worker.type, ())]
    containers = [
        _runtime(booster, worker, env, port, image),
        _disaggregated_engine(backend, worker, storage, port, env)
        if backend.type == DISAGGREGATED
        else _engine(backend, worker, storage, port, env),
    ]
    return {
        **_scheduling(backend, worker),
        # Without it the engine is killed in the midst of its last requests, whatever the preStop waits for.
        "terminationGracePeriodSeconds": DRAIN_SECONDS,
        "initContainers": storage.downloaders,
        "containers": containers,
        "volumes": _volumes(storage),
    }


def worker_pod(backend: Backend, worker: Worker, storage: Storage, port: int) -> Plain:
    """The PodSpec of the further pods of an instance."""
    container: Plain = {
        "name": f"{backend.name.lower()}-{backend.type.lower()}-worker",
        **_image(worker),
        "command": sglang_command(worker, storage, port) if backend.type == SGLANG else RAY_WORKER,
        "volumeMounts": _mounts(storage),
    }
    if env := _given_env(backend):
        container["env"] = env
    return {
        **_scheduling(backend, worker),
        "initContainers": storage.downloaders,
        "containers": [container | _resources(worker)],
        "volumes": _volumes(storage),
    }


def runtime_port(backend: Backend) -> int:
    """The port of the sidecar, on which the metrics of a pod are read."""
    text = env_value(backend.env, "RUNTIME_PORT") or ""
    return int(text) if text.isascii() and text.isdecimal() else RUNTIME_PORT


def _given_env(backend: Backend) -> list[Plain]:
    """The booster's own variables; empty text is what a variable has without a value."""
    return [{key: value for key, value in one.items() if value != ""} for one in backend.env or ()]


def _standard_env(backend: Backend) -> list[Plain]:
    def field(name: str, path: str) -> Plain:
        return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}

    def redis(name: str, kind: str, holder: str) -> Plain:
        return {"name": name, "valueFrom": {kind: {"name": holder, "key": name, "optional": True}}}

    engine: list[Plain] = [] if backend.type == SGLANG else [{"name": "VLLM_USE_V1", "value": "1"}]
    return [
        field("POD_NAME", "metadata.name"),
        field("NAMESPACE", "metadata.namespace"),
        *engine,
        redis("REDIS_HOST", "configMapKeyRef", "redis-config"),
        redis("REDIS_PORT", "configMapKeyRef", "redis-config"),
        redis("REDIS_PASSWORD", "secretKeyRef", "redis-secret"),
    ]


def _runtime(booster: ModelBooster, worker: Worker, env: list[Plain], engine_port: int, image: str) -> Plain:
    """The sidecar: metrics of the engine under common names."""
    backend = booster.spec.backend
    port = runtime_port(backend)
    url = env_value(backend.env, "RUNTIME_URL")
    path = env_value(backend.env, "RUNTIME_METRICS_PATH")
    container: Plain = {
        "name": "runtime",
        "image": image,
        "ports": [{"containerPort": port}],
        "args": [
            *("--port", str(port), "--engine", backend.type.lower()),
            *("--engine-base-url", f"http://localhost:{engine_port}" if url is None else url),
            *("--engine-metrics-path", "/metrics" if path is None else path),
            *("--pod", "$(POD_NAME).$(NAMESPACE)", "--model", booster.metadata.name),
        ],
        "env": env,
    }
    if backend.env_from:
        container["envFrom"] = backend.env_from
    if worker.type == "server":
        container["readinessProbe"] = {
            "httpGet": {"path": "/health", "port": port},
            "initialDelaySeconds": 5,
            "periodSeconds": 10,
        }
    return container


def _engine(backend: Backend, worker: Worker, storage: Storage, port: int, env: list[Plain]) -> Plain:
    return {
        "name": "engine",
        **_image(worker),
        "command": engine_command(backend, worker, storage, port),
        "env": env,
        **_resources(worker),
        "readinessProbe": {
            "httpGet": {"path": "/health", "port": port, "scheme": "HTTP"},
            "initialDelaySeconds": 180,
            "periodSeconds": 5,
            "timeoutSeconds": 1,
            "successThreshold": 1,
            "failureThreshold": 3,
        },
        **_drain(backend, port),
        "volumeMounts": _mounts(storage),
    }


def _disaggregated_engine(
    backend: Backend, worker: Worker, storage: Storage, port: int, env: list[Plain]
) -> Plain:
    def probe(delay: int) -> Plain:
        asked = {"path": "/health", "port": port}
        return {"httpGet": asked, "initialDelaySeconds": delay, "periodSeconds": 5, "failureThreshold": 3}

    return {
        "name": "vllm",
        **_image(worker),
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"containerPort": port}],
        "command": engine_command(backend, worker, storage, port),
        "env": env,
        **_resources(worker),
        "readinessProbe": probe(5),
        "livenessProbe": probe(180),
        **_drain(backend, port),
        "volumeMounts": _mounts(storage),
    }


def _drain(backend: Backend, port: int) -> Plain:
    return {"lifecycle": {"preStop": {"exec": {"command": drain_command(backend, port)}}}}


def _mounts(storage: Storage) -> list[Plain]:
    return [storage.mount, {"name": _SHARED_MEMORY, "mountPath": "/dev/shm"}]


def _volumes(storage: Storage) -> list[Plain]:
    # NCCL needs more shared memory than a container has by itself.
    return [storage.volume, {"name": _SHARED_MEMORY, "emptyDir": {"medium": "Memory"}}]


def _scheduling(backend: Backend, worker: Worker) -> Plain:
    return {
        name: value
        for name, value in (
            ("runtimeClassName", backend.runtime_class_name),
            ("affinity", worker.affinity),
            ("tolerations", worker.tolerations),
            ("topologySpreadConstraints", worker.topology_spread_constraints),
        )
        if value
    }


def _image(worker: Worker) -> Plain:
    return {"image": worker.image} if worker.image else {}


def _resources(worker: Worker) -> Plain:
    """The resources with their quantities as Kubernetes writes them."""
    if not worker.resources:
        return {}
    found = dict(worker.resources)
    for kind in ("limits", "requests"):
        if given := amounts(worker, kind):
            found[kind] = {name: canonical_quantity(amount, kind, name) for name, amount in given.items()}
    return {"resources": found}
