"""The shapes of Inferno's documents, its three generations in one: fields, types, bounds.

`acc_count` here is `accCount` there. What is absent has Go's zero value, or None where the reader must
know that it is absent. Units are Inferno's: ms, requests per minute, cents per hour.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec
from msgspec import Meta, field

Number = Annotated[float, Meta(ge=-1e12, le=1e12)]
Amount = Annotated[float, Meta(ge=0, le=1e12)]
Share = Annotated[float, Meta(ge=0, le=1)]
Rate = Annotated[float, Meta(ge=-1e9, le=1e9)]
"""May be negative, as tokens may: the plan then says which server has a load that cannot be served."""
Tokens = Annotated[float, Meta(ge=-10_000_000, le=10_000_000)]
Whole = Annotated[int, Meta(ge=-1_000_000_000, le=1_000_000_000)]
Count = Annotated[int, Meta(ge=0, le=1_000_000_000)]
Units = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Batch = Annotated[int, Meta(ge=0, le=65_536)]
Length = Annotated[int, Meta(ge=0, le=10_000_000)]
Name = Annotated[str, Meta(min_length=1, max_length=512)]
Reference = Annotated[str, Meta(max_length=512)]

UNITS = {
    "arrivalRate": "requests per minute",
    "throughput": "requests per minute",
    **dict.fromkeys(("avgInTokens", "avgOutTokens", "avgLength", "atTokens"), "tokens per request"),
    **dict.fromkeys(("slo-itl", "slo-ttft", "slo-ttw"), "milliseconds, 0 for no limit"),
    "slo-tps": "tokens per second, 0 for no limit",
    **dict.fromkeys(("itlAverage", "ttftAverage", "waitAverage"), "milliseconds"),
    **dict.fromkeys(("alpha", "beta", "gamma", "delta"), "milliseconds"),
    "cost": "cents per hour",
    **dict.fromkeys(("idle", "full", "midPower"), "watts"),
    "midUtil": "a share from 0 to 1",
}
"""By field, for messages."""


class Shape(msgspec.Struct, rename="camel", frozen=True, gc=False):
    """A part of a document."""


class PowerShape(Shape, frozen=True):
    idle: Amount = 0.0
    full: Amount = 0.0
    mid_power: Amount | None = None
    mid_util: Share | None = None


class AcceleratorShape(Shape, frozen=True):
    name: Name
    type: Reference = ""
    multiplicity: Units = 1
    """Absent, Go has 0 here, which makes the accelerator free of capacity; the Kubernetes kind says 1."""
    mem_size: Amount = 0.0
    mem_bw: Amount = field(default=0.0, name="memBW")
    power: PowerShape | None = None
    cost: Amount = 0.0


class DecodeShape(Shape, frozen=True):
    alpha: Amount = 0.0
    beta: Amount = 0.0


class PrefillShape(Shape, frozen=True):
    gamma: Amount = 0.0
    delta: Amount = 0.0


class PerfShape(Shape, frozen=True):
    alpha: Amount = 0.0
    beta: Amount = 0.0
    gamma: Amount = 0.0


class ProfileShape(Shape, frozen=True):
    name: Name
    acc: Name
    acc_count: Whole = 0
    max_batch_size: Batch = 0
    at_tokens: Length = 0
    alpha: Amount | None = None
    beta: Amount | None = None
    decode_parms: DecodeShape | None = None
    prefill_parms: PrefillShape | None = None
    perf_parms: PerfShape | None = None


class TargetShape(Shape, frozen=True):
    model: Name
    itl: Amount = field(default=0.0, name="slo-itl")
    ttft: Amount = field(default=0.0, name="slo-ttft")
    wait: Amount = field(default=0.0, name="slo-ttw")
    throughput: Amount = field(default=0.0, name="slo-tps")


class ClassShape(Shape, frozen=True):
    name: Name
    priority: Whole = 0
    model_targets: tuple[TargetShape, ...] = ()


class LoadShape(Shape, frozen=True):
    arrival_rate: Rate = 0.0
    throughput: Number = 0.0
    avg_in_tokens: Tokens = 0.0
    avg_out_tokens: Tokens = 0.0
    avg_length: Tokens = 0.0
    arrival_cov: Number = field(default=0.0, name="arrivalCOV")
    service_cov: Number = field(default=0.0, name="serviceCOV")


class PartShape(Shape, frozen=True):
    """What a server has of one accelerator."""

    accelerator: Reference = ""
    num_replicas: Count = 0
    max_batch: Batch = 0
    cost: Amount = 0.0
    itl_average: Number = 0.0
    ttft_average: Number = 0.0
    wait_average: Number = 0.0


class AllocationShape(PartShape, frozen=True):
    load: LoadShape | None = None
    mix: tuple[PartShape, ...] = ()
    """The parts, where the load is divided; the other fields are then the largest part's."""


class ServerShape(Shape, frozen=True):
    name: Name
    service_class: Reference = field(default="", name="class")
    model: Reference = ""
    keep_accelerator: bool = False
    min_num_replicas: Count = 0
    max_batch_size: Batch = 0
    max_queue_size: Count = 0
    current_alloc: AllocationShape | None = None
    desired_alloc: AllocationShape | None = None
    """What the last optimization gave; never read by the next one."""


class CapacityShape(Shape, frozen=True):
    type: Name
    count: Count = 0


class OptimizerShape(Shape, frozen=True):
    unlimited: bool = False
    heterogeneous: bool = False
    milp_solver: bool = False
    use_cplex: bool = False
    delayed_best_effort: bool = False
    saturation_policy: str = ""


class AcceleratorData(Shape, frozen=True):
    accelerators: tuple[AcceleratorShape, ...] = ()


class ModelData(Shape, frozen=True):
    models: tuple[ProfileShape, ...] = ()


class ServiceClassData(Shape, frozen=True):
    service_classes: tuple[ClassShape, ...] = ()


class ServerData(Shape, frozen=True):
    servers: tuple[ServerShape, ...] = ()


class OptimizerData(Shape, frozen=True):
    optimizer: OptimizerShape = OptimizerShape()


class CapacityData(Shape, frozen=True):
    count: tuple[CapacityShape, ...] = ()


class SystemSpec(Shape, frozen=True):
    accelerator_data: AcceleratorData = AcceleratorData()
    model_data: ModelData = ModelData()
    service_class_data: ServiceClassData = ServiceClassData()
    server_data: ServerData = ServerData()
    optimizer_data: OptimizerData = OptimizerData()
    capacity_data: CapacityData = CapacityData()


class SystemDocument(Shape, frozen=True):
    """A whole system, as /optimizeOne takes it."""

    system: SystemSpec = SystemSpec()


def _shapes(kind: type[Shape]) -> Iterator[type[Shape]]:
    for below in kind.__subclasses__():
        yield below
        yield from _shapes(below)


TRUE_NAMES = {
    f.encode_name.lower(): f.encode_name for kind in _shapes(Shape) for f in msgspec.structs.fields(kind)
}
"""By name in lower case: Go takes names whatever their case."""
