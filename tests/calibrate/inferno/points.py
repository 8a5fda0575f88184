"""Observations of replicas whose parameters are known."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from flyball.calibrate.inferno.model import Points, predict, vector_of
from flyball.spec.calibration import Observation
from flyball.spec.profile import ChunkedTiming

TRUE = ChunkedTiming(0.008, 1.6e-5, 5e-7)
LOADS = (
    (60.0, 512.0, 128.0),
    (240.0, 512.0, 128.0),
    (480.0, 256.0, 256.0),
    (600.0, 1024.0, 64.0),
    (900.0, 512.0, 128.0),
)
"""Requests a minute, input and output tokens."""


def shown(
    load: tuple[float, float, float], true: ChunkedTiming = TRUE, *, batch: int = 256, queue: int = 0
) -> Observation:
    """What such a replica shows under a load, by the model itself."""
    asked = Observation(load[0] / 60.0, load[1], load[2], batch, 1.0, 1.0, queue)
    ttft, itl = predict(vector_of(true)[None], Points.of([asked]))[0, 0].tolist()
    return replace(asked, ttft=ttft, itl=itl)


def all_shown(
    loads: Iterable[tuple[float, float, float]] = LOADS, true: ChunkedTiming = TRUE
) -> list[Observation]:
    return [shown(load, true) for load in loads]
