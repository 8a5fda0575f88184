"""The ModelServing of a booster: its roles, and how many of each."""

from __future__ import annotations

import msgspec

from flyball.boosting.config import DISAGGREGATED, SGLANG, VLLM, engine_port, pods_of
from flyball.boosting.errors import BoosterError
from flyball.boosting.names import child_meta, child_name, labels, revision_of
from flyball.boosting.pods import entry_pod, worker_pod
from flyball.boosting.settings import Images
from flyball.boosting.storage import Storage, storage_of
from flyball.wire.kthena import WORKLOAD_API
from flyball.wire.kthena_booster import Backend, ModelBooster, Worker
from flyball.wire.kthena_serving import (
    GangPolicy,
    Labels,
    ModelServing,
    Role,
    ServingSpec,
    ServingTemplate,
    Template,
)

RESTART_GRACE_SECONDS = 60
_ROLES = {VLLM: {"leader": "server"}, SGLANG: {"leader": "server"}}
_DISAGGREGATED_ROLES = {"prefill": "prefill", "decode": "decode"}


def model_serving(booster: ModelBooster, images: Images) -> ModelServing:
    """The pods of a booster. Or BoosterError."""
    backend = booster.spec.backend
    workers = _workers(backend)
    port = engine_port(backend)
    storage = storage_of(booster, images.downloader)
    unlabelled = [_role(name, booster, worker, storage, port, images) for name, worker in workers.items()]
    revision = _revision(backend, unlabelled)
    roles = [_labelled(role, labels(booster, revision)) for role in unlabelled]
    return ModelServing(
        api_version=WORKLOAD_API,
        kind="ModelServing",
        metadata=child_meta(booster, child_name(booster), revision),
        spec=ServingSpec(
            replicas=replicas_of(backend),
            scheduler_name=backend.scheduler_name or None,
            template=ServingTemplate(
                roles=roles,
                restart_grace_period_seconds=RESTART_GRACE_SECONDS,
                gang_policy=GangPolicy(min_role_replicas={role.name: role.replicas for role in roles}),
                network_topology=backend.network_topology,
            ),
        ),
    )


def replicas_of(backend: Backend) -> int:
    """How many replicas to begin with: `replicas` within its bounds, or the fewest. Or BoosterError."""
    low, high = backend.min_replicas, backend.max_replicas
    if backend.replicas is None:
        if low is None:
            raise BoosterError("spec.backend has neither replicas nor minReplicas; give one of them")
        return low
    return max(low or 0, min(backend.replicas, high if high is not None else backend.replicas))


def _workers(backend: Backend) -> dict[str, Worker]:
    """Workers by role. Of two of one type the last counts, as in Kthena, whose admission refuses them."""
    if backend.type not in (*_ROLES, DISAGGREGATED):
        raise BoosterError(f"not support model backend type: {backend.type}")
    by_type = {worker.type: worker for worker in backend.workers}
    roles = _ROLES.get(backend.type, _DISAGGREGATED_ROLES)
    for kind in roles.values():
        if kind not in by_type:
            which = f": {backend.name}" if kind == "server" else ""
            raise BoosterError(f"{kind} worker not found in backend{which}")
    return {role: by_type[kind] for role, kind in roles.items()}  # type: ignore[index]


def _role(
    name: str, booster: ModelBooster, worker: Worker, storage: Storage, port: int, images: Images
) -> Role:
    backend = booster.spec.backend
    entry = Template(spec=entry_pod(booster, worker, storage, port, images.runtime))
    if backend.type == DISAGGREGATED:
        workers = Template(spec={"containers": []})
    else:
        workers = Template(spec=worker_pod(backend, worker, storage, port))
    return Role(
        name=name,
        # Absent is one, as the children's own default is; Kthena takes it for none and serves nothing.
        replicas=1 if worker.replicas is None else worker.replicas,
        worker_replicas=0 if backend.type == DISAGGREGATED else max(pods_of(worker) - 1, 0),
        entry_template=entry,
        worker_template=workers,
    )


def _labelled(role: Role, found: dict[str, str]) -> Role:
    """The role with labels on its pods; a template without containers has none."""
    workers = role.worker_template
    if workers is not None and workers.spec["containers"]:
        workers = msgspec.structs.replace(workers, metadata=Labels(labels=found))
    entry = msgspec.structs.replace(role.entry_template, metadata=Labels(labels=found))
    return msgspec.structs.replace(role, entry_template=entry, worker_template=workers)


def _revision(backend: Backend, roles: list[Role]) -> str:
    """Of what pods are made of, without how many there are: scaling must not restart them."""
    counted = [msgspec.structs.replace(role, replicas=0) for role in roles]
    return revision_of([backend.scheduler_name or "", backend.network_topology, counted])
