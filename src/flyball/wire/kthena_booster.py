"""ModelBooster: the v1 shape of Kthena, the fields of v0.4 beside it, and Flyball's own, as one superset.

Flyball's own fields are `routes` and `rateLimit` of the spec, `networkTopology`, `loraAdapters` and the type
SGLang of the backend, and `topologySpreadConstraints` of a worker; absent, all is as in Kthena. What Kthena's
admission has words for (types, counts, cacheURI) is bounded in the schema only, so that a refusal is in them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, field

from flyball.wire.errors import WireError
from flyball.wire.kthena import ANNOTATIONS, WORKLOAD_API
from flyball.wire.kthena_meta import DnsName, Document, ObjectMeta, Part, Plain
from flyball.wire.kthena_policy import PolicySpec
from flyball.wire.kthena_route import MOST, ModelMatch, RateLimit, Rule
from flyball.wire.kthena_serving import NetworkTopology
from flyball.wire.text import decode

MOST_REPLICAS = 1_000_000
MOST_ADAPTERS = 10
MOST_ROUTES = 16

Bounded = Annotated[int, Meta(ge=0, extra_json_schema={"maximum": MOST_REPLICAS, "format": "int32"})]
MostBounded = Annotated[int, Meta(ge=1, extra_json_schema={"maximum": MOST_REPLICAS, "format": "int32"})]
Count = Annotated[int, Meta(ge=0, le=MOST_REPLICAS)]
Name = Annotated[str, Meta(pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=64)]


class Worker(Part, frozen=True):
    """The pods of one role of a replica."""

    type: Annotated[
        Literal["server", "prefill", "decode", "controller", "coordinator"], Meta(description="What they do.")
    ] = "server"
    image: Annotated[str, Meta(description="Container image of the engine.")] | None = None
    replicas: Annotated[Count, Meta(description="Instances of the role in a replica; absent: 1.")] | None = (
        None
    )
    pods: Annotated[Count, Meta(description="Pods of an instance, the first included; 0 is 1.")] | None = None
    resources: Annotated[Plain, Meta(description="ResourceRequirements of the engine.")] | None = None
    affinity: Annotated[Plain, Meta(description="Affinity of the pods.")] | None = None
    tolerations: Annotated[list[Plain], Meta(description="Tolerations of the pods.")] | None = None
    topology_spread_constraints: (
        Annotated[list[Plain], Meta(description="TopologySpreadConstraints of the pods (Flyball's own).")]
        | None
    ) = None
    config: Annotated[
        Any,
        Meta(
            description="Flags of the engine: an object of names and values.",
            extra_json_schema={"x-kubernetes-preserve-unknown-fields": True},
        ),
    ] = None


class LoraAdapter(Part, frozen=True):
    """A LoRA adapter that the engine loads beside the model (Flyball's own)."""

    name: Annotated[DnsName, Meta(description="What requests call it.")]
    artifact_url: Annotated[
        str, Meta(description="Where it is downloaded from.", pattern="^(hf://|s3://|obs://|pvc://|ms://).+")
    ] = field(name="artifactURL")


class Backend(Part, frozen=True):
    """The model, its engine and its pods."""

    name: Annotated[DnsName, Meta(description="Part of the names of the children.")]
    type: Annotated[
        str,
        Meta(
            description="The engine; SGLang is Flyball's own.",
            extra_json_schema={"enum": ["vLLM", "vLLMDisaggregated", "SGLang"]},
        ),
    ]
    model_uri: Annotated[
        str,
        Meta(description="Where the model is.", pattern="^(hf://|s3://|obs://|pvc://|ms://).+"),
    ] = field(name="modelURI")
    workers: Annotated[list[Worker], Meta(description="The roles.", min_length=1, max_length=1000)]
    cache_uri: (
        Annotated[
            str,
            Meta(
                description="Where downloads are kept; absent: as long as the pod lives.",
                extra_json_schema={"pattern": "^(hostpath://|pvc://).+"},
            ),
        ]
        | None
    ) = field(default=None, name="cacheURI")
    replicas: Annotated[Bounded, Meta(description="Replicas of the model.")] | None = None
    min_replicas: Annotated[Bounded, Meta(description="Fewest replicas (v0.4).")] | None = None
    max_replicas: Annotated[MostBounded, Meta(description="Most replicas (v0.4).")] | None = None
    env: Annotated[list[Plain], Meta(description="EnvVars of the engine.")] | None = None
    env_from: Annotated[list[Plain], Meta(description="EnvFromSources of downloads and sidecar.")] | None = (
        None
    )
    scheduler_name: Annotated[str, Meta(description="Absent: volcano.")] | None = None
    runtime_class_name: Annotated[str, Meta(description="RuntimeClass of the pods.")] | None = None
    network_topology: (
        Annotated[NetworkTopology, Meta(description="Nearness of the pods (Flyball's own).")] | None
    ) = None
    lora_adapters: (
        Annotated[
            list[LoraAdapter], Meta(description="LoRA adapters (Flyball's own).", max_length=MOST_ADAPTERS)
        ]
        | None
    ) = None


class Route(Part, frozen=True):
    """A further ModelRoute, `<booster>-<name>` (Flyball's own)."""

    name: Annotated[DnsName, Meta(description="The last part of its name.", max_length=63)]
    model_name: (
        Annotated[str, Meta(description="What requests call the model; absent: as the first.")] | None
    ) = None
    rules: (
        Annotated[list[Rule], Meta(description="Absent: all to this model.", min_length=1, max_length=MOST)]
        | None
    ) = None
    lora_adapters: (
        Annotated[list[str], Meta(description="Adapters it is for.", max_length=MOST_ADAPTERS)] | None
    ) = None
    parent_refs: Annotated[list[Plain], Meta(description="Gateways it hangs on.")] | None = None
    rate_limit: RateLimit | None = None


class BoosterSpec(Part, frozen=True):
    """What is wanted of a model."""

    backend: Backend
    name: (
        Annotated[Name, Meta(description="What requests call the model; absent: the object's name.")] | None
    ) = None
    owner: Annotated[str, Meta(description="Who answers for it; for people only.")] | None = None
    model_match: Annotated[ModelMatch, Meta(description="Which requests are for it.")] | None = None
    autoscaling_policy: (
        Annotated[PolicySpec, Meta(description="How it is scaled between its bounds (v0.4).")] | None
    ) = None
    rate_limit: Annotated[RateLimit, Meta(description="Of the first route (Flyball's own).")] | None = None
    routes: (
        Annotated[
            list[Route], Meta(description="Further ModelRoutes (Flyball's own).", max_length=MOST_ROUTES)
        ]
        | None
    ) = None


class ModelBooster(Document, frozen=True):
    """Deploys a model with its route and its scaling."""

    metadata: ObjectMeta
    spec: BoosterSpec


def read_booster(document: object, where: str) -> ModelBooster:
    """Read a ModelBooster: v1, v0.4, or v0.1 with one backend; annotations fill in fields. Or WireError."""
    if not isinstance(document, dict) or not isinstance(document.get("spec"), dict):
        raise WireError(where, "allowed is a ModelBooster with metadata and spec", value=document)
    if document.get("kind") != "ModelBooster" or document.get("apiVersion") != WORKLOAD_API:
        found = f"{document.get('apiVersion')} {document.get('kind')}"
        raise WireError(where, f"allowed is {WORKLOAD_API} ModelBooster", path="kind", value=found)
    spec = _of_one_backend(document["spec"], where)
    spec = _annotated(spec, document.get("metadata"), where)
    try:
        return msgspec.convert({**document, "spec": spec}, ModelBooster)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$")
        raise WireError(where, problem, path=path.rstrip("`").removeprefix(".")) from None


def _of_one_backend(spec: Plain, where: str) -> Plain:
    """The form of v0.1 has a list of backends; of one, it says the same as `backend`."""
    backends = spec.get("backends")
    if "backend" in spec or not isinstance(backends, list) or not backends:
        return spec
    if len(backends) > 1:
        mend = "Write one ModelBooster for each, and weigh their ModelServers in the rules of one's routes"
        raise WireError(where, "has several backends", path="spec.backends", value=backends, mend=mend)
    return {key: value for key, value in spec.items() if key != "backends"} | {"backend": backends[0]}


def _annotated(spec: Plain, metadata: object, where: str) -> Plain:
    """The spec with what annotations say where it says nothing itself."""
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    if not isinstance(annotations, dict):
        return spec
    for key, path in ANNOTATIONS.items():
        if key not in annotations:
            continue
        place = f"metadata.annotations[{key}]"
        text = annotations[key]
        if not isinstance(text, str):
            raise WireError(where, "allowed is text", path=place, value=text)
        value = decode(text.encode(), f"{where}: {place}")
        *above, name = path
        holder = spec.get(above[0]) if above else spec
        if isinstance(holder, dict) and name not in holder:
            filled = {**holder, name: value}
            spec = {**spec, above[0]: filled} if above else filled
    return spec
