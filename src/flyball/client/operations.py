"""What the services can be asked: Inferno's operations by the first word of their path, and Flyball's."""

from __future__ import annotations

from typing import Literal

import msgspec

Offered = Literal["optimizer", "stateful", "flyball", "queue", "tuner", "loop", "controller", "health"]
"""By any optimizer, by a stateful one, by Flyball's, by the queue analysis, by the model tuner, by the parts
of the control loop, by Flyball's controller, by every service of Flyball.
"""


class Operation(msgspec.Struct, frozen=True):
    """One thing to ask for: where, with which names in the path or in the query, with a body or without."""

    path: str
    about: str
    offered: Offered
    names: tuple[str, ...] = ()
    body: str = ""
    """What the body is; without one it is a GET."""
    repeats: bool = True
    """Asked twice it does what asking once does, so it may be tried again where the answer got lost."""
    queried: tuple[str, ...] = ()
    """Names that stand in the query."""

    @property
    def planning(self) -> bool:
        """Whether it takes a solver, reasons or a budget."""
        return self.path in ("optimizeOne", "optimize", "v1/plan") and self.offered != "queue"


def _shown(path: str, about: str, *names: str) -> Operation:
    return Operation(path, about, "optimizer", names)


def _given(path: str, about: str, body: str) -> Operation:
    return Operation(path, about, "stateful", body=body)


def _by_get(path: str, about: str, *names: str, repeats: bool = True) -> Operation:
    return Operation(path, about, "stateful", names, repeats=repeats)


OPTIMIZER = {
    each.path.rpartition("/")[2]: each
    for each in (
        Operation("optimizeOne", "plan a whole system", "optimizer", body="a system"),
        Operation("v1/plan", "plan a fleet of any form, with the reasons", "flyball", body="a fleet"),
        _shown("getAccelerators", "all accelerators"),
        _shown("getAccelerator", "one accelerator", "name"),
        _shown("getCapacities", "the cards of each type"),
        _shown("getCapacity", "the cards of one type", "type"),
        _shown("getModels", "the names of all models"),
        _shown("getModel", "one model on each accelerator", "name"),
        _shown("getServiceClasses", "all service classes"),
        _shown("getServiceClass", "one service class", "name"),
        _shown("getServiceClassModelTarget", "what a class promises for a model", "name", "model"),
        _shown("getServers", "all servers"),
        _shown("getServer", "one server", "name"),
        _shown("getModelAcceleratorPerf", "one model on one accelerator", "name", "acc"),
        _given("optimize", "plan the system that is kept", "optimizer settings"),
        _by_get("applyAllocation", "make current what is desired", repeats=False),
        _given("setAccelerators", "set accelerators", "accelerators"),
        _given("addAccelerator", "set one accelerator", "an accelerator"),
        _by_get("removeAccelerator", "take an accelerator out", "name", repeats=False),
        _given("setCapacities", "set the cards of types", "counts"),
        _given("setCapacity", "set the cards of one type", "a count"),
        _by_get("removeCapacity", "take the cards of a type out", "type", repeats=False),
        _given("setModels", "set models on accelerators", "model data"),
        _by_get("addModel", "add a model without data; one that is there loses its data", "name"),
        _by_get("removeModel", "take a model out", "name", repeats=False),
        _given("addModelAcceleratorPerf", "set one model on one accelerator", "an entry of model data"),
        _by_get(
            "removeModelAcceleratorPerf", "take a model on one accelerator out", "name", "acc", repeats=False
        ),
        _given("setServiceClasses", "set service classes", "service classes"),
        _by_get(
            "addServiceClass", "add a class without targets, or take its targets away", "name", "priority"
        ),
        _by_get("removeServiceClass", "take a service class out", "name", repeats=False),
        _given("addServiceClassModelTargets", "add targets to a class", "a service class"),
        _by_get(
            "removeServiceClassModelTarget", "take a target out of a class", "name", "model", repeats=False
        ),
        _given("setServers", "set servers", "servers"),
        _given("addServer", "set one server", "a server"),
        _by_get("removeServer", "take a server out", "name", repeats=False),
    )
}
QUEUE = {
    "solve": Operation("solve", "how a replica fares at a load", "queue", body="a replica and its load"),
    "target": Operation("target", "the most load within the targets", "queue", body="a replica"),
    "optimize": Operation("optimize", "the smallest batch for the targets", "queue", body="a replica"),
}
TUNER = {
    "tune": Operation("tune", "learn from what replicas show", "tuner", body="replicas", repeats=False),
    "calibrate": Operation("calibrate", "learn from points measured on purpose", "tuner", body="replicas"),
    "merge": Operation("merge", "put what was learned into model data", "tuner", body="model data"),
    "getparams": Operation(
        "getparams", "the parameters of one pair", "tuner", queried=("model", "accelerator")
    ),
    "warmup": Operation("warmup", "whether any pair is still to be learned", "tuner"),
    "calibration-status": Operation("calibration-status", "how far each pair is", "tuner"),
}
COLLECTOR = {"collect": Operation("collect", "what runs, under which load", "loop")}
ACTUATOR = {"update": Operation("update", "carry allocations out", "loop", body="allocations", repeats=False)}
CONTROLLER = {
    "invoke": Operation("invoke", "run a cycle now", "loop", repeats=False),
    "servers": Operation("v1/servers", "what was decided for each server, and why", "controller"),
    "server": Operation("v1/servers", "what was decided for one server, and why", "controller", ("name",)),
}
HEALTH = {
    "healthz": Operation("healthz", "whether the service lives", "health"),
    "readyz": Operation("readyz", "whether it can serve", "health"),
    "metrics": Operation("metrics", "its metrics, as Prometheus reads them", "health"),
}
