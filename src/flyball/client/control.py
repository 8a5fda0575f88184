"""The clients of a control loop's parts: collector, actuator, controller; Flyball's or Inferno's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flyball.client.connection import Client
from flyball.client.errors import CallError
from flyball.client.operations import ACTUATOR, COLLECTOR, CONTROLLER, HEALTH
from flyball.wire.errors import WireError
from flyball.wire.inferno_loop import Collected, Resource, read_collected, update_bytes


class CollectorClient(Client):
    """Asks a collector."""

    operations = COLLECTOR | HEALTH

    def collect(self) -> Collected:
        """Servers, replicas and workloads as they are now."""
        data = self.call(COLLECTOR["collect"])
        try:
            return read_collected(data, "its answer")
        except WireError as error:
            mend = "Is this the right service?"
            raise CallError(200, str(error), url=f"{self.url}/collect", mend=mend) from None


class ActuatorClient(Client):
    """Asks an actuator."""

    operations = ACTUATOR | HEALTH

    def update(self, allocations: Mapping[str, Any], resources: Mapping[str, Resource]) -> None:
        """Carry allocations out, as a solution has them. The original scales to 0 what is absent."""
        self.call(ACTUATOR["update"], body=update_bytes(allocations, resources))


class ControllerClient(Client):
    """Asks a controller."""

    operations = CONTROLLER | HEALTH

    def invoke(self) -> None:
        """Run a cycle now."""
        self.call(CONTROLLER["invoke"])

    def servers(self) -> bytes:
        """What was decided last for each server, and why: a JSON array."""
        return self.call(CONTROLLER["servers"])

    def server(self, name: str) -> bytes:
        """The same of one server: a JSON object."""
        return self.call(CONTROLLER["server"], name)
