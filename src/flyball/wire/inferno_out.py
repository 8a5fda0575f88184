"""Fleets and plans to Inferno's documents, in the generation that the fleet came in."""

from __future__ import annotations

from typing import Any

from flyball.spec.accelerator import Accelerator
from flyball.spec.fleet import Fleet, Generation, Settings
from flyball.spec.plan import Option, Plan, ServerPlan
from flyball.spec.profile import ChunkedTiming, FlatTiming, PhaseTiming, Profile
from flyball.spec.server import Allocation, Load, Server
from flyball.spec.service_class import Metric, ModelTargets, ServiceClass
from flyball.units import to_cents, to_ms, to_per_minute
from flyball.wire.errors import WireError
from flyball.wire.inferno_in import CPLEX_NOTE
from flyball.wire.inferno_shapes import (
    AcceleratorShape,
    AllocationShape,
    CapacityShape,
    ClassShape,
    DecodeShape,
    LoadShape,
    OptimizerShape,
    PartShape,
    PerfShape,
    PowerShape,
    PrefillShape,
    ProfileShape,
    ServerShape,
    Shape,
    TargetShape,
)
from flyball.wire.inferno_write import Document, document_of

ANSWER_DIGITS = 8


def system_document(fleet: Fleet) -> Document:
    """The system document of a fleet that came from Inferno; WireError for Flyball's own form.

    What Inferno has no words for is left out: cold start, hold time, a solver other than exact.
    """
    generation = fleet.generation
    if generation == "flyball":
        mend = "Write it in Flyball's own form"
        raise WireError("fleet", "Flyball's own form says more than Inferno's documents can hold", mend=mend)

    def document(shape: Shape) -> Document:
        return document_of(shape, generation)

    return {
        "system": {
            "acceleratorData": {"accelerators": [document(_accelerator(a)) for a in fleet.accelerators]},
            "modelData": {"models": [document(profile_shape(p)) for p in fleet.profiles]},
            "serviceClassData": {
                "serviceClasses": [document(_service_class(c)) for c in fleet.service_classes]
            },
            "serverData": {"servers": [document(_server(s, generation)) for s in fleet.servers]},
            "optimizerData": {"optimizer": document(_optimizer(fleet.settings))},
            "capacityData": {"count": [document(CapacityShape(t, n)) for t, n in fleet.capacity.items()]},
        }
    }


def solution_document(fleet: Fleet, plan: Plan) -> Document:
    """The allocations of a plan by server name, unserved servers left out; Flyball's own form as G3.

    A mix stands as one more field, `mix`, beside its largest part. A latency without bound is null.
    """
    return {
        "allocations": {
            name: document_of(shape, fleet.generation, ANSWER_DIGITS)
            for name, shape in allocations_of(fleet, plan).items()
        }
    }


def allocations_of(fleet: Fleet, plan: Plan) -> dict[str, AllocationShape]:
    """The allocations of a plan by server name, in order of name, unserved servers left out."""
    loads = {server.name: server.load for server in fleet.servers}
    planned = sorted((s for s in plan.servers if s.status != "unserved"), key=lambda s: s.server)
    return {s.server: _answer(s, loads[s.server], fleet.generation) for s in planned}


def _answer(planned: ServerPlan, load: Load, generation: Generation) -> AllocationShape:
    option = None if planned.status == "idle" else planned.allocation
    parts = tuple(PartShape(**_values(_allocated(part), generation)) for part in planned.mix)
    values = _values(_allocated(option), generation)
    return AllocationShape(**values, load=_load(load, generation), mix=parts)


def _allocated(option: Option | None) -> Allocation:
    if option is None:
        return Allocation()
    return Allocation(
        accelerator=option.accelerator,
        replicas=option.replicas,
        max_batch_size=option.max_batch_size,
        cost=option.cost,
        itl=option.itl,
        ttft=option.ttft,
    )


def _values(allocation: Allocation, generation: Generation) -> dict[str, Any]:
    second = "wait_average" if generation == "G1" else "ttft_average"
    return {
        "accelerator": allocation.accelerator,
        "num_replicas": allocation.replicas,
        "max_batch": allocation.max_batch_size,
        "cost": to_cents(allocation.cost),
        "itl_average": to_ms(allocation.itl),
        second: to_ms(allocation.ttft),
    }


def _load(load: Load, generation: Generation) -> LoadShape:
    arrival_rate = to_per_minute(load.arrival_rate)
    if generation == "G1":
        return LoadShape(
            arrival_rate=arrival_rate,
            avg_length=load.out_tokens,
            arrival_cov=load.arrival_cov,
            service_cov=load.service_cov,
        )
    return LoadShape(
        arrival_rate=arrival_rate,
        throughput=to_per_minute(load.throughput),
        avg_in_tokens=load.in_tokens,
        avg_out_tokens=load.out_tokens,
    )


def _accelerator(accelerator: Accelerator) -> AcceleratorShape:
    power = accelerator.power
    return AcceleratorShape(
        name=accelerator.name,
        type=accelerator.type,
        multiplicity=accelerator.multiplicity,
        mem_size=accelerator.memory_gb,
        mem_bw=accelerator.bandwidth_gbs,
        power=PowerShape(power.idle, power.full, power.mid_power, power.mid_util) if power else None,
        cost=to_cents(accelerator.cost),
    )


def profile_shape(profile: Profile) -> ProfileShape:
    """A model on an accelerator, as an entry of model data."""
    timing = profile.timing
    alpha = beta = decode = prefill = perf = None
    if isinstance(timing, FlatTiming):
        alpha, beta = to_ms(timing.alpha), to_ms(timing.beta)
    elif isinstance(timing, PhaseTiming):
        decode = DecodeShape(to_ms(timing.alpha), to_ms(timing.beta))
        prefill = PrefillShape(to_ms(timing.gamma), to_ms(timing.delta))
    elif isinstance(timing, ChunkedTiming):
        perf = PerfShape(to_ms(timing.alpha), to_ms(timing.beta), to_ms(timing.gamma))
    else:
        raise WireError(
            "fleet", f"{profile.model} on {profile.accelerator} has a timing that Inferno does not know"
        )
    return ProfileShape(
        name=profile.model,
        acc=profile.accelerator,
        acc_count=profile.accelerator_count,
        max_batch_size=profile.max_batch_size,
        at_tokens=profile.at_tokens,
        alpha=alpha,
        beta=beta,
        decode_parms=decode,
        prefill_parms=prefill,
        perf_parms=perf,
    )


def _service_class(service_class: ServiceClass) -> ClassShape:
    return ClassShape(
        service_class.name,
        service_class.priority,
        tuple(_model_targets(targets) for targets in service_class.models),
    )


def _model_targets(targets: ModelTargets) -> TargetShape:
    def limit(metric: Metric) -> float:
        return to_ms(next((t.limit for t in targets.targets if t.metric == metric), 0.0))

    return TargetShape(
        model=targets.model,
        itl=limit("itl"),
        ttft=limit("ttft"),
        wait=limit("wait"),
        throughput=targets.throughput,
    )


def server_document(server: Server, generation: Generation) -> Document:
    """A server by itself, as in a list of them."""
    return document_of(_server(server, generation), generation)


def _server(server: Server, generation: Generation) -> ServerShape:
    return ServerShape(
        name=server.name,
        service_class=server.service_class,
        model=server.model,
        keep_accelerator=server.keep_accelerator,
        min_num_replicas=server.min_replicas,
        max_batch_size=server.max_batch_size,
        max_queue_size=server.max_queue_size or 0,
        current_alloc=AllocationShape(
            **_values(server.current, generation), load=_load(server.load, generation)
        ),
    )


def _optimizer(settings: Settings) -> OptimizerShape:
    cplex = CPLEX_NOTE in settings.note
    return OptimizerShape(
        unlimited=settings.unlimited,
        heterogeneous=settings.heterogeneous,
        milp_solver=settings.solver == "exact" and not cplex,
        use_cplex=cplex,
        delayed_best_effort=settings.delayed_best_effort,
        saturation_policy=settings.saturation_policy,
    )
