"""A phase of an emulated load: how far the nominal rate moves, and how long that takes."""

from __future__ import annotations

import msgspec

from flyball.units import Seconds


class Phase(msgspec.Struct, frozen=True):
    """From a multiplier m to m times `ratio`, in a straight line; of no duration: m stays."""

    duration: Seconds
    ratio: float = 1.0
