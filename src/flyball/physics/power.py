"""Watts of an accelerator unit over its utilization."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from flyball.spec.accelerator import PowerCurve
from flyball.units import Watts

FloatArray = npt.NDArray[np.float64]


def power(
    idle: FloatArray, full: FloatArray, mid_power: FloatArray, mid_util: FloatArray, utilization: FloatArray
) -> FloatArray:
    """Watts at a utilization in 0..1: straight from (0, idle) over (mid_util, mid_power) to (1, full).

    At mid_util 0 or 1 one of the two pieces is missing; the original divides by zero there.
    """
    u = np.clip(utilization, 0.0, 1.0)
    rising = np.where(mid_util > 0, mid_util, 1.0)
    falling = np.where(mid_util < 1, 1.0 - mid_util, 1.0)
    low = idle + (mid_power - idle) * np.minimum(u, rising) / rising  # beyond it would overflow for tiny ones
    high = mid_power + (full - mid_power) * (u - mid_util) / falling
    result: FloatArray = np.where((u <= mid_util) & (mid_util > 0), low, high)
    return result


def busy(idle: FloatArray, full: FloatArray, mid_power: FloatArray, mid_util: FloatArray) -> FloatArray:
    """Watts of a unit that is never idle, however little it does: the upper piece at utilization 0.

    So much goes with a replica whose requests go to others that compute all the time anyway, as their batches
    only become longer. Of a curve that rises faster above mid_util than below it is the idle draw.
    """
    slope = (full - mid_power) / np.where(mid_util < 1, 1.0 - mid_util, 1.0)
    result: FloatArray = np.where(mid_util < 1, np.maximum(mid_power - slope * mid_util, idle), idle)
    return result


def power_of(curve: PowerCurve, utilization: float) -> Watts:
    """`power` of one curve, in watts."""
    return float(power(*_points(curve), np.asarray(utilization)))


def busy_of(curve: PowerCurve) -> Watts:
    """`busy` of one curve, in watts."""
    return float(busy(*_points(curve)))


def _points(curve: PowerCurve) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    idle, full, mid_power, mid_util = np.array(
        (curve.idle, curve.full, curve.mid_power, curve.mid_util), dtype=np.float64
    )
    return idle, full, mid_power, mid_util
