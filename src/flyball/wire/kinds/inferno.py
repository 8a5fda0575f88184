"""Inferno's six kinds: group inferno.platform.ai, version v1alpha1, all in namespaces."""

from __future__ import annotations

import msgspec

from flyball.wire.kinds import inferno_specs as specs
from flyball.wire.kinds.inferno_status import OptimizerStatus, ServerStatus, Status
from flyball.wire.kinds.kind import AGE, Column, Definition, Version, state
from flyball.wire.kinds.schema import Rule

GROUP, VERSION = "inferno.platform.ai", "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
READY = state("Ready")
WHY = state("Ready", "Problem", priority=1, part="message")


def _definition(
    kind: str,
    plural: str,
    short: str,
    description: str,
    spec: type[msgspec.Struct],
    columns: tuple[Column, ...],
    status: type[msgspec.Struct] = Status,
    rules: tuple[Rule, ...] = (),
) -> Definition:
    # The original does not ask for a spec.
    version = Version(VERSION, description, spec, status, (*columns, AGE), rules, needs_spec=False)
    return Definition(GROUP, kind, plural, kind.lower(), (version,), (short,), ("inferno",))


ACCELERATOR = _definition(
    "Accelerator",
    "accelerators",
    "acc",
    "Accelerator is a unit of hardware on which models run: its cards, price and power.",
    specs.AcceleratorSpec,
    (
        Column("Type", "string", ".spec.type", "Type of its cards."),
        Column("Cards", "integer", ".spec.multiplicity", "Cards in one unit."),
        Column("Cost", "number", ".spec.cost", "Cents per hour."),
        Column("Watts", "number", ".spec.power.full", "At full utilization.", priority=1),
        READY,
        WHY,
    ),
)
MODEL = _definition(
    "Model",
    "models",
    "mdl",
    "Model is a model, and how fast it is on which accelerator.",
    specs.ModelSpec,
    (Column("Model", "string", ".spec.name", "As servers name it."), READY, WHY),
)
SERVICE_CLASS = _definition(
    "ServiceClass",
    "serviceclasses",
    "svcclass",
    "ServiceClass is a class of service: who goes first, and what is promised for which model.",
    specs.ServiceClassSpec,
    (
        Column("Class", "string", ".spec.name", "As servers name it."),
        Column("Priority", "integer", ".spec.priority", "1 goes first, 100 last."),
        READY,
        WHY,
    ),
)
SERVER = _definition(
    "Server",
    "servers",
    "isrv",
    "Server is an inference server, one model in one class: what it has, what it is to get, and why.",
    specs.ServerSpec,
    (
        Column("Class", "string", ".spec.class", "Class of service."),
        Column("Model", "string", ".spec.model", "Its model."),
        Column("Accelerator", "string", ".status.desiredAlloc.accelerator", "That it is to have."),
        Column("Replicas", "integer", ".status.desiredAlloc.numReplicas", "That it is to have."),
        Column("Has", "integer", ".status.currentAlloc.numReplicas", "Replicas that it has."),
        Column("Cost", "number", ".status.desiredAlloc.cost", "Cents per hour, as decided."),
        Column("Reason", "string", ".status.reason", "Why it gets what it gets."),
        READY,
        state("Feasible"),
        Column("Mode", "string", ".spec.mode", "What becomes of decisions.", priority=1),
        Column("Binding", "string", ".status.bindingConstraint", "What fixes the number.", priority=1),
        Column("Next best", "string", ".status.nextBest.accelerator", "Its second choice.", priority=1),
        WHY,
    ),
    ServerStatus,
    (specs.REPLICA_BOUNDS,),
)
CAPACITY = _definition(
    "Capacity",
    "capacities",
    "cap",
    "Capacity says how many cards of which type there are.",
    specs.CapacitySpec,
    (READY, WHY),
)
OPTIMIZER = _definition(
    "Optimizer",
    "optimizers",
    "opt",
    "Optimizer is a request to plan the servers of its namespace, once or again and again, and how.",
    specs.OptimizerSpec,
    (
        Column("Optimize", "boolean", ".spec.optimize", "Whether a plan is asked for."),
        Column("Period", "number", ".spec.period", "Seconds between plans."),
        Column("Done", "boolean", ".status.done", "Whether the last request is done."),
        Column("Served", "integer", ".status.served", "Servers that are served."),
        Column("Unserved", "integer", ".status.unserved", "Servers that are not served, or not whole."),
        Column("Cost", "number", ".status.cost", "Cents per hour of the last plan."),
        Column("Last run", "date", ".status.lastRunTime", "When the last plan was made."),
        WHY,
    ),
    OptimizerStatus,
)

DEFINITIONS = (ACCELERATOR, MODEL, SERVICE_CLASS, SERVER, CAPACITY, OPTIMIZER)
