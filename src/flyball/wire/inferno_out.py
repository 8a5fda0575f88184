"""Fleets and plans to Inferno's documents, in the generation that the fleet came in.

Names, order and units are those of the recorded answers; a whole number is written without a point.
"""

from __future__ import annotations

import math

from flyball.spec.accelerator import Accelerator
from flyball.spec.fleet import Fleet, Generation, Settings
from flyball.spec.plan import Option, Plan, ServerPlan
from flyball.spec.profile import ChunkedTiming, FlatTiming, PhaseTiming, Profile
from flyball.spec.server import Allocation, Load, Server
from flyball.spec.service_class import Metric, ModelTargets, ServiceClass
from flyball.units import to_cents, to_ms, to_per_minute
from flyball.wire.errors import WireError
from flyball.wire.inferno_in import CPLEX_NOTE

INPUT_DIGITS = 15
"""Enough to read back what was read, few enough to drop what the change of units added."""
ANSWER_DIGITS = 8

Document = dict[str, object]


def system_document(fleet: Fleet) -> Document:
    """The system document of a fleet that came from Inferno; WireError for Flyball's own form.

    What Inferno has no words for is left out: cold start, hold time, a solver other than exact.
    """
    generation = fleet.generation
    if generation == "flyball":
        mend = "Write it in Flyball's own form"
        raise WireError("fleet", "Flyball's own form says more than Inferno's documents can hold", mend=mend)
    return {
        "system": {
            "acceleratorData": {"accelerators": [_accelerator(a) for a in fleet.accelerators]},
            "modelData": {"models": [_profile(p) for p in fleet.profiles]},
            "serviceClassData": {
                "serviceClasses": [_service_class(c, generation) for c in fleet.service_classes]
            },
            "serverData": {"servers": [_server(s, generation) for s in fleet.servers]},
            "optimizerData": {"optimizer": _optimizer(fleet.settings)},
            "capacityData": {"count": [{"type": t, "count": n} for t, n in fleet.capacity.items()]},
        }
    }


def solution_document(fleet: Fleet, plan: Plan) -> Document:
    """The allocations of a plan by server name, unserved servers left out; Flyball's own form as G3.

    A mix stands as one more field, `mix`, beside its largest part. A latency without bound is null.
    """
    loads = {server.name: server.load for server in fleet.servers}
    planned = sorted((s for s in plan.servers if s.status != "unserved"), key=lambda s: s.server)
    return {"allocations": {s.server: _answer(s, loads[s.server], fleet.generation) for s in planned}}


def _answer(planned: ServerPlan, load: Load, generation: Generation) -> Document:
    option = None if planned.status == "idle" else planned.allocation
    answer = _allocation(_allocated(option), generation, ANSWER_DIGITS)
    answer["load"] = _load(load, generation, ANSWER_DIGITS)
    if planned.mix:
        answer["mix"] = [_allocation(_allocated(part), generation, ANSWER_DIGITS) for part in planned.mix]
    return answer


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


def _allocation(allocation: Allocation, generation: Generation, digits: int) -> Document:
    return {
        "accelerator": allocation.accelerator,
        "numReplicas": allocation.replicas,
        "maxBatch": allocation.max_batch_size,
        "cost": _number(to_cents(allocation.cost), digits),
        "itlAverage": _number(to_ms(allocation.itl), digits),
        "waitAverage" if generation == "G1" else "ttftAverage": _number(to_ms(allocation.ttft), digits),
    }


def _load(load: Load, generation: Generation, digits: int) -> Document:
    document: Document = {"arrivalRate": _number(to_per_minute(load.arrival_rate), digits)}
    if generation == "G1":
        return document | {
            "avgLength": _number(load.out_tokens, digits),
            "arrivalCOV": _number(load.arrival_cov, digits),
            "serviceCOV": _number(load.service_cov, digits),
        }
    if generation != "G2":
        document["throughput"] = _number(to_per_minute(load.throughput), digits)
    return document | {
        "avgInTokens": _number(load.in_tokens, digits),
        "avgOutTokens": _number(load.out_tokens, digits),
    }


def _accelerator(accelerator: Accelerator) -> Document:
    power = accelerator.power
    document: Document = {
        "name": accelerator.name,
        "type": accelerator.type,
        "multiplicity": accelerator.multiplicity,
        "memSize": _number(accelerator.memory_gb),
        "memBW": _number(accelerator.bandwidth_gbs),
    }
    if power is not None:
        document["power"] = {
            "idle": _number(power.idle),
            "full": _number(power.full),
            "midPower": _number(power.mid_power),
            "midUtil": _number(power.mid_util),
        }
    return document | {"cost": _number(to_cents(accelerator.cost))}


def _profile(profile: Profile) -> Document:
    document: Document = {
        "name": profile.model,
        "acc": profile.accelerator,
        "accCount": profile.accelerator_count,
        "maxBatchSize": profile.max_batch_size,
        "atTokens": profile.at_tokens,
    }
    timing = profile.timing
    if isinstance(timing, FlatTiming):
        return document | _parameters(alpha=timing.alpha, beta=timing.beta)
    if isinstance(timing, PhaseTiming):
        return document | {
            "decodeParms": _parameters(alpha=timing.alpha, beta=timing.beta),
            "prefillParms": _parameters(gamma=timing.gamma, delta=timing.delta),
        }
    if isinstance(timing, ChunkedTiming):
        return document | {"perfParms": _parameters(alpha=timing.alpha, beta=timing.beta, gamma=timing.gamma)}
    raise WireError(
        "fleet", f"{profile.model} on {profile.accelerator} has a timing that Inferno does not know"
    )


def _parameters(**seconds: float) -> Document:
    return {name: _number(to_ms(value)) for name, value in seconds.items()}


def _service_class(service_class: ServiceClass, generation: Generation) -> Document:
    return {
        "name": service_class.name,
        "priority": service_class.priority,
        "modelTargets": [_model_targets(targets, generation) for targets in service_class.models],
    }


def _model_targets(targets: ModelTargets, generation: Generation) -> Document:
    def limit(metric: Metric) -> int | float | None:
        return _number(to_ms(next((t.limit for t in targets.targets if t.metric == metric), 0.0)))

    second = ("slo-ttw", limit("wait")) if generation == "G1" else ("slo-ttft", limit("ttft"))
    return dict(
        [
            ("model", targets.model),
            ("slo-itl", limit("itl")),
            second,
            ("slo-tps", _number(targets.throughput)),
        ]
    )


def _server(server: Server, generation: Generation) -> Document:
    document: Document = {
        "name": server.name,
        "class": server.service_class,
        "model": server.model,
        "keepAccelerator": server.keep_accelerator,
        "minNumReplicas": server.min_replicas,
        "maxBatchSize": server.max_batch_size,
    }
    if generation == "G3":
        document["maxQueueSize"] = server.max_queue_size or 0
    current = _allocation(server.current, generation, INPUT_DIGITS)
    return document | {"currentAlloc": current | {"load": _load(server.load, generation, INPUT_DIGITS)}}


def _optimizer(settings: Settings) -> Document:
    cplex = CPLEX_NOTE in settings.note
    return {
        "unlimited": settings.unlimited,
        "heterogeneous": settings.heterogeneous,
        "milpSolver": settings.solver == "exact" and not cplex,
        "useCplex": cplex,
        "delayedBestEffort": settings.delayed_best_effort,
        "saturationPolicy": settings.saturation_policy,
    }


def _number(value: float, digits: int = INPUT_DIGITS) -> int | float | None:
    """Rounded to so many digits, whole ones as int; JSON knows no infinity, hence None."""
    if not math.isfinite(value):
        return None
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded.is_integer() else rounded
