"""The client of the model tuner."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from flyball.client.connection import Client
from flyball.client.operations import HEALTH, TUNER
from flyball.wire.inferno_shapes import ModelData, ProfileShape, ServerShape
from flyball.wire.inferno_tuner import CalibrationStatus, CalibrationStatuses, Parameters, WarmUp

Replicas = Iterable[ServerShape] | bytes
"""What replicas show, in the form of servers with their current allocations; or as it is to be sent."""


class TunerClient(Client):
    """Asks the model tuner, Flyball's or Inferno's: milliseconds, requests per minute.

    While nothing is learned yet, `tune` and `getparams` raise CallError, with status 422 and 404.
    """

    operations = TUNER | HEALTH

    def tune(self, replicas: Replicas) -> list[ProfileShape]:
        """Let it learn from what replicas show; the parameters of their pairs, where it has any."""
        return list(self._ask(ModelData, "tune", body=_body(replicas)).models)

    def calibrate(self, points: Replicas) -> list[ProfileShape]:
        """Let it learn from points that were measured on purpose; the pairs that this has calibrated."""
        return list(self._ask(ModelData, "calibrate", body=_body(points)).models)

    def merge(self, models: Iterable[ProfileShape]) -> list[ProfileShape]:
        """The entries with what it has learned in them, and learned pairs without an entry after them."""
        return list(self._ask(ModelData, "merge", body=ModelData(tuple(models))).models)

    def getparams(self, model: str, accelerator: str) -> Parameters:
        """The parameters of one pair."""
        return self._ask(Parameters, "getparams", model=model, accelerator=accelerator)

    def warmup(self) -> bool:
        """Whether any pair is still to be learned; False before it has seen any."""
        return self._ask(WarmUp, "warmup").warming_up

    def calibration_status(self) -> list[CalibrationStatus]:
        """How far each pair is; a condition number that is infinite is None."""
        return list(self._ask(CalibrationStatuses, "calibration-status").statuses)


def _body(replicas: Replicas) -> bytes:
    return replicas if isinstance(replicas, bytes) else msgspec.json.encode(list(replicas))
