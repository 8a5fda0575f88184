"""What an expansion depends on beside the booster."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

PolicyGeneration: TypeAlias = Literal["v0.4", "v1"]
"""v0.4: AutoscalingPolicy and its Binding. v1: an AutoscalingPolicy that has its target in it."""


class Images(msgspec.Struct, frozen=True):
    """Images of the containers that Kthena brings along."""

    downloader: str = "kthena/downloader:latest"
    runtime: str = "kthena/runtime:latest"


class Settings(msgspec.Struct, frozen=True):
    """Which kinds the cluster serves."""

    policies: PolicyGeneration | None = None
    """The generation of AutoscalingPolicy, None where there is none."""
