"""Watts of an accelerator unit over its utilization."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

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
    low = idle + (mid_power - idle) * u / rising
    high = mid_power + (full - mid_power) * (u - mid_util) / falling
    result: FloatArray = np.where((u <= mid_util) & (mid_util > 0), low, high)
    return result
