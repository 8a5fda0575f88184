"""Kthena's admission rules, in its order and words: those of v1, and of v0.4 those on its fields."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator

from flyball.boosting.config import DISAGGREGATED, SGLANG, VLLM, engine_port, kv_connector, printed
from flyball.boosting.errors import BoosterError, PortError
from flyball.boosting.storage import claim_name
from flyball.wire.kthena_booster import MOST_REPLICAS, Backend, ModelBooster

BACKEND = "spec.backend"
WORKERS = f"{BACKEND}.workers"
_PVC = "pvc://"
_ALONE = (VLLM, SGLANG, "MindIE")
_TEAMS = {
    DISAGGREGATED: (("prefill", "decode"), "'prefill' or 'decode'"),
    "MindIEDisaggregated": (
        ("prefill", "decode", "controller", "coordinator"),
        "'prefill', 'decode', 'controller', or 'coordinator' (not 'server')",
    ),
}


def invalid(path: str, value: object, detail: str) -> str:
    """One complaint, in the form of Kubernetes."""
    if value is None:
        shown = "null"
    elif isinstance(value, str | list | dict):
        shown = json.dumps(value, ensure_ascii=False)
    else:
        shown = printed(value) if isinstance(value, float) else json.dumps(value)
    return f"{path}: Invalid value: {shown}: {detail}"


def kthena_complaints(booster: ModelBooster) -> Iterator[str]:
    """What Kthena refuses a booster for."""
    backend = booster.spec.backend
    yield from _replicas(backend)
    yield from _images(backend)
    yield from _scaling(booster)
    yield from _worker_types(backend)
    yield from _ports(backend)
    yield from _claims(backend)
    try:
        kv_connector(backend)
    except BoosterError as error:
        yield invalid(WORKERS, backend.name, f"invalid kv connector configuration: {error}")


def _replicas(backend: Backend) -> Iterator[str]:
    low, high = backend.min_replicas, backend.max_replicas
    if backend.replicas is not None and backend.replicas > MOST_REPLICAS:
        detail = f"replicas ({backend.replicas}) cannot exceed {MOST_REPLICAS}"
        yield invalid(f"{BACKEND}.replicas", backend.replicas, detail)
    if low is not None and high is not None and low > high:
        yield invalid(f"{BACKEND}.minReplicas", low, "minReplicas cannot be greater than maxReplicas")
    if high is not None and high > MOST_REPLICAS:
        detail = f"sum of maxReplicas across all backends ({high}) cannot exceed {MOST_REPLICAS}"
        yield invalid(BACKEND, high, detail)


def _images(backend: Backend) -> Iterator[str]:
    for index, worker in enumerate(backend.workers):
        image, problem = worker.image or "", ""
        if image and not image.strip():
            problem = "image cannot be empty or whitespace only"
        elif any(letter.isspace() for letter in image):
            problem = "image cannot contain whitespace"
        if problem:
            detail = f"invalid container image reference: {problem}"
            yield invalid(f"{WORKERS}[{index}].image", image, detail)


def _scaling(booster: ModelBooster) -> Iterator[str]:
    low, high = booster.spec.backend.min_replicas, booster.spec.backend.max_replicas
    if booster.spec.autoscaling_policy is None and low != high:
        value = f"minReplicas={low or 0}, maxReplicas={high or 0}"
        detail = "minReplicas and maxReplicas must be equal and > 0 when no autoscaling is set"
        yield invalid(BACKEND, value, detail)


def _worker_types(backend: Backend) -> Iterator[str]:
    kind, workers = backend.type, backend.workers
    if kind in _ALONE:
        if len(workers) != 1:
            detail = f"If backend type is '{kind}', there must be exactly one worker"
            yield invalid(WORKERS, len(workers), detail)
        elif workers[0].type != "server":
            detail = f"If backend type is '{kind}', the worker type must be 'server'"
            yield invalid(f"{WORKERS}[0].type", workers[0].type, detail)
    elif kind in _TEAMS:
        allowed, listed = _TEAMS[kind]
        for index, worker in enumerate(workers):
            if worker.type not in allowed:
                detail = f"If backend type is '{kind}', all workers must be type {listed}"
                yield invalid(f"{WORKERS}[{index}].type", worker.type, detail)


def _ports(backend: Backend) -> Iterator[str]:
    if backend.type not in (VLLM, DISAGGREGATED, SGLANG):
        return
    try:
        engine_port(backend)
    except PortError as error:
        yield invalid(f"{WORKERS}[{error.worker}].config.port", error.value, str(error))


def _claims(backend: Backend) -> Iterator[str]:
    """A model on a claim must lie on the one that is mounted as the cache; the first complaint only."""
    uri, cache = backend.model_uri, backend.cache_uri or ""
    if not uri.startswith(_PVC):
        return
    if not cache.startswith(_PVC):
        yield invalid(
            f"{BACKEND}.cacheURI",
            cache,
            "when modelURI uses pvc://, cacheURI must also use pvc://. "
            "The downloader only has access to the volume mounted via cacheURI. "
            "Set cacheURI to the PVC that holds the model (e.g. pvc://<claimName>) "
            "and set modelURI to the path within that PVC (e.g. pvc:///<claimName>/<path-to-model>)",
        )
        return
    path = uri.removeprefix(_PVC)
    if ".." in path.split("/"):
        yield invalid(f"{BACKEND}.modelURI", uri, "pvc:// modelURI must not contain '..' path segments")
        return
    claim = claim_name(cache)
    if not claim or "/" in claim:
        yield invalid(
            f"{BACKEND}.cacheURI",
            cache,
            "pvc:// cacheURI must contain a single PVC claim name with no path separator "
            "(e.g. pvc://<claimName>); claim names cannot contain '/'",
        )
        return
    source, mount = posixpath.normpath("/" + path.lstrip("/")), f"/{claim}"
    if source != mount and not source.startswith(f"{mount}/"):
        yield invalid(
            f"{BACKEND}.modelURI",
            uri,
            f'PVC source path "{source}" is not reachable via cacheURI mount "{mount}". '
            "The downloader only has access to PVCs mounted via cacheURI. "
            "If the source model and the cache are on the same PVC, set cacheURI to the PVC name "
            "and include that name as the first path segment of modelURI. "
            "Example: cacheURI: pvc://<claimName>, modelURI: pvc:///<claimName>/<path-to-model>",
        )
