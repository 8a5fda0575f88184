"""The client of the optimizer: what plans, what shows its system, what changes it.

Shapes are Inferno's: milliseconds, requests per minute, cents per hour. A latency that has no bound is inf.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flyball.client.connection import Body, Client
from flyball.client.operations import HEALTH, OPTIMIZER
from flyball.spec.fleet import SolverName
from flyball.units import Seconds
from flyball.wire.inferno_shapes import (
    AcceleratorData,
    AcceleratorShape,
    CapacityData,
    CapacityShape,
    ClassShape,
    ModelData,
    OptimizerShape,
    ProfileShape,
    ServerData,
    ServerShape,
    ServiceClassData,
    SystemDocument,
    TargetShape,
)
from flyball.wire.plans import Planned, SolutionDocument

Document = Mapping[str, Any] | bytes


class OptimizerClient(Client):
    """Asks the optimizer, Flyball's or Inferno's. What changes its system wants a stateful one.

    As in the original, setting and adding replace what has the same name, and leave the rest.
    """

    operations = OPTIMIZER | HEALTH

    # ---- planning --------------------------------------------------------------------------------

    def optimize_one(
        self,
        system: SystemDocument | Document,
        *,
        solver: SolverName | None = None,
        explain: bool = False,
        budget: Seconds | None = None,
    ) -> SolutionDocument:
        """Plan a whole system. `budget` bounds the solver; it and the others are Flyball's additions."""
        asked = {"solver": solver, "explain": explain, "budget": budget}
        return self._ask(SolutionDocument, "optimizeOne", body=system, **asked)

    def optimize(
        self,
        settings: OptimizerShape | Document | None = None,
        *,
        solver: SolverName | None = None,
        explain: bool = False,
        budget: Seconds | None = None,
    ) -> SolutionDocument:
        """Plan the system that the service keeps; what it gives becomes the desired allocations."""
        asked = {"solver": solver, "explain": explain, "budget": budget}
        return self._ask(SolutionDocument, "optimize", body=settings or OptimizerShape(), **asked)

    def plan(
        self,
        fleet: Body,
        *,
        what_if: str | None = None,
        solver: SolverName | None = None,
        budget: Seconds | None = None,
    ) -> Planned:
        """Plan a fleet of any form, with the reasons: seconds, dollars per hour. Flyball's service only."""
        return self._ask(Planned, "plan", body=fleet, what_if=what_if, solver=solver, budget=budget)

    def apply_allocation(self) -> None:
        """Make current what the last optimization desired, for every server."""
        self._ask(str, "applyAllocation")

    # ---- accelerators and their cards ------------------------------------------------------------

    def get_accelerators(self) -> list[AcceleratorShape]:
        """All accelerators."""
        return self._ask(list[AcceleratorShape], "getAccelerators")

    def get_accelerator(self, name: str) -> AcceleratorShape:
        """One accelerator."""
        return self._ask(AcceleratorShape, "getAccelerator", name)

    def set_accelerators(self, accelerators: Iterable[AcceleratorShape]) -> list[AcceleratorShape]:
        """Set accelerators."""
        body = AcceleratorData(tuple(accelerators))
        return list(self._ask(AcceleratorData, "setAccelerators", body=body).accelerators)

    def add_accelerator(self, accelerator: AcceleratorShape) -> AcceleratorShape:
        """Set one accelerator."""
        return self._ask(AcceleratorShape, "addAccelerator", body=accelerator)

    def remove_accelerator(self, name: str) -> AcceleratorShape:
        """Take an accelerator out."""
        return self._ask(AcceleratorShape, "removeAccelerator", name)

    def get_capacities(self) -> list[CapacityShape]:
        """The cards of each type."""
        return list(self._ask(CapacityData, "getCapacities").count)

    def get_capacity(self, kind: str) -> CapacityShape:
        """The cards of one type."""
        return self._ask(CapacityShape, "getCapacity", kind)

    def set_capacities(self, capacities: Iterable[CapacityShape]) -> list[CapacityShape]:
        """Set the cards of types."""
        body = CapacityData(tuple(capacities))
        return list(self._ask(CapacityData, "setCapacities", body=body).count)

    def set_capacity(self, capacity: CapacityShape) -> CapacityShape:
        """Set the cards of one type."""
        return self._ask(CapacityShape, "setCapacity", body=capacity)

    def remove_capacity(self, kind: str) -> CapacityShape:
        """Take the cards of a type out."""
        return self._ask(CapacityShape, "removeCapacity", kind)

    # ---- models ----------------------------------------------------------------------------------

    def get_models(self) -> list[str]:
        """The names of all models."""
        return self._ask(list[str], "getModels")

    def get_model(self, name: str) -> list[ProfileShape]:
        """One model on each accelerator."""
        return list(self._ask(ModelData, "getModel", name).models)

    def set_models(self, entries: Iterable[ProfileShape]) -> list[ProfileShape]:
        """Set models on accelerators."""
        return list(self._ask(ModelData, "setModels", body=ModelData(tuple(entries))).models)

    def add_model(self, name: str) -> str:
        """Add a model without entries; one that is there loses them."""
        return self._ask(str, "addModel", name)

    def remove_model(self, name: str) -> str:
        """Take a model out."""
        return self._ask(str, "removeModel", name)

    def get_model_accelerator_perf(self, model: str, accelerator: str) -> ProfileShape:
        """One model on one accelerator."""
        return self._ask(ProfileShape, "getModelAcceleratorPerf", model, accelerator)

    def add_model_accelerator_perf(self, entry: ProfileShape) -> ProfileShape:
        """Set one model on one accelerator; the model is there."""
        return self._ask(ProfileShape, "addModelAcceleratorPerf", body=entry)

    def remove_model_accelerator_perf(self, model: str, accelerator: str) -> ProfileShape:
        """Take a model on one accelerator out."""
        return self._ask(ProfileShape, "removeModelAcceleratorPerf", model, accelerator)

    # ---- service classes -------------------------------------------------------------------------

    def get_service_classes(self) -> list[ClassShape]:
        """All service classes."""
        return list(self._ask(ServiceClassData, "getServiceClasses").service_classes)

    def get_service_class(self, name: str) -> ClassShape:
        """One service class."""
        return self._ask(ClassShape, "getServiceClass", name)

    def set_service_classes(self, classes: Iterable[ClassShape]) -> list[ClassShape]:
        """Set service classes."""
        body = ServiceClassData(tuple(classes))
        return list(self._ask(ServiceClassData, "setServiceClasses", body=body).service_classes)

    def add_service_class(self, name: str, priority: int) -> ClassShape:
        """Add a service class without targets; one that is there loses them."""
        return self._ask(ClassShape, "addServiceClass", name, str(priority))

    def remove_service_class(self, name: str) -> ClassShape:
        """Take a service class out."""
        return self._ask(ClassShape, "removeServiceClass", name)

    def get_service_class_model_target(self, name: str, model: str) -> TargetShape:
        """What a class promises for a model."""
        return self._ask(TargetShape, "getServiceClassModelTarget", name, model)

    def add_service_class_model_targets(self, given: ClassShape) -> ClassShape:
        """Add targets to a class that is there with this priority, or replace them."""
        return self._ask(ClassShape, "addServiceClassModelTargets", body=given)

    def remove_service_class_model_target(self, name: str, model: str) -> TargetShape:
        """Take the target of a model out of a class."""
        return self._ask(TargetShape, "removeServiceClassModelTarget", name, model)

    # ---- servers ---------------------------------------------------------------------------------

    def get_servers(self) -> list[ServerShape]:
        """All servers."""
        return list(self._ask(ServerData, "getServers").servers)

    def get_server(self, name: str) -> ServerShape:
        """One server."""
        return self._ask(ServerShape, "getServer", name)

    def set_servers(self, servers: Iterable[ServerShape]) -> list[ServerShape]:
        """Set servers."""
        return list(self._ask(ServerData, "setServers", body=ServerData(tuple(servers))).servers)

    def add_server(self, server: ServerShape) -> ServerShape:
        """Set one server."""
        return self._ask(ServerShape, "addServer", body=server)

    def remove_server(self, name: str) -> ServerShape:
        """Take a server out."""
        return self._ask(ServerShape, "removeServer", name)
