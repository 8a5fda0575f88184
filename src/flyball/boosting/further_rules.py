"""What Kthena's admission forgets, so that it fails later, in the controller or in a pod."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator

from flyball.boosting.config import DEVICES, DISAGGREGATED, devices, object_of, parallel, pods_of
from flyball.boosting.errors import BoosterError
from flyball.boosting.expand import expand
from flyball.boosting.names import child_name
from flyball.boosting.rules import BACKEND, WORKERS, invalid
from flyball.boosting.serving import replicas_of
from flyball.boosting.settings import Images, Settings
from flyball.boosting.storage import claim_name
from flyball.wire.errors import WireError
from flyball.wire.kthena_booster import Backend, ModelBooster, Worker
from flyball.wire.kthena_serving import TierPolicy

LONGEST_NAME = 63
# Of the grammar of distribution's reference: [domain/]path[:tag][@digest].
_COMPONENT = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_DOMAIN = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
_IMAGE = re.compile(
    rf"(?:{_DOMAIN}/)?{_COMPONENT}(?:/{_COMPONENT})*(?::[\w][\w.-]{{0,127}})?(?:@[a-z0-9+._-]+:[0-9a-fA-F]{{32,}})?",
    re.ASCII,
)
_DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


def further_complaints(booster: ModelBooster) -> Iterator[str]:
    """What would fail later; to be asked where Kthena's rules have nothing to say."""
    backend = booster.spec.backend
    yield from _roles(backend)
    yield from _images(backend)
    yield from _claim(backend)
    yield from _parallel(backend)
    yield from _adapters(booster)
    yield from _routes(booster)
    yield from _topology(backend)
    yield from _names(booster)


def last_complaint(booster: ModelBooster) -> Iterator[str]:
    """Whatever else the expansion would fail with."""
    try:
        expand(booster, Images(), Settings("v0.4"))
    except BoosterError as error:
        yield invalid(BACKEND, booster.spec.backend.name, str(error))
    except WireError as error:
        yield f"{error.where}: {error}"


def _roles(backend: Backend) -> Iterator[str]:
    if backend.type != DISAGGREGATED:
        return
    there = {worker.type for worker in backend.workers}
    for role in ("prefill", "decode"):
        if role not in there:
            yield invalid(
                WORKERS, len(backend.workers), f"there is no {role} worker; add one of type '{role}'"
            )


def _images(backend: Backend) -> Iterator[str]:
    for index, worker in enumerate(backend.workers):
        if not _IMAGE.fullmatch(worker.image or ""):
            detail = "is no image reference; write it like registry.example:5000/vllm/vllm-openai:v0.10.0"
            yield invalid(f"{WORKERS}[{index}].image", worker.image, detail)


def _claim(backend: Backend) -> Iterator[str]:
    uri = backend.cache_uri or ""
    if uri.startswith("pvc://") and "/" in claim_name(uri):
        detail = "names a path; a claim has no /, and the whole of it is mounted: write pvc://<claimName>"
        yield invalid(f"{BACKEND}.cacheURI", uri, detail)


def _parallel(backend: Backend) -> Iterator[str]:
    for index, worker in enumerate(backend.workers):
        try:
            each, needed = devices(worker, DEVICES), parallel(worker)
        except (BoosterError, WireError):
            continue  # said elsewhere
        pods = 1 if backend.type == DISAGGREGATED else pods_of(worker)
        # Without any device it is an engine for CPUs, or one whose device nobody here knows.
        if each and needed > each * pods:
            detail = (
                f"tensor and pipeline parallelism need {needed} devices, and {pods} x {each} are "
                f"{each * pods}; raise limits or pods, or lower the parallelism"
            )
            yield invalid(f"{WORKERS}[{index}].resources.limits", each, detail)


def _adapters(booster: ModelBooster) -> Iterator[str]:
    path = f"{BACKEND}.loraAdapters"
    names = Counter(one.name for one in booster.spec.backend.lora_adapters or ())
    for name, count in names.items():
        if count > 1:
            yield invalid(path, name, "two adapters have this name; give each its own")
        if name == (booster.spec.name or booster.metadata.name):
            yield invalid(path, name, "is the name of the model, too; call the adapter otherwise")


def _routes(booster: ModelBooster) -> Iterator[str]:
    routes = booster.spec.routes or []
    for name, count in Counter(route.name for route in routes).items():
        if count > 1:
            yield invalid("spec.routes", name, "two routes have this name; give each its own")
    limits = [("spec.rateLimit", booster.spec.rate_limit)]
    limits += [(f"spec.routes[{index}].rateLimit", route.rate_limit) for index, route in enumerate(routes)]
    for path, limit in limits:
        if limit and limit.input_tokens_per_unit is None and limit.output_tokens_per_unit is None:
            yield invalid(path, limit.unit, "limits nothing; give inputTokensPerUnit or outputTokensPerUnit")
    for index, route in enumerate(routes):
        for rule in route.rules or ():
            for target in rule.target_models:
                if target.model_server_name and target.external_model_provider_name:
                    detail = "names a ModelServer and an external provider; keep one"
                    yield invalid(f"spec.routes[{index}].rules", target.model_server_name, detail)


def _topology(backend: Backend) -> Iterator[str]:
    topology = backend.network_topology
    if topology is None:
        return
    found: dict[str, TierPolicy | None] = {
        "groupPolicy": topology.group_policy,
        "rolePolicy": topology.role_policy,
    }
    for name, policy in found.items():
        if policy and policy.highest_tier_name and policy.highest_tier_allowed is not None:
            path = f"{BACKEND}.networkTopology.{name}"
            yield invalid(
                path, policy.highest_tier_name, "gives the highest tier twice; keep its name or number"
            )


def _names(booster: ModelBooster) -> Iterator[str]:
    """Pods and containers are named after booster and backend, and such names are short."""
    name, backend = booster.metadata.name, booster.spec.backend
    most = backend.max_replicas
    try:
        most = replicas_of(backend) if most is None else most
    except BoosterError:
        return  # said elsewhere
    role = "prefill" if backend.type == DISAGGREGATED else "leader"
    worker = max(backend.workers, key=lambda one: (one.replicas or 1, pods_of(one)))
    pod = f"{child_name(booster)}-{most}-{role}-{worker.replicas or 1}-{pods_of(worker) - 1}"
    derived = {
        "the pod": pod,
        "the container": f"{name}-model-downloader",
        "the volume": f"{backend.name}-weights",
    }
    for what, made in derived.items():
        if len(made) > LONGEST_NAME:
            detail = f"{what} {made} would have {len(made)} characters of {LONGEST_NAME}; shorten the names"
            yield invalid("metadata.name", name, detail)
    if not _DNS_LABEL.fullmatch(name):
        detail = "is no DNS label that begins with a letter, as pods need it; name it like chat-8b"
        yield invalid("metadata.name", name, detail)


Weights = Callable[[str], float | None]
"""Bytes of a model's weights, by the name that its URI gives (`org/model`); None where it is not known."""
DeviceMemory = Callable[[Worker], float | None]
"""Bytes of memory of each device that a worker gets; None where that is not known."""
_SHARE = 0.9
"""Of a device's memory that an engine takes unless told otherwise."""


def size_warnings(booster: ModelBooster, weights: Weights, device_memory: DeviceMemory) -> Iterator[str]:
    """Models whose weights alone are larger than the memory of their devices, where both are known."""
    backend = booster.spec.backend
    model = backend.model_uri.partition("://")[2].strip("/")
    size = weights(model)
    if size is None:
        return
    for index, worker in enumerate(backend.workers):
        memory, count = device_memory(worker), parallel(worker)
        if memory is None:
            continue
        config = object_of(worker.config)
        share = config.get("gpu-memory-utilization", config.get("mem-fraction-static"))
        usable = memory * (share if isinstance(share, int | float) and 0 < share <= 1 else _SHARE)
        if size / count > usable:
            yield (
                f"{WORKERS}[{index}]: {model} has {size / 1e9:,.0f} GB of weights, "
                f"{size / count / 1e9:,.0f} GB for each of {count} devices, which can hold "
                f"{usable / 1e9:,.0f} GB; use more or larger devices"
            )
