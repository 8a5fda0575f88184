"""Accelerators: what can be rented or owned, in units of one or more cards."""

from __future__ import annotations

import msgspec

from flyball.units import DollarsPerHour, Watts


class PowerCurve(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Watts of one unit over utilization: linear from idle to (mid_util, mid_power), then to full."""

    idle: Watts = 0.0
    full: Watts = 0.0
    mid_power: Watts = 0.0
    mid_util: float = 0.5


class Accelerator(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A kind of accelerator unit. Several may share one card `type`, which capacity counts."""

    name: str
    type: str
    multiplicity: int = 1
    """Cards of `type` in one unit."""
    cost: DollarsPerHour = 0.0
    """Price of one unit (not of one card)."""
    memory_gb: float = 0.0
    bandwidth_gbs: float = 0.0
    power: PowerCurve | None = None
