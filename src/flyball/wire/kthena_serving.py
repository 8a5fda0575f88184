"""ModelServing and ModelServer of Kthena, children of a ModelBooster: the pods, and how they are reached."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from flyball.wire.kthena_meta import Document, ObjectMeta, Part, Plain


class TierPolicy(Part, frozen=True):
    """How near to each other pods must be in the network; needs the Volcano scheduler and HyperNodes."""

    mode: (
        Annotated[Literal["hard", "soft"], Meta(description="Whether pods wait for such a place.")] | None
    ) = None
    highest_tier_allowed: (
        Annotated[int, Meta(description="Highest tier that pods may span.", ge=0)] | None
    ) = None
    highest_tier_name: (
        Annotated[str, Meta(description="The same by name; not both.", max_length=253)] | None
    ) = None


class NetworkTopology(Part, frozen=True):
    """Nearness within a whole replica, and within each role of it."""

    group_policy: TierPolicy | None = None
    role_policy: TierPolicy | None = None


class Labels(Part, frozen=True):
    labels: dict[str, str]


class Template(Part, frozen=True):
    """Pods: labels, and a PodSpec."""

    spec: Plain
    metadata: Labels | None = None


class Role(Part, frozen=True):
    """Pods of one task: the first (entry) of each replica, and its workers."""

    name: str
    replicas: int
    worker_replicas: int
    entry_template: Template
    worker_template: Template | None = None


class GangPolicy(Part, frozen=True):
    min_role_replicas: dict[str, int]
    """Cannot be changed once written."""


class ServingTemplate(Part, frozen=True):
    """One replica of a model: its roles."""

    roles: list[Role]
    restart_grace_period_seconds: int
    gang_policy: GangPolicy
    network_topology: NetworkTopology | None = None


class ServingSpec(Part, frozen=True):
    replicas: int
    template: ServingTemplate
    scheduler_name: str | None = None


class ModelServing(Document, frozen=True):
    """The pods that serve a model."""

    metadata: ObjectMeta
    spec: ServingSpec


class PdGroup(Part, frozen=True):
    """Which pods prefill and which decode, and what says that they belong together."""

    group_key: str
    prefill_labels: dict[str, str]
    decode_labels: dict[str, str]


class WorkloadSelector(Part, frozen=True):
    match_labels: dict[str, str]
    pd_group: PdGroup | None = None


class WorkloadPort(Part, frozen=True):
    port: int


class Retry(Part, frozen=True):
    attempts: int
    retry_interval: str


class TrafficPolicy(Part, frozen=True):
    retry: Retry


class KvConnector(Part, frozen=True):
    type: str


class ServerSpec(Part, frozen=True):
    inference_engine: str
    model: str
    workload_selector: WorkloadSelector
    workload_port: WorkloadPort
    traffic_policy: TrafficPolicy
    kv_connector: KvConnector | None = None


class ModelServer(Document, frozen=True):
    """How the pods of a model are reached."""

    metadata: ObjectMeta
    spec: ServerSpec
